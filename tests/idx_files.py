"""Files in MNIST's format with digits of our own: noise."""

import gzip
import hashlib

import numpy as np

from sbmae_jax.data import mnist

COUNTS = {"train": 400, "test": 150}


def digits(part):
    """Draw images and labels of one part; classes are not equally frequent."""
    rng = np.random.default_rng(len(part))
    num = COUNTS[part]
    images = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
    return images, rng.choice(10, num, p=np.arange(10, 20) / 145).astype(np.uint8)


def write_digits(folder, monkeypatch, suffix=".gz"):
    """Write the four files, and tell the reader that these are what it should find."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for part, table in mnist.FILES.items():
        tables[part] = tuple(
            write_idx(folder, file, array, suffix)
            for file, array in zip(table, digits(part), strict=True)
        )
    monkeypatch.setattr(mnist, "FILES", tables)


def write_idx(folder, file, array, suffix):
    file = file._replace(shape=array.shape)
    content = file.header + array.tobytes()
    packed = gzip.compress(content, mtime=0) if suffix else content
    (folder / f"{file.name}{suffix}").write_bytes(packed)
    return file._replace(sha256=hashlib.sha256(content).hexdigest())
