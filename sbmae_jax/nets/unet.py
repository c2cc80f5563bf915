"""The reference implementation's U-Net, which treats the stacked latents as a picture.

Each latent becomes one square channel; positions in it carry no meaning. It is the U-Net of diffusion models
(Ho et al. 2020, arXiv:2006.11239) with ConvNeXt blocks (Liu et al. 2022, arXiv:2201.03545) and linear
attention (Shen et al. 2018, arXiv:1812.01243). Unlike the reference's, its sinusoids are of the noise level:
most of those of the time t in 0..1 would be constant.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.nets.blocks import check_sizes, compute_dtype, group_norm, recomputed, sinusoids
from sbmae_jax.types import Array

NUM_HEADS, HEAD_WIDTH = 4, 32
# Radians per nat of ln(sigma / alpha) in the fastest sinusoid: a period is a fifth of a nat, a few steps of a
# sampler, where all levels span about a dozen nats.
LEVEL_SCALE = 30.0


class UNetScore(nn.Module):
    """Score network of the reference implementation: a U-Net over the stacked latents.

    It computes F in equation (1) of `models.score`. Its output starts at zero. The reference has it in four
    sizes, with the same numbers of parameters as here:

        PolyMNIST, 10 modalities    10 latents of 8x8, dim 128, mults (1, 2, 2, 2)       42,669,450
        PolyMNIST, 5 modalities     5 latents of 8x8, dim 64, mults (1, 2, 2, 2)         10,964,947
        CelebA                      3 latents of 16x16, dim 256, mults (1, 2, 2, 2, 2)   222,847,613
        CelebA, first version       3 latents of 16x16, dim 128, mults (1, 2, 2, 2, 2)   56,480,631

    Attributes:
        sizes: Sizes of the latents, by modality: all the same square. They sum to D.
        dim: Unit of width, at least 3.
        mults: Width of each level in that unit; from level to level the side halves.
        per_modality_levels: Whether to tell the network the noise level of each modality, which it must know
            if some are observed. Without it, as in the reference, it is told one level, the noisiest of the
            row: in joint training and sampling that of all modalities, else that of the unobserved ones.
        dtype: Dtype of the blocks, "float32" or "bfloat16"; parameters are always float32.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Raises:
        ValueError: When called, if the sizes are not equal squares whose side halves often enough, or a field
            is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.unet import UNetScore
        >>> network = UNetScore(sizes=(16, 16), dim=12, mults=(1,))
        >>> arrays = np.zeros((1, 32)), np.zeros((1, 2))
        >>> params = jax.eval_shape(network.init, jax.random.key(0), *arrays)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        46830
    """

    sizes: tuple[int, ...]
    dim: int = 128
    mults: tuple[int, ...] = (1, 2, 2, 2)
    per_modality_levels: bool = False
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Return F `[B, D]` for noised latents x `[B, D]` at noise levels log_snr `[B, M]`."""
        dtype, block = compute_dtype(self.dtype), recomputed(ConvNeXt, self.remat)
        attention = recomputed(LinearAttention, self.remat)
        check_sizes(self, "dim", "mults")
        if self.dim < 3 or not self.mults:
            raise ValueError(
                f"dim must be at least 3 and mults must not be empty, got {self.dim} and {self.mults}"
            )
        side = _square_side(self.sizes, 2 ** (len(self.mults) - 1))
        batch, num_modalities = log_snr.shape
        if not self.per_modality_levels:
            log_snr = jnp.min(log_snr, axis=-1, keepdims=True)
        level = unet_features(log_snr, self.dim).reshape(batch, -1)
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

    Attributes:
        width: Number of output channels.
        dtype: Dtype of the block.
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, level: Array | None) -> Array:
        """Apply the block to `[B, H, W, in]`, with the embedded noise level `[B, K]` if there is one."""
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
    """Attention whose cost is linear in the number of positions: `[B, H, W, C]` -> `[B, H, W, C]`.

    Attributes:
        dtype: Dtype of the layers; softmax is in float32.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Let each position attend to a summary of all."""
        q, k, v = _heads(x, self.dtype)
        q = jax.nn.softmax(q.astype(jnp.float32), axis=-1).astype(self.dtype) * HEAD_WIDTH**-0.5
        k = jax.nn.softmax(k.astype(jnp.float32), axis=1).astype(self.dtype)
        summary = jnp.einsum("bphk,bphv->bhkv", k, v)
        h = jnp.einsum("bphk,bhkv->bphv", q, summary).reshape(*x.shape[:-1], -1)
        return group_norm(1, self.dtype)(nn.Dense(x.shape[-1], dtype=self.dtype)(h))


class Attention(nn.Module):
    """Attention between all positions: `[B, H, W, C]` -> `[B, H, W, C]`.

    Attributes:
        dtype: Dtype of the layers.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Let each position attend to all."""
        h = jax.nn.dot_product_attention(*_heads(x, self.dtype)).reshape(*x.shape[:-1], -1)
        return nn.Dense(x.shape[-1], dtype=self.dtype)(h)


def _heads(x: Array, dtype: jnp.dtype) -> tuple[Array, Array, Array]:
    """Return queries, keys and values `[B, H W, heads, width]`, in the compact method that calls this."""
    batch, height, width, _ = x.shape
    qkv = nn.Dense(3 * NUM_HEADS * HEAD_WIDTH, use_bias=False, dtype=dtype)(x)
    qkv = qkv.reshape(batch, height * width, 3, NUM_HEADS, HEAD_WIDTH)
    return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]


def unet_features(log_snr: Array, num: int) -> Array:
    """Return sinusoids of noise levels with the reference's frequencies: `[...]` -> `[..., num]`.

    These run from 1 down to 1e-4 in equal ratios, times `LEVEL_SCALE`.
    """
    return sinusoids(log_snr, LEVEL_SCALE * jnp.exp(jnp.linspace(0.0, -np.log(1e4), num // 2)))


def _square_side(sizes: tuple[int, ...], factor: int) -> int:
    """Return the side of the squares that the latents fill, or raise ValueError."""
    side = math.isqrt(sizes[0])
    if set(sizes) != {side**2} or side % factor:
        raise ValueError(
            f"the U-Net needs latents of one size, the square of a multiple of {factor}, because its levels "
            f"shrink them, got sizes {sizes}; networks 'hub', 'mlp' and 'transformer' take any sizes"
        )
    return side
