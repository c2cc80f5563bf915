"""Encoder and decoder of real vectors, counts and short signals: a linear map and what it cannot do.

Much of what vectors have in common is linear, so the networks begin as a linear autoencoder, and dense layers
add to it what helps. Nothing is normalised in between: the length of a vector is part of what it says.
"""

import math

import flax.linen as nn

from sbmae_jax.nets.blocks import check_sizes
from sbmae_jax.types import Array


class VectorEncoder(nn.Module):
    """Vectors [B, ...] -> [B, num_heads latent_size]; `num_heads` as in the other encoders."""

    num_heads: int
    latent_size: int
    width: int = 128

    @nn.compact
    def __call__(self, x: Array) -> Array:
        check_sizes("vector", width=self.width)
        return linear_and_more(x.reshape(len(x), -1), self.width, self.num_heads * self.latent_size)


class VectorDecoder(nn.Module):
    """A latent [B, d] -> [B, *shape]: means, logits or logarithms of rates."""

    shape: tuple[int, ...]
    width: int = 128

    @nn.compact
    def __call__(self, z: Array) -> Array:
        check_sizes("vector", width=self.width)
        return linear_and_more(z, self.width, math.prod(self.shape)).reshape(len(z), *self.shape)


def linear_and_more(x: Array, width: int, size: int) -> Array:
    """Apply a linear map, and add two dense layers that start at zero; inside the module that calls."""
    h = nn.gelu(nn.Dense(width)(x))
    h = nn.gelu(nn.Dense(width)(h))
    return nn.Dense(size)(x) + nn.Dense(size, kernel_init=nn.initializers.zeros)(h)
