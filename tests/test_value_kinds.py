"""Kinds whose values have limits: what is prepared comes back, and what is drawn keeps the limits."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import sbmae_jax
from sbmae_jax.data.description import describe
from sbmae_jax.data.scaling import Scaling, from_json, to_json
from sbmae_jax.data.units import as_training_units
from sbmae_jax.data.user.files import files
from sbmae_jax.data.user.fit import fit_scalings
from sbmae_jax.data.user.kind_rules import Kind
from sbmae_jax.data.user.profile import profile
from sbmae_jax.data.user.raw import RawArrays
from sbmae_jax.data.user.survey import survey
from sbmae_jax.data.user.tables import assemble, open_table
from sbmae_jax.models.coder_units import in_units, prepared
from sbmae_jax.models.rows import read_rows

N = 120
RNG = np.random.default_rng(0)
LIKERT = RNG.integers(1, 6, (N, 3))
PRICES = np.exp(RNG.normal(2, 1, (N, 4)))
ZEROS = np.where(RNG.random((N, 4)) < [0, 0.3, 0.6, 1], 0, PRICES)
PERCENT = 100 * RNG.dirichlet(np.full(5, 3.0), N)
PARTS = np.where(RNG.random((N, 5)) < [0.3, 0, 0, 0.1, 1], 0, PERCENT)
PARTS = PARTS / PARTS.sum(axis=1, keepdims=True)
GENES = RNG.negative_binomial(0.5, 0.1, (N, 5)).astype(np.float32)


def fitted(raw, kind, rows=None):
    table = assemble("d.npz", RawArrays({"x": raw}))
    rows = np.arange(len(raw)) if rows is None else rows
    return fit_scalings(table, {"x": Kind(kind, "")}, profile(table), rows)[0]["x"]


CASES = {
    "likert": (LIKERT, "ordinal", (3, 4)),
    "one answer": (LIKERT[:, 0], "ordinal", (1, 4)),
    "answers in bytes": (LIKERT.astype(np.uint8), "ordinal", (3, 4)),
    "levels far apart": (np.array([0.5, 2, 10])[RNG.integers(0, 3, (N, 2))], "ordinal", (2, 2)),
    "prices": (PRICES, "positive", (4,)),
    "one price": (PRICES[:, 0].astype(np.float32), "positive", (1,)),
    "some zeros": (ZEROS, "positive", (4, 2)),
    "percentages": (PERCENT, "composition", (5,)),
    "shares with zeros": (PARTS, "composition", (5,)),
    "degrees": (RNG.uniform(0, 360, (N, 2)), "angle", (2, 2)),
    "radians": (RNG.uniform(-np.pi, np.pi, N).astype(np.float32), "angle", (1, 2)),
    "hours": (RNG.integers(0, 24, (N, 2)), "angle", (2, 2)),
    "small degrees": (np.linspace(0, 5, 2 * N).reshape(N, 2), "degrees", (2, 2)),
    "half radians": (np.linspace(-1, 1, N), "radians", (1, 2)),
    "night hours": (np.linspace(0, 5, N), "hours", (1, 2)),
    "whole prices": (np.round(ZEROS).astype(np.int32), "positive", (4, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_prepared_is_restored(name):
    raw, kind, shape = CASES[name]
    scaling = fitted(raw, kind)
    again = from_json(json.loads(json.dumps(to_json(scaling))))
    x = scaling.prepare(raw)
    assert scaling.shape == again.shape == shape
    assert (x.shape, x.dtype) == ((N, *shape), scaling.prepared_dtype)
    np.testing.assert_array_equal(again.prepare(raw), x)
    back = again.restore(x)
    assert (back.shape, back.dtype) == (raw.shape, raw.dtype)
    np.testing.assert_allclose(
        back, raw, rtol=2e-6, atol=2e-3 if scaling.value_kind.is_angle else 0
    )
    if not scaling.value_kind.is_angle:
        np.testing.assert_array_equal(back == 0, raw == 0)
    np.testing.assert_array_equal(again.restore(np.stack([x, x], 1))[:, 1], back)
    np.testing.assert_array_equal(again.restore(x[0]), back[0])


@pytest.mark.parametrize("name", CASES)
def test_whatever_the_networks_make_is_a_value_that_the_kind_has(name):
    raw, kind, shape = CASES[name]
    scaling = fitted(raw, kind)
    back = scaling.restore(RNG.normal(0, 30, (500, *shape)).astype(np.float32))
    assert np.isfinite(back).all()
    if kind == "ordinal":
        assert set(np.unique(back)) == set(np.unique(raw))
    elif kind == "composition":
        np.testing.assert_allclose(back.sum(axis=1), raw[0].sum(), rtol=1e-12)
        assert back.min() >= 0
    elif scaling.value_kind.is_angle:
        periods = {"degrees": 360, "hours": 24, "radians": 2 * np.pi}
        period = periods[kind if kind != "angle" else name]
        start = -np.pi if raw.min() < 0 else 0
        assert start - 1e-6 <= back.min() < back.max() < start + period
    else:
        assert back.min() >= 0
        # Features without zeros in training have none, and those that were always zero remain so.
        share = np.atleast_1d((raw == 0).mean(axis=0))
        made = np.atleast_1d((back == 0).mean(axis=0))
        assert ((made > 0) == (share > 0)).all() or raw.dtype.kind == "i"
        assert (made[share == 1] == 1).all()


def test_signals_with_channels_first_are_turned_and_come_back():
    scales = np.array([1.0, 10, 0.1])[:, None]
    raw = (scales * RNG.normal(size=(N, 3, 40))).astype(np.float32)
    scaling, last = fitted(raw, "channels_first_signal"), fitted(raw.swapaxes(1, 2), "signal")
    x = scaling.prepare(raw)
    np.testing.assert_array_equal(x, last.prepare(raw.swapaxes(1, 2)))
    np.testing.assert_allclose(x.std(axis=(0, 1)), 1, rtol=1e-5)
    np.testing.assert_allclose(from_json(to_json(scaling)).restore(x), raw, rtol=1e-4, atol=1e-6)
    assert scaling.restore(np.stack([x, x])).shape == (2, N, 3, 40)
    np.testing.assert_array_equal(scaling.typical, last.typical)
    for xp in (np, jnp):
        raw_again = in_units(xp, scaling, xp.asarray(x))
        np.testing.assert_allclose(raw_again, raw, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(prepared(xp, scaling, raw_again), x, rtol=1e-4, atol=1e-5)
    assert as_training_units(scaling, raw)[1] == ""
    assert "standard deviations from" in as_training_units(scaling, raw + 1000 * scales)[1]


def test_a_vector_keeps_the_limits_of_each_feature():
    raw = np.stack(
        [RNG.normal(size=N), RNG.random(N), RNG.integers(0, 9, N), RNG.integers(-4, 4, N)], 1
    )
    back = fitted(raw, "vector").restore(RNG.normal(0, 3, (500, 4)))
    assert (back.min(axis=0) < 0).tolist() == [True, False, False, True]
    assert (back == np.round(back)).all(axis=0).tolist() == [False, False, True, True]
    pixels = np.clip(RNG.normal(5, 9, (N, 16)), 0, 16)
    made = fitted(pixels, "vector").restore(RNG.normal(0, 3, (500, 16)))
    assert (made.min(), made.max()) == (0, 16)


def test_the_median_level_fills_a_hole_and_the_mean_price():
    ordinal, positive = fitted(LIKERT, "ordinal"), fitted(ZEROS, "positive")
    samples = np.array([[[1], [1], [5], [5]], [[2], [3], [3], [5]]])
    assert ordinal.value_kind.best_guess(ordinal, samples).tolist() == [[1], [3]]
    assert positive.value_kind.best_guess(positive, samples).tolist() == [[3], [3.25]]


def test_angles_are_averaged_on_their_circle_and_may_turn_often():
    hours, radians = (fitted(*CASES[name][:2]) for name in ("hours", "radians"))
    guess = hours.value_kind.best_guess
    assert guess(hours, np.array([[[23], [0], [1]], [[5], [7], [6]]])).tolist() == [[0], [6]]
    np.testing.assert_allclose(hours.prepare([[25, -1]]), hours.prepare([[1, 23]]), atol=1e-6)
    x = radians.prepare(np.array([3.0, -3.0]))
    assert np.linalg.norm(x[0] - x[1]) < 0.3  # neighbours on the circle
    assert hours.restore(np.array([[[-1e-9, 1], [0, 1]]])).tolist() == [[0, 0]]  # never 24


def test_counts_that_vary_more_than_poisson_have_a_dispersion():
    def likelihood(raw):
        scaling = fitted(raw, "counts")
        return scaling.value_kind.likelihood_of(scaling)

    assert likelihood(GENES) == "negative_binomial"
    assert likelihood(RNG.poisson(4, (N, 5))) == "poisson"


def test_zeros_of_other_splits_can_be_prepared():
    raw = np.where(np.arange(N)[:, None] < 5, 0, PRICES)
    scaling = fitted(raw, "positive", np.arange(5, N))
    assert (scaling.restore(scaling.prepare(raw)) == 0).sum() == 20


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("likert", [[1, 2, 3], [1, 2, 6]], "6 in row 1 is none of the levels 1.0, 2.0"),
        ("likert", [[1, 2, 3.5]], "3.5 in row 0 is none of the levels"),
        ("likert", [[1, 2]], r"examples must have shape \(3,\), got \(2,\)"),
        ("likert", [["a", "b", "c"]], "values must be numbers, got <U1"),
        ("prices", [[1, 2, 3, 0]], "a value must be above 0, as all were in training, got 0 in row 0"),
        ("some zeros", [[0, 0, 1, -1]], "a value must be at least 0, got -1 in row 0"),
        ("percentages", [[20, 20, 20, 20, 20], [20, 20, 20, 20, 2]], "must sum to 100, got 82 in row 1"),
        ("percentages", [[120, -20, 0, 0, 0]], "a part must be at least 0, got -20 in row 0"),
        ("degrees", [[np.nan, 1]], "NaN or infinite values in 1 of 1 rows"),
        ("some zeros", [[0, 0, 1, np.inf]], "NaN or infinite values in 1 of 1 rows"),
    ],
)  # fmt: skip
def test_values_that_the_kind_does_not_have_are_named(name, raw, message):
    with pytest.raises(ValueError, match=message):
        fitted(*CASES[name][:2]).prepare(np.array(raw))


def test_levels_are_no_names_of_columns(tmp_path):
    lines = [",".join(map(str, row)) for row in LIKERT]
    (tmp_path / "answers.csv").write_text("\n".join(["calm,glad,tired", *lines]) + "\n")
    data = describe(files("train", path=tmp_path / "answers.csv"))
    assert data.scalings["answers"].kind == "ordinal"
    assert data.entries["answers"] == ("calm", "glad", "tired")
    rows = read_rows(open_table(tmp_path / "answers.csv", like=data), data, "refuse")
    np.testing.assert_array_equal(rows.raw["answers"], LIKERT)


def test_too_many_levels_are_refused():
    with pytest.raises(ValueError, match="x cannot be of the kind ordinal: it has more than 64"):
        fitted(RNG.normal(size=(N, 2)), "ordinal")


def test_rows_with_other_sums_are_no_composition():
    with pytest.raises(ValueError, match="x cannot be of the kind composition: its rows sum to"):
        fitted(PRICES, "composition")


def test_doubts_are_printed_with_the_survey(tmp_path):
    np.savez(tmp_path / "d.npz", genes=GENES, town=["Bonn", "Oslo"] * (N // 2))
    text = str(survey(tmp_path / "d.npz"))
    assert (
        "genes is taken for counts: if these are not counts, set --config.modalities.genes.kind=vector"
        in text
    )


# ---------------------------------------------------------------- a model


@pytest.fixture(scope="module")
def model():
    data = {"genes": GENES, "likert": LIKERT, "price": ZEROS}
    config = {"sampling.num_levels": 4}
    return sbmae_jax.fit(data, num_steps=20, config=config, quiet=True)


def assert_limits(made):
    assert (made["genes"] >= 0).all()
    np.testing.assert_array_equal(made["genes"], np.round(made["genes"]))
    assert set(np.unique(made["likert"])) <= set(range(1, 6))
    assert (made["price"][..., 0] > 0).all()
    assert (made["price"] >= 0).all()
    assert (made["price"][..., 3] == 0).all()


@pytest.mark.slow
def test_a_model_draws_values_within_the_limits(model):
    assert {name: scaling.kind for name, scaling in model.scalings} == {
        "genes": "counts", "likert": "ordinal", "price": "positive",
    }  # fmt: skip
    made = model.generate({}, num_samples=200)
    assert_limits(made)
    assert {n: x.dtype for n, x in made.items()} == {
        "genes": np.float32, "likert": LIKERT.dtype, "price": np.float64,
    }  # fmt: skip
    assert 0 < (made["price"][:, 1] == 0).mean() < 1
    assert_limits(model.generate({}, num_samples=20, noise=False))
    assert_limits(model.generate({"likert": LIKERT[:3]}, num_samples=20))


@pytest.mark.slow
def test_data_of_ones_own_are_drawn_by_default(model):
    default = model.generate({}, num_samples=50, key=3)
    drawn, means = (model.generate({}, num_samples=50, key=3, noise=n) for n in (True, False))
    for name, x in default.items():
        np.testing.assert_array_equal(x, drawn[name])
    assert (drawn["genes"] != means["genes"]).any()


@pytest.mark.slow
def test_holes_are_filled_within_the_limits(model):
    price = ZEROS[:9].copy()
    price[:4] = np.nan
    likert = LIKERT[:9].astype(float)
    likert[2:6] = np.nan
    found = model.impute({"genes": GENES[:9], "likert": likert, "price": price}, num_samples=5)
    assert found.filled["likert"].dtype == LIKERT.dtype
    assert_limits({**found.filled, "genes": GENES[:9]})
    np.testing.assert_array_equal(found.filled["price"][4:], ZEROS[4:9])
    assert_limits(
        {"genes": GENES, "likert": found.samples["likert"], "price": found.samples["price"]}
    )


@pytest.mark.slow
def test_a_saved_model_draws_the_same(model, tmp_path):
    model.save(tmp_path / "saved")
    again = sbmae_jax.load(tmp_path / "saved")
    for (_, a), (_, b) in zip(model.scalings, again.scalings, strict=True):
        assert to_json(a) == to_json(b)
    made, other = (m.generate({}, num_samples=9, key=1) for m in (model, again))
    for name, x in made.items():
        np.testing.assert_allclose(x, other[name], rtol=1e-5)


@pytest.mark.slow
def test_new_values_beyond_the_limits_are_refused(model):
    with pytest.raises(ValueError, match="likert: 6 in row 1 is none of the levels"):
        model.generate({"likert": np.array([[1, 2, 3], [1, 2, 6]])})
    with pytest.raises(ValueError, match="price: a value must be at least 0, got -1 in row 0"):
        model.generate({"price": np.array([[1.0, -1, 2, 0]])})
    with pytest.raises(ValueError, match=r"genes: a count must be an integer from 0, got 0.5"):
        model.generate({"genes": np.full((1, 5), 0.5)})


def test_a_scaling_of_an_earlier_version_is_read():
    values = to_json(Scaling("vector", (2,), "float64"))
    assert "details" not in values
    assert from_json(values).restore(np.full((1, 2), -1.5)).tolist() == [[-1.5, -1.5]]
