"""The distributions of which everything is known, against their own definitions."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import VP

SEEN = np.arange(12) < 5


def same_covariances():
    """A mixture with one covariance written out for each component."""
    data = analytic.two_modes()
    return analytic.Mixture(data.weights, data.means, np.stack([data.cov, data.cov]))


@pytest.mark.parametrize("make", [analytic.two_width, analytic.three_widths])
def test_scores_of_mixtures_of_unequal_widths_are_gradients_of_their_densities(make, x64):
    data, sde, t = make(), VP(), 0.1
    x = np.asarray(data.sample(jax.random.key(1), 3))
    noised, part = data.noised(sde, t), np.where(SEEN, 0.0, 1.0)
    given = [data.given(row, SEEN).noised(sde, t) for row in x]

    def log_conditional(x):
        return np.array(
            [one.log_prob(row[None, ~SEEN])[0] for one, row in zip(given, x, strict=True)]
        )

    for score, log_prob, free in (
        (data.score(sde), noised.log_prob, np.ones(12)),
        (data.conditional_score(sde, SEEN), log_conditional, part),
    ):
        # The densities are in NumPy, so that the derivative is by differences.
        found, step = np.asarray(jax.jit(score)(jnp.asarray(x), t)), 1e-6
        assert np.all(found[:, free == 0] == 0)
        for d in np.flatnonzero(free)[::3]:
            move = step * np.eye(12)[d]
            slope = (log_prob(x + move) - log_prob(x - move)) / (2 * step)
            np.testing.assert_allclose(found[:, d], slope, rtol=1e-5, atol=1e-5)


def test_conditional_and_marginal_make_the_joint_density():
    data = analytic.three_widths()
    x = np.asarray(data.sample(jax.random.key(2), 20), np.float64)
    marginal = np.logaddexp.reduce(data.log_joint(x, np.flatnonzero(SEEN)), axis=1)
    parts = [data.given(row, SEEN).log_prob(row[None, ~SEEN])[0] for row in x]
    np.testing.assert_allclose(marginal + parts, data.log_prob(x), rtol=1e-10)


def test_one_covariance_written_out_is_that_of_all_components(x64, key):
    shared, apart, sde = analytic.two_modes(), same_covariances(), VP()
    x, mask = shared.sample(key, 6), np.array([True, False])
    for found, expected in (
        (apart.sample(jax.random.clone(key), 6), x),
        (apart.covariance, shared.covariance),
        (apart.score(sde)(x, 0.2), shared.score(sde)(x, 0.2)),
        (apart.conditional_score(sde, mask)(x, 0.2), shared.conditional_score(sde, mask)(x, 0.2)),
        (apart.given(x[0], mask).covariance, shared.given(x[0], mask).covariance),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [analytic.two_width, analytic.three_widths])
def test_samples_have_the_weights_the_mean_and_the_covariance_of_the_mixture(make):
    data = make()
    x = np.asarray(data.sample(jax.random.key(0), 40_000), np.float64)
    scale = np.sqrt(np.diag(data.covariance))
    np.testing.assert_allclose(data.responsibilities(x).mean(0), data.weights, atol=0.01)
    np.testing.assert_allclose(x.mean(0) / scale, data.mean / scale, atol=0.03)
    gap = (np.cov(x.T) - data.covariance) / np.outer(scale, scale)
    np.testing.assert_allclose(gap, 0 * gap, atol=0.06)


def test_targets_are_those_of_their_docstrings():
    widths = np.sqrt(np.linalg.eigvalsh(analytic.three_widths().covs))
    np.testing.assert_allclose([widths.min(), widths.max()], [0.04, 4.6], rtol=1e-9)
    np.testing.assert_allclose(np.trace(analytic.two_width().covs[0]), 12 * 0.02)
