"""A mixer of patches that denoises pictures: dense layers alone, for few cores."""

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import (
    LevelEmbedding,
    check_sizes,
    from_patches,
    normalise,
    to_patches,
)
from sbmae_jax.nets.patch import check_patches
from sbmae_jax.types import Array


class MixerDenoiser(nn.Module):
    """Denoise pictures by dense layers over the pixels of a patch, and over the patches.

    It computes F in equation (1) of `models.diffusion_decoder`. Its output starts at zero. With its defaults
    it has 348,290 parameters for pictures of 28x28x3 and latents of 24.

    Attributes:
        patch: Side of a patch in pixels; it must divide the sides of the picture.
        width: Features of a patch.
        num_blocks: Blocks, each of which mixes the patches, then the features of each.
        level_width: Width of what the latent and the level of noise are embedded in.

    Raises:
        ValueError: When called, if the patches do not fit the pictures, or a field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.mixer import MixerDenoiser
        >>> network, x, level = MixerDenoiser(), np.zeros((2, 28, 28, 3)), np.zeros(2)
        >>> arrays = x, x, np.zeros((2, 24)), level, level
        >>> output, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), *arrays)
        >>> output.shape
        (2, 28, 28, 3)

    Source: Tolstikhin et al. 2021 (arXiv:2105.01601), with the modulation of Peebles and Xie 2023
    (arXiv:2212.09748).
    """

    patch: int = 4
    width: int = 96
    num_blocks: int = 3
    level_width: int = 128

    @nn.compact
    def __call__(self, x: Array, base: Array, z: Array, log_snr: Array, spread: Array) -> Array:
        """Return F `[B, H, W, C]`.

        Args:
            x: Noised pictures less the base, scaled to variance 1, `[B, H, W, C]`.
            base: What the latent says of the picture, `[B, H, W, C]`.
            z: The latent, standardised, `[B, d]`.
            log_snr: Level of the noise in x, in nats, `[B]`.
            spread: How uncertain the latent is, in 0..1, `[B]`.
        """
        check_sizes(self, "patch", "width", "num_blocks", "level_width")
        check_patches(x.shape[1:], self.patch)
        rows, columns = x.shape[1] // self.patch, x.shape[2] // self.patch
        known = jnp.concatenate([LevelEmbedding(self.level_width)(log_snr), z, spread[:, None]], -1)
        known = nn.silu(nn.Dense(self.level_width)(known))
        seen = jnp.concatenate(
            [to_patches(x, self.patch), to_patches(2 * base - 1, self.patch)], -1
        )
        seen = seen.reshape(x.shape[0], rows * columns, -1)
        place = self.param("place", nn.initializers.normal(0.1), (rows * columns, self.width))
        h = nn.Dense(self.width)(seen) + place[None]
        for _ in range(self.num_blocks):
            modulated = nn.Dense(4 * self.width)(known)[:, None]
            shift, scale, shift_2, scale_2 = jnp.split(modulated, 4, axis=-1)
            y = (normalise(h) * (1 + scale) + shift).swapaxes(1, 2)
            y = nn.gelu(nn.Dense(2 * rows * columns)(y))
            # A bias would be the same for all features of a patch, and normalised away.
            h = h + nn.Dense(rows * columns, use_bias=False)(y).swapaxes(1, 2)
            y = normalise(h) * (1 + scale_2) + shift_2
            h = h + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(y)))
        pixels = self.patch**2 * x.shape[-1]
        y = nn.Dense(pixels, kernel_init=nn.initializers.zeros)(normalise(h))
        return from_patches(y.reshape(x.shape[0], rows, columns, pixels), self.patch)
