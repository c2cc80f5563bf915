"""Folders on this machine, and in a bucket that is read and written over the network.

A folder in a bucket is an `epath.Path`, which has the methods of `pathlib.Path` that are used here. Whatever
needs a real file, to append to it or to draw a figure into it, is made on this machine and then copied.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from etils import epath


def as_path(path: str | Path) -> Path:
    """Return a path as an object, also where it is a URL such as gs://bucket/folder.

    Example:
        >>> str(as_path("gs://bucket/run") / "config.json")
        'gs://bucket/run/config.json'
    """
    if isinstance(path, str) and "://" in path:
        return cast(Path, epath.Path(path))
    return cast(Path, path) if is_remote(path) else Path(path)


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


def write_atomically(path: Path, fill: Callable[[Any], Any]) -> None:
    """Write a file completely or not at all.

    On this machine the file gets its name only when it is complete. In a bucket an object appears only when
    it is complete anyway.

    Args:
        path: the file, which is replaced if it exists.
        fill: writes the content into the binary file that it is given.
    """
    part = path if is_remote(path) else path.with_name(path.name + ".part")
    with part.open("wb") as file:
        fill(file)
    if part != path:
        part.replace(path)


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
