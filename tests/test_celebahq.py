"""CelebAMask-HQ's reader: splits, the prepared records, and what is refused."""

import errno
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from celeba_folder import BITS, MASKS, NUM_FACES, SIDE, SPLITS, change, colour, load, save_mask
from PIL import Image

from sbmae_jax.data.celebahq import convert as celebahq_convert
from sbmae_jax.data.celebahq import source as celebahq_source
from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    FOLDER,
    USED_ATTRIBUTES,
    image_path,
    mask_path,
)
from sbmae_jax.data.celebahq.source import celebahq, prepare
from sbmae_jax.data.prepared import lock, write_records


def test_each_face_comes_to_its_split_with_its_picture_masks_and_attributes(celeba):
    seen = set()
    for split, numbers in SPLITS.items():
        arrays = load(split).arrays
        assert set(arrays["index"]) == numbers
        for i, n in enumerate(arrays["index"]):
            seen.add(n)
            np.testing.assert_allclose(
                arrays["image"][i], np.broadcast_to(colour(n), (SIDE, SIDE, 3)), atol=3
            )
            half = np.zeros((SIDE, SIDE, 1), bool)
            if n != 3:
                half[:4], half[4:, :4] = True, True
            np.testing.assert_array_equal(arrays["mask"][i] > 127, half)
            np.testing.assert_array_equal(arrays["all_attributes"][i], BITS[n])
            np.testing.assert_array_equal(arrays["attributes"][i], BITS[n, list(USED_ATTRIBUTES)])
    assert seen == set(range(NUM_FACES))
    assert load("train").dtypes["attributes"] == np.float32
    assert "tensorflow" not in sys.modules


def test_the_second_layout_gives_the_same_rows(celeba, monkeypatch):
    original = {split: load(split).arrays for split in SPLITS}
    other = celeba.parent / "split"
    for split, numbers in SPLITS.items():
        short = "val" if split == "valid" else split
        (other / f"{short}_img").mkdir(parents=True)
        for n in numbers:
            shutil.copy(image_path(celeba, n), other / f"{short}_img" / f"{n}.jpg")
            union = np.zeros((32, 32), np.uint8)
            if n != 3:
                union[MASKS["hair"]] = union[MASKS["nose"]] = 255
            (other / f"{short}_mask").mkdir(exist_ok=True)
            Image.fromarray(union).save(other / f"{short}_mask" / f"{n}.png")
    shutil.copy(celeba / ATTRIBUTE_FILE, other)
    for split in SPLITS:
        arrays = load(split, folder=other).arrays
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], original[split][name])


def test_prepared_once_and_again_only_when_the_folder_or_the_side_changes(celeba, monkeypatch):
    first = prepare(celeba, SIDE, official=False, num_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(celebahq_source, "convert", None)
        assert prepare(celeba, SIDE, official=False) == first
    mask_path(celeba, 7, "nose").unlink()
    second = prepare(celeba, SIDE, official=False, num_workers=1)
    change(celeba / ATTRIBUTE_FILE, "  -1", "  1")
    third = prepare(celeba, SIDE, official=False, num_workers=1)
    fourth = prepare(celeba, 16, official=False, num_workers=1)
    shutil.copytree(celeba, celeba.parent / "copy")
    fifth = prepare(celeba.parent / "copy", SIDE, official=False, num_workers=1)
    assert len({first, second, third, fourth, fifth}) == 5
    assert {path.parent for path in (first, fifth)} == {celeba.parent / "prepared"}


def test_an_interruption_costs_the_shard_that_was_being_written(celeba, monkeypatch):
    written = []

    def write(shard):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(shard.path)
        return original(shard)

    original = celebahq_convert.write_shard
    with monkeypatch.context() as patch:
        patch.setattr(celebahq_convert, "write_shard", write)
        with pytest.raises(KeyboardInterrupt):
            load("train")
    paths = [Path(path) for path in written]
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert not list((celeba.parent / "prepared").glob("celebahq-8-????????????"))

    def finish(*args):
        assert [path.stat().st_mtime_ns for path in paths] == stamps
        return real_finish(*args)

    real_finish = celebahq_source._finish
    with monkeypatch.context() as patch:
        patch.setattr(celebahq_source, "_finish", finish)
        resumed = load("train").arrays
    monkeypatch.setenv("SBMAE_DATA_DIR", str(celeba.parent / "other"))
    straight = load("train", folder=celeba).arrays
    for name in straight:
        np.testing.assert_array_equal(resumed[name], straight[name])
    assert not list((celeba.parent / "prepared").glob("*.part"))


def test_files_that_cannot_be_read_are_all_named_and_only_their_shards_are_read_again(
    celeba, monkeypatch
):
    good = {
        path: path.read_bytes() for path in (image_path(celeba, 0), mask_path(celeba, 9, "hair"))
    }
    for path, content in good.items():
        path.write_bytes(content[:-40])
    mask_path(celeba, 10, "nose").write_bytes(b"")
    Image.new("RGB", (64, 48)).save(image_path(celeba, 5))
    with pytest.raises(ValueError, match="4 files that cannot be read") as error:
        load("train")
    text = str(error.value)
    assert "CelebA-HQ-img/0.jpg: image file is truncated" in text
    assert "CelebA-HQ-img/5.jpg" in text or ", ..." in text
    for path, content in good.items():
        path.write_bytes(content)
    save_mask(mask_path(celeba, 10, "nose"), MASKS["nose"])
    Image.new("RGB", (64, 64), colour(5)).save(image_path(celeba, 5), quality=95)
    read = []
    monkeypatch.setattr(
        celebahq_convert,
        "write_shard",
        lambda shard, write=celebahq_convert.write_shard: read.append(shard) or write(shard),
    )
    test_each_face_comes_to_its_split_with_its_picture_masks_and_attributes(celeba)
    assert {face.n for shard in read for face in shard.faces} == {0, 1, 4, 5, 8, 9, 10, 11}


def test_without_the_data_one_message_says_where_they_are_and_what_goes_without(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="no CelebAMask-HQ data in") as error:
        celebahq("train")
    for what in (
        str(tmp_path / FOLDER),
        "https://github.com/switchablenorms/CelebAMask-HQ",
        "non-commercial research only",
        "SBMAE_DATA_DIR",
        "python launch.py --config=configs/celebahq.py:toy --workdir=runs/toy",
    ):
        assert what in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "dev"}, "split must be one of train, valid, test, got 'dev'"),
        ({"side": 4}, "side must be at least 8, got 4"),
        ({"names": ["pose"]}, "names must be of image, mask"),
        ({"num_rows": 9}, "the split 'train' of .* has 8 rows, but 9 were asked for"),
    ],
)
def test_arguments_out_of_range_are_refused(celeba, arguments, said):
    defaults = {"split": "train", "official": False, "num_workers": 1, "side": SIDE}
    with pytest.raises(ValueError, match=said):
        celebahq(**{**defaults, **arguments})


def test_a_second_process_waits_for_the_one_that_prepares(celeba):
    work, entered, order = celeba.parent / "work", threading.Event(), []

    def second():
        entered.set()
        with lock(work):
            order.append("second")

    waiting = threading.Thread(target=second)
    with lock(work):
        waiting.start()
        entered.wait()
        waiting.join(0.2)
        assert waiting.is_alive()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_full_disk_is_told_in_one_sentence_and_what_is_written_is_kept(celeba, monkeypatch):
    written = []

    def fill(path, records):
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write_records(path, records)

    monkeypatch.setattr(celebahq_convert, "write_records", fill)
    with pytest.raises(
        ValueError, match=r"no space is left for .*prepared, which needs about 0\.0 GB"
    ):
        load("train")
    assert written[0].exists()
    monkeypatch.undo()
    monkeypatch.setenv("SBMAE_DATA_DIR", str(celeba.parent))
    assert len(load("train")) == len(SPLITS["train"])


@pytest.mark.parametrize("name", ["w=[64]", "a*b?", "50% of #1"])
def test_the_folder_may_have_any_name(celeba, name):
    expected = load("train").arrays["image"]
    found = load("train", folder=celeba.rename(celeba.with_name(name))).arrays["image"]
    np.testing.assert_array_equal(found, expected)


def test_home_is_found(celeba, monkeypatch):
    monkeypatch.setenv("HOME", str(celeba.parent))
    monkeypatch.setenv("SBMAE_DATA_DIR", "~")
    assert len(load("train")) == len(load("train", folder=f"~/{FOLDER}")) == len(SPLITS["train"])
