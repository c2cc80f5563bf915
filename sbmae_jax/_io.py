"""Folders on this machine, and in a bucket that is read and written over the network.

A folder in a bucket is an `epath.Path`, which has the methods of `pathlib.Path` that are used here. Whatever
needs a real file, to append to it or to draw a figure into it, is made on this machine and then copied.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from etils import epath

from sbmae_jax._check import short_repr

Fill = Callable[[Any], Any]
"""Writes content into the open binary file that it is given."""

IsIntact = Callable[[Path], bool]
"""Says whether a file holds what was written; it may raise ValueError if the file cannot be read."""


def as_path(path: str | Path) -> Path:
    """Return a path as an object: `~` is expanded, and a URL such as gs://bucket/folder stays one.

    Example:
        >>> str(as_path("gs://bucket/run") / "config.json")
        'gs://bucket/run/config.json'
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"a path must be a string or a path, got {short_repr(path)}")
    if isinstance(path, str) and "://" in path:
        return cast(Path, epath.Path(path))
    if is_remote(path):
        return cast(Path, path)
    expanded = Path(os.path.expanduser(path))
    # Absolute, so that what is literally named ~ stays so when the result is passed on.
    return expanded.absolute() if str(expanded).startswith("~") else expanded


def is_remote(path: str | Path) -> bool:
    """Return whether a path lies in a bucket rather than on this machine."""
    return "://" in str(path)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files of a folder and of its subfolders, sorted by name."""
    for path in sorted(folder.iterdir(), key=str):
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def copy_folder(source: Path, target: Path) -> None:
    """Copy all files of a folder into another one, which may exist."""
    for file in files_below(source):
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as reader, copied.open("wb") as writer:
            shutil.copyfileobj(reader, writer)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all that is in it."""
    if not path.is_dir():
        path.unlink()
    elif is_remote(path):
        cast(epath.Path, path).rmtree()
    else:
        shutil.rmtree(path)


def write_atomically(path: Path, fill: Fill, is_intact: IsIntact | None = None) -> None:
    """Write a file completely or not at all.

    On this machine the file gets its name only when it is complete, and arrays and JSON only when they have
    been read back. In a bucket an object appears only when it is complete anyway.

    Args:
        path: The file, which is replaced if it exists.
        fill: Writes the content into the binary file that it is given.
        is_intact: Says whether the file can be read back. None looks at `.npz` and `.json` alone.

    Raises:
        OSError: The file could not be written, or is read back with other content than was written.
    """
    part = path if is_remote(path) else _part_of(path)
    try:
        with part.open("wb") as file:
            fill(file)
        _read_back(part, is_intact or partial(_has_checksums, suffix=path.suffix))
        if part != path:
            part.replace(path)
    except BaseException:
        if part != path:
            with suppress(OSError):
                part.unlink()
        raise


def _part_of(path: Path) -> Path:
    """Return the name of a file while it is written: short, as that of the file may be as long as can be."""
    return path.with_name(f"{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")


def _read_back(part: Path, is_intact: IsIntact) -> None:
    """Raise OSError if a file is not intact."""
    try:
        intact = is_intact(part)
    except (ValueError, zipfile.BadZipFile):
        intact = False
    if not intact:
        raise OSError(f"{part} is read back with other content than was written: check the disk")


def _has_checksums(part: Path, suffix: str) -> bool:
    """Return whether arrays have their checksums, and JSON can be read; other files are not looked at."""
    if suffix == ".npz":
        with part.open("rb") as file, zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    return suffix != ".json" or json.loads(part.read_bytes()) is not None


def require_writable(path: Path) -> None:
    """Check before long work that a file can be written, and make its folder.

    Raises:
        ValueError: The path is a folder, or the file cannot be written there.
    """
    if exists(path) and path.is_dir():
        raise ValueError(f"{path} is a folder: choose the name of a file")
    require_folder(path.parent)


def exists(path: Path) -> bool:
    """Return whether a file or a folder exists.

    Raises:
        ValueError: No file can have this name, which may be too long.
    """
    try:
        return path.exists()
    except OSError as error:
        raise ValueError(
            f"{path} is no name that a file can have ({error.strerror}): choose another one"
        ) from None


def require_folder(folder: Path) -> None:
    """Check before long work that files can be written in a folder, and make the folder.

    Raises:
        ValueError: It cannot be made, or not be written.
    """
    if is_remote(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{folder} is no folder that can be written ({error.strerror}): choose another one"
        ) from None


def write_results(folder: Path, fills: Mapping[str, Fill]) -> None:
    """Write what took long to compute: if it cannot be written, it is kept in a temporary folder.

    Args:
        folder: An existing folder.
        fills: For each name of a file, what writes its content.

    Raises:
        OSError: The files could not be written. The message says where they are kept.
    """
    try:
        for name, fill in fills.items():
            write_atomically(folder / name, fill)
    except OSError as error:
        kept = Path(tempfile.mkdtemp(prefix="sbmae-"))
        for name, fill in fills.items():
            write_atomically(kept / name, fill)
        raise OSError(
            f"cannot write {' and '.join(fills)} in {folder} ({error.strerror or error}): kept in {kept}, "
            "copy from there when the folder can be written"
        ) from None


def write_npz(file: Any, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Write named arrays as `.npz`, whatever their names: `np.savez` does not take `file`, for example.

    Args:
        file: A path, or a binary file that is open for writing.
        arrays: The arrays; dtypes that would need a pickle are refused.
        compressed: Whether to compress the arrays.
    """
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


@contextmanager
def local_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder on this machine whose files are in `folder` when the context ends."""
    if not is_remote(folder):
        folder.mkdir(exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        copy_folder(Path(name), folder)


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of named arrays, however they are stored."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha256.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha256.update(array.data)
    return sha256.hexdigest()


def one_line(error: Exception, most: int | None = None) -> str:
    """Return the message of an error on one line, cut to at most so many characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:most]
