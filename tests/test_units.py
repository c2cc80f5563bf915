"""New values are in the units of the training data, or are converted where that is certain, or refused."""

import json

import numpy as np
import pytest

from sbmae_jax.data.scaling import Scaling, from_json, to_json
from sbmae_jax.data.units import as_training_units
from sbmae_jax.data.user.files import files

RNG = np.random.default_rng(0)
BYTES = Scaling("image", (4, 6), "uint8", scale=np.array(255.0))
FLOAT_BYTES = Scaling("image", (4, 6), "float32", scale=np.array(255.0))
UNIT = Scaling("image", (4, 6), "float32")
DEEP = Scaling("image", (4, 6), "uint16", np.array(3.0), np.array(4000.0))
MASK_255 = Scaling("mask", (4, 6), "uint8", scale=np.array(255.0))
MASK_1 = Scaling("mask", (4, 6), "bool")
PHOTOS = RNG.integers(0, 256, (5, 4, 6), np.uint8)
SHARES = PHOTOS / 255
BITS = RNG.integers(0, 2, (5, 4, 6))


@pytest.mark.parametrize(
    ("scaling", "raw", "wanted", "notice"),
    [
        (BYTES, PHOTOS, PHOTOS, ""),
        (BYTES, PHOTOS.astype(np.int64), PHOTOS, ""),
        (BYTES, PHOTOS.astype(np.float32), PHOTOS, ""),
        (BYTES, SHARES, PHOTOS, "floats in 0..1 were multiplied by 255"),
        (BYTES, SHARES.astype(np.float16), PHOTOS, "floats in 0..1 were multiplied by 255"),
        (BYTES, BITS.astype(bool), 255 * BITS, "True and False were multiplied by 255"),
        (BYTES, 0 * SHARES, 0 * PHOTOS, ""),
        (FLOAT_BYTES, SHARES, PHOTOS, "floats in 0..1 were multiplied by 255"),
        (UNIT, SHARES, SHARES, ""),
        (UNIT, PHOTOS, SHARES, "values in 0..255 were divided by 255"),
        (UNIT, PHOTOS.astype(int), SHARES, "values in 0..255 were divided by 255"),
        (UNIT, PHOTOS.astype(np.float64), SHARES, "values in 0..255 were divided by 255"),
        (UNIT, BITS.astype(bool), BITS, ""),
        (DEEP, 16 * PHOTOS.astype("uint16"), 16 * PHOTOS.astype(int), "outside of the training range 3"),
        (MASK_255, BITS.astype(bool), 255 * BITS, "values of 0 and 1 were multiplied by 255"),
        (MASK_255, BITS, 255 * BITS, "values of 0 and 1 were multiplied by 255"),
        (MASK_255, 255 * BITS, 255 * BITS, ""),
        (MASK_1, 255 * BITS, BITS, "values in 0..255 were divided by 255"),
        (MASK_1, BITS, BITS, ""),
    ],
)  # fmt: skip
def test_images_in_units_that_are_certain_are_converted(scaling, raw, wanted, notice):
    converted, found = as_training_units(scaling, raw)
    assert (notice in found) if notice else not found
    np.testing.assert_allclose(converted, wanted, rtol=2e-3)
    restored = scaling.restore(scaling.prepare(converted))
    high = scaling.shift + scaling.scale
    np.testing.assert_allclose(restored, np.clip(wanted, scaling.shift, high), rtol=2e-3, atol=1)


@pytest.mark.parametrize(
    ("scaling", "raw", "message"),
    [
        (BYTES, BITS.astype(float), r"float64 from 0 to 1, .*uint8 in 0..255: multiply them by 255 if 1 is"),
        (BYTES, BITS, r"int64 from 0 to 1, .*uint8 in 0..255: scale them"),
        (BYTES, 4 * SHARES, "scale them like the training data"),
        (FLOAT_BYTES, 300 * PHOTOS.astype(int), "scale them like the training data"),
        (BYTES, 1.2 * SHARES, "scale them like the training data"),
        (UNIT, BITS.astype(np.uint8), "pass floats, divided by 255 if 255 is the brightest"),
        (UNIT, 2 * SHARES - 1, r"float64 from -1 to .*float32 in 0..1: scale them like the training"),
        (UNIT, 1.5 * SHARES, "scale them like the training data"),
        (UNIT, 200 * PHOTOS.astype(int), "scale them like the training data"),
        (DEEP, PHOTOS, r"uint8 from 0 to .*uint16 in 3..4003: scale them like the training data"),
        (DEEP, SHARES, "scale them like the training data"),
        (DEEP, 300 * PHOTOS.astype(int), "scale them like the training data"),
    ],
)  # fmt: skip
def test_images_in_units_that_are_not_certain_are_refused(scaling, raw, message):
    with pytest.raises(ValueError, match=message):
        as_training_units(scaling, raw)


def test_rows_that_are_missing_do_not_count():
    raw = SHARES.copy()
    raw[2] = np.nan
    converted, notice = as_training_units(BYTES, raw)
    assert notice
    assert np.isnan(converted[2]).all()
    assert as_training_units(BYTES, np.full((2, 4, 6), np.nan))[1] == ""


def test_vectors_that_are_far_from_all_training_rows_are_noticed():
    metres = Scaling("vector", (2,), "float64", np.array([1.7, 0.5]), np.array([0.1, 0.2]))
    rows = RNG.normal([1.7, 0.5], [0.1, 0.2], (50, 2))
    assert as_training_units(metres, rows)[1] == ""
    converted, notice = as_training_units(metres, 100 * rows)
    assert "check that their units are those of the training data" in notice
    np.testing.assert_array_equal(converted, 100 * rows)
    assert "1 of 2 features are mostly" in as_training_units(metres, rows * [1, 1000])[1]
    large = Scaling("large_counts", (), "int64", np.array([41.0]), np.array([0.01]))
    assert as_training_units(large, np.full(9, round(np.exp(41.0))))[1] == ""
    assert "check that their units" in as_training_units(large, np.full(9, 10**12))[1]


def test_axes_of_length_one_may_come_and_go():
    column = Scaling("vector", (1,), "float64")
    assert as_training_units(column, np.zeros(7))[0].shape == (7, 1)
    assert as_training_units(BYTES, PHOTOS[..., None])[0].shape == PHOTOS.shape
    with pytest.raises(ValueError, match=r"examples must have shape \(4, 6\), got \(6, 4\)"):
        as_training_units(BYTES, PHOTOS.swapaxes(1, 2))


def fitted(tmp_path, x, kind=None):
    """Return the scaling that training rows have, as a run keeps it."""
    np.savez(tmp_path / "d.npz", x=x)
    source = files("train", path=tmp_path / "d.npz", kinds={"x": kind} if kind else None)
    return from_json(json.loads(json.dumps(to_json(source.scalings["x"]))))


def photos(low, high, dtype, num=100):
    """Return images, each of which goes from about `low` to about `high`."""
    x = low + (high - low) * RNG.random((num, 20, 24))
    return x.astype(dtype)


@pytest.mark.parametrize(
    ("trained", "new"),
    [
        (photos(-1, 1, "float32"), photos(0, 1, "float32")),
        (photos(0, 256, "uint8"), photos(0, 16, "uint8")),
        (photos(0, 256, "uint8"), photos(0, 16, "int64")),
        (photos(0, 256, "uint8"), np.round(photos(0, 16, "float64"))),
        (photos(0, 256, "uint8"), photos(0, 100, "float64")),
        (photos(0, 65536, "uint16"), photos(0, 4096, "uint16")),
        (photos(0, 65536, "uint16"), photos(0, 256, "int64")),
        (photos(0, 100, "float64"), photos(0, 1, "float64")),
        (photos(0, 16, "float64"), photos(0, 1, "float64")),
        (photos(0, 1, "float64"), photos(0, 101, "int64")),
        (photos(0, 1, "float64"), photos(0, 0.06, "float64")),
    ],
)
def test_images_whose_range_fits_by_chance_are_reported(tmp_path, trained, new):
    scaling = fitted(tmp_path, trained)
    for some in (new, new[:1]):
        _, notice = as_training_units(scaling, some)
        assert "the values of most images lie in" in notice
        assert notice.endswith("in training: if their units are others, convert them")
    for some in (trained, trained[:1]):
        assert "images lie in" not in as_training_units(scaling, some)[1]
    if new.dtype.kind == "f" and not (new == np.floor(new)).all():
        new[2] = np.nan
        assert "images lie in" in as_training_units(scaling, new)[1]


def test_images_with_few_bits_are_not_divided_as_if_they_were_bytes(tmp_path):
    scaling = fitted(tmp_path, photos(0, 1, "float32"))
    for dtype in ("uint8", "int64", "float64"):
        with pytest.raises(ValueError, match=r"from 0 to 16, .* scale them like the training data"):
            as_training_units(scaling, np.round(photos(0, 16, "float64")).astype(dtype))


def test_dark_images_are_no_others_where_training_had_some(tmp_path):
    dark = np.arange(100)[:, None, None] % 10 == 0
    trained = np.where(dark, photos(0, 10, "uint8"), photos(0, 256, "uint8"))
    scaling = fitted(tmp_path, trained)
    assert as_training_units(scaling, photos(0, 10, "uint8"))[1] == ""


KILOGRAMS = RNG.normal(70, 15, (200, 3)).clip(20)


@pytest.mark.parametrize(
    ("trained", "factor"),
    [
        (KILOGRAMS, 1e-3), (KILOGRAMS, 1e3), (KILOGRAMS[:, 0], 1 / 60), (RNG.normal(size=(200, 3)), 1e-3),
        (RNG.poisson(500, (200, 3)), 30), (RNG.poisson(5, 200), 1000), (RNG.poisson(0.1, 200), 1000),
        (RNG.poisson(5000, (200, 2)), 1e-3), (RNG.integers(10**6, 10**8, 200), 1e-3),
        (RNG.integers(10**6, 10**8, 200), 100), (RNG.normal(0, 1, (200, 10, 2)), 1e-3),
    ],
)  # fmt: skip
def test_values_and_counts_in_other_units_are_reported(tmp_path, trained, factor):
    kind = "counts" if trained.dtype.kind == "i" and trained.max() < 10**6 else None
    scaling = fitted(tmp_path, trained, kind)
    assert as_training_units(scaling, trained)[1] == ""
    new = trained * factor
    if scaling.kind in ("counts", "large_counts"):
        new = np.round(new + 70 * (trained.mean() < 1))
    raw, notice = as_training_units(scaling, new)
    np.testing.assert_array_equal(raw, new)
    assert "in size, and were about" in notice or "deviations from the training mean" in notice
    assert "units" in notice


def test_few_rows_are_unlike_training_in_half_of_their_features(tmp_path):
    scaling = fitted(tmp_path, KILOGRAMS)
    one = np.array([[70.0, 70.0, 0.07]])
    assert as_training_units(scaling, one)[1] == ""
    two = as_training_units(scaling, np.array([[70.0, 0.07, 0.07]]))[1]
    assert "2 of 3 features are mostly about 0.07 in size, and were about" in two
    assert "1 of 3 features" in as_training_units(scaling, np.repeat(one, 5, axis=0))[1]


def test_descriptions_without_what_is_typical_are_read(tmp_path):
    scaling = fitted(tmp_path, KILOGRAMS)
    assert scaling.typical.shape == (3, 3)
    np.testing.assert_allclose(scaling.typical[1], np.median(KILOGRAMS, axis=0), rtol=0.05)
    values = to_json(scaling)
    del values["typical"]
    old = from_json(values)
    assert old.typical.shape == (3, 0)
    assert as_training_units(old, KILOGRAMS / 1000)[1] == ""
