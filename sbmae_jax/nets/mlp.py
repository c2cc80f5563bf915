"""The plain score network: a residual MLP on the latents of all modalities together."""

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import LevelEmbedding, check_sizes, normalise
from sbmae_jax.types import Array


class MLPScore(nn.Module):
    """Score network of residual dense blocks, scaled and shifted by the noise levels.

    It computes F in equation (1) of `models.score`. Its output starts at zero.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D.
        width: Width of the residual stream.
        num_blocks: Number of residual blocks.
        level_width: Width of the embedded noise levels.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.mlp import MLPScore
        >>> network, x, log_snr = MLPScore(sizes=(64, 64)), np.zeros((8, 128)), np.zeros((8, 2))
        >>> output, params = jax.eval_shape(network.init_with_output, jax.random.key(0), x, log_snr)
        >>> output.shape, sum(leaf.size for leaf in jax.tree.leaves(params))
        ((8, 128), 2814976)
    """

    sizes: tuple[int, ...]
    width: int = 512
    num_blocks: int = 4
    level_width: int = 128

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Return F `[B, D]` for noised latents x `[B, D]` at noise levels log_snr `[B, M]`."""
        check_sizes(self, "num_blocks", "width", "level_width")
        levels = LevelEmbedding(self.level_width)(log_snr)
        levels = nn.silu(nn.Dense(self.level_width)(levels.reshape(x.shape[0], -1)))
        h = nn.Dense(self.width)(x)
        for _ in range(self.num_blocks):
            scale, shift = jnp.split(nn.Dense(2 * self.width)(levels), 2, axis=-1)
            a = nn.silu(nn.Dense(self.width)(normalise(h) * (1 + scale) + shift))
            h = h + nn.Dense(self.width, kernel_init=nn.initializers.zeros)(a)
        return nn.Dense(sum(self.sizes), kernel_init=nn.initializers.zeros)(normalise(h))
