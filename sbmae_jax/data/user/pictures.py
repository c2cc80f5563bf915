"""A folder with a folder of pictures for each modality, and a CSV file of what else is known of the rows.

The column `id` or `file`, or else the first, names the picture files, with or without their ending. The
columns `label` and `split` are those; all other columns of numbers together are one vector, named after the
CSV file, and each column of words is a category. A picture that is not there, and an empty cell, were not
measured. Without a CSV file the rows are all names of pictures, sorted.
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sbmae_jax.data.user.raw import RawArrays, row_numbers

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
KEYS = ("id", "file")
EMPTY = ("", "NA", "N/A", "NaN", "nan")  # in a column of numbers
MODES = {"L": 1, "RGB": 3, "RGBA": 4}
CHANNELS = {
    "1": "L",
    "L": "L",
    "P": "RGB",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
}


def read_pictures(path: Path) -> RawArrays:
    """Open such a folder; pictures are read when they are indexed.

    Raises ValueError for more than one CSV file, a table that is not one, two columns or a column and a
    folder of one name, two files for one row, and pictures of other sizes or that cannot be read.
    """
    tables = sorted(path.glob("*.csv"))
    if len(tables) > 1:
        raise ValueError(
            f"{path} has several CSV files, {tables[0].name} and {tables[1].name}: keep one"
        )
    folders = {
        child.name: pictures_of(child)
        for child in sorted(path.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    folders = {name: files for name, files in folders.items() if files}
    if tables:
        keys, arrays, entries = read_table(tables[0])
    else:
        keys = sorted({stem for files in folders.values() for stem in files})
        arrays, entries = {}, {}
    present, notices = {}, []
    for name, files in folders.items():
        if name in arrays:
            raise ValueError(
                f"{name} is a folder of pictures and also from {tables[0].name}: rename one of them"
            )
        chosen = [files.get(stem_of(key)) for key in keys]
        unused = len(files) - sum(file is not None for file in chosen)
        if unused == len(files):
            raise ValueError(
                f"no picture of {path / name} is named in {tables[0].name}: the column of names must hold "
                f"the names of files, as {next(iter(files))}"
            )
        if unused:
            notices.append(f"{name}: {unused:,} pictures are not in {tables[0].name} and not used")
        arrays[name] = Pictures(chosen)
        present[name] = np.array([file is not None for file in chosen])
    return RawArrays(arrays, present, entries, tuple(notices))


def stem_of(name: str) -> str:
    """Return the name of a picture file without its ending."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in ENDINGS else name


def pictures_of(folder: Path) -> dict[str, Path]:
    """Return the picture files of a folder by their names without ending."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(f"{folder} has {other.name} and {file.name}: keep one for each row")
    return found


class Pictures:
    """Picture files as an array [N, H, W] or [N, H, W, C] of bytes; those not there are black.

    Raises ValueError for pictures of other sizes, and for files that are no pictures of bytes.
    """

    def __init__(self, files: list[Path | None]):
        self._files = files
        heads = [(file, *head_of(file)) for file in files if file is not None]
        first, size, _ = heads[0]
        for file, other, _ in heads:
            if other != size:
                raise ValueError(
                    f"{file} has {other[0]} x {other[1]} pixels and {first.name} has {size[0]} x {size[1]}: "
                    "bring the pictures of a folder to one size"
                )
        self._mode = max((mode for _, _, mode in heads), key=lambda mode: MODES[mode])
        channels = () if self._mode == "L" else (MODES[self._mode],)
        self.shape = (len(files), size[1], size[0], *channels)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        pictures = np.zeros((len(numbers), *self.shape[1:]), np.uint8)
        for picture, row in zip(pictures, numbers, strict=True):
            file = self._files[row]
            if file is not None:
                picture[...] = read_picture(file, self._mode)
        return pictures


def head_of(file: Path) -> tuple[tuple[int, int], str]:
    """Return size and channels of a picture, without decoding it."""
    try:
        with Image.open(file) as image:
            size, mode = image.size, image.mode
    except (UnidentifiedImageError, OSError):
        raise ValueError(
            f"{file} is not a picture, or damaged: write it again, or remove it"
        ) from None
    if mode not in CHANNELS:
        raise ValueError(f"{file} has pixels of type {mode}: save it with 8 bits for each channel")
    return size, CHANNELS[mode]


def read_picture(file: Path, mode: str) -> np.ndarray:
    """Decode one picture."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert(mode))
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"{file} is damaged: write it again, or remove it") from None


def read_table(file: Path) -> tuple[list[str], dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return the names of the rows, the arrays, and the names of the entries of the vector."""
    cells = read_cells(file)
    key = next((name for name in KEYS if name in cells), next(iter(cells)))
    keys = cells.pop(key)
    twice = [name for name, count in Counter(map(stem_of, keys)).items() if count > 1]
    if twice:
        raise ValueError(
            f"{file}: {twice[0]!r} stands twice in the column {key}: keep one row of each"
        )
    arrays: dict[str, Any] = {
        name: np.asarray(cells.pop(name)) for name in ("label", "split") if name in cells
    }
    if "label" in arrays and (label := numbers_of(arrays["label"])) is not None:
        arrays["label"] = label
    numbers = {
        name: column for name, words in cells.items() if (column := numbers_of(words)) is not None
    }
    arrays |= {name: np.asarray(words) for name, words in cells.items() if name not in numbers}
    if not numbers:
        return keys, arrays, {}
    if file.stem in arrays:
        raise ValueError(
            f"{file} has a column {file.stem}, as its own vector is called: rename one of them"
        )
    arrays[file.stem] = np.stack(list(numbers.values()), axis=1)
    return keys, arrays, {file.stem: tuple(numbers)}


def read_cells(file: Path) -> dict[str, list[str]]:
    """Return the columns of a CSV file by their names."""
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            lines = csv.reader(opened)
            rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{file} cannot be read ({error}): save it as UTF-8 text with commas"
        ) from None
    if len(rows) < 2:
        raise ValueError(f"{file} has no rows below its line of names")
    names = rows[0][1]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        what = f"two columns {twice[0]!r}" if twice and twice[0] else "a column without a name"
        raise ValueError(f"{file} has {what}: give each column a name of its own")
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(
                f"{file}, line {number}: {len(row)} cells, but there are {len(names)} columns"
            )
    return {name: [row[c] for _, row in rows[1:]] for c, name in enumerate(names)}


def numbers_of(words: Any) -> np.ndarray | None:
    """Return a column as floats, NaN where it is empty; None if anything else than a number stands there."""
    try:
        numbers = np.array([np.nan if word in EMPTY else float(word) for word in words])
    except ValueError:
        return None
    return None if np.isnan(numbers).all() else numbers
