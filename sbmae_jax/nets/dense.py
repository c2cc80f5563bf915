"""Dense encoder and decoder of vectors, such as a list of attributes.

These are the reference implementation's networks for the 18 attributes of CelebA, with layer normalisation
(Ba et al. 2016, arXiv:1607.06450) instead of batch normalisation.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import check_sizes, compute_dtype
from sbmae_jax.types import Array


class DenseEncoder(nn.Module):
    """Encode vectors by dense layers with layer normalisation.

    With its defaults, 2 heads and latents of 256, encoder and `DenseDecoder` of 18 attributes have 1,786,130
    parameters together, as in the reference; with 1 head they have 1,654,802.

    Attributes:
        num_heads: 2 for the mean and the log-variance of a VAE, 1 for a regularised autoencoder.
        latent_size: Size of the latent.
        widths: Widths of the hidden layers.
        dtype: Dtype of the hidden layers, "float32" or "bfloat16"; parameters are always float32.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder
        >>> encoder, decoder = DenseEncoder(num_heads=2, latent_size=256), DenseDecoder(shape=(18,))
        >>> key, x, z = jax.random.key(0), np.zeros((1, 18)), np.zeros((1, 256))
        >>> params = jax.eval_shape(encoder.init, key, x), jax.eval_shape(decoder.init, key, z)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        1786130
    """

    num_heads: int
    latent_size: int
    widths: tuple[int, ...] = (128, 256, 512, 512, 512)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encode vectors `[B, ...]` as `[B, num_heads latent_size]`."""
        check_sizes(self, "widths")
        h = _hidden_layers(x.reshape(x.shape[0], -1), self.widths, compute_dtype(self.dtype))
        return nn.Dense(self.num_heads * self.latent_size)(h.astype(jnp.float32))


class DenseDecoder(nn.Module):
    """Decode latents into vectors by dense layers with layer normalisation.

    Attributes:
        shape: Shape of the decoded array.
        widths: Widths of the hidden layers.
        dtype: Dtype of the hidden layers, "float32" or "bfloat16"; parameters are always float32.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.dense import DenseDecoder
        >>> decoder, z = DenseDecoder(shape=(18,)), np.zeros((8, 256))
        >>> output, _ = jax.eval_shape(decoder.init_with_output, jax.random.key(0), z)
        >>> output.shape
        (8, 18)
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (512, 512, 512, 256, 128)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode latents `[B, latent_size]` into unbounded means or logits, `[B, *shape]`."""
        check_sizes(self, "widths")
        h = _hidden_layers(z, self.widths, compute_dtype(self.dtype))
        return nn.Dense(math.prod(self.shape))(h.astype(jnp.float32)).reshape(
            z.shape[0], *self.shape
        )


def _hidden_layers(x: Array, widths: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Apply dense layers with normalisation and relu, in the compact method that calls this."""
    for width in widths:
        x = nn.Dense(width, dtype=dtype)(x)
        x = nn.relu(nn.LayerNorm(epsilon=1e-5, dtype=dtype)(x))
    return x
