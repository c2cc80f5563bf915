"""Files that visitors of the page upload: what is refused before anything of them is decoded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MAX_BYTES = 8 * 2**20
"""Larger files are refused."""

MAX_PIXELS = 16 * 10**6
"""Pictures with more pixels are refused before they are decoded."""


def check_upload(name: str, file: Path, suffixes: Sequence[str]) -> None:
    """Raise ValueError, in one sentence, for a file that should not be read.

    Args:
        name: The modality that it is for.
        file: The file.
        suffixes: Those that the modality reads, in lower case.
    """
    if file.suffix.lower() not in suffixes:
        raise ValueError(
            f"{name}: {file.name} is not one of {', '.join(suffixes)}: choose another file"
        )
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{name}: {file.name} is larger than {MAX_BYTES // 2**20} MB: choose a smaller one"
        )
    _check_size(name, file)


def _check_size(name: str, file: Path) -> None:
    """Raise ValueError for a file that would need far more memory than its bytes."""
    if file.suffix.lower() == ".npy":
        try:
            np.load(file, mmap_mode="r", allow_pickle=False)  # refuses a file shorter than it says
        except (OSError, EOFError, ValueError):
            raise ValueError(
                f"{name}: {file.name} is no .npy file of numbers: save it by numpy.save"
            ) from None
        return
    try:
        with Image.open(file) as image:
            width, height = image.size
            too_large = width * height > MAX_PIXELS
    except Image.DecompressionBombError:
        too_large = True
    except Exception:  # Pillow documents no types: damaged files raise many
        raise ValueError(f"{name}: {file.name} is not an image, or is damaged") from None
    if too_large:
        raise ValueError(
            f"{name}: {file.name} has too many pixels: at most {MAX_PIXELS / 1e6:g} million are read"
        )


def plain_numbers(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read the numbers of one example, of data that come prepared."""
    numbers = np.load(file, allow_pickle=False)
    if numbers.shape not in (shape, (1, *shape)) or numbers.dtype.kind not in "buif":
        raise ValueError(f"must be numbers of shape {shape}, got {numbers.shape}")
    return numbers.reshape(shape) / (255 if numbers.dtype == np.uint8 else 1)
