"""CelebAMask-HQ's reader, on files of our own in its layout: coloured squares, never its data."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sbmae_jax.data import celebahq as module
from sbmae_jax.data import celebahq_convert
from sbmae_jax.data.celebahq import celebahq, prepare
from sbmae_jax.data.celebahq_check import check_folder
from sbmae_jax.data.celebahq_layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    FOLDER,
    MAPPING_FILE,
    USED_ATTRIBUTES,
    image_path,
    mask_path,
)

NUM_FACES, SIDE = 12, 8
ORIGINALS = [5, 162_770, 162_771, 182_637, 182_638, 202_598, *range(100, 106)]
SPLITS = {"train": {0, 1, *range(6, 12)}, "valid": {2, 3}, "test": {4, 5}}
BITS = np.random.default_rng(0).integers(0, 2, (NUM_FACES, len(ATTRIBUTES)))
# Which rows and columns of a face's 32x32 masks are set. The skin does not count.
MASKS = {"skin": np.s_[:, :], "hair": np.s_[:16, :], "nose": np.s_[16:, :16]}


def colour(n):
    return (20 * n, 255 - 20 * n, 100)


def save_mask(path, where):
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[where] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write_tables(root):
    rows = [f"{n}.jpg  {' '.join('1' if b else '-1' for b in BITS[n])}" for n in range(NUM_FACES)]
    lines = [str(NUM_FACES), " ".join(ATTRIBUTES), *rows]
    (root / ATTRIBUTE_FILE).write_text("\n".join(lines) + "\n")
    rows = [f"{n}\t{o}\t{o + 1:06d}.jpg" for n, o in enumerate(ORIGINALS)]
    (root / MAPPING_FILE).write_text("\n".join(["idx\torig_idx\torig_file", *rows]) + "\n")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Write a folder in the original layout, where it is looked for. Face 3 has skin only."""
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(module, "CHUNK_SIZE", 2)
    root = tmp_path / FOLDER
    image_path(root, 0).parent.mkdir(parents=True)
    for n in range(NUM_FACES):
        Image.new("RGB", (64, 64), colour(n)).save(image_path(root, n), quality=95)
        for part, where in MASKS.items():
            if n != 3 or part == "skin":
                save_mask(mask_path(root, n, part), where)
    write_tables(root)
    return root


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def load(split, names=(*module.MODALITIES, "all_attributes", "index"), **kwargs):
    kwargs = {"num_workers": 1, "official": False, **kwargs}
    return celebahq(split, names=names, side=SIDE, **kwargs)


def test_each_face_comes_to_its_split_with_its_picture_masks_and_attributes(root):
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


def test_masks_have_grey_edges_as_antialiasing_makes_them(root):
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


def test_two_processes_write_what_one_writes(root, monkeypatch):
    alone = load("train").arrays
    monkeypatch.setenv("SBMAE_DATA_DIR", str(root.parent / "other"))
    both = load("train", folder=root, num_workers=2).arrays
    for name in alone:
        np.testing.assert_array_equal(alone[name], both[name])


def test_the_second_layout_gives_the_same_rows(root, monkeypatch):
    original = {split: load(split).arrays for split in SPLITS}
    other = root.parent / "split"
    for split, numbers in SPLITS.items():
        short = "val" if split == "valid" else split
        (other / f"{short}_img").mkdir(parents=True)
        for n in numbers:
            shutil.copy(image_path(root, n), other / f"{short}_img" / f"{n}.jpg")
            union = np.zeros((32, 32), np.uint8)
            if n != 3:
                union[MASKS["hair"]] = union[MASKS["nose"]] = 255
            (other / f"{short}_mask").mkdir(exist_ok=True)
            Image.fromarray(union).save(other / f"{short}_mask" / f"{n}.png")
    shutil.copy(root / ATTRIBUTE_FILE, other)
    for split in SPLITS:
        arrays = load(split, folder=other).arrays
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], original[split][name])


def test_prepared_once_and_again_only_when_the_folder_or_the_side_changes(root, monkeypatch):
    first = prepare(root, SIDE, official=False, num_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "convert", None)
        assert prepare(root, SIDE, official=False) == first
    mask_path(root, 7, "nose").unlink()
    second = prepare(root, SIDE, official=False, num_workers=1)
    change(root / ATTRIBUTE_FILE, "  -1", "  1")
    third = prepare(root, SIDE, official=False, num_workers=1)
    fourth = prepare(root, 16, official=False, num_workers=1)
    shutil.copytree(root, root.parent / "copy")
    fifth = prepare(root.parent / "copy", SIDE, official=False, num_workers=1)
    assert len({first, second, third, fourth, fifth}) == 5
    assert {path.parent for path in (first, fifth)} == {root.parent / "prepared"}


def test_an_interruption_costs_the_chunk_that_was_being_written(root, monkeypatch):
    written = []

    def write(chunk):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(chunk.path)
        return original(chunk)

    original = celebahq_convert.write_shard
    with monkeypatch.context() as patch:
        patch.setattr(celebahq_convert, "write_shard", write)
        with pytest.raises(KeyboardInterrupt):
            load("train")
    paths = [Path(path) for path in written]
    stamps = [path.stat().st_mtime_ns for path in paths]
    assert not list((root.parent / "prepared").glob("celebahq-8-????????????"))

    def finish(*args):
        assert [path.stat().st_mtime_ns for path in paths] == stamps
        return real_finish(*args)

    real_finish = module.finish
    with monkeypatch.context() as patch:
        patch.setattr(module, "finish", finish)
        resumed = load("train").arrays
    monkeypatch.setenv("SBMAE_DATA_DIR", str(root.parent / "other"))
    straight = load("train", folder=root).arrays
    for name in straight:
        np.testing.assert_array_equal(resumed[name], straight[name])
    assert not list((root.parent / "prepared").glob("*.part"))


def test_files_that_cannot_be_read_are_all_named_and_only_their_chunks_are_read_again(
    root, monkeypatch
):
    good = {path: path.read_bytes() for path in (image_path(root, 0), mask_path(root, 9, "hair"))}
    for path, content in good.items():
        path.write_bytes(content[:-40])
    mask_path(root, 10, "nose").write_bytes(b"")
    Image.new("RGB", (64, 48)).save(image_path(root, 5))
    with pytest.raises(ValueError, match="4 files that cannot be read") as error:
        load("train")
    text = str(error.value)
    assert "CelebA-HQ-img/0.jpg: image file is truncated" in text
    assert "CelebA-HQ-img/5.jpg" in text or ", ..." in text
    for path, content in good.items():
        path.write_bytes(content)
    save_mask(mask_path(root, 10, "nose"), MASKS["nose"])
    Image.new("RGB", (64, 64), colour(5)).save(image_path(root, 5), quality=95)
    read = []
    monkeypatch.setattr(
        celebahq_convert,
        "write_shard",
        lambda chunk, write=celebahq_convert.write_shard: read.append(chunk) or write(chunk),
    )
    test_each_face_comes_to_its_split_with_its_picture_masks_and_attributes(root)
    assert {face.n for chunk in read for face in chunk.faces} == {0, 1, 4, 5, 8, 9, 10, 11}


DAMAGES = {
    "faces missing in CelebA-HQ-img (4)": lambda r: image_path(r, 4).unlink(),
    "misnamed or misplaced files (CelebA-HQ-img/04.jpg)": lambda r: shutil.copy(
        image_path(r, 4), r / "CelebA-HQ-img" / "04.jpg"
    ),
    "faces in CelebA-HQ-img that have no row of attributes (12)": lambda r: shutil.copy(
        image_path(r, 4), image_path(r, 12)
    ),
    "faces without any mask (3)": lambda r: mask_path(r, 3, "skin").unlink(),
    "misnamed or misplaced files (CelebAMask-HQ-mask-anno/0/00001_chin.png)": lambda r: save_mask(
        mask_path(r, 1, "chin"), np.s_[:]
    ),
    "misnamed or misplaced files (CelebAMask-HQ-mask-anno/1/00001_hat.png)": lambda r: save_mask(
        mask_path(r, 2001, "x").with_name("00001_hat.png"), np.s_[:]
    ),
    "masks of unknown faces (1/02001_hat.png)": lambda r: save_mask(
        mask_path(r, 2001, "hat"), np.s_[:]
    ),
    "tables missing (CelebA-HQ-to-CelebA-mapping.txt)": lambda r: (r / MAPPING_FILE).unlink(),
    "tables missing (CelebAMask-HQ-attribute-anno.txt)": lambda r: (r / ATTRIBUTE_FILE).unlink(),
    "wrong first lines of the attribute file ('x12'": lambda r: change(
        r / ATTRIBUTE_FILE, "12\n", "x12\n"
    ),
    "wrong numbers of rows of attributes (12 instead of 13)": lambda r: change(
        r / ATTRIBUTE_FILE, "12\n", "13\n"
    ),
    "wrong second lines of the attribute file": lambda r: change(
        r / ATTRIBUTE_FILE, "Bald", "Bold"
    ),
    "rows of attributes with values other than -1 and 1 (0.jpg)": lambda r: change(
        r / ATTRIBUTE_FILE, " 1 ", " 2 "
    ),
    "rows of attributes that cannot be read (row 3: 3.png": lambda r: change(
        r / ATTRIBUTE_FILE, "\n3.jpg", "\n3.png"
    ),
    "faces with two rows of attributes (3)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"
    ),
    "faces without a row of attributes (4)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n3.jpg"
    ),
    "rows of attributes numbered beyond the first line (12.jpg)": lambda r: change(
        r / ATTRIBUTE_FILE, "\n4.jpg", "\n12.jpg"
    ),
    "rows of the mapping where orig_file is not orig_idx + 1 (6)": lambda r: change(
        r / MAPPING_FILE, "\t100\t", "\t99\t"
    ),
    "rows of the mapping with an orig_idx that came before (7)": lambda r: change(
        r / MAPPING_FILE, "\t101\t000102", "\t100\t000101"
    ),
    "rows of the mapping with an orig_idx that CelebA does not have (5)": lambda r: change(
        r / MAPPING_FILE, "\t202598\t202599", "\t202599\t202600"
    ),
    "faces with two rows of the mapping (6)": lambda r: change(r / MAPPING_FILE, "\n7\t", "\n6\t"),
    "faces missing in the mapping (7)": lambda r: change(r / MAPPING_FILE, "\n7\t", "\n6\t"),
    "rows of the mapping that cannot be read (row 8: 7": lambda r: change(
        r / MAPPING_FILE, "000102.jpg", "x.jpg"
    ),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_damage_is_found_before_anything_is_read(root, said):
    DAMAGES[said](root)
    with pytest.raises(ValueError, match="is damaged: ") as error:
        load("train")
    assert said in str(error.value)
    assert not (root.parent / "prepared").exists()


def test_all_damage_is_reported_together_with_counts_and_examples(root):
    for n in range(5):
        image_path(root, n).unlink()
    change(root / MAPPING_FILE, "\t105\t", "\t106\t")
    with pytest.raises(ValueError, match="is damaged: ") as error:
        check_folder(root, official=False)
    assert "5 faces missing in CelebA-HQ-img (0, 1, 2, ...)" in str(error.value)
    assert "1 rows of the mapping where orig_file is not orig_idx + 1 (11)" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_second_layout_is_checked_too(root):
    other = root.parent / "split"
    for short in ("train", "val", "test"):
        (other / f"{short}_img").mkdir(parents=True)
        (other / f"{short}_mask").mkdir()
    shutil.copy(root / ATTRIBUTE_FILE, other)
    for short in ("train", "val"):
        shutil.copy(image_path(root, 1), other / f"{short}_img" / "1.jpg")
        shutil.copy(mask_path(root, 1, "hair"), other / f"{short}_mask" / "1.png")
    shutil.copy(image_path(root, 2), other / "test_img" / "2.jpg")
    shutil.copy(mask_path(root, 2, "hair"), other / "test_mask" / "5.png")
    with pytest.raises(ValueError, match="is damaged: ") as error:
        check_folder(other, official=False)
    assert "1 faces in two splits (1)" in str(error.value)
    assert "1 faces without any mask (test_img/2.jpg)" in str(error.value)
    assert "1 masks without a picture (test_mask/5.png)" in str(error.value)
    assert "11 faces missing in the folders of pictures (0, 2, 3, ...)" in str(error.value)


def test_the_official_data_have_30000_faces(root):
    with pytest.raises(ValueError, match="'12', not 30,000"):
        load("train", official=True)


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
        ({"split": "dev"}, "unknown split 'dev': choose one of train, valid, test"),
        ({"side": 4}, "side must be 8..512 pixels, got 4"),
        ({"names": ["pose"]}, "names must be of image, mask"),
        ({"num_rows": 9}, "the split 'train' has 8 rows, and 9 were asked for"),
    ],
)
def test_arguments_out_of_range_are_refused(root, arguments, said):
    defaults = {"split": "train", "official": False, "num_workers": 1, "side": SIDE}
    with pytest.raises(ValueError, match=said):
        celebahq(**{**defaults, **arguments})


def test_a_second_process_does_not_prepare_the_same_records(root):
    work = root.parent / "work"
    with (
        module.only_one(work),
        pytest.raises(ValueError, match="another process is preparing"),
        module.only_one(work),
    ):
        pass


WAITS = """
import time
from sbmae_jax.data import celebahq_convert as c
def write(chunk):
    print(__import__("os").getpid(), flush=True)
    time.sleep(60)
c.write_shard = write
if __name__ == "__main__":
    chunks = [c.Chunk("", [], 8, "") for _ in range(2)]
    c.convert(chunks, 2, lambda chunk, damaged: None)
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


def test_tensorstore_is_what_reads_the_common_mask(root, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(celebahq_convert.Image, "open", fail)
    assert celebahq_convert.read_png(mask_path(root, 0, "hair")).shape == (32, 32, 3)
