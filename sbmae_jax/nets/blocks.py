"""Pieces that several networks share."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sbmae_jax.types import Array


def level_features(log_snr: Array, num: int = 16) -> Array:
    """Return sines and cosines of the noise level: [...] -> [..., 2 num].

    In ln(sigma / alpha) the periods run from a fifth of a nat-octave up to the whole range of levels, so
    that neighbouring levels differ; a sinusoid of t itself would be nearly constant.
    """
    frequencies = jnp.exp(jnp.linspace(np.log(0.25), np.log(4.0), num))
    angles = -0.5 * log_snr[..., None] * frequencies.reshape((1,) * log_snr.ndim + (num,))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def normalise(x: Array) -> Array:
    """Give each row mean 0 and variance 1 over the last axis; layer normalisation without parameters."""
    return nn.standardize(x, axis=-1, epsilon=1e-5)


class LevelEmbedding(nn.Module):
    """Embed log-SNR [...] into [..., width]."""

    width: int

    @nn.compact
    def __call__(self, log_snr: Array) -> Array:
        h = nn.silu(nn.Dense(self.width)(level_features(log_snr)))
        return nn.silu(nn.Dense(self.width)(h))


class PerModality(nn.Module):
    """A dense layer with its own weights for each modality: [M, B, in] -> [M, B, width]."""

    width: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", batch_axis=(0,)
    )

    @nn.compact
    def __call__(self, x: Array) -> Array:
        num_modalities, _, size = x.shape
        kernel = self.param("kernel", self.kernel_init, (num_modalities, size, self.width))
        y = jnp.einsum("mbi,mio->mbo", x, kernel)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (num_modalities, 1, self.width))
        return y


def to_patches(x: Array, size: int) -> Array:
    """Move squares into channels: [B, H, W, C] -> [B, H/size, W/size, size size C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // size, width // size, size * size * channels)


def from_patches(x: Array, size: int) -> Array:
    """Undo `to_patches`: [B, H, W, size size C] -> [B, H size, W size, C]."""
    batch, height, width, channels = x.shape
    channels //= size * size
    x = x.reshape(batch, height, width, size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * size, width * size, channels)


def neighbourhoods(x: Array) -> Array:
    """Gather the 3x3 surroundings of each position into channels: [B, H, W, C] -> [B, H, W, 9 C].

    A dense layer on it is a 3x3 convolution, written so that its gradient is a matrix product: XLA's CPU
    backend is slow at the gradient of a convolution inside a scan.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, axis=-1)
