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
import numpy as np

from sbmae_jax.nets.blocks import (
    LevelEmbedding,
    PerModality,
    check_sizes,
    enter_streams,
    normalise,
    recomputed,
)
from sbmae_jax.types import Array

zeros = nn.initializers.zeros

LEVEL_SCALE = 10.0
"""About the deviation of ln snr over the noise levels, by which a shared stream divides it."""


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
        streams: The number of the stream of each modality, from 0, for modalities that share streams, as the
            parts of one vector do. Cost is then linear in the number of streams. () gives each its own.

    Raises:
        ValueError: For sizes out of range, and for streams that are not numbered from 0 without gaps.

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
    streams: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Return F `[B, D]` for noised latents x `[B, D]` at noise levels log_snr `[B, M]`."""
        check_sizes(self, "num_blocks", "width", "hub_width", "level_width")
        members = _members(self.streams or tuple(range(len(self.sizes))), len(self.sizes))
        blocks = np.split(np.arange(sum(self.sizes)), np.cumsum(self.sizes)[:-1])
        places = [np.concatenate([blocks[m] for m in some]) for some in members]
        if self.streams:
            h, levels = self._enter_shared(x, log_snr, members, places)
        else:
            h, levels = enter_streams(x, log_snr, self.sizes, self.width, self.level_width)
        hub = jnp.zeros((x.shape[0], self.hub_width))
        for _ in range(self.num_blocks):
            h, hub = recomputed(HubBlock, self.remat)(self.width, self.hub_width)(h, hub, levels)
        h = nn.silu(PerModality(self.width)(jnp.concatenate([normalise(h), levels], axis=-1)))
        outputs = [
            nn.Dense(len(some), kernel_init=zeros, name=f"leave_{m}")(h[m])
            for m, some in enumerate(places)
        ]
        found = jnp.concatenate(outputs, axis=-1)
        return found[:, np.argsort(np.concatenate(places))] if self.streams else found

    def _enter_shared(
        self, x: Array, log_snr: Array, members: list[np.ndarray], places: list[np.ndarray]
    ) -> tuple[Array, Array]:
        """Return streams and levels as `enter_streams`; a shared stream has the mean of embedded levels."""
        every = LevelEmbedding(self.level_width)(log_snr.T)
        levels = jnp.stack([jnp.mean(every[some], axis=0) for some in members])
        parts = [
            jnp.concatenate([x[:, place], log_snr[:, some] / LEVEL_SCALE], axis=-1)
            for some, place in zip(members, places, strict=True)
        ]
        h = [nn.Dense(self.width, name=f"enter_{s}")(part) for s, part in enumerate(parts)]
        return jnp.stack(h) + PerModality(self.width)(levels), levels


def _members(streams: tuple[int, ...], num: int) -> list[np.ndarray]:
    """Return the modalities of each stream; raises ValueError for numbers with gaps."""
    if len(streams) != num or sorted(set(streams)) != list(range(len(set(streams)))):
        raise ValueError(
            f"streams must number the streams of {num} modalities from 0 without gaps, got {streams}"
        )
    return [np.flatnonzero(np.asarray(streams) == s) for s in range(max(streams) + 1)]


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
