"""The reference implementation's U-Net, which takes the stacked latents for a picture.

Each latent becomes one square channel; positions in it carry no meaning (method, sections 3.3 and 3.4). It is
the U-Net of diffusion models (Ho et al. 2020, arXiv:2006.11239) with ConvNeXt blocks (Liu et al. 2022,
arXiv:2201.03545) and linear attention (Shen et al. 2018, arXiv:1812.01243). Unlike in the reference the
sinusoids are of the noise level: of t in 0..1 most of them would be constant.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.nets.blocks import check_sizes, compute_dtype, group_norm, recomputed
from sbmae_jax.types import Array

NUM_HEADS, HEAD_WIDTH = 4, 32
# Radians per nat of ln(sigma / alpha) in the fastest sinusoid: its period is then a fifth of a nat, of a
# dozen nats in all, which is a few steps of a sampler.
LEVEL_SCALE = 30.0


class UNetScore(nn.Module):
    """F(x [B, D], ln snr [B, M]) -> [B, D].  The output layer starts at zero.

    sizes: of the latents, all of them the same square; their sum is D.
    dim: unit of width.  mults: width of each level in that unit; from level to level the side halves.
    per_modality_levels: tell the network the level of each modality, as it must know when some are observed.
        Without it, as in the reference, it is told one level, the noisiest of the row: the level of all of
        them in joint training and sampling, and that of the modalities not observed elsewhere.

    remat: compute the activations of the blocks again for the gradient, rather than keep them.

    Raises ValueError for sizes that are not equal squares, or whose side does not halve often enough.
    """

    sizes: tuple[int, ...]
    dim: int = 128
    mults: tuple[int, ...] = (1, 2, 2, 2)
    per_modality_levels: bool = False
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        dtype, block = compute_dtype(self.dtype), recomputed(ConvNeXt, self.remat)
        attention = recomputed(LinearAttention, self.remat)
        check_sizes("unet", dim=self.dim, mults=self.mults)
        if self.dim < 3 or not self.mults:
            raise ValueError(
                f"network 'unet' needs dim of at least 3 and at least one of mults, got {self.dim} and "
                f"{self.mults}"
            )
        side = square_side(self.sizes, 2 ** (len(self.mults) - 1))
        batch, num_modalities = log_snr.shape
        if not self.per_modality_levels:
            log_snr = jnp.min(log_snr, axis=-1, keepdims=True)
        level = sinusoids(log_snr, self.dim).reshape(batch, -1)
        level = nn.Dense(4 * self.dim)(nn.gelu(nn.Dense(4 * self.dim)(level)))
        h = x.reshape(batch, num_modalities, side, side).transpose(0, 2, 3, 1)
        h = nn.Conv(2 * (self.dim // 3), (7, 7), dtype=dtype)(h)

        widths = [self.dim * mult for mult in self.mults]
        skips = []
        for width in widths:
            if skips:
                h = nn.Conv(h.shape[-1], (4, 4), strides=2, padding=1, dtype=dtype)(h)
            h = block(width, dtype)(h, level)
            h = block(width, dtype)(h, level)
            h = h + attention(dtype)(group_norm(1, dtype)(h))
            skips.append(h)

        h = block(widths[-1], dtype)(h, level)
        h = h + Attention(dtype)(group_norm(1, dtype)(h))
        h = block(widths[-1], dtype)(h, level)

        for width in reversed(widths[:-1]):  # The reference never uses the skip of the first level.
            h = jnp.concatenate([h, skips.pop()], axis=-1)
            h = block(width, dtype)(h, level)
            h = block(width, dtype)(h, level)
            h = h + attention(dtype)(group_norm(1, dtype)(h))
            h = nn.ConvTranspose(width, (4, 4), strides=(2, 2), dtype=dtype)(h)

        h = block(self.dim, dtype)(h, None).astype(jnp.float32)
        h = nn.Conv(num_modalities, (1, 1), kernel_init=nn.initializers.zeros)(h)
        return h.transpose(0, 3, 1, 2).reshape(batch, -1)


class ConvNeXt(nn.Module):
    """A depthwise 7x7 convolution, the noise level, two 3x3 convolutions, and a shortcut.

    [B, H, W, in] and the embedded level [B, .] or None -> [B, H, W, width].
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, level: Array | None) -> Array:
        channels = x.shape[-1]
        h = nn.Conv(channels, (7, 7), feature_group_count=channels, dtype=self.dtype)(x)
        if level is not None:
            h = h + nn.Dense(channels, dtype=self.dtype)(nn.gelu(level))[:, None, None, :]
        h = nn.Conv(2 * self.width, (3, 3), dtype=self.dtype)(group_norm(1, self.dtype)(h))
        h = group_norm(1, self.dtype)(nn.gelu(h))
        h = nn.Conv(self.width, (3, 3), dtype=self.dtype)(h)
        if channels != self.width:
            x = nn.Conv(self.width, (1, 1), dtype=self.dtype)(x)
        return h + x


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the number of positions: [B, H, W, C] -> [B, H, W, C]."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        q, k, v = heads(x, self.dtype)
        q = jax.nn.softmax(q.astype(jnp.float32), axis=-1).astype(self.dtype) * HEAD_WIDTH**-0.5
        k = jax.nn.softmax(k.astype(jnp.float32), axis=1).astype(self.dtype)
        summary = jnp.einsum("bphk,bphv->bhkv", k, v)
        h = jnp.einsum("bphk,bhkv->bphv", q, summary).reshape(*x.shape[:-1], -1)
        return group_norm(1, self.dtype)(nn.Dense(x.shape[-1], dtype=self.dtype)(h))


class Attention(nn.Module):
    """Attention between all positions: [B, H, W, C] -> [B, H, W, C]."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = jax.nn.dot_product_attention(*heads(x, self.dtype)).reshape(*x.shape[:-1], -1)
        return nn.Dense(x.shape[-1], dtype=self.dtype)(h)


def heads(x: Array, dtype: jnp.dtype) -> tuple[Array, Array, Array]:
    """Return queries, keys and values [B, H W, heads, width] in the module that calls."""
    batch, height, width, _ = x.shape
    qkv = nn.Dense(3 * NUM_HEADS * HEAD_WIDTH, use_bias=False, dtype=dtype)(x)
    qkv = qkv.reshape(batch, height * width, 3, NUM_HEADS, HEAD_WIDTH)
    return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]


def sinusoids(log_snr: Array, num: int) -> Array:
    """Return sines and cosines of ln(sigma / alpha): [...] -> [..., num].

    The reference's frequencies, from 1 down to 1e-4 in equal ratios, times `LEVEL_SCALE`.
    """
    frequencies = LEVEL_SCALE * jnp.exp(jnp.linspace(0.0, -np.log(1e4), num // 2))
    angles = -0.5 * log_snr[..., None] * frequencies.reshape((1,) * log_snr.ndim + (-1,))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def square_side(sizes: tuple[int, ...], factor: int) -> int:
    """Return the side of the squares that the latents fill.

    Raises ValueError if they do not, or if `factor` does not divide the side.
    """
    side = math.isqrt(sizes[0])
    if set(sizes) != {side**2} or side % factor:
        raise ValueError(
            f"network 'unet' needs latents of one size, the square of a multiple of {factor}, by which its "
            f"levels shrink them, got sizes {sizes}; 'hub', 'mlp' and 'transformer' take any sizes"
        )
    return side
