"""Pictures that digits are put on, one for each modality: photographs of scikit-image, or one's own."""

from pathlib import Path

import numpy as np
import skimage.data
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

SIDE = 28  # of a digit
SUFFIXES = (".jpg", ".jpeg", ".png")

# In the order in which digits read best on them (contact sheet, and the accuracy of a classifier):
# inverting a mid-grey crop leaves its digit invisible, so pictures with much grey come last.
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
HUE_STEP = 77  # of a circle of 256: as many steps come to as many different hues
# What a photograph in another hue has at least, of 255, so that grey and black ones differ too.
SATURATION, VALUE = np.uint8(128), np.uint8(51)


def backgrounds(num: int, folder: str | Path = "") -> dict[str, np.ndarray]:
    """Return `num` pictures [height, width, 3] uint8 by name, both sides larger than 28.

    folder: of pictures (.jpg, .jpeg, .png), of which the first are taken, by name; hidden files do not
    count. Without one, the photographs of scikit-image, and then these again in other hues.

    Raises ValueError if the folder is missing, has too few pictures, or has a file that is not a
    picture, and for a picture that cannot be read or is too small.
    """
    if folder:
        return own_pictures(num, Path(folder).expanduser())
    names = list(PHOTOGRAPHS)
    rounds = [(k // len(names), names[k % len(names)]) for k in range(num)]
    return {
        f"{name}-{turn + 1}" if turn else name: with_hue(photograph(name), turn * HUE_STEP)
        for turn, name in rounds
    }


def photograph(name: str) -> np.ndarray:
    """Return a photograph as [height, width, 3] uint8; grey ones are repeated over the channels."""
    image = PHOTOGRAPHS[name]()
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image[..., :3]


def with_hue(picture: np.ndarray, turn: int) -> np.ndarray:
    """Turn the hues of a picture by a part of 256, with more colour and light; 0 changes nothing."""
    if not turn:
        return picture
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(picture).convert("HSV")), -1, 0)
    turned = np.uint8(turn % 256) + hue  # bytes wrap, as hues do
    bands = (turned, np.maximum(saturation, SATURATION), np.maximum(value, VALUE))
    merged = Image.merge("HSV", [Image.fromarray(np.ascontiguousarray(band)) for band in bands])
    return np.asarray(merged.convert("RGB"))


def own_pictures(num: int, folder: Path) -> dict[str, np.ndarray]:
    """Read the first pictures of a folder, by name. Raises ValueError as `backgrounds`."""
    if not folder.is_dir():
        raise ValueError(f"the folder of backgrounds {folder} is missing: make it, or name another")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{path} is not a picture ({', '.join(SUFFIXES)}): take it out of the backgrounds"
            )
    if len(paths) < num:
        raise ValueError(
            f"{folder} has {len(paths)} pictures for {num} modalities: add {num - len(paths)}, or ask "
            "for fewer modalities"
        )
    return {path.name: read_picture(path) for path in paths[:num]}


def read_picture(path: Path) -> np.ndarray:
    """Read a picture as [height, width, 3] uint8. Raises ValueError if it is damaged or too small."""
    try:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except Exception as error:  # a decoder raises what it likes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}): replace it or take it out") from None
    height, width, _ = picture.shape
    if min(height, width) <= SIDE:
        raise ValueError(
            f"{path} is {width}x{height} pixels: both sides must be larger than {SIDE}; replace it"
        )
    return picture


def paste(masks: np.ndarray, background: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Invert crops of a background inside the masks [N, 28, 28]: [N, 28, 28, 3] uint8.

    y, x: [N] where the upper left corners of the crops are.
    """
    windows = sliding_window_view(background, (SIDE, SIDE), axis=(0, 1))  # pyright: ignore
    crops = windows[y, x].transpose(0, 2, 3, 1)
    return np.where(masks[..., None], 255 - crops, crops)
