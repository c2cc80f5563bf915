"""Backgrounds for digits, one for each modality: photographs of scikit-image, or images of your own."""

from pathlib import Path

import numpy as np
import skimage.data
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from sbmae_jax._io import as_path, one_line

SIDE = 28  # of a digit, in pixels
_SUFFIXES = (".jpg", ".jpeg", ".png")

# In the order in which digits are easiest to read on them (contact sheet, and the accuracy of a classifier):
# inverting a mid-grey crop leaves its digit invisible, so photographs with much grey come last.
PHOTOGRAPHS = {
    "hubble": skimage.data.hubble_deep_field,
    "retina": skimage.data.retina,
    "coffee": skimage.data.coffee,
    "rocket": skimage.data.rocket,
    "chelsea": skimage.data.chelsea,
    "camera": skimage.data.camera,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
    "astronaut": skimage.data.astronaut,
    "coins": skimage.data.coins,
    "ihc": skimage.data.immunohistochemistry,
}
_HUE_STEP = 77  # of a circle of 256: many such steps come to as many different hues
# The least saturation and value, of 255, of a photograph in another hue, so that grey and black ones differ.
_MIN_SATURATION, _MIN_VALUE = np.uint8(128), np.uint8(51)


def backgrounds(num: int, folder: str | Path = "") -> dict[str, np.ndarray]:
    """Load backgrounds by name.

    Args:
        num: How many.
        folder: A folder of images (.jpg, .jpeg, .png), of which the first are taken, sorted by name; hidden
            files are ignored. "" takes the photographs of scikit-image, and then these again in other hues.

    Returns:
        Images [height, width, 3] uint8, with both sides larger than 28.

    Raises:
        ValueError: If the folder does not exist, has too few images or a file that is not one, or if an
            image cannot be read or is too small.
    """
    if folder:
        return _read_folder(num, as_path(folder))
    names = list(PHOTOGRAPHS)
    rounds = [(k // len(names), names[k % len(names)]) for k in range(num)]
    return {
        f"{name}-{turn + 1}" if turn else name: turn_hue(photograph(name), turn * _HUE_STEP)
        for turn, name in rounds
    }


def photograph(name: str) -> np.ndarray:
    """Return one of PHOTOGRAPHS as [height, width, 3] uint8; grey ones are repeated over the channels."""
    image = PHOTOGRAPHS[name]()
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image[..., :3]


def turn_hue(image: np.ndarray, turn: int) -> np.ndarray:
    """Turn hues by `turn` / 256 of a circle, with more saturation and light; 0 changes nothing."""
    if not turn:
        return image
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV")), -1, 0)
    turned = np.uint8(turn % 256) + hue  # bytes wrap, as hues do
    bands = (turned, np.maximum(saturation, _MIN_SATURATION), np.maximum(value, _MIN_VALUE))
    merged = Image.merge("HSV", [Image.fromarray(np.ascontiguousarray(band)) for band in bands])
    return np.asarray(merged.convert("RGB"))


def _read_folder(num: int, folder: Path) -> dict[str, np.ndarray]:
    """Read the first images of a folder, sorted by name; raises ValueError as `backgrounds`."""
    if not folder.is_dir():
        raise ValueError(f"the folder of backgrounds {folder} does not exist: name another one")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in paths:
        if path.suffix.lower() not in _SUFFIXES:
            raise ValueError(
                f"{path} is not an image ({', '.join(_SUFFIXES)}): remove it from the backgrounds"
            )
    if len(paths) < num:
        raise ValueError(
            f"{folder} has {len(paths)} images for {num} modalities: add {num - len(paths)}, or use fewer "
            "modalities"
        )
    return {path.name: _read_image(path) for path in paths[:num]}


def _read_image(path: Path) -> np.ndarray:
    """Read an image as [height, width, 3] uint8; raises ValueError if it is damaged or too small."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # decoders document no types
        raise ValueError(
            f"{path} cannot be read ({one_line(error)}): replace or remove it"
        ) from None
    height, width, _ = pixels.shape
    if min(height, width) <= SIDE:
        raise ValueError(
            f"{path} is {width}x{height} pixels, but both sides must be larger than {SIDE}: replace it"
        )
    return pixels


def paste(masks: np.ndarray, background: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Invert crops of a background inside masks.

    Args:
        masks: Where the digits are: [N, H, W] bool.
        background: An image [height, width, 3] uint8, at least as large.
        y: The row of the upper left corner of each crop: [N].
        x: The column of the upper left corner of each crop: [N].

    Returns:
        The crops with their digits: [N, H, W, 3] uint8.
    """
    windows = sliding_window_view(background, masks.shape[1:], axis=(0, 1))  # pyright: ignore
    crops = windows[y, x].transpose(0, 2, 3, 1)
    return np.where(masks[..., None], 255 - crops, crops)
