"""The kind of an array is told from its type, its axes and its values; a user may say otherwise."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sbmae_jax.data.user import profile as profiling
from sbmae_jax.data.user.kinds import infer_kinds
from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.raw import RawArrays
from sbmae_jax.data.user.tables import assemble

RNG = np.random.default_rng(0)
N = 60
WORDS = np.array([f"row number {i}" for i in range(N)])


def bits(*shape):
    return RNG.integers(0, 2, (N, *shape))


def with_hole(array):
    return np.where(np.arange(N) == 7, np.nan, array)


def kind_of(array, given=None):
    table = assemble("data.npz", RawArrays({"x": array}))
    return infer_kinds(table, profile(table), given)["x"]


@pytest.mark.parametrize(
    ("array", "kind", "reason"),
    [
        (np.array(["a", "b", "c"] * 20), "category", "strings"),
        (np.array([b"a", b"b", b"c"] * 20), "category", "strings"),
        (WORDS, "text", "strings, 60 of 60 distinct"),
        (bits(7).astype(bool), "binary", "booleans, two axes, only 0 and 1"),
        (bits(7), "binary", "integers, two axes, only 0 and 1"),
        (bits(7).astype(np.float32), "binary", "floats, two axes, only 0 and 1"),
        (bits().astype(bool), "binary", "booleans, one axis, only 0 and 1"),
        (bits(), "category", "integers, 2 distinct values"),
        (np.arange(N) % 20, "category", "integers, 20 distinct values"),
        (np.arange(N), "counts", "non-negative integers, one axis"),
        (np.arange(N) - 5, "vector", "integers, some negative, one axis"),
        (RNG.poisson(9, (N, 4)), "counts", "non-negative integers, two axes"),
        (
            RNG.integers(5_000_000, 20_000_000, (N, 2)),
            "large_counts",
            "integers, some above 1,000,000, two axes",
        ),
        (10**18 + np.arange(N) * 10**6, "vector", "integers of nearly one size, as times"),
        (with_hole(np.arange(N) % 5), "category", "integers with holes, 5 distinct values"),
        (with_hole(np.arange(N)), "counts", "non-negative integers with holes, one axis"),
        (with_hole(np.arange(N) + 0.5), "vector", "floats, one axis"),
        (RNG.normal(size=N), "vector", "floats, one axis"),
        (RNG.normal(size=(N, 4)), "vector", "floats, two axes"),
        (RNG.normal(size=(N, 30, 16)), "signal", "floats, three axes: 16 channels over time"),
        (RNG.normal(size=(N, 30, 17)), "image", "floats, three axes: greyscale images"),
        (RNG.integers(0, 256, (N, 8, 8), np.uint8), "image", "bytes, three axes: greyscale images"),
        (
            RNG.integers(0, 256, (N, 8, 8, 3), np.uint8),
            "image",
            "four axes, 3 channels: colour images",
        ),
        (RNG.random((N, 8, 8, 4)), "image", "four axes, 4 channels: colour images"),
        (RNG.random((N, 8, 8, 5)), "vector", "four axes, 5 channels: too many for an image"),
        (RNG.random((N, 2, 2, 2, 2)), "vector", "5 axes, flattened into one vector"),
        (bits(8, 8).astype(bool), "mask", "three axes, only 0 and 1"),
        (bits(8, 8).astype(np.uint8), "mask", "three axes, only 0 and 1"),
        (255 * bits(8, 8).astype(np.uint8), "mask", "three axes, only 0 and 255"),
        (bits(20, 20).astype(np.float32), "mask", "three axes, only 0 and 1"),
        (bits(8, 8, 1).astype(np.float32), "mask", "four axes, 1 channel, only 0 and 1"),
    ],
)
def test_a_kind_is_inferred_with_its_reason(array, kind, reason):
    found = kind_of(array)
    assert found.name == kind
    assert reason in found.reason


GENES = RNG.negative_binomial(0.5, 0.1, (N, 30))
LIKERT = RNG.integers(1, 6, (N, 10))
PRICES = np.round(np.exp(RNG.normal(2, 1, (N, 4))), 2)
ZEROS = np.where(RNG.random((N, 4)) < 0.3, 0, PRICES)
PIXELS = np.clip(RNG.integers(-9, 25, (N, 64)), 0, 16)
YEARS = RNG.integers(1990, 2020, (N, 3))
CALLS = RNG.poisson(3, 2000)
REGIONS = np.repeat(
    np.repeat(np.random.default_rng(1).integers(0, 4, (N, 3, 4)), 4, axis=1), 3, axis=2
)
# Rhythms of a few places, which near electrodes share: as smooth along channels as along time.
PHASES = np.random.default_rng(2).uniform(0, 2 * np.pi, (N, 4, 1))
RHYTHMS = np.sin(2 * np.pi * np.array([3, 6, 10, 15])[:, None] * np.arange(100) / 128 + PHASES)
NEAR = np.exp(-((np.arange(32)[:, None] / 32 - np.arange(4) / 4) ** 2) / 0.05)
EEG = np.einsum("cj,njt->nct", NEAR, RHYTHMS)
BLOBS = np.cumsum(np.cumsum(np.random.default_rng(3).normal(size=(N, 12, 12)), axis=1), axis=2)
CHANNELS = np.cumsum(RNG.normal(size=(N, 32, 100)), axis=2)


@pytest.mark.parametrize(
    ("array", "kind", "reason", "doubt"),
    [
        (GENES.astype(np.float32), "counts", "integers stored as floats", "if these are not counts, set"),
        (GENES, "counts", "non-negative integers", ""),
        (RNG.poisson(40, (N, 5)) + 0.0, "vector", "stored as floats", "x.kind=counts"),
        (LIKERT, "ordinal", "5 levels from 1 to 5", "x.kind=counts"),
        (LIKERT.astype(float), "ordinal", "stored as floats, two axes, 5 levels", "x.kind=counts"),
        (LIKERT - 3, "ordinal", "5 levels from -2 to 2", ""),
        (PIXELS, "vector", "integers on a scale that ends at 16", "x.kind=counts"),
        (PIXELS + 0.0, "vector", "on a scale that ends at 16", "x.kind=counts"),
        (YEARS, "vector", "integers that vary less than counts do", "x.kind=counts"),
        (PRICES, "positive", "skewed as prices are", "x.kind=vector"),
        (PRICES[:, 0], "positive", "skewed as prices are, one axis", "x.kind=vector"),
        (ZEROS, "positive", "some exactly zero", "x.kind=vector"),
        (PRICES - 1, "vector", "floats, two axes", ""),
        (ZEROS.clip(max=7), "vector", "floats, two axes", ""),  # its end is no tail
        (RNG.gamma(2, 1, (N, 9)), "vector", "floats, two axes", "x.kind=positive"),
        (100 * RNG.dirichlet(np.ones(4), N), "composition", "all rows sum to 100", "x.kind=vector"),
        (np.round(100 * RNG.dirichlet(np.full(4, 9.0), N), 1), "composition", "sum to 100", "x.kind=vector"),
        (RNG.dirichlet(np.ones(2), N), "vector", "floats, two axes", ""),
        (np.linspace(0, 359, N), "vector", "floats, one axis", "x.kind=angle"),
        (np.linspace(-3.14, 3.14, N), "vector", "floats, one axis", "x.kind=angle"),
        (np.arange(N) % 4 + 0.0, "category", "stored as floats, 4 distinct values", "x.kind=ordinal"),
        (np.arange(N) % 4, "category", "integers, 4 distinct values", "x.kind=ordinal"),
        (CALLS, "counts", "the larger the rarer", "x.kind=category"),
        (1e6 + np.arange(N) % 4, "vector", "of nearly one size", ""),  # no classes
        (REGIONS, "segmentation", "integers, three axes, 4 classes of pixels in regions", "x.kind=image"),
        (7.0 * REGIONS[..., None], "segmentation", "floats, four axes, 1 channel, 4 classes", "x.kind=image"),
        (REGIONS.clip(1, 2), "segmentation", "2 classes of pixels in regions", "x.kind=image"),
        (REGIONS.repeat(2, axis=2) - 1, "image", "greyscale images", "x.kind=signal"),
        (RNG.integers(0, 4, (N, 20, 20)), "image", "greyscale images", "x.kind=signal"),
        (CHANNELS, "channels_first_signal", "along the first less so, 32 channels over time", "x.kind=image"),
        (CHANNELS[:, :9], "channels_first_signal", "second axis are alike", "time is the first axis, set"),
        (CHANNELS[:, :3], "channels_first_signal", "3 channels over time, in the first", "x.kind=signal"),
        (EEG, "channels_first_signal", "rhythms along the second axis, 32", "x.kind=image"),
        (BLOBS, "image", "greyscale images", "x.kind=signal"),
        (load_digits().images[:N], "image", "greyscale images", "x.kind=signal"),
        (EEG.swapaxes(1, 2), "signal", "32 channels over time", "x.kind=channels_first_signal"),
        (np.cumsum(CHANNELS, axis=1), "image", "greyscale images", "x.kind=signal"),
        (np.abs(np.cumsum(CHANNELS, axis=1)), "image", "greyscale images", ""),
        (RNG.normal(size=(N, 30, 20)), "image", "greyscale images", "x.kind=channels_first_signal"),
        (RNG.normal(size=(N, 12, 12)), "signal", "12 channels over time", ""),
    ],
)  # fmt: skip
def test_values_tell_kinds_apart_and_doubts_name_the_other(array, kind, reason, doubt):
    found = kind_of(array)
    assert (found.name, bool(found.doubt)) == (kind, bool(doubt))
    assert reason in found.reason
    assert doubt in found.doubt
    if found.doubt:
        other = found.doubt.rsplit("=", 1)[1]
        assert kind_of(array, {"x": other}).name == other  # what the line says can be done


@pytest.mark.parametrize("shape", [(16, 16, 16), (3, 9, 9, 9)])
def test_of_volumes_it_is_said_how_they_are_learned(shape):
    found = kind_of(RNG.normal(size=(N, *shape)))
    assert found.name == "vector"
    assert "volumes have no kind of their own: the kind vector learns small ones" in found.doubt


def test_what_holds_in_all_pieces_is_what_holds_in_the_whole(monkeypatch):
    arrays = {
        "words": np.array(["a", "bb", "ccc"] * 20),
        "late": np.concatenate([bits(4, 4, 3)[:-1], np.full((1, 4, 4, 3), 255)]).astype(np.uint8),
        "numbers": RNG.normal(size=(N, 3)),
        "holes": np.where(np.arange(N)[:, None] % 7 == 0, np.nan, RNG.normal(size=(N, 3))),
        "few": np.arange(N) % 9,
    }
    table = assemble("data.npz", RawArrays(arrays))
    whole = profile(table)
    monkeypatch.setattr(profiling, "PIECE_BYTES", 7 * table.row_bytes(table.names))
    pieces = list(profiling.pieces(table, table.names, np.arange(N)))
    assert [len(rows) for rows in pieces] == [7] * 8 + [4]
    for name, found in profile(table).items():
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(*(getattr(p, field.name) for p in (found, whole[name])))
    assert not whole["late"].only_01
    assert not whole["late"].only_0_255
    assert whole["late"].high == 255


def test_values_of_missing_rows_do_not_count():
    array = bits(8, 8).astype(np.float32)
    array[3] = 1e30
    array[4] = np.nan
    present = np.arange(N) != 3
    table = assemble("data.npz", RawArrays({"x": array, "x_present": present}))
    found = profile(table)["x"]
    assert found.only_01
    assert np.flatnonzero(~found.present).tolist() == [3, 4]


def test_empty_strings_are_missing():
    found = profile(assemble("d", RawArrays({"x": np.array(["a", "", "b"] * 20)})))["x"]
    assert found.values is not None
    assert found.values.tolist() == ["a", "b"]
    assert found.present.tolist() == [True, False, True] * 20


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.arange(N) % 9, "counts"),
        (np.arange(N) % 9, "vector"),
        (RNG.normal(size=(N, 30)), "signal"),
        (RNG.random((N, 12, 12)), "image"),
        (bits(8, 8).astype(np.uint8), "image"),
        (RNG.random((N, 30, 2)), "vector"),
        (np.arange(N) % 9.0, "ordinal"),
        (CHANNELS, "signal"),
        (RNG.normal(size=(N, 8, 40)), "channels_first_signal"),
    ],
)
def test_another_kind_can_be_given(array, kind):
    found = kind_of(array, {"x": kind})
    assert found[:2] == (kind, f"set (inferred: {kind_of(array, {}).name})")
    inferred = kind_of(array, {})
    assert kind_of(array, {"x": inferred.name}) == inferred  # as in a run that goes on


@pytest.mark.parametrize(
    ("array", "kinds", "message"),
    [
        (bits(3), {"x": "sound"}, "kinds: x has the unknown kind 'sound': use one of vector, signal"),
        (bits(3), {"y": "vector"}, "kinds: there is no array 'y': choose from x"),
        (np.arange(N) * 10**6, {"x": "counts"}, "from 0 to 5.9e[+]07, above 1,000,000: use large_counts"),
        (RNG.normal(size=N), {"x": "image"}, r"x cannot be of the kind image: examples must be \[H, W\]"),
        (RNG.random((N, 8, 8)), {"x": "mask"}, "x cannot be of the kind mask: its values are from 0"),
        (RNG.random((N, 8)), {"x": "binary"}, "x cannot be of the kind binary: its values are from"),
        (RNG.random((N, 8)), {"x": "counts"}, "x cannot be of the kind counts: counts must be"),
        (RNG.random((N, 8)), {"x": "category"}, r"it must be \[N\], one class per row"),
        (RNG.random(N), {"x": "category"}, "its classes must be integers or strings"),
        (RNG.random((N, 2, 2, 2)), {"x": "volume"}, "unknown kind 'volume': .*; volumes have no kind"),
        (RNG.random((N, 9)), {"x": "channels_first_signal"}, r"examples must be \[C, T\], got \(9,\)"),
        (RNG.random((N, 2, 2, 2)), {"x": "signal"}, r"examples must be \[T\] or \[T, C\]"),
        (RNG.normal(size=(N, 3)), {"x": "positive"}, "kind positive: .* none may be negative"),
        (RNG.normal(size=(N, 3)), {"x": "composition"}, "kind composition: .* none may be negative"),
        (RNG.random((N, 8, 8)), {"x": "segmentation"}, "segmentation: .*classes must be integers from 0"),
        (REGIONS - 1, {"x": "segmentation"}, "from -1 to 2, and classes must be integers from 0"),
        (np.ones((N, 8, 8)), {"x": "segmentation"}, "it has one value alone"),
        (np.ones((N, 8, 8, 3)), {"x": "segmentation"}, r"one class per pixel, got \(8, 8, 3\)"),
        (RNG.random(N), {"x": "composition"}, r"must be \[F\] with at least two parts, got \(\)"),
        (1000 * RNG.normal(size=N), {"x": "angle"}, "on none of the known circles of 2 pi, 24 and 360"),
        (RNG.random((N, 2, 2, 2)), {"x": "ordinal"}, r"examples must be \[\] or \[F\], got"),
        (RNG.integers(0, 4, (N, 2001)), {"x": "ordinal"}, "it has 2,001 values a row, more than 2,000"),
        (bits(2, 2), {"x": "binary"}, r"examples must be \[\] or \[F\], got \(2, 2\)"),
        (np.array(["a", "b"] * 30), {"x": "vector"}, "its values are strings, which must be a category"),
        (np.array([["a", "b"]] * N), None, r"x cannot be of the kind category: it must be \[N\]"),
        (WORDS, {"x": "category"}, "60 of 60 values are distinct: make it text, or leave it out"),
        (np.arange(N), {"x": "text"}, "x cannot be of the kind text: its values are integers, not strings"),
        (np.array([["a", "b"]] * N), {"x": "text"}, r"it must be \[N\], one string per row, got"),
        (np.array(["a" * 20_000] * N), {"x": "text"}, "has 20,000 characters, and at most 10,000 fit"),
        (np.zeros((N, 3, 32, 32)), None, r"channels first: move them last, as np.moveaxis\(x, 1, -1\)"),
        (np.zeros((N, 3, 32, 32)), {"x": "image"}, r"with C in 1..4, got \(3, 32, 32\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(array, kinds, message):
    with pytest.raises(ValueError, match=message):
        kind_of(array, kinds)


def spoiled(row, value, entry=slice(None)):
    array = RNG.normal(size=(N, 3))
    array[row, entry] = value
    return array


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": spoiled(9, np.inf, 1)}, "x: infinite values in 1 of 60 rows, the first in row 9"),
        ({"x": spoiled([5, 9], np.nan, 1)}, "x: NaN in part of 2 of 60 rows, the first in row 5"),
        ({"x": np.full((N, 3), np.nan)}, "x is missing in every row: leave this array out"),
        ({"x": bits(3), "x_present": np.zeros(N, bool)}, "x is missing in every row"),
        ({"x": np.array([""] * N)}, "x is missing in every row"),
    ],
)
def test_values_that_cannot_be_used_are_counted(columns, message):
    with pytest.raises(ValueError, match=message):
        profile(assemble("d", RawArrays(columns)))


def test_rows_with_nan_in_part_may_be_taken_for_missing():
    table = assemble("d", RawArrays({"x": spoiled([5, 9], np.nan, 1)}))
    assert np.flatnonzero(~profile(table, "missing")["x"].present).tolist() == [5, 9]
    with pytest.raises(
        ValueError, match="partial_rows must be one of split, refuse, missing, got 'drop'"
    ):
        profile(table, "drop")
