"""Raw values become what the networks see, and come back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbmae_jax.data.description import Description, load, save
from sbmae_jax.data.scaling import Scaling, from_json, to_json
from sbmae_jax.data.user.fit import fit_scalings
from sbmae_jax.data.user.kind_rules import Kind
from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.raw import RawArrays
from sbmae_jax.data.user.tables import assemble

RNG = np.random.default_rng(0)
MEAN, STD = np.array([1e9, -2.0, 0.5]), np.array([3.0, 0.1, 1.0])
VECTOR = Scaling("vector", (3,), "float64", MEAN, STD)
WORDS = Scaling("category", (), "str", classes=("blue", "green", "red"))
NUMBERS = Scaling("category", (), "int64", classes=(-1, 3, 7))
PHOTO = Scaling("image", (4, 5, 3), "uint8", scale=np.array(255.0))
GREY = Scaling("image", (4, 5), "float32", np.array(-1.0), np.array(2.0))
EVERY = {
    "vector": (VECTOR, MEAN + STD * RNG.normal(size=(6, 3)), (3,)),
    "one number": (Scaling("vector", (), "float32"), RNG.normal(size=6).astype(np.float32), (1,)),
    "long vector": (Scaling("vector", (2, 3), "int32"), RNG.integers(-9, 9, (6, 2, 3)), (6,)),
    "signal": (
        Scaling("signal", (7, 2), "float32", np.array([1.0, 2.0]), np.array([2.0, 4.0])),
        RNG.normal(size=(6, 7, 2)).astype(np.float32),
        (7, 2),
    ),
    "one channel": (Scaling("signal", (7,), "float32"), RNG.normal(size=(6, 7)), (7, 1)),
    "photo": (PHOTO, RNG.integers(0, 256, (6, 4, 5, 3), np.uint8), (4, 8, 3)),
    "grey": (GREY, RNG.uniform(-1, 1, (6, 4, 5)), (4, 8, 1)),
    "mask of bytes": (
        Scaling("mask", (4, 5), "uint8", scale=np.array(255.0)),
        255 * RNG.integers(0, 2, (6, 4, 5), np.uint8),
        (4, 8, 1),
    ),
    "mask of bool": (Scaling("mask", (4, 5), "bool"), RNG.random((6, 4, 5)) < 0.5, (4, 8, 1)),
    "binary": (Scaling("binary", (8,), "bool"), RNG.random((6, 8)) < 0.5, (8,)),
    "counts": (Scaling("counts", (2,), "int64"), RNG.integers(0, 9, (6, 2)), (2,)),
    "words": (WORDS, np.array(["red", "blue", "blue", "green", "red", "red"]), (3,)),
    "numbers": (NUMBERS, np.array([-1, 7, 7, 3, -1, 3]), (3,)),
}


@pytest.mark.parametrize("name", EVERY)
def test_what_is_prepared_is_restored(name):
    scaling, raw, shape = EVERY[name]
    x = scaling.prepare(raw)
    assert scaling.shape == shape
    assert x.shape == (6, *shape)
    assert x.dtype == scaling.prepared_dtype
    restored = scaling.restore(x)
    assert restored.shape == raw.shape
    assert restored.dtype == (raw.dtype if scaling.dtype == "str" else scaling.dtype)
    if restored.dtype.kind != "f":
        np.testing.assert_array_equal(restored, raw)
    else:
        # Floats of 32 bits have 24 bits of mantissa, relative to the value, or to the spread around it.
        tolerance = 2.0**-23 * (np.abs(raw).max() + np.max(scaling.scale))
        np.testing.assert_allclose(restored, raw, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", EVERY)
def test_leading_axes_are_kept(name):
    scaling, raw, _ = EVERY[name]
    x = scaling.prepare(raw)
    pairs = scaling.restore(np.stack([x, x], axis=1))
    np.testing.assert_array_equal(pairs[:, 0], scaling.restore(x))
    np.testing.assert_array_equal(pairs[:, 1], scaling.restore(x))
    assert scaling.restore(x[0]).shape == raw.shape[1:]


def test_vectors_are_standardised_in_their_own_precision():
    raw = MEAN + STD * np.array([[1.0, -2.0, 0.25]])
    np.testing.assert_allclose(VECTOR.prepare(raw), [[1, -2, 0.25]], rtol=1e-6)


def test_pictures_are_seen_in_0_to_1_and_masks_as_bytes():
    np.testing.assert_allclose(GREY.prepare(np.full((1, 4, 5), 0.5))[0, 0, 0], [0.75])
    assert GREY.prepare(np.full((1, 4, 5), 3.0)).max() == 1  # beyond the training rows
    mask = Scaling("mask", (2, 2), "float32").prepare(np.array([[[0.0, 1.0], [1.0, 0.0]]]))
    np.testing.assert_array_equal(mask.ravel(), [0, 255, 255, 0])


def test_what_comes_back_are_values_that_the_array_could_hold():
    counts, mask = EVERY["counts"][0], EVERY["mask of bool"][0]
    np.testing.assert_array_equal(counts.restore(np.array([[1.6, -2.25]])), [[2, 0]])
    assert not mask.restore(np.full((1, 4, 5, 1), 0.25)).any()
    assert mask.restore(np.full((1, 4, 5, 1), 0.75)).all()
    np.testing.assert_array_equal(PHOTO.restore(np.full((1, 4, 5, 3), 0.5)), 128)
    grey_mask = EVERY["mask of bytes"][0].restore(np.full((1, 4, 5, 1), 0.6))
    np.testing.assert_array_equal(grey_mask, 255)


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int64", "uint64", "float16", "float32", "bool"]
)
def test_what_a_dtype_cannot_hold_becomes_the_nearest_value_that_it_can(dtype):
    scaling = Scaling("vector", (2,), dtype, np.zeros(2), np.array([1e300, 1e300]))
    restored = scaling.restore(np.array([-1.0, 1.0]))
    assert restored.dtype == dtype
    if dtype == "bool":
        assert restored.tolist() == [False, True]
        return
    limits = np.finfo(dtype) if restored.dtype.kind == "f" else np.iinfo(dtype)
    np.testing.assert_allclose(
        restored.astype(float), [float(limits.min), float(limits.max)], rtol=1e-15
    )


def test_large_offsets_come_back_in_their_own_precision():
    times = Scaling("vector", (1,), "float64", np.array([1.7e9]), np.array([20.0]))
    x = np.linspace(-2, 2, 5)[:, None]
    np.testing.assert_array_equal(times.restore(x)[:, 0], 1.7e9 + 20 * x[:, 0])
    ids = Scaling("vector", (), "int64", np.array([1e12]), np.array([1e3]))
    np.testing.assert_array_equal(ids.restore(x), 10**12 + np.array([-2000, -1000, 0, 1000, 2000]))


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_images_with_an_odd_side_are_padded_and_come_back_as_they_were(kind):
    scaling = Scaling(kind, (27, 5), "uint8", scale=np.array(255.0))
    raw = 255 * RNG.integers(0, 2, (3, 27, 5), np.uint8)
    x = scaling.prepare(raw)
    assert x.shape == (3, 28, 8, 1) == (3, *scaling.shape)
    np.testing.assert_array_equal(x[:, 27, :5], x[:, 26, :5])
    np.testing.assert_array_equal(scaling.restore(x), raw)
    np.testing.assert_array_equal(scaling.restore(x[0]), raw[0])


def test_classes_are_known_by_their_values_whatever_their_dtype():
    digits = Scaling("category", (), "str", classes=("1", "2", "high"))
    np.testing.assert_array_equal(digits.prepare(np.array([2.0, 1.0])), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(digits.prepare(np.array([2], np.uint8)), [[0, 1, 0]])
    np.testing.assert_array_equal(digits.prepare(np.array(["2.0", "high"])), [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(digits.prepare(np.array([b"2"])), [[0, 1, 0]])
    np.testing.assert_array_equal(NUMBERS.prepare(np.array(["7", "-1.0"])), [[0, 0, 1], [1, 0, 0]])


FLOATS = st.floats(-1e12, 1e12, width=64)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["vector", "signal", "counts", "large_counts"]),
    dtype=st.sampled_from(["float32", "float64", "int32", "int64", "uint16", "uint64"]),
    size=st.integers(1, 3), values=st.lists(FLOATS, min_size=4, max_size=12),
)  # fmt: skip
def test_numbers_of_any_kind_and_dtype_come_back_as_precisely_as_the_dtype_holds_them(
    kind, dtype, size, values
):
    raw = np.resize(np.array(values), (len(values), size))
    if kind.endswith("counts") or np.dtype(dtype).kind == "u":
        raw = np.abs(raw)
    high = {"counts": 1e6, "large_counts": 1e12}.get(kind, 1e12)
    if np.dtype(dtype).kind != "f":
        high = min(high, float(np.iinfo(dtype).max) / 2)
    raw = np.clip(raw, -high, high)
    raw = (np.round(raw) if kind.endswith("counts") else raw).astype(dtype)
    table = assemble("d.npz", RawArrays({"x": raw[:, :, None] if kind == "signal" else raw}))
    profiles = profile(table)
    kinds = {"x": Kind(kind, "")}
    scaling = fit_scalings(table, kinds, profiles, np.arange(len(raw)))[0]["x"]
    restored = scaling.restore(scaling.prepare(table.read(np.arange(len(raw)), ["x"])["x"]))
    assert restored.dtype == dtype
    assert restored.shape[1:] == scaling.raw_shape
    # The networks see floats of 32 bits around the mean, of logarithms for large counts.
    spread = np.ptp(raw.astype(float), axis=0).max()
    tolerance = 2.0**-22 * spread + float(np.dtype(dtype).kind != "f")
    if kind == "large_counts":
        tolerance = 1e-5 * np.abs(raw.astype(float)).max() + 1
    if np.dtype(dtype).kind == "f":
        tolerance += 2 * np.finfo(dtype).eps * np.abs(raw).max()
    error = np.abs(restored.reshape(raw.shape).astype(float) - raw.astype(float))
    assert error.max() <= tolerance


def test_constant_features_come_back_as_they_are():
    raw = np.stack([RNG.normal(size=50), np.full(50, 3e-7), np.full(50, 1e9)], axis=1)
    table = assemble("d.npz", RawArrays({"x": raw}))
    scaling = fit_scalings(table, {"x": Kind("vector", "")}, profile(table), np.arange(50))[0]["x"]
    restored = from_json(json.loads(json.dumps(to_json(scaling)))).restore(RNG.normal(size=(9, 3)))
    np.testing.assert_array_equal(restored[:, 1:], raw[:9, 1:])
    assert len(np.unique(restored[:, 0])) == 9


@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e160, 1e300])
def test_values_whose_squares_are_no_floats_keep_their_spread(unit):
    raw = unit * RNG.normal(3, 2, (50, 2))
    table = assemble("d.npz", RawArrays({"x": raw}))
    scaling = fit_scalings(table, {"x": Kind("vector", "")}, profile(table), np.arange(50))[0]["x"]
    x = scaling.prepare(raw)
    assert x.std(axis=0).min() > 0.1
    np.testing.assert_allclose(scaling.restore(x), raw, rtol=1e-5, atol=1e-6 * unit)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["image", "mask"]),
    dtype=st.sampled_from(["uint8", "float32", "float64", "bool", "uint16", "int32"]),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)), channels=st.sampled_from([(), (1,), (3,)]),
    high=st.sampled_from([1, 255]), seed=st.integers(0, 9),
)  # fmt: skip
def test_images_of_any_size_and_dtype_come_back(kind, dtype, sides, channels, high, seed):
    rng = np.random.default_rng(seed)
    shape = (6, *sides, *channels)
    raw = rng.random(shape) if kind == "image" else rng.integers(0, 2, shape)
    raw[0, 0, 0], raw[1, 0, 0] = 0, 1
    raw = (raw * (1 if dtype == "bool" else high)).astype(dtype)
    table = assemble("d.npz", RawArrays({"x": raw}))
    scaling = fit_scalings(table, {"x": Kind(kind, "")}, profile(table), np.arange(6))[0]["x"]
    x = scaling.prepare(raw)
    assert x.shape[1:] == scaling.shape
    assert not any(side % 2 for side in x.shape[1:3])
    restored = scaling.restore(x)
    assert restored.dtype == dtype
    np.testing.assert_allclose(
        restored.astype(float), raw.astype(float), rtol=1e-6, atol=1e-6 * high
    )


def test_a_category_is_one_hot_and_restores_the_most_probable_class():
    np.testing.assert_array_equal(WORDS.prepare(np.array(["green"])), [[0, 1, 0]])
    assert WORDS.restore(np.array([[0.2, 0.3, 0.5]])).tolist() == ["red"]
    assert NUMBERS.restore(np.array([0.2, 0.5, 0.3])) == 3


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("vector", np.zeros((2, 4)), r"examples must have shape \(3,\), got \(4,\)"),
        ("vector", np.full((2, 3), np.nan), "NaN or infinite values in 2 of 2 rows, the first in row 0"),
        ("vector", np.array([["a", "b", "c"]]), "values must be numbers, got <U1"),
        ("photo", np.full((1, 4, 5, 3), 256), r"values must be in 0..255, got 256 to 256"),
        ("mask of bytes", np.full((1, 4, 5), 1), "values of kind 'mask' must be 0 or 255"),
        ("binary", np.full((1, 8), 2), "values of kind 'binary' must be 0 or 1"),
        ("counts", np.array([[1.5, 2]]), "a count must be an integer from 0, got 1.5 in row 0: correct"),
        ("counts", np.array([[3, 2], [2, -1]]), "a count must be an integer from 0, got -1 in row 1"),
        ("words", np.array(["red", "pink"]), "unknown class 'pink' in row 1: choose from blue, green, red"),
        ("words", np.array([1]), "unknown class 1 in row 0: choose from blue, green, red"),
        ("words", np.array([1j]), "classes must be numbers or strings, got complex128"),
        ("numbers", np.array(["7", "x"]), "unknown class 'x' in row 1: choose from -1, 3, 7"),
        ("numbers", np.array(["0_3"]), "unknown class '0_3' in row 0"),
        ("numbers", np.array([8]), "unknown class 8 in row 0: choose from -1, 3, 7"),
    ],
)  # fmt: skip
def test_values_that_the_kind_does_not_have_are_named(name, raw, message):
    with pytest.raises(ValueError, match=message):
        EVERY[name][0].prepare(raw)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown kind 'sound': choose one of vector"):
        Scaling("sound", (), "float32")


@pytest.mark.parametrize("name", EVERY)
def test_scalings_survive_json(name):
    scaling, raw, _ = EVERY[name]
    again = from_json(json.loads(json.dumps(to_json(scaling))))
    x = scaling.prepare(raw)
    np.testing.assert_array_equal(again.prepare(raw), x)
    np.testing.assert_array_equal(again.restore(x), scaling.restore(x))
    assert again.restore(x).dtype == scaling.restore(x).dtype
    assert again != scaling  # by identity
    assert hash(scaling) == hash(scaling)


def test_descriptions_keep_scalings(tmp_path):
    path = tmp_path / "data.json"
    data = Description({"v": (3,)}, {"v": np.dtype(np.float32)}, {}, {"v": VECTOR})
    save(path, data)
    again = load(path).scalings["v"]
    assert to_json(again) == to_json(VECTOR)
    path.write_text(
        '{"shapes": {}, "dtypes": {}, "entries": {}, "scalings": {"v": {"kind": "vector"}}}'
    )
    with pytest.raises(ValueError, match=r"data.json is damaged"):
        load(path)


def test_no_rows_are_prepared_to_no_rows():
    scaling = Scaling("vector", (4,), "float64")
    assert scaling.prepare(np.zeros((0, 4))).shape == (0, 4)
