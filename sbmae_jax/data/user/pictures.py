"""A folder that holds a folder of image files for each modality, and tables with the rest of each row.

The key of the tables (see `table_files`) names the image files, with or without their suffix. The columns
`label` and `split` are no modalities. A row lacks a modality where its image file does not exist or its cell
is missing. Without a table, the rows are the sorted names of all images; and a table alone is one of rows
without images.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sbmae_jax.data.description import Description
from sbmae_jax.data.names import RESERVED, as_name, problem_of_name
from sbmae_jax.data.user.raw import RawArrays, by_name, read_each, row_numbers, unusable_names
from sbmae_jax.data.user.table_files import TableOptions, is_table, read_tables

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_NUM_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
READ_MODES = {  # in which images of Pillow's modes are read
    "1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "P": "RGB",
    "LA": "RGBA", "La": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "HSV": "RGB", "LAB": "RGB",
}  # fmt: skip
_TURNED = (5, 6, 7, 8)  # values of the EXIF tag at which a camera was held upright
_ORIENTATION = 0x0112


def read_pictures(path: Path, options: TableOptions, like: Description | None = None) -> RawArrays:
    """Open a folder of image folders and tables, or a table alone; images are decoded when they are indexed.

    Args:
        path: The folder, or the file.
        options: How tables are read.
        like: What a model was trained on, for new rows: columns are then read by their names, and as the
            types that they had. None infers the types.

    Returns:
        One array per image folder, and those of the tables. A folder with two files for one row, or with
        images that differ in size or cannot be read, is unreadable.

    Raises:
        ValueError: If two arrays have the same name; and as `read_tables`.
    """
    children = [] if path.is_file() else sorted(path.iterdir())
    tables = [path] if path.is_file() else [file for file in children if is_table(file)]
    subfolders = (c for c in children if c.is_dir() and not c.name.startswith("."))
    found = by_name(path, ((child.name, child) for child in subfolders))
    folders, unreadable = read_each(found, _image_files)
    folders = {name: files for name, files in folders.items() if files}
    for name in set(folders) & set(RESERVED):
        raise ValueError(f"{name} {problem_of_name(name, f'the folder {path / name}')}")
    stems = {stem for files in folders.values() for stem in files}
    keys, columns = sorted(stems), RawArrays({})
    if tables:
        keys, columns = read_tables(path, tables, options, like, folders, stems, _stem_of)
    table = " and ".join(file.name for file in tables)
    arrays: dict[str, Any] = dict(columns.arrays)
    present, notices = dict(columns.present), list(columns.notices)
    unusable = dict(columns.unusable) | unusable_names(dict.fromkeys(folders, "the folder"))
    others = [c.name for c in children if c.is_file() and c not in tables and c.name[0] != "."]
    if others:
        notices.append(f"{path}: only image folders and tables are read, not {', '.join(others)}")
    for name, files in folders.items():
        if name in arrays:
            raise ValueError(
                f"{name} is both an image folder and an array from {table}: rename one of them"
            )
        chosen = [files.get(_stem_of(key)) for key in keys]
        num_unused = len(files) - sum(file is not None for file in chosen)
        if num_unused == len(files):
            unreadable[name] = (
                f"{table} names no image of {path / name}: its key column must hold file names such "
                f"as {next(iter(files))}"
            )
            continue
        if num_unused:
            notices.append(f"{name}: {num_unused:,} images are not used: {table} lacks them")
        shape = (
            like.scalings[name].raw_shape if like is not None and name in like.scalings else None
        )
        opened, problems = read_each({name: chosen}, partial(_Images, like=shape))
        arrays, unreadable = arrays | opened, unreadable | problems
        present[name] = np.array([file is not None for file in chosen])
    return RawArrays(
        arrays, present=present, entries=columns.entries, grouped=columns.grouped, notices=tuple(notices),
        ignored=columns.ignored, unusable=unusable, unreadable={**unreadable, **columns.unreadable},
    )  # fmt: skip


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
