"""A convolutional U-Net that denoises pictures, for accelerators."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import (
    LevelEmbedding,
    avg_pool,
    check_sizes,
    compute_dtype,
    group_norm,
    norm_groups,
    recomputed,
    upsample,
)
from sbmae_jax.types import Array


class ConvDenoiser(nn.Module):
    """Denoise pictures by residual convolutions at several resolutions.

    It computes F in equation (1) of `models.diffusion_decoder`. Its output starts at zero. Parameters for
    pictures of three channels and latents of 96:

        widths (32, 64, 128), 1 block       1,381,347
        widths (64, 128, 256), 2 blocks     8,120,259

    On a CPU use `MixerDenoiser`, whose gradient is much faster there.

    Attributes:
        widths: Channels at each resolution; from one to the next the sides halve.
        num_blocks: Residual blocks at each resolution, on the way down and on the way up.
        level_width: Width of what the latent and the level of noise are embedded in.
        dtype: Dtype of the convolutions, "float32" or "bfloat16"; parameters are always float32.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Raises:
        ValueError: When called, if the sides do not halve often enough, or a field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.conv_denoiser import ConvDenoiser
        >>> network, x, level = ConvDenoiser((8, 16)), np.zeros((2, 28, 28, 3)), np.zeros(2)
        >>> arrays = x, x, np.zeros((2, 24)), level, level
        >>> output, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), *arrays)
        >>> output.shape
        (2, 28, 28, 3)

    Source: the U-Net of Ho et al. 2020 (arXiv:2006.11239), without attention.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    num_blocks: int = 1
    level_width: int = 256
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, base: Array, z: Array, log_snr: Array, spread: Array) -> Array:
        """Return F `[B, H, W, C]`; the arguments are those of `MixerDenoiser`."""
        check_sizes(self, "widths", "num_blocks", "level_width")
        dtype, block = compute_dtype(self.dtype), recomputed(ModulatedBlock, self.remat)
        factor = 2 ** max(len(self.widths) - 1, 0)
        if x.ndim != 4 or x.shape[1] % factor or x.shape[2] % factor or not self.widths:
            raise ValueError(
                f"pictures must be [height, width, channels] with sides that are multiples of {factor}, "
                f"because widths has {len(self.widths)} resolutions, got {x.shape[1:]}"
            )
        known = jnp.concatenate([LevelEmbedding(self.level_width)(log_snr), z, spread[:, None]], -1)
        known = nn.silu(nn.Dense(self.level_width)(known))
        h = jnp.concatenate([x, 2 * base - 1], axis=-1)
        h = nn.Conv(self.widths[0], (3, 3), dtype=dtype)(h)
        skips = []
        for i, width in enumerate(self.widths):
            for _ in range(self.num_blocks):
                h = block(width, dtype)(h, known)
            skips.append(h)
            h = avg_pool(h, 2) if i + 1 < len(self.widths) else h
        for width, skip in reversed(list(zip(self.widths, skips, strict=True))):
            h = h if h.shape[1] == skip.shape[1] else upsample(h, 2, "nearest")
            h = jnp.concatenate([h, skip], axis=-1)
            for _ in range(self.num_blocks):
                h = block(width, dtype)(h, known)
        h = nn.silu(group_norm(norm_groups(self.widths[0]), dtype)(h)).astype(jnp.float32)
        return nn.Conv(x.shape[-1], (3, 3), kernel_init=nn.initializers.zeros)(h)


class ModulatedBlock(nn.Module):
    """A residual block of two 3x3 convolutions, modulated by what is known.

    Attributes:
        width: Its channels.
        dtype: Dtype of the convolutions.
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: Array, known: Array) -> Array:
        """Return `[B, H, W, width]`.

        Args:
            h: `[B, H, W, C]`.
            known: `[B, K]`.
        """
        convolve: Callable[[Array], Array] = nn.Conv(self.width, (3, 3), dtype=self.dtype)
        modulated = nn.Dense(2 * self.width)(known)[:, None, None].astype(self.dtype)
        scale, shift = jnp.split(modulated, 2, axis=-1)
        y = convolve(nn.silu(group_norm(norm_groups(h.shape[-1]), self.dtype)(h)))
        y = group_norm(norm_groups(self.width), self.dtype)(y) * (1 + scale) + shift
        y = nn.Conv(self.width, (3, 3), dtype=self.dtype)(nn.silu(y))
        if h.shape[-1] != self.width:
            h = nn.Dense(self.width, dtype=self.dtype)(h)
        return h + y
