"""Folders on this machine, and folders in a bucket that is read and written over the network.

A bucket's folder is an `epath.Path`, which has the methods of `pathlib.Path` that are used here. What needs a
real file, to append to it or to draw into it, is made on this machine and copied.
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
    """Return the folder of a path, or of a URL as gs://bucket/folder."""
    if isinstance(path, str) and "://" in path:
        return cast(Path, epath.Path(path))
    return cast(Path, path) if is_remote(path) else Path(path)


def is_remote(path: str | Path) -> bool:
    """Return whether a path is not on this machine."""
    return "://" in str(path)


def files_below(folder: Path) -> Iterator[Path]:
    """Give all files of a folder and of its folders, in the order of their names."""
    for path in sorted(folder.iterdir(), key=str):
        if path.is_dir():
            yield from files_below(path)
        else:
            yield path


def copy(source: Path, target: Path) -> None:
    """Copy all files of a folder into another."""
    for file in files_below(source):
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as whence, copied.open("wb") as where:
            shutil.copyfileobj(whence, where)


def write(path: Path, fill: Callable[[Any], Any]) -> None:
    """Write a file under another name and rename it, so that an interruption leaves no half of it.

    In a bucket a file appears when it is whole.
    """
    part = path if is_remote(path) else path.with_name(path.name + ".part")
    with part.open("wb") as file:
        fill(file)
    if part != path:
        part.replace(path)


@contextmanager
def drawn_into(folder: Path) -> Iterator[Path]:
    """Give a folder on this machine whose files are in `folder` at the end."""
    if not is_remote(folder):
        folder.mkdir(exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        copy(Path(name), folder)


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
