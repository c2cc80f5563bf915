"""Dense encoder and decoder of vectors, such as a list of attributes.

The reference implementation's networks for the 18 attributes of CelebA (method, section 2.2), with layer
normalisation (Ba et al. 2016, arXiv:1607.06450) for batch normalisation.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import check_sizes, compute_dtype
from sbmae_jax.types import Array


class DenseEncoder(nn.Module):
    """Vectors [B, ...] -> [B, num_heads latent_size].

    Two heads for the mean and the log-variance of a VAE, one for a regularised autoencoder.
    """

    num_heads: int
    latent_size: int
    widths: tuple[int, ...] = (128, 256, 512, 512, 512)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = hidden_layers(x.reshape(len(x), -1), self.widths, compute_dtype(self.dtype))
        return nn.Dense(self.num_heads * self.latent_size)(h.astype(jnp.float32))


class DenseDecoder(nn.Module):
    """A latent [B, d] -> [B, *shape]: means of any size, or logits."""

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (512, 512, 512, 256, 128)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = hidden_layers(z, self.widths, compute_dtype(self.dtype))
        return nn.Dense(math.prod(self.shape))(h.astype(jnp.float32)).reshape(len(z), *self.shape)


def hidden_layers(x: Array, widths: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Apply dense layers, each normalised and rectified, inside the module that calls."""
    check_sizes("dense", widths=widths)
    for width in widths:
        x = nn.Dense(width, dtype=dtype)(x)
        x = nn.relu(nn.LayerNorm(epsilon=1e-5, dtype=dtype)(x))
    return x
