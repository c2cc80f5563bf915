"""Arrays from `.npz` and `.npy` files, mapped into memory and read when they are indexed."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax.data.user.raw import RawArrays

FORMATS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path) -> RawArrays:
    """Map the arrays of an `.npz` file; those that are compressed are read into memory.

    Raises ValueError for a file that is damaged, for two arrays of one name, and for object arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{path}: {twice[0]} is there twice: give each array its own name")
            arrays = {
                name: read_member(path, archive, member)
                for name, member in zip(names, members, strict=True)
            }
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise damaged(path, error) from None
    return RawArrays(arrays)


def read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Map one array of an archive, or read it if it is compressed."""
    where = f"{path}, {member.filename}"
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = FORMATS[version](file)
        except (ValueError, KeyError) as error:
            raise damaged(where, error) from None
        check_plain(where, dtype)
        if member.compress_type != zipfile.ZIP_STORED or not np.prod(shape):
            file.seek(0)
            return read_whole(where, file)
        start = file.tell()
    with open(
        path, "rb"
    ) as file:  # the name and the extra field may be longer than in the directory
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    offset = member.header_offset + 30 + int(lengths.sum()) + start
    order = "F" if fortran else "C"
    try:
        return np.memmap(path, dtype, "r", offset, shape, order)
    except ValueError as error:
        raise damaged(where, error) from None


def read_whole(where: str, file: Any) -> np.ndarray:
    """Read an array that cannot be mapped."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise damaged(where, error) from None


def read_npy_file(path: Path) -> RawArrays:
    """Map one `.npy` file, the array of its name; raises ValueError as `read_npz`."""
    return RawArrays({path.stem: read_npy(path)})


def read_npy_folder(path: Path) -> RawArrays:
    """Map the `.npy` files of a folder, each an array of its name; raises ValueError as `read_npz`."""
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    others = [child.name for child in children if child.suffix != ".npy"]
    notices = (f"only .npy files are read of {path}, not {', '.join(others)}",) if others else ()
    arrays = {child.stem: read_npy(child) for child in children if child.suffix == ".npy"}
    return RawArrays(arrays, notices=notices)


def read_npy(file: Path) -> np.ndarray:
    """Map one `.npy` file."""
    try:
        with open(file, "rb") as opened:
            version = np.lib.format.read_magic(opened)
            shape, _, dtype = FORMATS[version](opened)
        check_plain(file, dtype)
        return np.load(file, mmap_mode="r" if np.prod(shape) else None, allow_pickle=False)
    except (KeyError, OSError, EOFError) as error:
        raise damaged(file, error) from None
    except ValueError as error:
        if "object" in str(error):
            raise
        raise damaged(file, error) from None


def check_plain(where: Any, dtype: np.dtype) -> None:
    """Raise ValueError for object arrays, which are pickles, and for types that are no values."""
    if dtype.hasobject:
        raise ValueError(
            f"{where} is an object array: save numbers or words, as np.asarray(x, float) or "
            "np.asarray(x, str)"
        )


def damaged(where: Any, error: Exception) -> ValueError:
    """Return the error of a file that cannot be read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"{where} cannot be read ({reason}): it is damaged or cut short, write it again"
    )
