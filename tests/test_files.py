"""A user's files as a source: splits, missing rows, scalings, and rows read as they are asked for."""

import time

import numpy as np
import pytest

from sbmae_jax import sharding
from sbmae_jax.data import look as looking
from sbmae_jax.data import opened
from sbmae_jax.data.description import describe, load, save
from sbmae_jax.data.files import files
from sbmae_jax.data.loader import streamed
from sbmae_jax.data.opened import open_files
from sbmae_jax.data.source import map_batches
from sbmae_jax.data.survey import survey
from sbmae_jax.data.survey import table as printed

N = 200
SPLITS = ("train", "valid", "test")


def arrays(seed=0):
    """Return one array of each kind, with holes in three of them, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    vector = rng.normal(5, 3, (N, 4)) + label[:, None]
    vector[:, 2] = 7
    vector[[3, 50]] = np.nan
    town = np.array(["Bonn", "Oslo", "Rome"])[label]
    town[9] = ""
    return {
        "vector": vector, "label": label, "town": town,
        "photo": rng.integers(0, 256, (N, 6, 6, 3), np.uint8), "photo_present": rng.random(N) < 0.6,
        "count": rng.poisson(4, (N, 3)), "signal": rng.normal(2, 3, (N, 20, 2)).astype(np.float32),
        "mask": rng.integers(0, 2, (N, 6, 6)).astype(np.uint8),
    }  # fmt: skip


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "own.npz", **arrays())
    return tmp_path / "own.npz"


def test_a_source_has_one_prepared_array_for_each_modality(path):
    source = files("train", 0, (), 0, path=path)
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
    with pytest.raises(ValueError, match="no 'sound' in these data: choose from count"):
        source.select(["sound"])
    assert "sound" not in source.arrays


def test_values_and_holes_are_those_of_the_files(path):
    raw, source = arrays(), files("train", 0, (), 0, path=path)
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


def test_reals_are_standardised_by_the_measured_training_rows_alone(path):
    source = files("train", 0, (), 0, path=path)
    x = source.arrays["vector"][source.arrays["present"][:, 5]]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), [1, 1, 0, 1], atol=1e-6)
    signal = np.asarray(source.arrays["signal"])
    np.testing.assert_allclose(signal.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(signal.std(axis=(0, 1)), 1, atol=1e-5)
    test = files("test", 0, (), 0, path=path)
    assert test.scalings["vector"] is source.scalings["vector"]
    assert files("train", 7, (), 0, path=path).scalings["vector"] is source.scalings["vector"]
    assert abs(np.asarray(test.arrays["signal"]).mean()) > 1e-3


def test_scalings_found_in_pieces_are_those_of_the_whole(path, monkeypatch):
    whole = open_files(path).scalings
    monkeypatch.setattr(looking, "PIECE_BYTES", 5000)
    opened._open.cache_clear()
    for name, scaling in open_files(path).scalings.items():
        np.testing.assert_allclose(scaling.shift, whole[name].shift, rtol=1e-12)
        np.testing.assert_allclose(scaling.scale, whole[name].scale, rtol=1e-12)
    source = files("valid", 0, (), 0, path=path)
    np.testing.assert_array_equal(np.asarray(source.arrays["photo"]), source.arrays["photo"][:])


def test_the_deviation_of_large_values_is_not_lost(tmp_path):
    rng = np.random.default_rng(0)
    x = 1e8 + rng.normal(size=(4000, 2))
    np.savez(tmp_path / "d.npz", x=x)
    seen = open_files(tmp_path / "d.npz")
    np.testing.assert_allclose(seen.scalings["x"].scale, x[seen.rows["train"]].std(axis=0))


def test_arrays_are_read_where_they_are_indexed_until_they_are_loaded(path):
    source = files("train", 0, (), 0, path=path)
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


def test_batches_are_made_of_arrays_that_are_not_in_memory(path):
    source = files("test", 0, ("photo", "vector"), 0, path=path)
    made = map_batches(lambda _, batch: batch, {n: source.arrays[n] for n in source.modalities}, 8)
    np.testing.assert_array_equal(made["photo"], np.asarray(source.arrays["photo"]))


def test_rows_that_are_not_in_memory_are_streamed(path):
    source = files("train", 0, ("photo", "vector"), 0, path=path)
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


def test_splits_share_no_row_and_depend_on_the_seed_alone(path):
    rows = {s: files(s, 0, (), 3, path=path).rows for s in SPLITS}
    assert [len(r) for r in rows.values()] == [160, 20, 20]
    assert sorted(np.concatenate(list(rows.values()))) == list(range(N))
    np.testing.assert_array_equal(files("test", 0, (), 3, path=path).rows, rows["test"])
    np.testing.assert_array_equal(files("train", 30, (), 3, path=path).rows, rows["train"][:30])
    assert files("test", 0, (), 4, path=path).rows.tolist() != rows["test"].tolist()


def test_the_split_of_the_data_is_kept(tmp_path):
    split = np.array(["train"] * 120 + ["valid"] * 30 + ["test"] * 50)
    np.savez(tmp_path / "d.npz", **arrays(), split=split)
    for name, rows in zip(SPLITS, (range(120), range(120, 150), range(150, 200)), strict=True):
        assert sorted(files(name, 0, path=tmp_path / "d.npz").rows) == list(rows)


def test_training_rows_are_held_out_where_the_data_split_off_none(tmp_path):
    split = np.array(["train"] * 150 + ["test"] * 50)
    values = arrays()
    values["label"][:] = 0
    values["label"][7] = 1  # the only one of its class: it is for training
    np.savez(tmp_path / "d.npz", **values, split=split)
    for seed in range(20):
        rows = {s: files(s, 0, seed=seed, path=tmp_path / "d.npz").rows for s in SPLITS}
        assert sorted(rows["test"]) == list(range(150, 200))
        assert sorted([*rows["train"], *rows["valid"]]) == list(range(150))
        assert len(rows["valid"]) in (14, 15)
        assert 7 in rows["train"]
    num = len(files("valid", 0, path=tmp_path / "d.npz"))
    notice = f"the data have no rows of the split 'valid': {num} training rows are held out for it"
    assert notice in survey(tmp_path / "d.npz").notices


def test_rows_in_which_nothing_is_measured_are_left_out_and_counted(tmp_path):
    values = arrays()
    values = {name: values[name] for name in ("vector", "photo", "photo_present")}
    np.savez(tmp_path / "d.npz", **values)
    empty = np.isnan(values["vector"][:, 0]) & ~values["photo_present"]
    assert empty.any()
    used = np.concatenate([files(s, 0, path=tmp_path / "d.npz").rows for s in SPLITS])
    assert sorted(used) == np.flatnonzero(~empty).tolist()
    found = survey(tmp_path / "d.npz")
    assert found.num_empty == empty.sum()
    assert f"{empty.sum()} rows are left out: nothing is measured in them" in found.notices
    alone = [files(s, 0, ("photo",), path=tmp_path / "d.npz") for s in SPLITS]
    assert sum(map(len, alone)) == values["photo_present"].sum()
    assert alone[0].names == ("photo",)  # nothing is missing any more


def test_a_rare_class_is_for_training(tmp_path):
    label = np.zeros(N, int)
    label[:3] = [1, 2, 3]
    for seed in range(5):
        np.savez(tmp_path / "d.npz", x=arrays()["count"], label=label)
        source = files("train", 0, seed=seed, path=tmp_path / "d.npz")
        assert set(source.arrays["label"].tolist()) == {0, 1, 2, 3}


def test_a_rare_modality_is_also_for_validation_and_the_test(tmp_path):
    present = np.arange(N) < 15
    np.savez(tmp_path / "d.npz", x=arrays()["count"], y=arrays()["count"], y_present=present)
    for seed in range(5):
        rows = {s: files(s, 0, seed=seed, path=tmp_path / "d.npz").rows for s in SPLITS}
        assert sorted(np.concatenate(list(rows.values()))) == list(range(N))
        for numbers in rows.values():
            assert present[numbers].any()


def test_labels_are_numbered_and_named(tmp_path):
    np.savez(tmp_path / "d.npz", x=arrays()["count"], label=np.array(["no", "yes"] * (N // 2)))
    source = files("train", 0, path=tmp_path / "d.npz")
    assert source.entries == {"label": ("no", "yes")}
    assert source.arrays["label"].dtype == np.int32
    np.testing.assert_array_equal(source.arrays["label"], source.rows % 2)


def test_one_modality_works_and_says_what_it_is(tmp_path):
    np.savez(tmp_path / "d.npz", x=arrays()["signal"])
    assert files("train", 0, path=tmp_path / "d.npz").names == ("x",)
    (notice,) = survey(tmp_path / "d.npz").notices
    assert notice.startswith("x is the only modality: the model is a latent diffusion model")


SPLIT = np.array(["train"] * 150 + ["test"] * 50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": np.array(["train"] * 9 + ["test"] * 191)}, "has 9 rows for the split 'train', and at"),
        ({"split": np.array(["train"] * N)}, "has 0 rows for the split 'test'"),
        ({"split": SPLIT, "label": np.arange(N) // 190}, "label: the class 1 has rows in the split"),
        ({"split": SPLIT, "town": np.array(["a"] * 160 + ["b"] * 40)}, "town: the class 'b' has rows in"),
        ({"split": SPLIT, "photo_present": np.arange(N) > 170}, "photo: none of the 135 training rows is"),
        ({"label": np.arange(N) - 1}, "label is not a whole number from 0 in 1 of 200 rows"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_learned_from_are_refused(changes, message, tmp_path):
    np.savez(tmp_path / "d.npz", **(arrays() | changes))
    with pytest.raises(ValueError, match=message):
        files("train", 0, path=tmp_path / "d.npz")


def test_what_is_asked_for_and_not_there_is_named(path, tmp_path):
    with pytest.raises(ValueError, match="has no modality 'sound': choose from count, mask"):
        files("train", 0, ("sound",), path=path)
    with pytest.raises(ValueError, match="unknown split 'dev': choose one of train"):
        files("dev", 0, path=path)
    with pytest.raises(
        ValueError, match=r"the split 'test' of .* has 20 rows, and 21 were asked for"
    ):
        files("test", 21, path=path)
    with pytest.raises(ValueError, match="has 160 rows, and -1 were asked for"):
        files("train", -1, path=path)
    with pytest.raises(ValueError, match=r"there is no .*none.npz"):
        files("train", 0, path=tmp_path / "none.npz")


def test_what_is_left_out_is_not_looked_at(tmp_path):
    names = np.arange(N).astype(str)  # no category
    np.savez(tmp_path / "d.npz", **arrays(), names=names, bad=np.full((N, 2), np.inf))
    for look_at in (survey, open_files):
        with pytest.raises(ValueError, match=r"bad: infinite values|names cannot be of the kind"):
            look_at(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="names cannot be of the kind category"):
        survey(tmp_path / "d.npz", leave_out=("bad",))
    found = survey(tmp_path / "d.npz", {"count": "vector"}, leave_out=("bad", "names", "signal"))
    kept = ["count", "mask", "photo", "town", "vector"]
    assert [m.name for m in found.modalities] == kept
    kinds = {"count": "vector", "signal": "vector"}  # the latter is not asked for
    source = files("train", names=kept, path=tmp_path / "d.npz", kinds=kinds)
    assert list(source.modalities) == kept
    assert source.opened.kinds["count"].name == "vector"
    with pytest.raises(ValueError, match=r"leave_out: .* has no modality 'sound', but bad, count"):
        survey(tmp_path / "d.npz", leave_out=("sound",))
    with pytest.raises(ValueError, match=r"leave_out: no modality of .* is left"):
        survey(tmp_path / "d.npz", leave_out=("bad", "names", "signal", *kept))
    with pytest.raises(ValueError, match="kinds: there is no array 'sound'"):
        open_files(tmp_path / "d.npz", {"sound": "vector"}, names=kept)


def test_files_that_change_are_looked_at_again(path):
    assert open_files(path) is open_files(path)
    before = open_files(path)
    np.savez(path, **arrays(seed=1))
    assert open_files(path) is not before


def test_the_survey_tells_what_is_there(path):
    found = survey(path)
    by_name = {m.name: m for m in found.modalities}
    assert [m.kind for m in found.modalities] == [
        "counts",
        "mask",
        "image",
        "signal",
        "category",
        "vector",
    ]
    assert found.num_rows == {"train": 160, "valid": 20, "test": 20}
    assert found.num_classes == 3
    assert by_name["vector"].num_missing == 2
    assert by_name["vector"].num_constant == 1
    assert by_name["town"].classes == ("Bonn", "Oslo", "Rome")
    assert by_name["photo"].raw_shape == by_name["photo"].shape == (6, 6, 3)
    assert found.num_measured["photo"] == files("train", path=path).arrays["present"][:, 2].sum()
    (notice,) = found.notices
    assert notice.startswith("vector: 1 of 4 features have the same value in all training rows")
    lines = printed(found, {"latent": {"photo": "sixteen"}}).splitlines()
    assert lines[0].split() == [
        "name",
        "kind",
        "shape",
        "dtype",
        "range",
        "missing",
        "latent",
        "why",
        "this",
        "kind",
    ]
    assert "3 classes: Bonn, Oslo, Rome" in lines[5]
    assert "sixteen" in lines[3]
    assert lines[7] == "rows: 160 train, 20 valid, 20 test; label: 3 classes"
    assert lines[8:] == list(found.notices)


def test_components_are_those_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    low = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 40))
    same = np.repeat(rng.normal(size=(500, 1)), 6, axis=1)
    equal = rng.normal(size=(500, 100))
    wide = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 3000))
    np.savez(
        tmp_path / "d.npz", low=low, same=same, equal=equal, wide=wide, fixed=np.ones((500, 4))
    )
    found = {m.name: m.num_components for m in survey(tmp_path / "d.npz").modalities}
    assert found["low"][2] <= 3
    assert found["same"] == (1, 1, 1)
    assert found["wide"] == (2, 2, 2)
    assert found["fixed"] == (0, 0, 0)
    assert 75 < found["equal"][0] < found["equal"][1] < found["equal"][2] < 100


def test_wide_data_are_surveyed_in_seconds(tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 10_000)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    start = time.perf_counter()
    survey(tmp_path / "d.npz")
    assert time.perf_counter() - start < 20


def test_files_larger_than_a_piece_are_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    rows, width = 20_000, 64
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (rows, width))
    big[:] = np.arange(rows)[:, None] % 11
    big.flush()
    monkeypatch.setattr(looking, "PIECE_BYTES", 100 * width * 4)
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


def test_scalings_are_kept_with_the_description_of_a_run(path, tmp_path):
    source = files("train", 1, path=path)
    save(tmp_path / "data.json", describe(source))
    data = load(tmp_path / "data.json")
    assert data.shapes == source.shapes
    assert data.dtypes == source.dtypes
    assert data.entries == source.entries
    x = source.arrays["vector"][:]
    np.testing.assert_array_equal(
        data.scalings["vector"].restore(x), source.scalings["vector"].restore(x)
    )
