"""Each likelihood against its density, its draws and its range."""

import functools

import chex
import jax
import numpy as np
import pytest
from networks import jit
from scipy import special, stats

from sbmae_jax.models.likelihoods import (
    BUILT_IN,
    LIKELIHOODS,
    LOG_VARIANCE_SCALE,
    MAX_LOG_RATE,
    MIN_VARIANCE,
    check_values,
    negative_log_likelihood,
    variance,
)

RNG = np.random.default_rng(0)
OUTPUT = RNG.normal(size=(6, 4))
REACHED = np.cumprod(special.expit(OUTPUT), axis=1)
LOG_VAR = RNG.uniform(-0.3, 0.1, 4)
S2 = MIN_VARIANCE + np.exp(LOG_VARIANCE_SCALE * LOG_VAR)
ONE_HOT = np.eye(4)[RNG.integers(0, 4, 6)]
DISPERSION = np.exp(LOG_VARIANCE_SCALE * LOG_VAR)


def _level_probabilities(y):
    """Return p(level) [6, 5] of continuation ratios: level k is reached, and level k + 1 is not."""
    above = special.expit(y)
    reached = np.cumprod(np.concatenate([np.ones((6, 1)), above], axis=1), axis=1)
    return reached * np.concatenate([1 - above, np.ones((6, 1))], axis=1)


# For each likelihood values, and ln p of each row of them.
CASES = {
    "gaussian": (
        RNG.uniform(size=(6, 4)),
        lambda x, y: stats.norm.logpdf(x, y, np.sqrt(0.5)).sum(axis=1),
    ),
    "normal": (
        RNG.normal(size=(6, 4)),
        lambda x, y: stats.norm.logpdf(x, y, np.sqrt(S2)).sum(axis=1),
    ),
    "bernoulli": (
        RNG.integers(0, 2, (6, 4)).astype(float),
        lambda x, y: stats.bernoulli.logpmf(x, special.expit(y)).sum(axis=1),
    ),
    "categorical": (
        ONE_HOT,
        lambda x, y: stats.multinomial.logpmf(x, 1, special.softmax(y, axis=1)),
    ),
    "poisson": (
        RNG.poisson(3.0, (6, 4)).astype(float),
        lambda x, y: stats.poisson.logpmf(x, np.exp(y)).sum(axis=1),
    ),
    "negative_binomial": (
        RNG.poisson(3.0, (6, 4)).astype(float),
        lambda x, y: stats.nbinom.logpmf(x, 1 / DISPERSION, 1 / (1 + DISPERSION * np.exp(y))).sum(axis=1),
    ),
    "ordinal": (
        (RNG.integers(0, 5, (6, 1)) > np.arange(4)).astype(float),
        lambda x, y: np.log(_level_probabilities(y)[np.arange(6), x.sum(axis=1).astype(int)]),
    ),
}  # fmt: skip
# The mean and the variance of each entry.
MOMENTS = {
    "gaussian": (np.clip(OUTPUT, 0, 1), np.zeros((6, 4))),
    "normal": (OUTPUT, np.broadcast_to(S2, (6, 4))),
    "bernoulli": (special.expit(OUTPUT), special.expit(OUTPUT) * special.expit(-OUTPUT)),
    "categorical": (
        special.softmax(OUTPUT, axis=1),
        special.softmax(OUTPUT, axis=1) * (1 - special.softmax(OUTPUT, axis=1)),
    ),
    "poisson": (np.exp(OUTPUT), np.exp(OUTPUT)),
    "negative_binomial": (np.exp(OUTPUT), np.exp(OUTPUT) + DISPERSION * np.exp(2 * OUTPUT)),
    "ordinal": (REACHED, REACHED * (1 - REACHED)),
}


nll = jit(negative_log_likelihood, static_argnums=0)


def log_var(likelihood):
    return LOG_VAR if LIKELIHOODS[likelihood].has_variance else None


def test_every_likelihood_is_tested():
    # Tokens have no moments: see tests/test_text.py. Zeros and numbers are pairs: see below. Of pixels the
    # most probable class is drawn: see tests/test_segmentation.py.
    elsewhere = {"tokens", "zero_inflated", "pixel_classes"}
    assert CASES.keys() == MOMENTS.keys() == set(BUILT_IN) - elsewhere


@pytest.mark.parametrize("likelihood", CASES)
def test_error_is_minus_the_log_density_but_for_a_constant_of_the_data(likelihood, x64):
    # Of the same data under two outputs the constant, which may depend on the data alone, falls out.
    x, log_prob = CASES[likelihood]
    other = OUTPUT[:, ::-1] + 0.5
    found = [nll(likelihood, x, y, log_var(likelihood)) for y in (OUTPUT, other)]
    exact = [log_prob(x, y) for y in (OUTPUT, other)]
    np.testing.assert_allclose(found[1] - found[0], exact[0] - exact[1], rtol=1e-9)


def test_error_of_a_learned_variance_is_minus_the_log_density_in_the_variance_too(x64):
    # The constant of "normal" is the same for all variances; the learned ones depend on it.
    x = CASES["normal"][0]
    for log_s2 in (LOG_VAR, LOG_VAR + 0.1, np.full(4, -2.0)):
        s2 = MIN_VARIANCE + np.exp(LOG_VARIANCE_SCALE * log_s2)
        exact = stats.norm.logpdf(x, OUTPUT, np.sqrt(s2)).sum(axis=1)
        error = np.asarray(nll("normal", x, OUTPUT, log_s2))
        np.testing.assert_allclose(error + exact, -2 * np.log(2 * np.pi), rtol=1e-9)


@pytest.mark.parametrize("likelihood", MOMENTS)
def test_mean_is_that_of_the_density(likelihood, x64):
    mean = jit(LIKELIHOODS[likelihood].mean)(OUTPUT)
    np.testing.assert_allclose(mean, MOMENTS[likelihood][0], rtol=1e-9)


@functools.cache
def draws(likelihood, num=10_000):
    """Draw all rows of OUTPUT often: [num, 6, 4]."""
    y = np.tile(OUTPUT, (num, 1))
    x = jit(LIKELIHOODS[likelihood].draw)(jax.random.key(0), y, log_var(likelihood))
    return np.asarray(x).reshape(num, 6, 4)


@pytest.mark.parametrize("likelihood", MOMENTS)
def test_draws_have_the_mean_and_the_variance_of_the_density(likelihood):
    x, (mean, var) = draws(likelihood).astype(np.float64), MOMENTS[likelihood]
    assert (np.abs(x.mean(axis=0) - mean) <= 4.5 * np.sqrt(var / len(x)) + 1e-6).all()
    # The squares of the deviations from the exact mean are themselves independent draws, of mean var.
    squares = (x - mean) ** 2
    error = squares.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(squares.mean(axis=0) - var) <= 5 * error + 1e-4 * var + 1e-9).all()


@pytest.mark.parametrize("likelihood", MOMENTS)
def test_draws_are_values_that_the_likelihood_is_for(likelihood):
    x = draws(likelihood)
    assert x.dtype == np.float32
    check_values(likelihood, likelihood, x)
    if likelihood in ("bernoulli", "categorical", "ordinal"):
        assert set(np.unique(x)) == {0, 1}
    if likelihood == "categorical":
        np.testing.assert_array_equal(x.sum(axis=-1), 1)
    if likelihood == "ordinal":
        assert (np.diff(x, axis=-1) <= 0).all()
    if likelihood in ("poisson", "negative_binomial"):
        np.testing.assert_array_equal(x, np.round(x))


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli", "poisson", "negative_binomial"])
def test_entries_and_rows_are_drawn_independently(likelihood):
    # One draw for a whole row, or for all rows, would have the right mean and variance as well.
    x = draws(likelihood).reshape(-1, 24)
    correlation = np.corrcoef(x.T) - np.eye(24)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(x))


def test_zeros_and_numbers_are_one_density(x64):
    y, bits = OUTPUT.reshape(6, 2, 2), RNG.integers(0, 2, (6, 2))
    x = np.stack([bits, bits * RNG.normal(size=(6, 2))], axis=-1)
    log_variance = LOG_VAR.reshape(2, 2)
    s = np.sqrt(MIN_VARIANCE + np.exp(LOG_VARIANCE_SCALE * log_variance[:, 1]))

    def log_prob(y):
        p = special.expit(y[..., 0])
        number = np.log(p) + stats.norm.logpdf(x[..., 1], y[..., 1], s)
        return np.where(bits == 1, number, np.log(1 - p)).sum(axis=1)

    others = (y, y[:, ::-1] + 0.5)
    found = [nll("zero_inflated", x, other, log_variance) for other in others]
    np.testing.assert_allclose(found[1] - found[0], log_prob(y) - log_prob(others[1]), rtol=1e-9)
    likelihood, p = LIKELIHOODS["zero_inflated"], special.expit(y[..., 0])
    mean = likelihood.mean(y)
    np.testing.assert_allclose(mean, np.stack([p, p * y[..., 1]], axis=-1), rtol=1e-12)
    np.testing.assert_allclose(likelihood.link(mean), y, rtol=1e-6)
    many = np.tile(y, (20_000, 1, 1))
    drawn = np.asarray(jit(likelihood.draw)(jax.random.key(0), many, log_variance))
    assert set(np.unique(drawn[..., 0])) == {0, 1}
    assert (drawn[..., 1][drawn[..., 0] == 0] == 0).all()
    np.testing.assert_allclose(drawn.reshape(-1, 6, 2, 2).mean(axis=0), mean, atol=0.06)


def test_links_are_the_inverse_of_means(x64):
    for name in ("negative_binomial", "ordinal", "poisson", "bernoulli"):
        likelihood = LIKELIHOODS[name]
        np.testing.assert_allclose(likelihood.link(likelihood.mean(OUTPUT)), OUTPUT, rtol=1e-5)


def test_no_variance_falls_below_the_floor():
    like = np.zeros((3, 2), np.float32)
    s2 = variance(np.float32([-np.inf, 0]), like)
    np.testing.assert_allclose(s2, np.broadcast_to([MIN_VARIANCE, 1 + MIN_VARIANCE], (3, 2)))
    # So a decoder that has memorised its data has a bounded error and a finite gradient.
    log_s2 = np.float32([-50, -50])
    error = nll("normal", like + np.float32(0.1), like, log_s2)
    np.testing.assert_allclose(error, 0.1**2 / MIN_VARIANCE + np.log(MIN_VARIANCE), rtol=1e-5)
    total = lambda v: negative_log_likelihood("normal", like, like, v).sum()  # noqa: E731
    chex.assert_tree_all_finite(jit(jax.grad(total))(log_s2))


def test_a_diverged_rate_stays_finite():
    y = np.full((1, 2), 1e3, np.float32)
    assert np.isfinite(nll("poisson", np.ones((1, 2), np.float32), y)).all()
    np.testing.assert_allclose(LIKELIHOODS["poisson"].mean(y), np.exp(MAX_LOG_RATE), rtol=1e-5)


def test_an_encoder_sees_counts_by_their_logarithm_and_all_else_as_it_is():
    x = CASES["poisson"][0]
    for likelihood in LIKELIHOODS.values():
        wanted = np.log1p(x) if likelihood.values == "poisson" else x
        np.testing.assert_allclose(likelihood.features(x), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "values", "message"),
    [
        ("normal", [[0.0], [np.nan]], r"x: NaN or infinite values in 1 of 2 rows, .* in row 1"),
        ("gaussian", [[np.inf], [0.0]], r"in 1 of 2 rows, the first in row 0: remove or fix these"),
        ("gaussian", [[0.0], [255.0]], r"x: values must be in 0..1, got 0 to 255: divide pictures"),
        ("bernoulli", [[-1.0], [1.0]], r"x: values must be in 0..1, got -1 to 1"),
        ("categorical", [[0.0], [2.0]], r"x: values must be in 0..1, got 0 to 2"),
        ("poisson", [[3.0], [-2.0]], r"x: counts must be at least 0, got -2"),
    ],
)
def test_values_that_do_not_fit_are_named(likelihood, values, message):
    with pytest.raises(ValueError, match=message):
        check_values(likelihood, "x", np.array(values))


def test_values_that_fit_pass_and_so_do_no_values():
    for likelihood, (values, _) in CASES.items():
        check_values(likelihood, "x", values)
        check_values(likelihood, "x", np.zeros((0, 4)))
    for likelihood in ("normal", "poisson"):  # without an upper bound
        check_values(likelihood, "x", np.array([[1e6], [0.0]]))
    check_values("normal", "x", np.array([[-1e6]]))
