import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.models import gaussian


def test_kl_is_zero_for_the_standard_gaussian():
    zeros = jnp.zeros((3, 4))
    np.testing.assert_allclose(gaussian.kl_to_standard(zeros, zeros), 0)


def test_kl_equals_its_monte_carlo_estimate(key):
    mean, log_var = jnp.array([[0.7, -1.2]]), jnp.array([[0.4, -0.9]])
    z = gaussian.sample(key, jnp.repeat(mean, 200_000, 0), jnp.repeat(log_var, 200_000, 0))
    log_q = -0.5 * jnp.sum((z - mean) ** 2 / jnp.exp(log_var) + log_var, axis=1)
    ratio = log_q + 0.5 * jnp.sum(z**2, axis=1)
    error = float(jnp.std(ratio)) / len(z) ** 0.5
    assert abs(float(jnp.mean(ratio) - gaussian.kl_to_standard(mean, log_var)[0])) < 4 * error


def test_sample_has_the_given_moments(key):
    mean, log_var = jnp.full((50_000, 1), 2.0), jnp.full((50_000, 1), jnp.log(9.0))
    z = gaussian.sample(key, mean, log_var)
    assert abs(float(z.mean()) - 2) < 4 * 3 / len(z) ** 0.5
    assert abs(float(z.var()) / 9 - 1) < 4 * (2 / len(z)) ** 0.5


def test_sample_without_variance_is_the_mean():
    mean = jnp.arange(6.0).reshape(2, 3)
    z = gaussian.sample(jax.random.key(1), mean, jnp.full((2, 3), -200.0))
    np.testing.assert_array_equal(z, mean)
