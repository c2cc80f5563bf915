"""What a user gives comes back with its values, in the units, the classes and the dtype of training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from test_model import model

from sbmae_jax.app.impute import impute_file
from sbmae_jax.app.request import read_given
from sbmae_jax.data.description import Description, describe
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import as_training_units, in_training_dtype
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.rows import read_rows

N = 40
RNG = np.random.default_rng(0)
PHOTOS = RNG.integers(0, 256, (N, 8, 24), np.uint8)
FLAGS = np.arange(N) % 2 == 0
PAIRS = np.stack([FLAGS, ~FLAGS], axis=1)


def data_of(path, rows):
    np.savez(path, **rows)
    return describe(files("train", path=path))


def imputed(tmp_path, data, rows):
    """Return rows whose holes are filled with zeros of the networks."""

    def draw(key, batch, observed):
        return {
            n: np.full((len(observed), *s.shape), 0.3, np.float32) for n, s in data.scalings.items()
        }

    path = rows
    if isinstance(rows, dict):
        path = tmp_path / "new.npz"
        np.savez(path, **rows)
    impute_file(draw, data, path, tmp_path / "out.npz", num_samples=2)
    with np.load(tmp_path / "out.npz") as found:
        return dict(found)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    ("trained", "new", "back"),
    [
        (PHOTOS, PHOTOS.astype(np.float64), PHOTOS),
        (PHOTOS, PHOTOS.astype(np.int64), PHOTOS),
        (PHOTOS, PHOTOS / 255, PHOTOS),
        (PHOTOS, (PHOTOS / np.float32(255)).astype(np.float32), PHOTOS),
        (PHOTOS, PHOTOS[..., None], PHOTOS),
        (PHOTOS, 200 * RNG.random(PHOTOS.shape), None),  # which bytes do not hold
        (PHOTOS / np.float32(255), PHOTOS, (PHOTOS / 255).astype(np.float32)),
        (np.arange(N) % 3, (np.arange(N) % 3).astype(str), np.arange(N) % 3),
        ((np.arange(N) % 3).astype(np.int16), np.arange(N) % 3.0, (np.arange(N) % 3).astype(np.int16)),
        (np.array(["1", "2", "high"])[np.arange(N) % 3], np.array(["1.0", "2", "high"])[np.arange(N) % 3],
         np.array(["1", "2", "high"])[np.arange(N) % 3]),
        (FLAGS, FLAGS.astype(str), FLAGS), (FLAGS, np.char.upper(FLAGS.astype(str)), FLAGS),
        (FLAGS, FLAGS.astype(float), FLAGS), (FLAGS, FLAGS.astype(int).astype(str), FLAGS),
        (FLAGS.astype(int), FLAGS.astype(str), FLAGS.astype(int)),
        (FLAGS.astype(str), FLAGS, FLAGS.astype(str)),
        (np.char.upper(FLAGS.astype(str)), FLAGS, np.char.upper(FLAGS.astype(str))),
        (PAIRS, PAIRS.astype(str), PAIRS),
        (RNG.poisson(50, (N, 2)), RNG.poisson(50, (N, 2)) * 1.0, None),
        (RNG.normal(size=N).astype(np.float32), np.arange(N), np.arange(N, dtype=np.float32)),
        (RNG.normal(size=N).astype(np.float32), np.full(N, 0.1), np.full(N, 0.1)),
    ],
)  # fmt: skip
def test_imputed_rows_are_in_the_dtype_of_training(tmp_path, trained, new, back, holes):
    data = data_of(tmp_path / "train.npz", {"x": trained, "other": RNG.normal(size=N)})
    back = new if back is None else back
    if trained.dtype.kind == "i" and new.dtype.kind == "f" and new.ndim == 2:
        back = new.astype(np.int64)
    present = np.arange(N) % 5 > 0 if holes else np.ones(N, bool)
    out = imputed(tmp_path, data, {"x": new, "x_present": present})
    assert out["x"].dtype.kind == back.dtype.kind
    assert back.dtype.kind == "U" or out["x"].dtype == back.dtype
    np.testing.assert_array_equal(out["x"][present], back[present])
    assert ("x_rows" in out) == holes


def test_floats_with_nan_come_back_as_the_integers_of_training(tmp_path):
    counts = RNG.poisson(50, (N, 2))
    data = data_of(tmp_path / "train.npz", {"x": counts, "other": RNG.normal(size=N)})
    new = counts.astype(float)
    new[:5] = np.nan
    out = imputed(tmp_path, data, {"x": new})
    assert out["x"].dtype == counts.dtype
    np.testing.assert_array_equal(out["x"][5:], counts[5:])
    np.testing.assert_array_equal(out["x"][:5], out["x_samples"][:, 0])


def test_classes_and_flags_of_a_table_come_back_as_in_training(tmp_path):
    data = data_of(tmp_path / "train.npz", {"grade": np.arange(N) % 3, "flag": FLAGS})
    lines = [f"{i % 3},{bool(FLAGS[i])}" if i % 4 else "," for i in range(N)]
    (tmp_path / "new.csv").write_text("grade,flag\n" + "\n".join(lines) + "\n")
    out = imputed(tmp_path, data, tmp_path / "new.csv")
    known = np.arange(N) % 4 > 0
    assert (out["grade"].dtype, out["flag"].dtype) == (np.int64, bool)
    np.testing.assert_array_equal(out["grade"][known], (np.arange(N) % 3)[known])
    np.testing.assert_array_equal(out["flag"][known], FLAGS[known])


def test_words_that_are_no_flags_are_refused(tmp_path):
    data = data_of(tmp_path / "train.npz", {"flag": FLAGS, "x": RNG.normal(size=N)})
    np.savez(tmp_path / "new.npz", flag=["True"] * 9 + ["maybe"])
    with pytest.raises(ValueError, match="flag: 'maybe' is neither True nor False"):
        read_rows(open_table(tmp_path / "new.npz", like=data), data, "refuse")


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ("True", 1),
        ("true", 1),
        ("FALSE", 0),
        ("0", 0),
        ("1", 1),
        ("yes", None),
        ("2", None),
        ("", None),
    ],
)
@pytest.mark.parametrize(
    "scaling",
    [
        Scaling("binary", (), "bool"), Scaling("binary", (), "int64"),
        Scaling("category", (), "int64", classes=(0, 1)),
        Scaling("category", (), "str", classes=("FALSE", "TRUE")),
        Scaling("category", (), "str", classes=("False", "True")),
    ],
)  # fmt: skip
def test_flags_are_given_as_words(scaling, values, wanted):
    data = describe_one(scaling)
    modality = Modality("flag", scaling.shape, "bernoulli", "", 2, 1.0)
    if wanted is None:
        with pytest.raises(ValueError, match=r"--given flag: (cannot read|unknown class)"):
            read_given([f"flag={values}"], [modality], data)
        return
    value = read_given([f"flag={values}"], [modality], data)["flag"]
    prepared = scaling.prepare(value[None])[0]
    assert prepared.tolist() == (
        [wanted] if scaling.kind == "binary" else np.eye(2)[wanted].tolist()
    )


def describe_one(scaling):
    return Description({}, {}, {}, {"flag": scaling})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_from_arrays_keep_their_units(tmp_path, dtype):
    np.save(tmp_path / "x.npy", (PHOTOS[0] / 255).astype(dtype))
    scaling = Scaling("image", (8, 24), "uint8", scale=np.array(255.0))
    modality = Modality("flag", scaling.shape, "gaussian", "", 2, 1.0)
    value = read_given([f"flag={tmp_path / 'x.npy'}"], [modality], describe_one(scaling))["flag"]
    np.testing.assert_array_equal(as_training_units(scaling, value[None])[0][0], PHOTOS[0])


def test_what_is_given_from_python_comes_back_in_the_dtype_of_training():
    rows = {
        "age": np.array([31, 47]), "count": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "photo": np.array([[[3.0, 200.0], [7.0, 9.0]]] * 2), "town": np.array([b"Oslo", b"Rome"]),
    }  # fmt: skip
    back = model().generate(rows)
    assert {n: back[n].dtype.name for n in ("age", "count", "photo")} == {
        "age": "float64", "count": "int64", "photo": "uint8",
    }  # fmt: skip
    for name in ("age", "count", "photo"):
        np.testing.assert_array_equal(back[name], rows[name])
    assert back["town"].tolist() == ["Oslo", "Rome"]
    twice = model().generate({"photo": rows["photo"]}, num_samples=3)["photo"]
    assert (twice.shape, twice.dtype) == ((2, 3, 2, 2), np.uint8)
    half = rows["photo"] + 0.5
    assert model().generate(rows | {"photo": half})["photo"].tobytes() == half.tobytes()
    with pytest.warns(UserWarning, match=r"photo: floats in 0..1 were multiplied by 255") as found:
        back = model().generate({"photo": rows["photo"] / 255})
    assert found[0].filename == __file__
    assert back["photo"].dtype == np.uint8
    np.testing.assert_array_equal(back["photo"], rows["photo"])


DTYPES = ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64"]


@given(
    raw=st.sampled_from(DTYPES).flatmap(lambda d: arrays(d, array_shapes(max_dims=1, max_side=9))),
    dtype=st.sampled_from(DTYPES),
)
@settings(max_examples=300, deadline=None)
def test_no_value_changes_with_its_dtype(raw, dtype):
    back = in_training_dtype(Scaling("vector", (), dtype), raw)
    assert back.dtype in (np.dtype(dtype), raw.dtype)
    for old, new in zip(raw.tolist(), back.tolist(), strict=True):
        assert old == new or (old != old and new != new)


def test_holes_of_single_values_are_advised_on_as_can_be_done(tmp_path):
    data = data_of(tmp_path / "train.npz", {"x": RNG.normal(size=(N, 3)), "y": RNG.normal(size=N)})
    new = RNG.normal(size=(N, 3))
    new[3, 1] = np.nan
    np.savez(tmp_path / "new.npz", x=new)
    with pytest.raises(ValueError, match="x: NaN in part of 1 of 40 rows") as error:
        imputed(tmp_path, data, {"x": new})
    text = str(error.value)
    assert "fill them in, or set the whole row to NaN" in text
    assert "set config" not in text
    new[3] = np.nan  # as it says
    assert imputed(tmp_path, data, {"x": new})["x_rows"].tolist() == [3]
