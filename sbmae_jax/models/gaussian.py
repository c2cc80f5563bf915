"""Diagonal Gaussians, as autoencoders use them. Sums run over the last axis; KL and log-densities in nats."""

import math

import jax
import jax.numpy as jnp

from sbmae_jax.types import Array, Key


def sample(key: Key, mean: Array, log_var: Array) -> Array:
    """Draw mean + exp(log_var / 2) eps, in the shape and dtype of `mean`."""
    return mean + jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape, mean.dtype)


def kl_to_standard(mean: Array, log_var: Array) -> Array:
    """Return KL(N(mean, exp(log_var)) || N(0, I)), summed over the last axis.

    Example:
        >>> kl_to_standard(jnp.zeros((2, 3)), jnp.zeros((2, 3))).tolist()
        [0.0, 0.0]

    Source:
        Kingma and Welling 2014 (arXiv:1312.6114), appendix B.
    """
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1, axis=-1)


def kl(mean: Array, log_var: Array, other_mean: Array, other_log_var: Array) -> Array:
    """Return KL(N(mean, exp(log_var)) || N(other_mean, exp(other_log_var))), summed over the last axis."""
    square = (mean - other_mean) ** 2 + jnp.exp(log_var)
    gap = other_log_var - log_var
    return 0.5 * jnp.sum(square * jnp.exp(-other_log_var) + gap - 1, axis=-1)


def log_prob(x: Array, mean: Array, log_var: Array) -> Array:
    """Return ln N(x; mean, exp(log_var)), summed over the last axis."""
    square = (x - mean) ** 2 * jnp.exp(-log_var)
    return -0.5 * jnp.sum(square + log_var + math.log(2 * math.pi), axis=-1)


def product(mean: Array, log_var: Array, members: Array, prior: bool) -> tuple[Array, Array]:
    """Return the normalised product of some of M Gaussians; a product of none is N(0, I).

    Precisions add up, and so do precisions times means. All subsets share one matrix product with the
    precisions.

    Args:
        mean: `[M, B, d]`.
        log_var: `[M, B, d]`.
        members: `[..., B, M]` bool, the Gaussians to multiply, for one subset or several.
        prior: Whether N(0, I) is one more factor.

    Returns:
        Mean and log-variance of the products, `[..., B, d]` each.

    Source:
        Hinton 2002, for Gaussians.
    """
    weights, precision = members.astype(mean.dtype), jnp.exp(-log_var)
    total = jnp.einsum("...bm,mbd->...bd", weights, precision)
    pull = jnp.einsum("...bm,mbd->...bd", weights, precision * mean)
    with_prior = prior | ~jnp.any(members, axis=-1, keepdims=True)
    total = total + with_prior.astype(total.dtype)
    return pull / total, -jnp.log(total)
