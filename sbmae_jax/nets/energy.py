"""Energies of latents at noise levels: how well a target goes with what is observed.

Both networks return terms and weights, each `[B, T]`. A term is the energy of one target given one condition,
and the energy of a row is the weighted sum of its terms. Terms that do not apply have weight 0; if nothing is
observed, or everything, none applies. The losses are in `models.energy`.
"""

import itertools
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_int
from sbmae_jax.nets.blocks import (
    MAX_WIDTH,
    PerModality,
    check_sizes,
    enter_streams,
    level_features,
    split_latents,
)
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class PairEnergy(nn.Module):
    """Energies of the pairs of modalities, each pair with separate weights: T = M (M - 1) / 2 terms.

    A term applies if one of the pair is observed and the other is not. The energy of a row is summed over its
    targets and averaged over what is observed.

    The network of a pair is the CelebA energy of the authors' code (Wesego and Rooshenas 2023,
    arXiv:2305.15708), except that half of its level features describe each side, so that one side may be
    clean. For two latents of 256 it has 4,199,937 parameters.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D. Smaller latents are padded with zeros to the
            size of the largest.
        width: Width of the layers. None is twice the size of the largest latent, as in the reference.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.energy import PairEnergy
        >>> network, x = PairEnergy(sizes=(256, 256)), np.zeros((8, 512))
        >>> log_snr, observed = np.zeros((8, 2)), np.array([[True, False]] * 8)
        >>> (terms, weights), params = jax.eval_shape(
        ...     network.init_with_output, jax.random.key(0), x, log_snr, observed
        ... )
        >>> terms.shape, weights.shape, sum(leaf.size for leaf in jax.tree.leaves(params))
        ((8, 1), (8, 1), 4199937)
    """

    sizes: tuple[int, ...]
    width: int | None = None

    @nn.compact
    def __call__(self, x: Array, log_snr: Array, observed: Array) -> tuple[Array, Array]:
        """Return the terms of the energy and their weights.

        Args:
            x: Noised latents, `[B, D]`.
            log_snr: ln(alpha^2 / sigma^2) of each modality, `[B, M]`.
            observed: Which modalities are observed, `[B, M]` bool.

        Returns:
            Terms in nats and weights, each `[B, T]`; pairs are in the order of `itertools.combinations`.

        Raises:
            ValueError: If there are fewer than two latents, or the width is out of range.
        """
        largest = max(self.sizes)
        if len(self.sizes) < 2:
            raise ValueError(f"a pair energy needs at least two latents, got sizes {self.sizes}")
        width = 2 * largest if self.width is None else self.width
        require_int("width", width, 1, MAX_WIDTH)
        left, right = np.array(list(itertools.combinations(range(len(self.sizes)), 2))).T
        parts = split_latents(x, self.sizes)
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
    r"""Energies from embeddings of conditions and targets: T = M terms, one for each target u.

    The energy of target u given the observed modalities O is

        E_u = -<c(sum_o f_o(z_o, ln snr_o), O), g_u(z_u, ln snr_u)> / sqrt(embedding).

    The embeddings of the observed modalities add up, so one network serves all subsets, and each side is
    embedded once for all pairs of B conditions and B targets. Whether what one modality says about the target
    is new depends on which others are observed. A sum cannot express that, so c is a block that gets O too.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D.
        width: Width of the towers, the networks that embed a modality.
        num_blocks: Number of residual blocks of a tower.
        embedding: Size of the embeddings.
        level_width: Width of the embedded noise levels.
        combine: Whether to apply c; if not, the embeddings are only summed.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.energy import TowerEnergy
        >>> network, x = TowerEnergy(sizes=(64, 64, 64)), np.zeros((8, 192))
        >>> log_snr, observed = np.zeros((8, 3)), np.array([[True, False, False]] * 8)
        >>> (terms, weights), params = jax.eval_shape(
        ...     network.init_with_output, jax.random.key(0), x, log_snr, observed
        ... )
        >>> terms.shape, weights.shape
        ((8, 3), (8, 3))
    """

    sizes: tuple[int, ...]
    width: int = 160
    num_blocks: int = 2
    embedding: int = 128
    level_width: int = 64
    combine: bool = True

    def setup(self):
        """Make the towers, and c if there is one."""
        shape = self.sizes, self.width, self.num_blocks, self.embedding, self.level_width
        self.given = Towers(*shape)
        self.target = Towers(*shape, kernel_init=zeros)
        if self.combine:
            self.scale = nn.Dense(self.embedding, kernel_init=zeros)
            self.enter = nn.Dense(self.width)
            self.leave = nn.Dense(self.embedding, kernel_init=zeros)

    def __call__(self, x: Array, log_snr: Array, observed: Array) -> tuple[Array, Array]:
        """Return terms and weights, each `[B, M]`, as `PairEnergy` does, one for each target."""
        given, target = self.embed_given(x, log_snr, observed), self.embed_target(x, log_snr)
        applies = ~observed & jnp.any(observed, axis=-1, keepdims=True)
        return -jnp.einsum("bk,bmk->bm", given, target), applies.astype(x.dtype)

    def embed_given(self, x: Array, log_snr: Array, observed: Array) -> Array:
        """Embed what is observed in each row: `[B, embedding]`."""
        which = observed.astype(x.dtype)
        total = jnp.einsum("mbk,bm->bk", self.given(x, log_snr), which)
        if not self.combine:
            return total
        h = nn.silu(self.enter(jnp.concatenate([total, which], axis=-1)))
        return total * (1 + self.scale(which)) + self.leave(h)

    def embed_target(self, x: Array, log_snr: Array) -> Array:
        """Embed each modality as a target: `[B, M, embedding]`, scaled so that -<given, target> is E_u."""
        return self.target(x, log_snr).transpose(1, 0, 2) / math.sqrt(self.embedding)


class Towers(nn.Module):
    """A residual MLP for each modality: latents `[B, D]` and levels `[B, M]` -> `[M, B, embedding]`.

    Rows are not normalised, because an energy depends on their length. The noise level scales the result,
    because what is known of a target fades with the noise.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D.
        width: Width of the residual streams.
        num_blocks: Number of residual blocks.
        embedding: Number of outputs for each modality.
        level_width: Width of the embedded noise levels.
        kernel_init: Initialiser of the output layer.
    """

    sizes: tuple[int, ...]
    width: int
    num_blocks: int
    embedding: int
    level_width: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal(batch_axis=(0,))

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        """Embed each modality at its noise level."""
        check_sizes(self, "num_blocks", "width", "embedding", "level_width")
        h, levels = enter_streams(x, log_snr, self.sizes, self.width, self.level_width)
        for _ in range(self.num_blocks):
            scale, shift = jnp.split(PerModality(2 * self.width)(levels), 2, axis=-1)
            a = nn.silu(PerModality(self.width)(h) * (1 + scale) + shift)
            h = h + PerModality(self.width, kernel_init=zeros)(a)
        h = h * (1 + PerModality(self.width, kernel_init=zeros)(levels))
        return PerModality(self.embedding, kernel_init=self.kernel_init)(h)
