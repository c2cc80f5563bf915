"""A user's files as a source: holes, scalings, and rows read as they are asked for."""

import numpy as np
import pytest
from own_files import N, arrays

from sbmae_jax.data.description import describe, load, save
from sbmae_jax.data.user import opened
from sbmae_jax.data.user import profile as profiling
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.opened import open_files
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import streamed


def test_a_source_has_one_prepared_array_for_each_modality(own_file):
    source = files("train", 0, (), 0, path=own_file)
    names = ("count", "mask", "photo", "signal", "town", "vector")
    assert source.names == (*names, "present", "label")
    assert source.shapes == {
        "count": (3,), "mask": (6, 6, 1), "photo": (6, 6, 3), "signal": (20, 2), "town": (3,),
        "vector": (4,), "present": (6,), "label": (),
    }  # fmt: skip
    example = source[5]
    for name, array in example.items():
        assert array.shape == source.shapes[name]
        assert array.dtype == source.dtypes[name]
        np.testing.assert_array_equal(source.arrays[name][5], array)
        assert source.nbytes(name) == np.asarray(source.arrays[name]).nbytes
    with pytest.raises(IndexError):
        source[len(source)]
    assert source.entries == {"town": ("Bonn", "Oslo", "Rome"), "label": ("0", "1", "2")}
    assert list(source.select(["photo", "present"])[0]) == ["photo", "present"]
    with pytest.raises(ValueError, match="no array 'sound': choose from count"):
        source.select(["sound"])
    assert "sound" not in source.arrays


def test_values_and_holes_are_those_of_the_files(own_file):
    raw, source = arrays(), files("train", 0, (), 0, path=own_file)
    rows = source.rows
    present = source.arrays["present"]
    np.testing.assert_array_equal(present[:, 2], raw["photo_present"][rows])
    np.testing.assert_array_equal(present[:, 4], raw["town"][rows] != "")
    np.testing.assert_array_equal(present[:, 5], ~np.isnan(raw["vector"][rows, 0]))
    assert present[:, [0, 1, 3]].all()
    np.testing.assert_array_equal(source.arrays["label"], raw["label"][rows])
    for m, name in enumerate(source.modalities):
        x = np.asarray(source.arrays[name])
        assert not x[~present[:, m]].any()
        restored = source.scalings[name].restore(x[present[:, m]])
        expected = raw[name][rows][present[:, m]]
        if name == "town":
            assert restored.tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(restored, expected, rtol=1e-6, atol=1e-5)


def test_reals_are_standardised_by_the_measured_training_rows_alone(own_file):
    source = files("train", 0, (), 0, path=own_file)
    x = source.arrays["vector"][source.arrays["present"][:, 5]]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), [1, 1, 0, 1], atol=1e-6)
    signal = np.asarray(source.arrays["signal"])
    np.testing.assert_allclose(signal.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(signal.std(axis=(0, 1)), 1, atol=1e-5)
    test = files("test", 0, (), 0, path=own_file)
    assert test.scalings["vector"] is source.scalings["vector"]
    assert files("train", 7, (), 0, path=own_file).scalings["vector"] is source.scalings["vector"]
    assert abs(np.asarray(test.arrays["signal"]).mean()) > 1e-3


def test_scalings_found_in_pieces_are_those_of_the_whole(own_file, monkeypatch):
    whole = open_files(own_file).scalings
    monkeypatch.setattr(profiling, "PIECE_BYTES", 5000)
    opened._open.cache_clear()
    for name, scaling in open_files(own_file).scalings.items():
        np.testing.assert_allclose(scaling.shift, whole[name].shift, rtol=1e-12)
        np.testing.assert_allclose(scaling.scale, whole[name].scale, rtol=1e-12)
    source = files("valid", 0, (), 0, path=own_file)
    np.testing.assert_array_equal(np.asarray(source.arrays["photo"]), source.arrays["photo"][:])


def test_the_deviation_of_large_values_is_not_lost(tmp_path):
    rng = np.random.default_rng(0)
    x = 1e8 + rng.normal(size=(4000, 2))
    np.savez(tmp_path / "d.npz", x=x)
    found = open_files(tmp_path / "d.npz")
    np.testing.assert_allclose(found.scalings["x"].scale, x[found.rows["train"]].std(axis=0))


def test_arrays_are_read_where_they_are_indexed_until_they_are_loaded(own_file):
    source = files("train", 0, (), 0, path=own_file)
    lazy = source.arrays["photo"]
    assert not source.loaded
    assert lazy.shape == (len(source), 6, 6, 3)
    assert lazy.dtype == np.uint8
    assert len(lazy) == len(source)
    rows = [np.arange(5), slice(3, 40, 7), [2, 2, 9], np.arange(len(source)) % 5 == 0, slice(None)]
    read = [lazy[i] for i in rows]
    source.select(["photo", "label"]).load(["photo", "label"])
    assert set(source.loaded) == {"photo", "label"}
    loaded = source.arrays["photo"]
    assert isinstance(loaded, np.ndarray)
    for i, array in zip(rows, read, strict=True):
        np.testing.assert_array_equal(array, loaded[i])
    np.testing.assert_array_equal(source[4]["photo"], loaded[4])
    assert np.asarray(lazy, np.float32).dtype == np.float32


def test_batches_are_made_of_arrays_that_are_not_in_memory(own_file):
    source = files("test", 0, ("photo", "vector"), 0, path=own_file)
    made = sharding.batched(dict, 8)({n: source.arrays[n] for n in source.modalities})
    np.testing.assert_array_equal(made["photo"], np.asarray(source.arrays["photo"]))


def test_rows_that_are_not_in_memory_are_streamed(own_file):
    source = files("train", 0, ("photo", "vector"), 0, path=own_file)
    feed = streamed(0, source.select(("photo", "present")), 16, sharding.make_mesh())
    chunk = feed(0, 10)  # an epoch
    assert chunk["photo"].shape == (10, 16, 6, 6, 3)
    seen = np.asarray(chunk["photo"]).reshape(160, -1)
    whole = np.asarray(source.arrays["photo"]).reshape(len(source), -1)
    num_seen = min(160, len(source))
    assert len(np.unique(seen, axis=0)) >= len(np.unique(whole, axis=0)) - (len(source) - num_seen)
    np.testing.assert_array_equal(
        np.asarray(chunk["present"]).reshape(160, 2)[:, 0], seen.any(axis=1)
    )


def test_labels_are_numbered_and_named(tmp_path):
    np.savez(tmp_path / "d.npz", x=arrays()["count"], label=np.array(["no", "yes"] * (N // 2)))
    source = files("train", 0, path=tmp_path / "d.npz")
    assert source.entries == {"label": ("no", "yes")}
    assert source.arrays["label"].dtype == np.int32
    np.testing.assert_array_equal(source.arrays["label"], source.rows % 2)


SPLIT = np.array(["train"] * 150 + ["test"] * 50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": np.array(["train"] * 9 + ["test"] * 191)}, "has 9 rows for the split 'train', but at"),
        ({"split": np.array(["train"] * N)}, "has 0 rows for the split 'test'"),
        ({"split": SPLIT, "label": np.arange(N) // 190}, "label: the class 1 has rows in the split"),
        ({"split": SPLIT, "town": np.array(["a"] * 160 + ["b"] * 40)}, "town: the class 'b' has rows in"),
        ({"split": SPLIT, "photo_present": np.arange(N) > 170}, "photo is missing in all 135 training rows"),
        ({"label": np.arange(N) - 1}, "label is not a non-negative integer in 1 of 200 rows"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_learned_from_are_refused(changes, message, tmp_path):
    np.savez(tmp_path / "d.npz", **(arrays() | changes))
    with pytest.raises(ValueError, match=message):
        files("train", 0, path=tmp_path / "d.npz")


def test_what_is_asked_for_and_not_there_is_named(own_file, tmp_path):
    with pytest.raises(ValueError, match="has no modality 'sound': choose from count, mask"):
        files("train", 0, ("sound",), path=own_file)
    with pytest.raises(ValueError, match="split must be one of train, valid, test, got 'dev'"):
        files("dev", 0, path=own_file)
    with pytest.raises(
        ValueError, match=r"the split 'test' of .* has 20 rows, but 21 were asked for"
    ):
        files("test", 21, path=own_file)
    with pytest.raises(ValueError, match="has 160 rows, but -1 were asked for"):
        files("train", -1, path=own_file)
    with pytest.raises(ValueError, match=r"none.npz does not exist"):
        files("train", 0, path=tmp_path / "none.npz")


def test_files_that_change_are_looked_at_again(own_file):
    assert open_files(own_file) is open_files(own_file)
    before = open_files(own_file)
    np.savez(own_file, **arrays(seed=1))
    assert open_files(own_file) is not before


def test_files_larger_than_a_piece_are_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    rows, width = 20_000, 64
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (rows, width))
    big[:] = np.arange(rows)[:, None] % 11 + 0.5
    big.flush()
    monkeypatch.setattr(profiling, "PIECE_BYTES", 100 * width * 4)
    table = open_files(tmp_path).table
    sizes, read = [], table.read
    monkeypatch.setitem(
        table.__dict__, "read", lambda rows, names: sizes.append(len(rows)) or read(rows, names)
    )
    source = files("test", 0, path=tmp_path)
    source.load(["big"])
    assert max(sizes) == 100
    assert source.arrays["big"].shape == (2000, width)
    sizes.clear()
    assert files("train", 0, path=tmp_path).arrays["big"][[5, 900]].shape == (2, width)
    assert sizes == [2]


def test_scalings_are_kept_with_the_description_of_a_run(own_file, tmp_path):
    source = files("train", 1, path=own_file)
    save(tmp_path / "data.json", describe(source))
    data = load(tmp_path / "data.json")
    assert data.shapes == source.shapes
    assert data.dtypes == source.dtypes
    assert data.entries == source.entries
    x = source.arrays["vector"][:]
    np.testing.assert_array_equal(
        data.scalings["vector"].restore(x), source.scalings["vector"].restore(x)
    )
