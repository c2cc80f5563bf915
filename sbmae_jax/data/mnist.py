"""MNIST (LeCun et al., 1998): handwritten digits, read from its four files in the idx format.

The files are checked by what they hold, not as archives, as the same content is compressed in several
ways. Where they are absent, TFDS downloads them. TFDS's own data set is not used: its preparation needs
TensorFlow, and it puts the digits into another order.
"""

import gzip
import hashlib
import os
import shutil
import socket
import struct
import urllib.parse
import urllib.request
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax.data.folder import data_dir

FOLDER = "mnist"
TIMEOUT = 10  # seconds


class File(NamedTuple):
    """A file as it should be: its header, which is `magic` and `shape`, and the SHA-256 of its content."""

    name: str
    magic: int
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The first bytes: big-endian numbers of 32 bits."""
        return struct.pack(f">{1 + len(self.shape)}I", self.magic, *self.shape)


FILES = {
    "train": (
        File(
            "train-images-idx3-ubyte", 2051, (60_000, 28, 28),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        File(
            "train-labels-idx1-ubyte", 2049, (60_000,),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": (
        File(
            "t10k-images-idx3-ubyte", 2051, (10_000, 28, 28),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        File(
            "t10k-labels-idx1-ubyte", 2049, (10_000,),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}  # fmt: skip


def mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images [N, 28, 28] uint8 and the classes [N] uint8, 0..9, of one part, in their order.

    part: "train" (N = 60,000) or "test" (N = 10,000).

    The files are looked for in `mnist` in `data_dir()`, then in `data_dir()` itself, as they are or
    with `.gz`; those that are absent are downloaded into the former.

    Raises ValueError for an unknown part, for a file that is damaged or is another one, and for files
    that are absent and cannot be downloaded.
    """
    if part not in FILES:
        raise ValueError(f"unknown part {part!r}: choose one of {', '.join(FILES)}")
    if not all(find(file.name) for file in FILES[part]):
        download()
    images, labels = (read(file) for file in FILES[part])
    return images, labels


def find(name: str) -> Path | None:
    """Return where a file is, in either spelling of its name, or None."""
    for folder in (data_dir() / FOLDER, data_dir()):
        for spelling in (name, name.replace("-idx", ".idx")):
            for suffix in ("", ".gz"):
                path = folder / f"{spelling}{suffix}"
                if path.is_file():
                    return path
    return None


def read(file: File) -> np.ndarray:
    """Read one file: uint8, in its shape. Raises ValueError unless it is what it should be, byte by byte."""
    path = find(file.name)
    assert path is not None
    content, size = read_content(path), len(file.header)
    if content[:size] != file.header:
        raise ValueError(
            f"{path} is not MNIST's {file.name}: it begins with the bytes {content[:size].hex(' ', 4)}, "
            f"not {file.header.hex(' ', 4)}; get it again"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256:
        raise ValueError(
            f"{path} is damaged: the SHA-256 of its content is {sha256}, not {file.sha256}; get it again"
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(file.shape)


def read_content(path: Path) -> bytes:
    """Read a file, and inflate it if it is compressed. Raises ValueError if that cannot be done."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): get it again") from None


def download() -> None:
    """Let TFDS download the files that are absent. Raises ValueError, with all that helps, if it cannot."""
    folder = data_dir() / FOLDER
    names = [file.name for part in FILES.values() for file in part]
    base = tfds.builder_cls("mnist").URL  # pyright: ignore
    try:
        check_network(base)
        work = folder / "download"  # stays after a failure: what has come need not come again
        manager = tfds.download.DownloadManager(download_dir=work, dataset_name="mnist")
        urls = {name: f"{base}{name}.gz" for name in names if not find(name)}
        paths: Any = manager.download(urls)
        for name, path in paths.items():
            os.replace(path, folder / f"{name}.gz")
        shutil.rmtree(work, ignore_errors=True)
    except Exception as error:  # a downloader raises what it likes
        raise ValueError(
            f"MNIST is not in {folder}: put {', '.join(names)} there, as they are or with .gz, or set "
            "SBMAE_DATA_DIR to the folder that has them in `mnist`; TFDS could not download them "
            f"({describe(error)})"
        ) from None


def check_network(url: str) -> None:
    """Raise OSError at once where a host is out of reach: TFDS would try again for minutes."""
    if not urllib.request.getproxies():
        host = urllib.parse.urlsplit(url).hostname
        socket.create_connection((host, 443), TIMEOUT).close()


def describe(error: Exception) -> str:
    """Say in a few words what went wrong."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
