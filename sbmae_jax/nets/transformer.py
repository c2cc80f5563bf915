"""The score network as a transformer whose tokens are the modalities.

Unlike positions in a picture of stacked latents, modalities are things of which attention can say who tells
whom. Each token carries its own noise level, by which its layer normalisations are scaled and shifted and
its residual branches gated: the adaptive layer normalisation of Peebles and Xie 2022 (DiT, arXiv:2212.09748),
there with one level for all tokens. So the network serves any subset of observed, clean modalities.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.nets.blocks import (
    LevelEmbedding,
    PerModality,
    check_sizes,
    compute_dtype,
    normalise,
    recomputed,
)
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class TransformerScore(nn.Module):
    """F(x [B, D], ln snr [B, M]) -> [B, D].  The output layers start at zero, and so do the gates.

    sizes: of the latents; their sum is D.  width: of a token, a multiple of `num_heads`.
    tokens_per_modality: pieces into which each latent is cut, in 1..min(sizes); the last may be shorter.
    dtype: of the blocks; tokens themselves, and the layers in and out, are float32.
    remat: compute the activations of the blocks again for the gradient, rather than keep them.

    Raises ValueError for a width that the heads cannot share, and for more tokens than numbers.
    """

    sizes: tuple[int, ...]
    width: int = 384
    num_blocks: int = 6
    num_heads: int = 6
    tokens_per_modality: int = 1
    level_width: int = 128
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, log_snr: Array) -> Array:
        self.check()
        dtype = compute_dtype(self.dtype)
        num_tokens, small = self.tokens_per_modality, nn.initializers.normal(0.02)
        # The level alone would have every modality scaled alike.
        kind = self.param("kind", small, (len(self.sizes), self.level_width))
        levels = LevelEmbedding(self.level_width)(log_snr) + kind[None]
        levels = jnp.repeat(levels, num_tokens, axis=1)  # [B, tokens, level_width]
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), axis=-1)
        tokens = [
            PerModality(self.width, name=f"enter_{m}")(to_pieces(part, num_tokens))
            for m, part in enumerate(parts)
        ]
        h = jnp.concatenate(tokens).swapaxes(0, 1)  # [B, tokens, width]
        name = self.param("name", small, (h.shape[1], self.width))
        h = h + name[None] + nn.Dense(self.width)(levels)
        for _ in range(self.num_blocks):
            h = recomputed(Block, self.remat)(self.num_heads, dtype)(h, levels)
        scale, shift = jnp.split(nn.Dense(2 * self.width, kernel_init=zeros)(levels), 2, axis=-1)
        h = (normalise(h) * (1 + scale) + shift).swapaxes(0, 1)  # [tokens, B, width]
        outputs = []
        for m, size in enumerate(self.sizes):
            leave = PerModality(-(-size // num_tokens), kernel_init=zeros, name=f"leave_{m}")
            outputs.append(from_pieces(leave(h[m * num_tokens : (m + 1) * num_tokens]), size))
        return jnp.concatenate(outputs, axis=-1)

    def check(self) -> None:
        """Raise ValueError for fields that are out of range or do not fit each other."""
        check_sizes(
            "transformer", self.num_blocks,
            width=self.width, num_heads=self.num_heads, level_width=self.level_width,
        )  # fmt: skip
        if self.width % self.num_heads:
            raise ValueError(
                f"network 'transformer' needs a width that is a multiple of num_heads = {self.num_heads}, "
                f"got {self.width}"
            )
        if not 1 <= self.tokens_per_modality <= min(self.sizes):
            raise ValueError(
                f"network 'transformer' needs tokens_per_modality in 1..{min(self.sizes)}, the size of the "
                f"smallest latent, got {self.tokens_per_modality}"
            )


class Block(nn.Module):
    """Attention, then a dense network, on tokens [B, N, width] with levels [B, N, level_width].

    The sum over blocks stays in float32: what a block adds may be small beside it.
    """

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: Array, levels: Array) -> Array:
        batch, num_tokens, width = h.shape
        modulation = nn.Dense(6 * width, kernel_init=zeros, dtype=self.dtype)(levels)
        scale, shift, gate, scale_2, shift_2, gate_2 = jnp.split(modulation, 6, axis=-1)

        a = normalise(h) * (1 + scale) + shift
        qkv = nn.Dense(3 * width, dtype=self.dtype)(a)
        qkv = qkv.reshape(batch, num_tokens, 3, self.num_heads, width // self.num_heads)
        a = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        h = h + gate * nn.Dense(width, dtype=self.dtype)(a.reshape(h.shape))

        a = normalise(h) * (1 + scale_2) + shift_2
        a = nn.gelu(nn.Dense(4 * width, dtype=self.dtype)(a))
        return h + gate_2 * nn.Dense(width, dtype=self.dtype)(a)


def to_pieces(z: Array, num: int) -> Array:
    """Cut latents [B, d] into [num, B, ceil(d / num)], with zeros at the end of the last."""
    length = -(-z.shape[1] // num)
    z = jnp.pad(z, ((0, 0), (0, num * length - z.shape[1])))
    return z.reshape(len(z), num, length).swapaxes(0, 1)


def from_pieces(pieces: Array, size: int) -> Array:
    """Undo `to_pieces`: [num, B, length] -> [B, size]."""
    return pieces.swapaxes(0, 1).reshape(pieces.shape[1], -1)[:, :size]
