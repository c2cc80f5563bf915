import errno
import hashlib
import json
import os

import numpy as np
import pytest
from idx_files import digits, write_digits
from PIL import Image

from sbmae_jax.app.build import SOURCES
from sbmae_jax.data import polymnist, prepared
from sbmae_jax.data.backgrounds import backgrounds
from sbmae_jax.data.polymnist import prepare
from sbmae_jax.data.prepared import CHECKSUMS, verify
from sbmae_jax.data.source import SPLITS, apportion

SIZES = (60, 30, 20)
SMALL = {"num_modalities": 3, "sizes": SIZES}
NAMES = ("m00", "m01", "m02", "label", "instance")
GOLDEN = "e029f609ee7a544878a72ad4221cd1862cee1f355e1a726fca3a254b21927c7e"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Write small digits and backgrounds where they are looked for, and give the folder of data."""
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(polymnist, "SHARD_SIZE", 16)
    write_digits(tmp_path / "mnist", monkeypatch)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for m, size in enumerate(((29, 29), (40, 30), (33, 50))):
        noise = np.random.default_rng(m).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(pictures / f"{m}.png")
    return tmp_path


def load(root, split, **kwargs):
    source = polymnist.polymnist(
        split, **{"names": NAMES, "backgrounds": root / "pictures", **SMALL, **kwargs}
    )
    source.load(source.names)
    return source.arrays


def make(root):
    return prepare(3, root / "pictures", SIZES)


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_row_shows_one_class_by_the_digits_that_it_names(root):
    for split, size in zip(SPLITS, SIZES, strict=True):
        arrays = load(root, split)
        _, labels = digits(polymnist.MNIST_PARTS[split])
        assert {name: (a.shape, a.dtype) for name, a in arrays.items()} == {
            **{f"m0{m}": ((size, 28, 28, 3), np.uint8) for m in range(3)},
            "label": ((size,), np.int32),
            "instance": ((size, 3), np.int32),
        }
        np.testing.assert_array_equal(
            labels[arrays["instance"]], arrays["label"][:, None].repeat(3, 1)
        )
        columns = [sorted(column) for column in arrays["instance"].T]
        assert columns[0] == columns[1] == columns[2]  # each digit once in each modality
        assert len(set(columns[0])) == size
        differ = [len(set(row)) > 1 for row in arrays["instance"]]
        assert np.mean(differ) > 0.5
        assert list(arrays["label"]) != sorted(arrays["label"])


def test_pictures_are_crops_inverted_where_the_digit_is(root):
    arrays = load(root, "valid")
    images, _ = digits("train")
    pictures = list(backgrounds(3, root / "pictures").values())
    for m, picture in enumerate(pictures):
        masks = images[arrays["instance"][:, m]][..., None] > 128
        plain = np.where(masks, 255 - arrays[f"m0{m}"], arrays[f"m0{m}"])
        height, width, _ = picture.shape
        corners = [(y, x) for y in range(height - 28) for x in range(width - 28)]
        crops = [picture[y : y + 28, x : x + 28].tobytes() for y, x in corners]
        places = {crops.index(crop.tobytes()) for crop in plain}  # fails for what is no crop
        assert len(places) > min(len(corners), 30) / 2


def test_no_digit_is_in_two_splits_and_classes_keep_their_shares(root):
    train, valid = (load(root, split) for split in ("train", "valid"))
    assert not set(train["instance"].ravel()) & set(valid["instance"].ravel())
    for split, size in zip(SPLITS, SIZES, strict=True):
        counts = np.bincount(digits(polymnist.MNIST_PARTS[split])[1], minlength=10)
        found = np.bincount(load(root, split)["label"], minlength=10)
        assert np.abs(found - size * counts / counts.sum()).max() < 1.2


def test_all_digits_can_be_used(root):
    sizes = (370, 30, 150)
    train, valid, test = (load(root, split, sizes=sizes)["instance"][:, 0] for split in SPLITS)
    assert sorted([*train, *valid]) == list(range(400))
    assert sorted(test) == list(range(150))


def test_shares_are_proportional_whole_and_complete():
    assert list(apportion(np.array([5, 3, 2]), 10)) == [5, 3, 2]
    assert list(apportion(np.array([5, 3, 2]), 5)) == [3, 1, 1]
    assert apportion(np.array([5923, 6742, 5958]), 10_000).sum() == 10_000


def test_more_modalities_leave_the_first_as_they_are(root):
    three, two = load(root, "test"), load(root, "test", num_modalities=2, names=None)
    assert list(two) == ["m00", "m01", "label"]
    for name in two:
        np.testing.assert_array_equal(two[name], three[name])


def test_bytes_have_not_changed_and_do_not_depend_on_the_seed_of_a_run(root):
    # Only detects change: made by this code with numpy 2.4.
    assert hashlib.sha256((make(root) / CHECKSUMS).read_bytes()).hexdigest() == GOLDEN
    first, other = load(root, "train"), load(root, "train", seed=1)
    assert list(first["instance"][:, 0]) != list(other["instance"][:, 0])
    assert {x.tobytes() for x in first["m01"]} == {x.tobytes() for x in other["m01"]}
    few = load(root, "train", num_rows=7)
    np.testing.assert_array_equal(few["m02"], first["m02"][:7])


def test_prepared_once_and_again_only_when_something_changes(root, monkeypatch):
    first = make(root)
    with monkeypatch.context() as patch:
        patch.setattr(polymnist, "build", None)
        patch.setattr(polymnist.mnist, "load_mnist", None)
        assert make(root) == first
    others = [prepare(2, root / "pictures", SIZES), prepare(3, root / "pictures", (60, 30, 21))]
    (root / "pictures" / "0.png").rename(root / "pictures" / "9.png")
    others.append(make(root))
    monkeypatch.setattr(polymnist, "VERSION", 0)
    others.append(make(root))
    assert len({first, *others}) == 5
    assert not list((root / "prepared").glob("*.part"))


def test_an_interruption_costs_one_shard_and_leaves_nothing_to_be_read(root, monkeypatch):
    written, whole = [], prepared.write_records

    def write(path, records):
        if len(written) == 5:  # in valid
            path.with_name(path.name + ".writing").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        whole(path, records)

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "write_records", write)
        with pytest.raises(KeyboardInterrupt):
            make(root)
        assert [path.suffix for path in (root / "prepared").iterdir()] == [".part"]
        interrupted, written[:] = list(written), ["nothing"] * 6
        resumed = make(root)
    assert not set(interrupted) & set(written)
    assert len(interrupted) + len(written) - 6 == 4 + 2 + 2
    verify(resumed)
    (root / "straight").mkdir()
    (root / "mnist").rename(root / "straight" / "mnist")
    monkeypatch.setenv("SBMAE_DATA_DIR", str(root / "straight"))
    straight = make(root)
    assert straight != resumed
    assert contents(straight) == contents(resumed)


def test_an_interruption_at_the_end_is_made_good(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prepared.tfds.folder_dataset, "write_metadata", lambda **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(root)
    verify(make(root))


def test_damage_is_found(root):
    directory = make(root)
    checksums = json.loads((directory / CHECKSUMS).read_text())
    assert {split: len(shards) for split, shards in checksums.items()} == {
        "train": 4, "valid": 2, "test": 2,
    }  # fmt: skip
    files = sorted(directory.glob("*valid*"))
    saved = [file.read_bytes() for file in files]
    files[0].write_bytes(saved[0][:-100])
    with pytest.raises(ValueError, match="shard 0 of valid"):
        verify(directory)
    files[0].write_bytes(saved[0])
    verify(directory)
    changed = {**checksums, "test": checksums["test"][::-1]}
    (directory / CHECKSUMS).write_text(json.dumps(changed))
    with pytest.raises(
        ValueError, match=r"is damaged: shard 0 of test .* will prepare it again"
    ) as error:
        verify(directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("write() failed: No space left on device; writing x; at byte 0"),
    ],
)
def test_a_full_disk_is_told_in_one_sentence(root, monkeypatch, error):
    class Full:
        def __init__(self, *args):
            pass

        def write(self, record):
            raise error

    monkeypatch.setattr(prepared, "ArrayRecordWriter", Full)
    with pytest.raises(ValueError, match=r"no space is left for .*needs about .* GB") as told:
        make(root)
    assert "\n" not in str(told.value)


def test_other_errors_stay_what_they_are(root, monkeypatch):
    monkeypatch.setattr(polymnist, "build", lambda *args: (_ for _ in ()).throw(OSError("other")))
    with pytest.raises(OSError, match="other"):
        make(root)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "dev"}, "split must be one of train, valid, test, got 'dev'"),
        ({"num_modalities": 0}, "num_modalities must be at least 1, got 0"),
        ({"num_modalities": 101}, "num_modalities must be at most 100, got 101"),
        ({"num_modalities": 4}, "has 3 images for 4 modalities"),
        ({"names": ["m03"]}, r"no array m03: names must be of m00..m02"),
        (
            {"sizes": (371, 30, 20)},
            "at most 400 for the first two together and 150 for the last, got .371, 30, 20",
        ),
        ({"sizes": (1, 1, 151)}, "sizes must be the rows of train, valid and test"),
        ({"sizes": (1, 1)}, "sizes must be"),
        ({"sizes": (1, 1, 0)}, "sizes must be"),
        ({"num_rows": 61}, "the split 'train' of .* has 60 rows, but 61 were asked for"),
    ],
)
def test_arguments_out_of_range_are_refused(root, arguments, said):
    with pytest.raises(ValueError, match=said):
        load(root, **{"split": "train", **arguments})


def test_a_run_finds_it_with_labels(root):
    source = SOURCES["polymnist"](
        split="test", num_rows=5, names=["m00", "m02"], seed=0, backgrounds="", **SMALL
    )
    assert source.shapes == {"m00": (28, 28, 3), "m02": (28, 28, 3), "label": ()}
    assert source.entries["label"] == tuple("0123456789")
    assert set(source[0]) == {"m00", "m02", "label"}
