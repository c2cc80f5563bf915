"""Raw values become what the networks see, and come back."""

import json

import numpy as np
import pytest

from sbmae_jax.data.description import Description, load, save
from sbmae_jax.data.scaling import Scaling, from_json, to_json

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
    "photo": (PHOTO, RNG.integers(0, 256, (6, 4, 5, 3), np.uint8), (4, 5, 3)),
    "grey": (GREY, RNG.uniform(-1, 1, (6, 4, 5)), (4, 5, 1)),
    "mask of bytes": (
        Scaling("mask", (4, 5), "uint8", scale=np.array(255.0)),
        255 * RNG.integers(0, 2, (6, 4, 5), np.uint8),
        (4, 5, 1),
    ),
    "mask of bool": (Scaling("mask", (4, 5), "bool"), RNG.random((6, 4, 5)) < 0.5, (4, 5, 1)),
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
    if scaling.kind == "category" or scaling.restores_bytes:
        assert restored.dtype.kind == raw.dtype.kind
        np.testing.assert_array_equal(restored, raw)
    else:
        assert restored.dtype == np.float32
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
    mask = Scaling("mask", (1, 2), "float32").prepare(np.array([[[0.0, 1.0]]]))
    np.testing.assert_array_equal(mask.ravel(), [0, 255])


def test_means_are_not_rounded_but_bytes_are():
    counts, mask = EVERY["counts"][0], EVERY["mask of bool"][0]
    np.testing.assert_allclose(counts.restore(np.array([[1.5, 2.25]])), [[1.5, 2.25]])
    np.testing.assert_allclose(mask.restore(np.full((1, 4, 5, 1), 0.25)), 0.25)
    np.testing.assert_array_equal(PHOTO.restore(np.full((1, 4, 5, 3), 0.5)), 128)


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
        ("counts", np.array([[1.5, 2]]), "counts must be non-negative integers"),
        ("counts", np.array([[-1, 2]]), "counts must be non-negative integers"),
        ("words", np.array(["red", "pink"]), "unknown class 'pink' in row 1: choose from blue, green, red"),
        ("words", np.array([1]), "classes must be strings, got int64"),
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
