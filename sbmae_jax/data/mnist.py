"""MNIST (LeCun, Bottou, Bengio and Haffner, 1998): handwritten digits, from its four files in the idx format.

Files are checked by their content, not as archives, since the same content is compressed in several ways.
Missing files are downloaded by TFDS. TFDS's own data set is not used: preparing it needs TensorFlow, and it
orders the digits differently.
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

from sbmae_jax._check import require_one_of
from sbmae_jax._io import one_line
from sbmae_jax.data.folder import data_dir

_FOLDER = "mnist"
_TIMEOUT = 10  # seconds


class File(NamedTuple):
    """A file in the idx format: its name, the shape of its bytes, and the SHA-256 of its content."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The first bytes: a magic number for bytes in so many axes, and the shape, big-endian."""
        return struct.pack(f">{1 + len(self.shape)}I", 0x800 + len(self.shape), *self.shape)


FILES = {
    "train": (
        File("train-images-idx3-ubyte", (60_000, 28, 28),
             "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        File("train-labels-idx1-ubyte", (60_000,),
             "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    "test": (
        File("t10k-images-idx3-ubyte", (10_000, 28, 28),
             "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        File("t10k-labels-idx1-ubyte", (10_000,),
             "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
}  # fmt: skip


def load_mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Load one part of MNIST, in its original order.

    The four files are looked for in the folder `mnist` in `data_dir()`, then in `data_dir()` itself, with
    or without `.gz`. Missing ones are downloaded to the former.

    Args:
        part: "train" with N = 60,000 digits, or "test" with N = 10,000.

    Returns:
        The images [N, 28, 28] uint8, and the classes [N] uint8 in 0..9.

    Raises:
        ValueError: If the part is unknown, a file is damaged or is another one, or missing files cannot be
            downloaded.
    """
    require_one_of("part", part, tuple(FILES))
    if not all(_find(file.name) for file in FILES[part]):
        _download()
    images, labels = (_read(file) for file in FILES[part])
    return images, labels


def _find(name: str) -> Path | None:
    """Return the path of a file, in either spelling of its name, or None."""
    for folder in (data_dir() / _FOLDER, data_dir()):
        for spelling in (name, name.replace("-idx", ".idx")):
            for suffix in ("", ".gz"):
                path = folder / f"{spelling}{suffix}"
                if path.is_file():
                    return path
    return None


def _read(file: File) -> np.ndarray:
    """Read one file: uint8, in its shape; raises ValueError unless every byte is as it should be."""
    path = _find(file.name)
    assert path is not None
    content, size = _read_content(path), len(file.header)
    if content[:size] != file.header:
        raise ValueError(
            f"{path} is not MNIST's {file.name}: it begins with the bytes {content[:size].hex(' ', 4)}, "
            f"not {file.header.hex(' ', 4)}; download it again"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != file.sha256:
        raise ValueError(
            f"{path} is damaged: the SHA-256 of its content is {sha256}, not {file.sha256}; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(file.shape)


def _read_content(path: Path) -> bytes:
    """Read a file, and decompress it if its name ends in `.gz`."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): download it again") from None


def _download() -> None:
    """Let TFDS download the missing files; raises ValueError, with all that helps, if it cannot."""
    folder = data_dir() / _FOLDER
    names = [file.name for part in FILES.values() for file in part]
    base = tfds.builder_cls("mnist").URL  # pyright: ignore
    try:
        _check_network(base)
        work = folder / "download"  # kept after a failure, to resume from
        manager = tfds.download.DownloadManager(download_dir=work, dataset_name="mnist")
        urls = {name: f"{base}{name}.gz" for name in names if not _find(name)}
        paths: Any = manager.download(urls)
        for name, path in paths.items():
            os.replace(path, folder / f"{name}.gz")
        shutil.rmtree(work, ignore_errors=True)
    except Exception as error:  # TFDS documents no types
        raise ValueError(
            f"MNIST is not in {folder}: put {', '.join(names)} there, with or without .gz, or set "
            "SBMAE_DATA_DIR to the folder that has them in `mnist`; TFDS could not download them "
            f"({one_line(error, 200)})"
        ) from None


def _check_network(url: str) -> None:
    """Raise OSError at once if a host is out of reach; TFDS would retry for minutes."""
    if not urllib.request.getproxies():
        host = urllib.parse.urlsplit(url).hostname
        socket.create_connection((host, 443), _TIMEOUT).close()
