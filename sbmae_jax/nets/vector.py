"""Encoder and decoder of real vectors, counts and short signals: a linear map plus a correction.

Much of what vectors have in common is linear, so each network starts as a linear map, and dense layers that
start at zero learn what it cannot express. Nothing is normalised in between, because the length of a vector
carries information.
"""

import math

import flax.linen as nn

from sbmae_jax._check import require_number
from sbmae_jax.nets.blocks import check_sizes
from sbmae_jax.types import Array


class VectorEncoder(nn.Module):
    """Encode vectors by a linear map plus two dense layers.

    Attributes:
        num_heads: 2 for the mean and the log-variance of a VAE, 1 for a regularised autoencoder.
        latent_size: Size of the latent.
        width: Width of the dense layers.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.vector import VectorEncoder
        >>> encoder, x = VectorEncoder(num_heads=2, latent_size=16), np.zeros((8, 50))
        >>> output, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
        >>> output.shape
        (8, 32)
    """

    num_heads: int
    latent_size: int
    width: int = 128

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encode vectors `[B, ...]` as `[B, num_heads latent_size]`."""
        check_sizes(self, "width")
        return _linear_plus_dense(
            x.reshape(x.shape[0], -1), self.width, self.num_heads * self.latent_size
        )


class VectorDecoder(nn.Module):
    """Decode latents into vectors by a linear map plus two dense layers.

    Attributes:
        shape: Shape of the decoded array.
        width: Width of the dense layers.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.vector import VectorDecoder
        >>> decoder = VectorDecoder(shape=(25, 2), width=32)
        >>> params = jax.eval_shape(decoder.init, jax.random.key(0), np.zeros((1, 16)))["params"]
        >>> {name: layer["kernel"].shape for name, layer in params.items()}
        {'Dense_0': (16, 32), 'Dense_1': (32, 32), 'Dense_2': (16, 50), 'Dense_3': (32, 50)}
    """

    shape: tuple[int, ...]
    width: int = 128

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode latents `[B, latent_size]` into means, logits or log-rates, `[B, *shape]`."""
        check_sizes(self, "width")
        size = math.prod(self.shape)
        return _linear_plus_dense(z, self.width, size).reshape(z.shape[0], *self.shape)


class VectorClassifier(nn.Module):
    """Classify vectors, or arrays of any shape as vectors, by two dense layers.

    Attributes:
        num_classes: Number of classes.
        width: Width of the dense layers; the outputs of the second one are the features.
        dropout: Share of the activations that is dropped in training, in [0, 1).

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.vector import VectorClassifier
        >>> network = VectorClassifier(num_classes=3)
        >>> apply = lambda key: network.init_with_output(key, np.zeros((2, 50)), train=False)
        >>> (logits, features), params = jax.eval_shape(apply, jax.random.key(0))
        >>> logits.shape, features.shape
        ((2, 3), (2, 128))
    """

    num_classes: int
    width: int = 128
    dropout: float = 0.3

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Return logits `[B, num_classes]` and features `[B, width]`, as `ConvClassifier` does."""
        check_sizes(self, "width")
        require_number("dropout", self.dropout, 0, below=1)
        h = nn.relu(nn.Dense(self.width)(x.reshape(x.shape[0], -1)))
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        features = nn.relu(nn.Dense(self.width)(h))
        h = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes)(h), features


def _linear_plus_dense(x: Array, width: int, size: int) -> Array:
    """Add two dense layers that start at zero to a linear map, in the compact method that calls this."""
    h = nn.gelu(nn.Dense(width)(x))
    h = nn.gelu(nn.Dense(width)(h))
    return nn.Dense(size)(x) + nn.Dense(size, kernel_init=nn.initializers.zeros)(h)
