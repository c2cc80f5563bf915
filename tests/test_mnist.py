import gzip
import http.server
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from idx_files import digits, write_digits

from sbmae_jax.data import mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write small files where they are looked for, and give their folder."""
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(mnist, "_check_network", refuse)
    write_digits(tmp_path / "mnist", monkeypatch)
    return tmp_path / "mnist"


def refuse(url):
    raise OSError("no network")


def read():
    for part in ("train", "test"):
        images, labels = mnist.load_mnist(part)
        expected = digits(part)
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(labels, expected[1])
        assert images.dtype == labels.dtype == np.uint8


def test_files_are_read_compressed_or_not_in_either_folder_and_spelling(folder):
    read()
    for path in folder.iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    read()
    (folder / IMAGES).rename(folder / "train-images.idx3-ubyte")
    (folder / LABELS).rename(folder.parent / LABELS)
    read()


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="part must be one of train, test, got 'valid'"):
        mnist.load_mnist("valid")


def compressed(content):
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: compressed(c[:-1] + bytes([c[-1] ^ 1])), "is damaged: the SHA-256 .* not "),
        (lambda c: compressed(c[:-1]), "is damaged: the SHA-256"),
        (lambda c: compressed(c)[:-20], "cannot be read .*: download it again"),
        (lambda c: c, "cannot be read .Not a gzipped file"),
        (lambda c: b"", "is not MNIST's"),
        (lambda c: compressed(b""), "is not MNIST's"),
        (lambda c: compressed(struct.pack(">I", 2052) + c[4:]), "bytes 00000804 .* not 00000803 "),
        (lambda c: compressed(c[:4] + struct.pack(">I", 9) + c[8:]), "it begins with the bytes"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(folder, damage, said):
    path = folder / f"{IMAGES}.gz"
    path.write_bytes(damage(gzip.decompress(path.read_bytes())))
    with pytest.raises(ValueError, match=said) as error:
        mnist.load_mnist("train")
    assert str(error.value).startswith(str(path))
    assert "download it again" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_the_files_one_message_says_which_and_where_they_belong(folder):
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(ValueError, match="MNIST is not in") as error:
        mnist.load_mnist("train")
    text = str(error.value)
    names = [file.name for part in mnist.FILES.values() for file in part]
    for what in (*names, str(folder), "SBMAE_DATA_DIR", "TFDS could not download", "no network"):
        assert what in text
    assert "\n" not in text
    mnist.load_mnist("test")  # for which all is there


@pytest.fixture
def host(folder, tmp_path, monkeypatch):
    """Serve the files from this machine as if TFDS knew them there, and take them away."""
    served = tmp_path / "served"
    folder.rename(served)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(tfds, "builder_cls", lambda name: type("Builder", (), {"URL": url}))
    monkeypatch.setattr(mnist, "_check_network", lambda url: None)
    yield served
    server.shutdown()
    server.server_close()


def test_absent_files_are_downloaded_once_without_tensorflow(host, folder, monkeypatch):
    read()
    assert "tensorflow" not in sys.modules
    assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in host.iterdir())
    monkeypatch.setattr(mnist, "_download", None)
    read()


def test_a_download_that_fails_is_told_and_can_be_tried_again(host, folder):
    content = (host / f"{IMAGES}.gz").read_bytes()
    (host / f"{IMAGES}.gz").unlink()
    with pytest.raises(ValueError, match=r"TFDS could not download them .*404"):
        mnist.load_mnist("train")
    (host / f"{IMAGES}.gz").write_bytes(content)
    read()


def real_folder():
    """Return where MNIST itself is, if it is here."""
    named = os.environ.get("SBMAE_DATA_DIR")
    folders = [Path(named)] if named else []
    folders.append(ROOT.parent / "shared" / "data")
    return next((f for f in folders if (f / "mnist" / f"{IMAGES}.gz").is_file()), None)


@pytest.mark.skipif(real_folder() is None, reason="needs MNIST in SBMAE_DATA_DIR")
def test_the_real_files(monkeypatch):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(real_folder()))
    images, labels = mnist.load_mnist("test")
    assert images.shape == (10_000, 28, 28)
    assert list(labels[:10]) == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert list(np.bincount(labels)) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
