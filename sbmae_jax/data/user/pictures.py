"""A folder that holds a folder of image files for each modality, and a CSV file with the rest of each row.

The column `id` or `file`, or else the first one, names the image files, with or without their suffix. The
columns `label` and `split` are no modalities. All other columns of numbers form one vector, named after the
CSV file, and each column of strings is a category. A row lacks a modality where its image file does not exist
or its cell is empty. Without a CSV file, the rows are the sorted names of all images.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sbmae_jax._io import one_line
from sbmae_jax.data.user.raw import RawArrays, row_numbers

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_KEYS = ("id", "file")
_EMPTY = ("", "NA", "N/A", "NaN", "nan")  # in a column of numbers
_NUM_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_MODES = {  # in which images of Pillow's modes are read
    "1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB",
}  # fmt: skip


def read_pictures(path: Path) -> RawArrays:
    """Open a folder of image folders; images are decoded when they are indexed.

    Args:
        path: The folder.

    Returns:
        One array per image folder, and those of the CSV file.

    Raises:
        ValueError: If there are several CSV files, the CSV file cannot be read, two arrays have the same
            name, two files belong to one row, or the images of a folder differ in size or cannot be read.
    """
    tables = sorted(path.glob("*.csv"))
    if len(tables) > 1:
        raise ValueError(
            f"{path} has several CSV files, {tables[0].name} and {tables[1].name}: keep one"
        )
    folders = {
        child.name: _image_files(child)
        for child in sorted(path.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    folders = {name: files for name, files in folders.items() if files}
    if tables:
        keys, arrays, entries = _read_csv(tables[0])
    else:
        keys = sorted({stem for files in folders.values() for stem in files})
        arrays, entries = {}, {}
    present, notices = {}, []
    for name, files in folders.items():
        if name in arrays:
            raise ValueError(
                f"{name} is both an image folder and an array from {tables[0].name}: rename one of them"
            )
        chosen = [files.get(_stem_of(key)) for key in keys]
        num_unused = len(files) - sum(file is not None for file in chosen)
        if num_unused == len(files):
            raise ValueError(
                f"{tables[0].name} names no image of {path / name}: its key column must hold file names such "
                f"as {next(iter(files))}"
            )
        if num_unused:
            notices.append(
                f"{name}: {num_unused:,} images are not used: {tables[0].name} lacks them"
            )
        arrays[name] = _Images(chosen)
        present[name] = np.array([file is not None for file in chosen])
    return RawArrays(arrays, present=present, entries=entries, notices=tuple(notices))


def _stem_of(name: str) -> str:
    """Return the name of an image file without its suffix."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in _SUFFIXES else name


def _image_files(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their names without suffix."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(f"{folder} has {other.name} and {file.name}: keep one per row")
    return found


class _Images:
    """Image files as an array [N, H, W] or [N, H, W, C] of bytes; missing ones are black."""

    def __init__(self, files: list[Path | None]):
        self._files = files
        heads = [(file, *_size_and_mode(file)) for file in files if file is not None]
        first, size, _ = heads[0]
        for file, other, _ in heads:
            if other != size:
                raise ValueError(
                    f"{file} has {other[0]} x {other[1]} pixels, but {first.name} has {size[0]} x {size[1]}: "
                    "resize the images of a folder to one size"
                )
        self._mode = max((mode for _, _, mode in heads), key=lambda mode: _NUM_CHANNELS[mode])
        channels = () if self._mode == "L" else (_NUM_CHANNELS[self._mode],)
        self.shape = (len(files), size[1], size[0], *channels)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        images = np.zeros((len(numbers), *self.shape[1:]), np.uint8)
        for image, row in zip(images, numbers, strict=True):
            file = self._files[row]
            if file is not None:
                image[...] = _decode_image(file, self._mode)
        return images


def _size_and_mode(file: Path) -> tuple[tuple[int, int], str]:
    """Return the size of an image and the mode to read it in, without decoding it."""
    try:
        with Image.open(file) as image:
            size, mode = image.size, image.mode
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"{file} is not an image, or damaged: replace or remove it") from None
    if mode not in _MODES:
        raise ValueError(f"{file} has pixels of type {mode}: save it with 8 bits per channel")
    return size, _MODES[mode]


def _decode_image(file: Path, mode: str) -> np.ndarray:
    """Decode one image."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert(mode))
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"{file} is damaged: replace or remove it") from None


def _read_csv(file: Path) -> tuple[list[str], dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return the keys of the rows, the arrays, and the names of the vector's entries."""
    cells = _read_cells(file)
    key = next((name for name in _KEYS if name in cells), next(iter(cells)))
    keys = cells.pop(key)
    twice = [name for name, count in Counter(map(_stem_of, keys)).items() if count > 1]
    if twice:
        raise ValueError(f"{file} has {twice[0]!r} twice in the column {key}: keep one row of each")
    arrays: dict[str, Any] = {
        name: np.asarray(cells.pop(name)) for name in ("label", "split") if name in cells
    }
    if "label" in arrays and (label := _as_numbers(arrays["label"])) is not None:
        arrays["label"] = label
    numbers = {
        name: column
        for name, strings in cells.items()
        if (column := _as_numbers(strings)) is not None
    }
    arrays |= {name: np.asarray(strings) for name, strings in cells.items() if name not in numbers}
    if not numbers:
        return keys, arrays, {}
    if file.stem in arrays:
        raise ValueError(
            f"{file} has a column {file.stem}, which is also the name of its vector: rename one of them"
        )
    arrays[file.stem] = np.stack(list(numbers.values()), axis=1)
    return keys, arrays, {file.stem: tuple(numbers)}


def _read_cells(file: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file by their names."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            lines = csv.reader(opened)
            rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{file} cannot be read ({one_line(error)}): save it as UTF-8 with commas"
        ) from None
    if len(rows) < 2:
        raise ValueError(f"{file} has no rows below its header: add at least one")
    names = rows[0][1]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        what = f"two columns {twice[0]!r}" if twice and twice[0] else "a column without a name"
        raise ValueError(f"{file} has {what}: give each column its own name")
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(
                f"{file}, line {number} has {len(row)} cells for {len(names)} columns: add or remove cells"
            )
    return {name: [row[c] for _, row in rows[1:]] for c, name in enumerate(names)}


def _as_numbers(strings: Any) -> np.ndarray | None:
    """Return a column as floats, NaN where it is empty; None unless it holds numbers."""
    try:
        numbers = np.array([np.nan if s in _EMPTY else float(s) for s in strings])
    except ValueError:
        return None
    return None if np.isnan(numbers).all() else numbers
