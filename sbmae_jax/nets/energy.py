"""Energies of latents at noise levels: how well a target goes with what is observed.

Both networks are (x [B, D], ln snr [B, M], observed [B, M] bool) -> (terms [B, T], weights [B, T]). A term is
the energy of one target given one condition; the row's energy is the weighted sum of its terms. The weight of
a term that does not apply is 0: where nothing is observed, or everything, all are.
"""

import itertools
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sbmae_jax.nets.blocks import PerModality, check_sizes, enter_streams, level_features
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class PairEnergy(nn.Module):
    """An energy of each pair of modalities, with weights of its own: T = M (M - 1) / 2 terms.

    A term applies where one of the pair is observed and the other is not; the row's energy is summed over
    targets and averaged over what is observed.

    The network of a pair is the CelebA energy of the authors' code (Wesego and Rooshenas 2023,
    arXiv:2305.15708), except that half of its level features tell of each side, so that one side may be
    clean: 4,199,937 parameters for two latents of 256.

    sizes: of the latents; their sum is D. Smaller ones are padded with zeros to the largest, d.
    width: of the layers; by default 2 d, as in the reference.
    """

    sizes: tuple[int, ...]
    width: int | None = None

    @nn.compact
    def __call__(self, x: Array, log_snr: Array, observed: Array) -> tuple[Array, Array]:
        largest = max(self.sizes)
        if len(self.sizes) < 2:
            raise ValueError(f"network 'pair' needs at least two latents, got sizes {self.sizes}")
        width = 2 * largest if self.width is None else self.width
        check_sizes("pair", width=width)
        left, right = np.array(list(itertools.combinations(range(len(self.sizes)), 2))).T
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), axis=-1)
        parts = jnp.stack([jnp.pad(p, ((0, 0), (0, largest - p.shape[1]))) for p in parts])
        levels = level_features(log_snr.T, max(1, width // 4))
        levels = jnp.concatenate([levels[left], levels[right]], axis=-1)
        levels = PerModality(width)(nn.gelu(PerModality(width)(levels), approximate=False))
        h = jnp.concatenate([parts[left], parts[right]], axis=-1)  # [T, B, 2 d]
        for size in (*[width] * 5, 2 * width):
            h = nn.softplus(PerModality(size)(jnp.concatenate([h, levels], axis=-1)))
        terms = PerModality(1)(h)[..., 0].T
        crossing = observed[:, left] != observed[:, right]
        num_observed = jnp.sum(observed, axis=-1, keepdims=True)
        return terms, crossing / jnp.maximum(num_observed, 1)


class TowerEnergy(nn.Module):
    r"""Energies from embeddings: T = M terms, one for each target u,

        E_u = -<c(sum_o f_o(z_o, ln snr_o), O), g_u(z_u, ln snr_u)> / sqrt(embedding).

    The embeddings of all observed o add up, so one network serves all subsets, and each side is embedded
    once for all pairs of B conditions and B targets. What one modality says of the target may be news or
    not, depending on which others are observed: a sum alone cannot tell, so c, a residual block, is told O.

    sizes: of the latents; their sum is D.  width: of the towers.  embedding: length of f and g.
    combine: whether there is c; without it the embeddings are only summed.
    """

    sizes: tuple[int, ...]
    width: int = 160
    num_blocks: int = 2
    embedding: int = 128
    level_width: int = 64
    combine: bool = True

    def setup(self):
        shape = self.sizes, self.width, self.num_blocks, self.embedding, self.level_width
        self.given = Towers(*shape)
        self.target = Towers(*shape, kernel_init=zeros)
        if self.combine:
            self.scale = nn.Dense(self.embedding, kernel_init=zeros)
            self.enter = nn.Dense(self.width)
            self.leave = nn.Dense(self.embedding, kernel_init=zeros)

    def __call__(self, x: Array, log_snr: Array, observed: Array) -> tuple[Array, Array]:
        given, target = self.embed_given(x, log_snr, observed), self.embed_target(x, log_snr)
        applies = ~observed & jnp.any(observed, axis=-1, keepdims=True)
        return -jnp.einsum("bk,bmk->bm", given, target), applies.astype(x.dtype)

    def embed_given(self, x: Array, log_snr: Array, observed: Array) -> Array:
        """Embed what is observed in each row: [B, embedding]."""
        which = observed.astype(x.dtype)
        total = jnp.einsum("mbk,bm->bk", self.given(x, log_snr), which)
        if not self.combine:
            return total
        h = nn.silu(self.enter(jnp.concatenate([total, which], axis=-1)))
        return total * (1 + self.scale(which)) + self.leave(h)

    def embed_target(self, x: Array, log_snr: Array) -> Array:
        """Embed each modality as a target: [B, M, embedding], scaled so that -<given, target> is E_u."""
        return self.target(x, log_snr).transpose(1, 0, 2) / math.sqrt(self.embedding)


class Towers(nn.Module):
    """A residual MLP for each modality: (x [B, D], ln snr [B, M]) -> [M, B, embedding].

    Rows are not normalised, as an energy depends on their length; the level scales the result, as what is
    known of a target fades with the noise.
    """

    sizes: tuple[int, ...]
    width: int
    num_blocks: int
    embedding: int
    level_width: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal(batch_axis=(0,))

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        check_sizes(
            "tower", self.num_blocks,
            width=self.width, embedding=self.embedding, level_width=self.level_width,
        )  # fmt: skip
        h, levels = enter_streams(x, log_snr, self.sizes, self.width, self.level_width)
        for _ in range(self.num_blocks):
            scale, shift = jnp.split(PerModality(2 * self.width)(levels), 2, axis=-1)
            a = nn.silu(PerModality(self.width)(h) * (1 + scale) + shift)
            h = h + PerModality(self.width, kernel_init=zeros)(a)
        h = h * (1 + PerModality(self.width, kernel_init=zeros)(levels))
        return PerModality(self.embedding, kernel_init=self.kernel_init)(h)
