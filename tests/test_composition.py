"""Scores given many observations: exact on Gaussians, whatever their number."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import VP, composed_score

SDE = VP()
NOISE = np.diag([0.3, 1.5])  # of y = x + noise, as a covariance


def after(data, observations):
    """Return x given observations, each y = x + noise."""
    inverse = np.linalg.inv
    cov = inverse(inverse(data.cov) + len(observations) * inverse(NOISE))
    pull = inverse(data.cov) @ data.means[0] + inverse(NOISE) @ observations.sum(0)
    return analytic.gaussian(cov @ pull, cov)


@pytest.mark.parametrize("by", ["jacobian", "covariances"])
def test_the_score_given_five_observations_is_exact_on_gaussians(by, x64):
    data = analytic.gaussian([0.5, -0.3], [[1.0, 0.8], [0.8, 1.0]])
    y = np.random.default_rng(0).normal(size=(5, 2))
    cov = jnp.asarray(after(data, y[:1]).cov)
    gain = jnp.asarray(data.cov @ np.linalg.inv(data.cov + NOISE))
    mean = jnp.asarray(data.means[0])

    def conditional(x, t, y):
        noised = SDE.alpha(t) ** 2 * cov + SDE.sigma(t) ** 2 * jnp.eye(2)
        moved = SDE.alpha(t) * (mean + gain @ (y - mean))
        return (moved[None] - x) @ jnp.linalg.inv(noised)

    known = None if by == "jacobian" else (cov, jnp.asarray(data.cov))
    score = composed_score(SDE, conditional, jnp.asarray(y), data.score(SDE), known)
    exact = after(data, y).score(SDE)
    x = jax.random.normal(jax.random.key(0), (4, 2))
    times = jnp.asarray([0.05, 0.3, 0.9])

    def at_times(score):
        return jax.lax.map(lambda t: score(x, t), times)

    found, right = jax.jit(lambda: (at_times(score), at_times(exact)))()
    np.testing.assert_allclose(found, right, rtol=1e-6)
    # Adding scores, as at no noise, is far off.
    added = sum(conditional(x, 0.3, v) for v in y) - 4 * data.score(SDE)(x, 0.3)
    assert np.abs(added - right[1]).max() > 0.02


def test_what_does_not_fit_is_named():
    def score(x, t, y=None):
        return -x

    with pytest.raises(ValueError, match=r"observations must be \[n, ...\]"):
        composed_score(SDE, score, {"a": jnp.ones(3), "b": jnp.ones(2)}, score)
    with pytest.raises(ValueError, match="covariances must be that given one observation"):
        composed_score(SDE, score, jnp.ones(3), score, (jnp.eye(2), jnp.eye(3)))
