"""A user's files are split into training, validation and test rows."""

import numpy as np
from own_files import SPLITS, N, arrays

from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.survey import survey


def test_splits_share_no_row_and_depend_on_the_seed_alone(own_file):
    rows = {s: files(s, 0, (), 3, path=own_file).rows for s in SPLITS}
    assert [len(r) for r in rows.values()] == [160, 20, 20]
    assert sorted(np.concatenate(list(rows.values()))) == list(range(N))
    np.testing.assert_array_equal(files("test", 0, (), 3, path=own_file).rows, rows["test"])
    np.testing.assert_array_equal(files("train", 30, (), 3, path=own_file).rows, rows["train"][:30])
    assert files("test", 0, (), 4, path=own_file).rows.tolist() != rows["test"].tolist()


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
    notice = f"the data have no rows for the split 'valid': {num} training rows are held out for it"
    assert notice in survey(tmp_path / "d.npz").notices


def test_rows_without_any_modality_are_dropped_and_counted(tmp_path):
    values = arrays()
    values = {name: values[name] for name in ("vector", "photo", "photo_present")}
    np.savez(tmp_path / "d.npz", **values)
    empty = np.isnan(values["vector"][:, 0]) & ~values["photo_present"]
    assert empty.any()
    used = np.concatenate([files(s, 0, path=tmp_path / "d.npz").rows for s in SPLITS])
    assert sorted(used) == np.flatnonzero(~empty).tolist()
    found = survey(tmp_path / "d.npz")
    assert found.num_empty == empty.sum()
    assert f"{empty.sum()} rows are dropped: all modalities are missing in them" in found.notices
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
