"""The score network with a stream for each modality and a hub between them.

Given what the modalities share, they are independent, so all that one needs to know of the others fits
into a summary: the posterior of the shared part, whose logarithm is a *sum* of what each modality says,
log p(c | z_1..z_M) = log p(c) + sum_m log p(z_m | c) + const. The network has this form. Each modality has a
residual stream with weights of its own; in each block all streams add what they say to the stream of the
hub, and read it. Cost and parameters are linear in the number of modalities, and what is learned of one
modality's evidence holds for every subset of the others.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import PerModality, check_sizes, enter_streams, normalise, recomputed
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class HubScore(nn.Module):
    """F(x [B, D], ln snr [B, M]) -> [B, D].

    sizes: of the latents; their sum is D.  width, hub_width: of the streams.
    remat: compute the activations of the blocks again for the gradient, rather than keep them.

    Raises ValueError for a width or a number of blocks below 1.
    """

    sizes: tuple[int, ...]
    width: int = 160
    hub_width: int = 256
    num_blocks: int = 3
    level_width: int = 64
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        check_sizes(
            "hub", self.num_blocks,
            width=self.width, hub_width=self.hub_width, level_width=self.level_width,
        )  # fmt: skip
        h, levels = enter_streams(x, log_snr, self.sizes, self.width, self.level_width)
        hub = jnp.zeros((len(x), self.hub_width))
        for _ in range(self.num_blocks):
            h, hub = recomputed(HubBlock, self.remat)(self.width, self.hub_width)(h, hub, levels)
        h = nn.silu(PerModality(self.width)(jnp.concatenate([normalise(h), levels], axis=-1)))
        outputs = [
            nn.Dense(size, kernel_init=zeros, name=f"leave_{m}")(h[m])
            for m, size in enumerate(self.sizes)
        ]
        return jnp.concatenate(outputs, axis=-1)


class HubBlock(nn.Module):
    """Streams [M, B, width] and hub [B, hub_width]: say, think, read."""

    width: int
    hub_width: int

    @nn.compact
    def __call__(self, h: Array, hub: Array, levels: Array) -> tuple[Array, Array]:
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
