"""Diagonal Gaussians, as autoencoders use them."""

import jax
import jax.numpy as jnp

from sbmae_jax.types import Array, Key


def sample(key: Key, mean: Array, log_var: Array) -> Array:
    """Draw mean + exp(log_var / 2) eps, with the shape of `mean`."""
    return mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, mean.dtype)


def kl_to_standard(mean: Array, log_var: Array) -> Array:
    """Return KL(N(mean, exp(log_var)) || N(0, I)) in nats, summed over the last axis.

    Kingma and Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1, axis=-1)
