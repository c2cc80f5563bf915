"""From picture files to records: decoding, and the processes that do it."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from celeba_folder import SIDE, load
from PIL import Image

from sbmae_jax.data.celebahq import convert as celebahq_convert
from sbmae_jax.data.celebahq.layout import mask_path


def test_masks_have_grey_edges_as_antialiasing_makes_them(celeba):
    face = next(row for row in map(load("test").__getitem__, range(2)) if row["index"] == 4)
    np.testing.assert_array_equal(face["mask"][:3], 255)  # far from the edges
    assert 0 < face["mask"][4, -1, 0] < 128 < face["mask"][3, -1, 0] < 255
    binary = Image.fromarray(np.uint8(255) * np.tri(32, dtype=np.uint8))
    expected = np.asarray(binary.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    union = np.repeat(np.asarray(binary)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(celebahq_convert.resize_mask(union, SIDE)[..., 0], expected)


def test_decoding_at_less_than_the_full_size_does_no_visible_harm(tmp_path):
    y, x = np.mgrid[:1024, :1024] / 1024
    waves = [np.sin(60 * x * y), np.cos(40 * x), np.sin(90 * y * y)]
    picture = Image.fromarray((127 * (1 + np.stack(waves, axis=-1))).astype(np.uint8))
    picture.save(tmp_path / "0.jpg", quality=95)
    fast = celebahq_convert.read_image(tmp_path / "0.jpg", 128).astype(float)
    with Image.open(tmp_path / "0.jpg") as image:
        slow = np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(fast - slow).mean() < 1  # of 255
    assert np.sqrt(np.mean((fast - slow) ** 2)) < 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
def test_masks_of_any_kind_of_png_are_read_alike(tmp_path, mode):
    mask = Image.fromarray(np.uint8(255) * np.tri(32, dtype=np.uint8))
    mask.convert(mode).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(
        celebahq_convert.read_png(tmp_path / "mask.png")[..., 0], np.asarray(mask)
    )


def test_tensorstore_is_what_reads_the_common_mask(celeba, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(celebahq_convert.Image, "open", fail)
    assert celebahq_convert.read_png(mask_path(celeba, 0, "hair")).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_two_workers_write_what_one_writes(celeba, monkeypatch, kind):
    alone = load("train").arrays
    monkeypatch.setenv("SBMAE_DATA_DIR", str(celeba.parent / "other"))
    if kind == "threads":
        pool = "ProcessPoolExecutor"
        monkeypatch.setattr(celebahq_convert, pool, lambda num, *_, **__: ThreadPoolExecutor(num))
    both = load("train", folder=celeba, num_workers=2).arrays
    for name in alone:
        np.testing.assert_array_equal(alone[name], both[name])


WAITS = """
import time
from sbmae_jax.data.celebahq import convert as c
def write(shard):
    print(__import__("os").getpid(), flush=True)
    time.sleep(60)
c.write_shard = write
if __name__ == "__main__":
    shards = [c.PendingShard("", [], 8, "") for _ in range(2)]
    c.convert(shards, 2, lambda shard, damaged: None)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
