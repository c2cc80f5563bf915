"""The score network with a stream for each modality and a hub between them.

Given what the modalities share, they are independent. So all that one modality needs to know of the others
fits into a summary: the posterior of the shared part c, whose logarithm is a *sum* over the modalities,

    log p(c | z_1..z_M) = log p(c) + sum_m log p(z_m | c) + const.

The network has this form. Each modality has a residual stream with its own weights; in each block every
stream adds its evidence to the stream of the hub, and reads the hub. Cost and parameters are linear in the
number of modalities, and what is learned about the evidence of one modality holds for every subset of the
others.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import PerModality, check_sizes, enter_streams, normalise, recomputed
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class HubScore(nn.Module):
    """Score network with a stream for each modality and a hub between them.

    It computes F in equation (1) of `models.score`. Its output starts at zero.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D.
        width: Width of the stream of a modality.
        hub_width: Width of the hub.
        num_blocks: Number of exchanges between streams and hub.
        level_width: Width of the embedded noise levels.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.hub import HubScore
        >>> def count(num):
        ...     network = HubScore(sizes=(64,) * num, num_blocks=1)
        ...     x, log_snr = np.zeros((1, 64 * num)), np.zeros((1, num))
        ...     params = jax.eval_shape(network.init, jax.random.key(0), x, log_snr)
        ...     return sum(leaf.size for leaf in jax.tree.leaves(params))
        >>> count(2), count(3)  # linear in the number of modalities
        (652544, 909888)
    """

    sizes: tuple[int, ...]
    width: int = 160
    hub_width: int = 256
    num_blocks: int = 3
    level_width: int = 64
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Return F `[B, D]` for noised latents x `[B, D]` at noise levels log_snr `[B, M]`."""
        check_sizes(self, "num_blocks", "width", "hub_width", "level_width")
        h, levels = enter_streams(x, log_snr, self.sizes, self.width, self.level_width)
        hub = jnp.zeros((x.shape[0], self.hub_width))
        for _ in range(self.num_blocks):
            h, hub = recomputed(HubBlock, self.remat)(self.width, self.hub_width)(h, hub, levels)
        h = nn.silu(PerModality(self.width)(jnp.concatenate([normalise(h), levels], axis=-1)))
        outputs = [
            nn.Dense(size, kernel_init=zeros, name=f"leave_{m}")(h[m])
            for m, size in enumerate(self.sizes)
        ]
        return jnp.concatenate(outputs, axis=-1)


class HubBlock(nn.Module):
    """One exchange: the streams add to the hub, the hub updates itself, the streams read it.

    Attributes:
        width: Width of the stream of a modality.
        hub_width: Width of the hub.
    """

    width: int
    hub_width: int

    @nn.compact
    def __call__(self, h: Array, hub: Array, levels: Array) -> tuple[Array, Array]:
        """Return the streams `[M, B, width]` and the hub `[B, hub_width]` after the exchange."""
        num_modalities = len(h)
        said = nn.silu(PerModality(self.width)(jnp.concatenate([normalise(h), levels], axis=-1)))
        said = PerModality(self.hub_width, use_bias=False)(said)
        hub = hub + jnp.sum(said, axis=0) / math.sqrt(num_modalities)
        thought = nn.silu(nn.Dense(self.hub_width)(normalise(hub)))
        hub = hub + nn.Dense(self.hub_width, kernel_init=zeros)(thought)
        read = jnp.broadcast_to(normalise(hub), (num_modalities, *hub.shape))
        a = PerModality(self.width)(jnp.concatenate([normalise(h), read], axis=-1))
        scale, shift = jnp.split(PerModality(2 * self.width)(levels), 2, axis=-1)
        h = h + PerModality(self.width, kernel_init=zeros)(nn.silu(a * (1 + scale) + shift))
        return h, hub
