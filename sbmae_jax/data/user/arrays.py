"""Arrays from `.npz` and `.npy` files, memory-mapped where possible and read when they are indexed."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._io import one_line
from sbmae_jax._json import from_json
from sbmae_jax.data.user.raw import RawArrays, by_name, read_each, unusable_names

ENTRIES = "entries.json"
"""A file beside `.npy` files: `{name: [names of the entries]}` of vectors whose entries have names."""

LEFT_OUT = "left_out.json"
"""A file beside `.npy` files: the names of what was left out when they were written."""

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> RawArrays:
    """Map the arrays of an `.npz` file into memory; compressed ones are read.

    Args:
        path: The file.

    Returns:
        Its arrays. Object arrays and damaged ones are unreadable.

    Raises:
        ValueError: If the file is damaged, or two arrays have the same name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            named = by_name(path, ((m.filename.removesuffix(".npy"), m) for m in members))
            arrays, unreadable = read_each(named, lambda m: _read_member(path, archive, m))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _damaged(path, error) from None
    unusable = unusable_names(dict.fromkeys(named, "the array"))
    return RawArrays(arrays, unusable=unusable, unreadable=unreadable)


def read_npy_file(path: Path) -> RawArrays:
    """Map an `.npy` file into memory, as one array with its name; raises ValueError as `read_npz`."""
    arrays = by_name(path, [(path.stem, _read_npy(path))])
    things = dict.fromkeys(arrays, f"the file {path.name}")
    return RawArrays(arrays, unusable=unusable_names(things, ".npy"))


def read_npy_folder(path: Path) -> RawArrays:
    """Map the `.npy` files of a folder, each an array with its name; raises ValueError as `read_npz`."""
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    others = [c.name for c in children if c.suffix != ".npy" and c.name not in (ENTRIES, LEFT_OUT)]
    notices = (f"{path}: only .npy files are read, not {', '.join(others)}",) if others else ()
    files = by_name(path, ((child.stem, child) for child in children if child.suffix == ".npy"))
    arrays, unreadable = read_each(files, _read_npy)
    things = {name: f"the file {file.name}" for name, file in files.items()}
    left_out = _read_left_out(path / LEFT_OUT)
    unusable, entries = unusable_names(things, ".npy"), _read_entries(path, arrays, left_out)
    unusable |= dict.fromkeys(
        left_out,
        "was left out when these files were written: leave it out again by config.data.leave_out",
    )
    return RawArrays(
        arrays, entries=entries, notices=notices, unusable=unusable, unreadable=unreadable
    )


def _read_entries(
    folder: Path, arrays: Mapping[str, Any], left_out: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Read the names of the entries of vectors, if there is a file of them."""
    path = folder / ENTRIES
    if not path.exists():
        return {}
    try:
        entries = {
            str(name): tuple(map(str, names)) for name, names in from_json(path.read_text()).items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(path, error) from None
    for name, names in entries.items():
        if name in left_out:
            continue
        if name not in arrays or arrays[name].shape[1:] != (len(names),):
            raise ValueError(
                f"{path} names {len(names)} entries of {name}, which is no array of so many: correct the file"
            )
    return entries


def _read_left_out(path: Path) -> list[str]:
    """Read the names of what was left out when files were written, if there is a file of them."""
    try:
        return list(map(str, json.loads(path.read_text()))) if path.exists() else []
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from None


def _read_npy(path: Path) -> np.ndarray:
    """Map the array of an `.npy` file."""
    try:
        with open(path, "rb") as file:
            return _open_array(path, path, file, 0)
    except (OSError, EOFError) as error:
        raise _damaged(path, error) from None


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Map one array of an archive, or read it if it is compressed."""
    start = None
    try:
        if member.compress_type == zipfile.ZIP_STORED:
            with open(path, "rb") as file:
                # The lengths of the name and the extra field may differ from those in the directory.
                file.seek(member.header_offset + 26)
                lengths = np.frombuffer(file.read(4), "<u2")
            start = member.header_offset + 30 + int(lengths.sum())
        with archive.open(member) as file:
            return _open_array(path, f"{path}, {member.filename}", file, start)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise _damaged(path, error) from None


def _open_array(path: Path, where: Any, file: Any, start: int | None) -> np.ndarray:
    """Map an array in NumPy's format that starts at a byte of `path`; read it without one, or if empty."""
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _HEADER_READERS[version](file)
    except (ValueError, KeyError) as error:
        raise _damaged(where, error) from None
    if dtype.hasobject:  # a pickle
        raise ValueError(
            f"{where} is an object array, of values that have no common type or shape: save numbers as "
            "floats with NaN where one is missing, strings with '' where one is missing, and rows that all "
            "have one shape"
        )
    try:
        if start is None or not np.prod(shape):
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        return np.memmap(path, dtype, "r", start + file.tell(), shape, "F" if fortran else "C")
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise _damaged(where, error) from None


def _damaged(where: Any, error: Exception) -> ValueError:
    """Return the error of a file that cannot be read."""
    return ValueError(
        f"{where} cannot be read ({one_line(error)}): it is damaged or truncated, so write it again"
    )
