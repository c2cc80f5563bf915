"""A folder that holds a folder of image files for each modality, and a CSV file with the rest of each row.

The column `id` or `file` names the image files, with or without their suffix; without one, the first column
that names any. The columns `label` and `split` are no modalities, the others are as in `csv_file`. A row
lacks a modality where its image file does not exist or its cell is missing. Without a CSV file, the rows are
the sorted names of all images; and a CSV file alone is a table of rows without images.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sbmae_jax.data.description import Description
from sbmae_jax.data.names import RESERVED, as_name, problem_of_name
from sbmae_jax.data.user.csv_file import as_trained, infer_arrays, key_of, read_cells
from sbmae_jax.data.user.raw import RawArrays, by_name, read_each, row_numbers, unusable_names

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_NUM_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
READ_MODES = {  # in which images of Pillow's modes are read
    "1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "P": "RGB",
    "LA": "RGBA", "La": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "HSV": "RGB", "LAB": "RGB",
}  # fmt: skip
_TURNED = (5, 6, 7, 8)  # values of the EXIF tag at which a camera was held upright
_ORIENTATION = 0x0112


def read_pictures(
    path: Path, markers: Collection[str] = ("",), like: Description | None = None
) -> RawArrays:
    """Open a folder of image folders, or a CSV file alone; images are decoded when they are indexed.

    Args:
        path: The folder, or the file.
        markers: The cells that mark what is missing.
        like: What a model was trained on, for new rows: columns are then read by their names, and as the
            types that they had. None infers the types.

    Returns:
        One array per image folder, and those of the CSV file. A folder with two files for one row, or with
        images that differ in size or cannot be read, is unreadable.

    Raises:
        ValueError: If there are several CSV files, or two arrays have the same name; and as `csv_file`.
    """
    children = [] if path.is_file() else sorted(path.iterdir())
    tables = [path] if path.is_file() else [file for file in children if is_table(file)]
    if len(tables) > 1:
        raise ValueError(
            f"{path} has several CSV files, {tables[0].name} and {tables[1].name}: keep one"
        )
    subfolders = (c for c in children if c.is_dir() and not c.name.startswith("."))
    found = by_name(path, ((child.name, child) for child in subfolders))
    folders, unreadable = read_each(found, _image_files)
    folders = {name: files for name, files in folders.items() if files}
    for name in set(folders) & set(RESERVED):
        raise ValueError(f"{name} {problem_of_name(name, f'the folder {path / name}')}")
    stems = {stem for files in folders.values() for stem in files}
    keys, columns = sorted(stems), RawArrays({})
    if tables:
        keys, columns = _read_table(tables[0], markers, like, folders)
    arrays: dict[str, Any] = dict(columns.arrays)
    present, notices = {}, list(columns.notices)
    unusable = dict(columns.unusable) | unusable_names(dict.fromkeys(folders, "the folder"))
    others = [c.name for c in children if c.is_file() and c not in tables and c.name[0] != "."]
    if others:
        notices.append(
            f"{path}: only image folders and a .csv file are read, not {', '.join(others)}"
        )
    for name, files in folders.items():
        if name in arrays:
            raise ValueError(
                f"{name} is both an image folder and an array from {tables[0].name}: rename one of them"
            )
        chosen = [files.get(_stem_of(key)) for key in keys]
        num_unused = len(files) - sum(file is not None for file in chosen)
        if num_unused == len(files):
            unreadable[name] = (
                f"{tables[0].name} names no image of {path / name}: its key column must hold file names such "
                f"as {next(iter(files))}"
            )
            continue
        if num_unused:
            notices.append(
                f"{name}: {num_unused:,} images are not used: {tables[0].name} lacks them"
            )
        shape = (
            like.scalings[name].raw_shape if like is not None and name in like.scalings else None
        )
        opened, problems = read_each({name: chosen}, partial(_Images, like=shape))
        arrays, unreadable = arrays | opened, unreadable | problems
        present[name] = np.array([file is not None for file in chosen])
    return RawArrays(
        arrays, present=present, entries=columns.entries, notices=tuple(notices),
        ignored=columns.ignored, unusable=unusable, unreadable={**unreadable, **columns.unreadable},
    )  # fmt: skip


def _read_table(
    file: Path, markers: Collection[str], like: Description | None, folders: dict[str, Any]
) -> tuple[list[str], RawArrays]:
    """Return the keys of the rows of a CSV file, and its columns."""
    cells = read_cells(file, markers)
    key = key_of(cells, {stem for files in folders.values() for stem in files})
    if key is None:
        keys, ignored = [str(i) for i in range(cells.num_rows)], ()
    else:
        keys, ignored = list(cells.columns[key]), (key,)
        twice = [name for name, count in Counter(map(_stem_of, keys)).items() if count > 1]
        if twice and folders:  # without images, a key may come back, as a patient does
            raise ValueError(
                f"{file} has {twice[0]!r} twice in the column {key}: keep one row of each"
            )
        if len(cells.columns) == 1:
            return keys, RawArrays({}, ignored=ignored)
        cells = cells.without(key)
    columns = as_trained(cells, like, folders) if like is not None else infer_arrays(cells)
    notices = (f"{file.name}: the column {key} names the rows",) * (key is not None)
    return keys, replace(columns, notices=(*notices, *columns.notices), ignored=ignored)


def is_table(file: Path) -> bool:
    """Return whether a file is a table that `csv_file` reads, by its name."""
    return file.suffix.lower() in (".csv", ".tsv") and not file.name.startswith(".")


def _stem_of(name: str) -> str:
    """Return the name of an image file without its suffix."""
    suffix = Path(name).suffix
    return as_name(name.removesuffix(suffix) if suffix.lower() in _SUFFIXES else name)


def _image_files(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their names without suffix."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(as_name(file.stem), file)
        if other is not file:
            raise ValueError(f"{folder} has {other.name} and {file.name}: keep one per row")
    return found


class _Images:
    """Image files as an array [N, H, W] or [N, H, W, C] of bytes; missing ones are black."""

    def __init__(self, files: list[Path | None], like: tuple[int, ...] | None = None):
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
        if like is not None:  # the channels of the training data
            by_channels = {num: mode for mode, num in _NUM_CHANNELS.items()}
            self._mode = by_channels.get(like[2] if len(like) == 3 else 1, self._mode)
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
            has_alpha = image.has_transparency_data
            if image.getexif().get(_ORIENTATION) in _TURNED:
                size = size[1], size[0]
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"{file} is not an image, or damaged: replace or remove it") from None
    if mode not in READ_MODES:
        raise ValueError(f"{file} has pixels of type {mode}: save it with 8 bits per channel")
    return size, "RGBA" if has_alpha else READ_MODES[mode]


def _decode_image(file: Path, mode: str) -> np.ndarray:
    """Decode one image, turned as its camera was held."""
    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert(mode))
    except (UnidentifiedImageError, OSError):
        raise ValueError(f"{file} is damaged: replace or remove it") from None
