"""What a Gaussian of few factors says of noised latents, against dense linear algebra."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit

from sbmae_jax.models.factor_gaussian import FactorGaussian, standard_gaussian

SIZES = (3, 1, 4)


def gaussian(num_factors=2, noise=0.3, seed=0):
    """Return a Gaussian over modalities of `SIZES`, whose coordinates have variance 1 or so."""
    rng, size = np.random.default_rng(seed), sum(SIZES)
    loadings = rng.normal(size=(size, num_factors)) / max(num_factors, 1) ** 0.5
    return FactorGaussian(loadings, noise * rng.uniform(0.5, 1.5, size))


def dense(g):
    return g.loadings @ g.loadings.T + np.diag(g.noise)


def seen(num, seed=1):
    """Return h and s [num, D]: each modality of each row is clean, absent, or noised to a level."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(rng.integers(0, 3, (num, 3)), SIZES, axis=1)
    kind[:2] = [[2] * 8, [0] * 8]  # nothing is clean or absent; all is clean
    level = rng.uniform(-4, 2, (num, 1))
    alpha, sigma = 1 / np.hypot(1, np.exp(level)), 1 / np.hypot(1, np.exp(-level))
    return np.choose(kind, [1, 0, alpha]), np.choose(kind, [0, 1, sigma])


def exact(g, x, h, s):
    """Return the mean and the variance of z given x, of one row."""
    cov = dense(g)
    gain = cov * h @ np.linalg.pinv(h[:, None] * cov * h + np.diag(s**2), rcond=1e-13)
    return gain @ x, np.diag(cov - gain @ (h[:, None] * cov))


@pytest.mark.parametrize("num_factors", [0, 1, 2, 5])
def test_mean_and_variance_are_those_of_dense_algebra(num_factors, x64):
    g, (h, s) = gaussian(num_factors), seen(40)
    x = np.random.default_rng(2).normal(size=h.shape)
    common, own, gain, spread, guess = jit(g.posterior)(x, h, s)
    np.testing.assert_allclose(own, g.noise * h * gain)
    mean = common + own * (x - h * common)
    for row in range(len(x)):
        wanted, variance = exact(g, x[row], h[row], s[row])
        np.testing.assert_allclose(mean[row], wanted, atol=1e-9)
        np.testing.assert_allclose((s[row] * spread[row]) ** 2, variance, atol=1e-9)
        told = np.sqrt(np.maximum(np.diag(dense(g)) - variance, 1e-8))
        np.testing.assert_allclose(guess[row], wanted / told, atol=1e-5)


def test_rows_that_are_alike_are_told_the_same_at_the_cost_of_one(x64):
    g, (h, s) = gaussian(), seen(40)
    x = np.random.default_rng(2).normal(size=h.shape)
    of_batch = jit(g.posterior_of_batch)
    for rows in (np.arange(40), np.full(40, 7)):  # a pattern each, one pattern
        chex.assert_trees_all_close(
            of_batch(x, h[rows], s[rows]), g.posterior(x, h[rows], s[rows]), rtol=1e-12
        )
    pairs = np.repeat(np.arange(20), 2)
    in_pairs = g.posterior_of_groups(x, h[pairs], s[pairs], 2)
    chex.assert_trees_all_close(in_pairs, g.posterior(x, h[pairs], s[pairs]), rtol=1e-12)
    one = g.posterior(x, h[7:8], s[7:8])
    assert [len(array) for array in one] == [40, 1, 1, 1, 40]


def test_the_standard_gaussian_is_the_usual_preconditioning(x64):
    h, s = seen(40)
    x = np.random.default_rng(2).normal(size=h.shape)
    common, own, gain, spread, guess = standard_gaussian(8).posterior(x, h, s)
    np.testing.assert_allclose(own, h / (h**2 + s**2))
    np.testing.assert_allclose(guess, np.where(h > 0, x / np.hypot(h, s), 0))
    np.testing.assert_allclose(gain, 1 / (h**2 + s**2))
    np.testing.assert_allclose(spread, (h**2 + s**2) ** -0.5)
    assert not common.any()


def test_forms_without_cancellation_are_those_with_it(x64):
    # Equations (3) and (4).
    g, (h, s) = gaussian(), seen(40)
    z, eps = np.random.default_rng(3).normal(size=(2, *h.shape))
    x = h * z + s * eps
    common, own, gain, _, _ = g.posterior(x, h, s)
    mean = common + own * (x - h * common)
    np.testing.assert_allclose(h * mean - x, -(s**2) * gain * (x - h * common), atol=1e-12)
    left = s * (s * gain * (z - common) - own * eps)
    np.testing.assert_allclose(z - mean, left, atol=1e-12)


@pytest.mark.parametrize("level", [1e-3, 1e-2, 1.0, 50.0])
def test_float32_is_as_good_as_float64_at_every_noise_level(level):
    # Latents that determine each other to a hundredth, the least noise that a fit allows; some are clean.
    g = gaussian(num_factors=6, noise=1e-4)
    rng = np.random.default_rng(4)
    clean = np.repeat(rng.random((64, 3)) < 0.4, SIZES, axis=1)
    alpha, sigma = 1 / np.hypot(1, level), level / np.hypot(1, level)
    h, s = np.where(clean, 1, alpha), np.where(clean, 0, sigma)
    z = rng.normal(size=(64, 6)) @ g.loadings.T + rng.normal(size=(64, 8)) * g.noise**0.5
    x = h * z + s * rng.normal(size=z.shape)
    narrow = FactorGaussian(*(np.float32(a) for a in g))
    found = map(np.asarray, jit(narrow.posterior)(*(np.float32(a) for a in (x, h, s))))
    with jax.enable_x64(True):
        wanted = map(np.asarray, g.posterior(x, h, s))
    (common, _, gain, spread, guess), (right, _, right_gain, right_spread, right_guess) = (
        found,
        wanted,
    )
    np.testing.assert_allclose(gain, right_gain, rtol=1e-5)
    np.testing.assert_allclose(spread, right_spread, rtol=0.02)
    # Where the rest is not known to a hundredth, the error is a small part of what is not known.
    assert np.abs(common - right).max() < 1e-3
    assert np.abs(guess - right_guess).max() < 0.02


def test_gradients_are_finite_where_all_is_clean_and_where_all_is_absent():
    g = FactorGaussian(*(np.float32(a) for a in gaussian(noise=1e-4)))
    for h, s in ((1.0, 0.0), (0.0, 1.0), (1.0, 1e-4)):
        h, s = jnp.full((2, 8), h), jnp.full((2, 8), s)

        def total(x, h=h, s=s):
            posterior = g.posterior(x, h, s)
            return sum(jnp.sum(array**2) for array in posterior)

        slope = jax.grad(total)(jnp.ones((2, 8)))
        assert jnp.isfinite(slope).all()
