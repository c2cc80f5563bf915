"""Holes of new rows are filled with samples of a model; what was measured stays as it was."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from stand_ins import rng_of

from sbmae_jax.app.impute import impute_file
from sbmae_jax.data.description import Description
from sbmae_jax.data.scaling import Scaling

RNG = np.random.default_rng(0)
N, S = 40, 50
SCALINGS = {
    "age": Scaling("vector", (), "float64", np.array([40.0]), np.array([10.0])),
    "blood": Scaling("vector", (3,), "float32", np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])),
    "count": Scaling("counts", (2,), "int64"),
    "photo": Scaling("image", (4, 4), "uint8", scale=np.array(255.0)),
    "town": Scaling("category", (), "str", classes=("Bonn", "Oslo", "Trondheim")),
}  # fmt: skip
NAMES = tuple(SCALINGS)
DATA = Description(
    {name: s.shape for name, s in SCALINGS.items()},
    {name: s.prepared_dtype for name, s in SCALINGS.items()},
    {},
    SCALINGS,
)
shapes = set()  # of what is observed, in each call of `draw`


def draw(key, batch, observed):
    """Draw blood around the observed age, or around 0; all else from fixed distributions."""
    shapes.add(observed.shape)
    rng, num = rng_of(key), len(observed)
    age = np.where(observed[:, :1], batch["age"], rng.normal(size=(num, 1)))
    return {
        "age": age,
        "blood": np.repeat(age, 3, axis=1) + 0.5 * rng.normal(size=(num, 3)),
        "count": rng.poisson([2.0, 9.0], (num, 2)).astype(np.float32),
        "photo": np.broadcast_to(rng.uniform(size=(num, 1, 1, 1)), (num, 4, 4, 1)),
        "town": np.eye(3)[rng.choice(3, num, p=[0.2, 0.1, 0.7])],
    }


def new_rows():
    """Return rows with holes in many patterns, and which are measured."""
    rng = np.random.default_rng(1)
    present = rng.random((N, 5)) < 0.6
    present[0], present[1] = False, True
    rows = {
        "age": rng.normal(40, 10, N), "blood": rng.normal(2, 2, (N, 3)).astype(np.float32),
        "count": rng.poisson(5, (N, 2)), "photo": rng.integers(0, 256, (N, 4, 4), np.uint8),
        "town": np.array(["Bonn", "Oslo"])[rng.integers(0, 2, N)],
    }  # fmt: skip
    rows["age"][~present[:, 0]] = np.nan
    rows["blood"][~present[:, 1]] = np.nan
    rows["town"][~present[:, 4]] = ""
    return rows | {"count_present": present[:, 2], "photo_present": present[:, 3]}, present


def filled(path, rows, **options):
    np.savez(path / "new.npz", **rows)
    done = impute_file(draw, DATA, path / "new.npz", path / "out.npz", num_samples=S, **options)
    with np.load(path / "out.npz") as arrays:
        return done, dict(arrays)


def test_what_was_measured_stays_bit_for_bit(tmp_path):
    rows, present = new_rows()
    done, out = filled(tmp_path, rows)
    assert done.num_rows == N
    for m, name in enumerate(NAMES):
        assert done.num_filled[name] == np.count_nonzero(~present[:, m])
        kept, given = out[name][present[:, m]], rows[name][present[:, m]]
        if name != "town":
            assert kept.dtype == given.dtype
            assert kept.tobytes() == given.tobytes()
        assert kept.tolist() == given.tolist()
        np.testing.assert_array_equal(out[f"{name}_rows"], np.flatnonzero(~present[:, m]))


def test_samples_mean_and_deviation_belong_together(tmp_path):
    rows, present = new_rows()
    _, out = filled(tmp_path, rows)
    for m, name in enumerate(NAMES):
        num, samples = np.count_nonzero(~present[:, m]), out[f"{name}_samples"]
        assert samples.shape == (num, S, *SCALINGS[name].raw_shape)
        holes = out[name][out[f"{name}_rows"]]
        if name == "town":
            continue
        np.testing.assert_allclose(out[f"{name}_mean"], samples.mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(out[f"{name}_std"], samples.std(axis=1, ddof=1), rtol=1e-4)
        mean = out[f"{name}_mean"]
        if rows[name].dtype.kind in "ui":
            np.testing.assert_array_equal(holes, np.round(mean))
        else:
            np.testing.assert_array_equal(holes, mean.astype(rows[name].dtype))
    assert out["photo_samples"].dtype == np.uint8


def test_holes_are_conditioned_on_what_their_row_has(tmp_path):
    rows, present = new_rows()
    _, out = filled(tmp_path, rows)
    known = present[out["blood_rows"], 0]
    assert 3 < known.sum() < len(known) - 3
    z = (rows["age"][out["blood_rows"][known]] - 40) / 10
    expected = np.array([1, 2, 3]) + np.array([1, 2, 4]) * z[:, None]
    error = (out["blood_mean"][known] - expected) / np.array([1, 2, 4])
    # Each is a mean of 50 draws of deviation 0.5, so of 0.07; the largest of some 30 stays below 4 of these.
    assert np.abs(error).max() < 4 * 0.5 / np.sqrt(S)
    np.testing.assert_allclose(out["blood_std"][known].mean(axis=0), [0.5, 1, 2], rtol=0.1)
    assert out["blood_std"][~known].min() > out["blood_std"][known].max(axis=0).min()


def test_a_category_is_filled_with_the_most_frequent_class(tmp_path):
    rows, present = new_rows()
    _, out = filled(tmp_path, rows)
    assert out["town_classes"].tolist() == ["Bonn", "Oslo", "Trondheim"]
    np.testing.assert_allclose(out["town_probabilities"].sum(axis=1), 1, rtol=1e-6)
    share = (out["town_samples"] == "Trondheim").mean(axis=1)
    np.testing.assert_allclose(out["town_probabilities"][:, 2], share, rtol=1e-6)
    assert set(out["town"][~present[:, 4]]) == {
        "Trondheim"
    }  # a word longer than any that was given
    assert "town_mean" not in out


def test_all_patterns_are_one_call_and_depend_on_the_seed_alone(tmp_path):
    rows, _ = new_rows()
    shapes.clear()
    _, one = filled(tmp_path, rows, batch_size=77)
    assert shapes == {(77, 5)}  # of the last batch, too
    (tmp_path / "out.npz").unlink()
    _, again = filled(tmp_path, rows, batch_size=77)
    _, other = filled(tmp_path, rows, batch_size=77, seed=1)
    for name, array in one.items():
        np.testing.assert_array_equal(array, again[name])
    assert (one["age_samples"] != other["age_samples"]).any()


def test_no_sample_is_used_twice(tmp_path):
    rows, _ = new_rows()
    _, out = filled(tmp_path, rows, batch_size=77)
    unknown = ~np.isin(out["blood_rows"], np.setdiff1d(np.arange(N), out["age_rows"]))
    samples = out["blood_samples"][unknown].ravel()
    assert len(np.unique(samples)) > 0.999 * len(samples)


def test_modalities_that_the_file_does_not_have_are_filled_in_all_rows(tmp_path):
    done, out = filled(tmp_path, {"town": np.array(["Oslo"] * 6), "label": np.arange(6)})
    assert done.num_filled == {"age": 6, "blood": 6, "count": 6, "photo": 6, "town": 0}
    assert out["blood"].shape == (6, 3)
    assert out["blood"].dtype == np.float32
    assert out["count"].dtype == np.int64
    assert out["photo"].dtype == np.uint8
    assert out["town"].tolist() == ["Oslo"] * 6
    assert "town_rows" not in out
    _, out = filled(tmp_path, {"age": np.full(6, 30.0)})
    assert out["town"].tolist() == ["Trondheim"] * 6


def test_the_measured_part_of_a_row_is_kept_where_it_may_be_missing_in_part(tmp_path):
    blood = RNG.normal(size=(5, 3)).astype(np.float32)
    blood[2, 1] = np.nan
    blood[4] = [np.nan, 7, 8]
    rows = {"blood": blood, "blood_present": np.arange(5) != 4}
    with pytest.raises(ValueError, match="blood: NaN in part of 1 of 5 rows, the first in row 2"):
        filled(tmp_path, rows)
    _, out = filled(tmp_path, rows, partial_rows="missing")
    assert out["blood_rows"].tolist() == [2, 4]
    np.testing.assert_array_equal(out["blood"][2, [0, 2]], blood[2, [0, 2]])
    np.testing.assert_array_equal(out["blood"][2, 1], out["blood_mean"][0, 1])
    np.testing.assert_array_equal(out["blood"][4], out["blood_mean"][1])


WHOLE = {name: np.ones((3, *SCALINGS[name].raw_shape), np.uint8) for name in NAMES[:4]}
WHOLE["photo"] = 7 * WHOLE["photo"]
WHOLE["town"] = np.array(["Oslo"] * 3)


def bad(name, value):
    rows, _ = new_rows()
    rows[name] = value(rows[name].copy())
    return rows


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (bad("age", lambda a: a) | {"height": np.zeros(N)}, "height in .* is not a modality of this run"),
        (bad("age", lambda a: a[:-1]), "must have the same rows"),
        (bad("blood", lambda a: a[:, :2]), r"blood: examples must have shape \(3,\), got \(2,\)"),
        (bad("blood", put((1, 0), np.inf)), "blood: infinite values in 1 of 40 rows, the first in row 1"),
        (bad("town", put(1, "Rome")), "town: unknown class 'Rome' in row 1: choose from Bonn, Oslo"),
        (bad("photo", lambda a: a.astype(int) + 200), r"photo: its values are int64 .* uint8 in 0..255"),
        (WHOLE, "new.npz has nothing to fill in: put NaN where a modality was not measured"),
    ],
)  # fmt: skip
def test_what_cannot_be_filled_is_named_and_nothing_is_written(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        filled(tmp_path, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["new.npz"]


def test_the_input_is_not_overwritten(tmp_path):
    rows, _ = new_rows()
    np.savez(tmp_path / "new.npz", **rows)
    before = (tmp_path / "new.npz").read_bytes()
    with pytest.raises(ValueError, match="is the input: choose another file"):
        impute_file(draw, DATA, tmp_path / "new.npz", tmp_path / "x" / ".." / "new.npz")
    assert (tmp_path / "new.npz").read_bytes() == before


def test_large_integers_that_were_measured_stay_as_they_are(tmp_path):
    scalings = {"n": Scaling("vector", (), "int64", np.array([1e18]), np.array([1e3]))}
    data = DATA._replace(scalings=scalings)
    n = np.full(4, 10**18 + 1, np.uint64)
    np.savez(tmp_path / "new.npz", n=n, n_present=np.arange(4) > 0)
    impute_file(
        lambda key, batch, observed: {"n": np.zeros((len(observed), 1))}, data,
        tmp_path / "new.npz", tmp_path / "out.npz", num_samples=np.int64(2),
    )  # fmt: skip
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(out["n"][1:], n[1:])
        assert out["n"].dtype == np.int64  # that of training, which holds them


def test_arguments_that_cannot_be_are_named(tmp_path):
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        impute_file(draw, DATA, tmp_path, tmp_path / "out.npz", num_samples=1)
    with pytest.raises(ValueError, match="only a run that was trained on files of your own"):
        impute_file(draw, DATA._replace(scalings={}), tmp_path, tmp_path / "out.npz")
    with pytest.raises(ValueError, match=r"none.npz does not exist"):
        impute_file(draw, DATA, tmp_path / "none.npz", tmp_path / "out.npz")
    names = {"age": SCALINGS["age"], "age_mean": SCALINGS["age"]}
    np.savez(tmp_path / "new.npz", age_mean=np.zeros(3))

    def both(key, batch, observed):
        return {name: np.zeros((len(observed), 1)) for name in names}

    with pytest.raises(ValueError, match="age_mean is a modality and also the name of an output"):
        impute_file(never, DATA._replace(scalings=names), tmp_path / "new.npz", tmp_path / "o.npz")


def test_a_run_that_is_interrupted_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def cut(file, arrays):
        file.write(b"PK")
        raise KeyboardInterrupt

    rows, _ = new_rows()
    np.savez(tmp_path / "new.npz", **rows)
    monkeypatch.setattr("sbmae_jax.app.impute.write_npz", cut)
    with pytest.raises(KeyboardInterrupt):
        impute_file(draw, DATA, tmp_path / "new.npz", tmp_path / "out.npz", num_samples=S)
    assert [path.name for path in tmp_path.iterdir()] == ["new.npz"]


def never(key, batch, observed):
    raise AssertionError("samples were drawn before the output was checked")


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_drawn(tmp_path):
    rows, _ = new_rows()
    np.savez(tmp_path / "new.npz", **rows)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    for output, message in [
        ("folder.npz", "folder.npz is a folder: choose the name of a file"),
        ("file/out.npz", r"file is no folder that can be written \("),
        ("out", r"out must end in \.npz, for rows"),
        ("out.txt", r"out.txt must end in \.npz, for rows of a table also in \.csv"),
    ]:
        with pytest.raises(ValueError, match=message):
            impute_file(never, DATA, tmp_path / "new.npz", tmp_path / output)
    assert sorted(tmp_path.iterdir()) == before


def test_the_folder_of_the_output_is_made_and_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rows, _ = new_rows()
    np.savez(tmp_path / "new.npz", **rows)
    done = impute_file(draw, DATA, tmp_path / "new.npz", "~/results/out.npz", num_samples=2)
    assert done.path == tmp_path / "home" / "results" / "out.npz"
    assert done.path.exists()


def test_what_was_drawn_is_kept_where_the_folder_vanishes_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows, _ = new_rows()
    np.savez(tmp_path / "new.npz", **rows)
    gone = tmp_path / "gone"

    def vanishing(key, batch, observed):
        if gone.exists():
            gone.rmdir()
        return draw(key, batch, observed)

    with pytest.raises(
        OSError, match=r"cannot write out.npz in .*gone .*: kept in .*sbmae-"
    ) as raised:
        impute_file(vanishing, DATA, tmp_path / "new.npz", gone / "out.npz", num_samples=3)
    kept = Path(re.search(r"kept in (\S+),", str(raised.value))[1])
    assert [path.name for path in kept.iterdir()] == ["out.npz"]
    with np.load(kept / "out.npz") as arrays:
        assert np.isfinite(arrays["blood"]).all()


@pytest.mark.parametrize(
    "name", ["file", "allow_pickle", "args", "kwds", "self", "x", "key", "output"]
)
def test_modalities_may_have_the_names_of_arguments(tmp_path, name):
    scalings = {name: SCALINGS["age"], "town": SCALINGS["town"]}
    rows = {name: np.array([40.0, np.nan, 50.0]), "town": np.array(["Bonn", "Oslo", "Bonn"])}
    (tmp_path / "new").mkdir()
    for key, array in rows.items():
        np.save(tmp_path / "new" / f"{key}.npy", array)

    def both(key, batch, observed):
        return {name: np.zeros((len(observed), 1)), "town": batch["town"]}

    data = DATA._replace(scalings=scalings)
    impute_file(both, data, tmp_path / "new", tmp_path / "out.npz", num_samples=2)
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays[name].tolist() == [40.0, 40.0, 50.0]
