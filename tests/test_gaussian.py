"""Diagonal Gaussians against SciPy's density, and products against two factors at a time."""

import analytic
import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit
from scipy import stats

from sbmae_jax.models import gaussian


def log_density(x, mean, log_var):
    return stats.norm.logpdf(x, mean, np.exp(log_var / 2)).sum(axis=1)


def test_log_density_is_that_of_scipy():
    x, mean, log_var = np.random.default_rng(0).normal(size=(3, 5, 4))
    np.testing.assert_allclose(
        jit(gaussian.log_prob)(x, mean, log_var), log_density(x, mean, log_var), rtol=1e-5
    )


def test_divergence_is_the_mean_of_the_log_ratio_of_densities():
    rng, n = np.random.default_rng(1), 100_000
    mean, log_var, *other = rng.normal(size=(4, 1, 3))
    x = mean + np.exp(log_var / 2) * rng.normal(size=(n, 3))
    zeros = np.zeros((1, 3))
    kl = jit(gaussian.kl)
    for pair in (other, (zeros, zeros)):
        ratio = log_density(x, mean, log_var) - log_density(x, *pair)
        assert abs(ratio.mean() - float(kl(mean, log_var, *pair)[0])) < 4 * ratio.std() / n**0.5
    np.testing.assert_allclose(
        jit(gaussian.kl_to_standard)(mean, log_var), kl(mean, log_var, zeros, zeros), rtol=1e-5
    )


def test_draws_have_the_mean_and_the_variance(key):
    # The second column has no variance left.
    mean, log_var = np.tile(np.float32([[2, 5]]), (50_000, 1)), np.log(np.float32([[9, 1e-38]]))
    z = np.asarray(jit(gaussian.sample)(key, mean, jnp.broadcast_to(log_var, mean.shape)))
    assert abs(z[:, 0].mean() - 2) < 4 * 3 / len(z) ** 0.5
    assert abs(z[:, 0].var() / 9 - 1) < 4 * (2 / len(z)) ** 0.5
    np.testing.assert_array_equal(z[:, 1], 5)


@pytest.mark.parametrize("prior", [False, True])
def test_product_is_that_of_its_factors(prior):
    mean, log_var = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    members = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], bool)
    found, found_log_var = jit(gaussian.product, static_argnums=3)(mean, log_var, members, prior)
    for b, row in enumerate(members):
        means, variances = [*mean[row, b]], [*np.exp(log_var[row, b])]
        if prior or not row.any():
            means, variances = [*means, np.zeros(4)], [*variances, np.ones(4)]
        exact_mean, exact_variance = analytic.product(means, variances)
        np.testing.assert_allclose(found[b], exact_mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(np.exp(found_log_var[b]), exact_variance, rtol=1e-4)
