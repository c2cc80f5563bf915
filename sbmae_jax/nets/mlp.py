"""The plain score network: a residual MLP on all latents together."""

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import LevelEmbedding, check_sizes, normalise
from sbmae_jax.types import Array


class MLPScore(nn.Module):
    """F(x [B, D], ln snr [B, M]) -> [B, D], by residual blocks scaled and shifted by the noise levels.

    sizes: of the latents; their sum is D.  The output layer starts at zero.

    Raises ValueError for a width or a number of blocks below 1.
    """

    sizes: tuple[int, ...]
    width: int = 512
    num_blocks: int = 4
    level_width: int = 128

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        check_sizes("mlp", self.num_blocks, width=self.width, level_width=self.level_width)
        levels = LevelEmbedding(self.level_width)(log_snr)
        levels = nn.silu(nn.Dense(self.level_width)(levels.reshape(len(x), -1)))
        h = nn.Dense(self.width)(x)
        for _ in range(self.num_blocks):
            scale, shift = jnp.split(nn.Dense(2 * self.width)(levels), 2, axis=-1)
            a = nn.silu(nn.Dense(self.width)(normalise(h) * (1 + scale) + shift))
            h = h + nn.Dense(self.width, kernel_init=nn.initializers.zeros)(a)
        return nn.Dense(sum(self.sizes), kernel_init=nn.initializers.zeros)(normalise(h))
