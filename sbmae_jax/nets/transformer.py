"""The score network as a transformer whose tokens are the modalities.

Positions in a picture of stacked latents carry no meaning, but modalities do: attention can express which of
them informs which. Each token carries its own noise level, which scales and shifts its layer normalisations
and gates its residual branches: the adaptive layer normalisation of Peebles and Xie 2022 (DiT,
arXiv:2212.09748), there with one level for all tokens. So the network serves any subset of observed, clean
modalities.
"""

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax.nets.blocks import (
    LevelEmbedding,
    PerModality,
    attend,
    check_sizes,
    compute_dtype,
    normalise,
    recomputed,
    split_latents,
)
from sbmae_jax.types import Array

zeros = nn.initializers.zeros


class TransformerScore(nn.Module):
    """Score network with attention between the latents of the modalities.

    It computes F in equation (1) of `models.score`. Its output and the gates of its blocks start at zero.

    Attributes:
        sizes: Sizes of the latents, by modality; they sum to D.
        width: Width of a token, a multiple of `num_heads`.
        num_blocks: Number of blocks.
        num_heads: Number of heads of the attention.
        tokens_per_modality: Pieces into which each latent is cut, in 1..min(sizes); the last may be shorter.
        level_width: Width of the embedded noise levels.
        dtype: Dtype of the blocks, "float32" or "bfloat16". Parameters, the tokens between blocks and the
            layers in and out are always float32.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Raises:
        ValueError: When called, if the heads cannot share the width, a latent has fewer numbers than tokens,
            or a field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.transformer import TransformerScore
        >>> network = TransformerScore(sizes=(64, 64), num_blocks=1)  # two modalities
        >>> arrays = np.zeros((8, 128)), np.zeros((8, 2))
        >>> jax.eval_shape(network.init_with_output, jax.random.key(0), *arrays)[0].shape
        (8, 128)
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
        """Return F `[B, D]` for noised latents x `[B, D]` at noise levels log_snr `[B, M]`."""
        self._check()
        dtype = compute_dtype(self.dtype)
        num_tokens, small = self.tokens_per_modality, nn.initializers.normal(0.02)
        # With the level alone, all modalities would be scaled alike.
        kind = self.param("kind", small, (len(self.sizes), self.level_width))
        levels = LevelEmbedding(self.level_width)(log_snr) + kind[None]
        levels = jnp.repeat(levels, num_tokens, axis=1)  # [B, tokens, level_width]
        tokens = [
            PerModality(self.width, name=f"enter_{m}")(to_pieces(part, num_tokens))
            for m, part in enumerate(split_latents(x, self.sizes))
        ]
        h = jnp.concatenate(tokens).swapaxes(0, 1)  # [B, tokens, width]
        name = self.param("name", small, (h.shape[1], self.width))
        h = h + name[None] + nn.Dense(self.width)(levels)
        for _ in range(self.num_blocks):
            h = recomputed(TransformerBlock, self.remat)(self.num_heads, dtype)(h, levels)
        scale, shift = jnp.split(nn.Dense(2 * self.width, kernel_init=zeros)(levels), 2, axis=-1)
        h = (normalise(h) * (1 + scale) + shift).swapaxes(0, 1)  # [tokens, B, width]
        outputs = []
        for m, size in enumerate(self.sizes):
            leave = PerModality(-(-size // num_tokens), kernel_init=zeros, name=f"leave_{m}")
            outputs.append(from_pieces(leave(h[m * num_tokens : (m + 1) * num_tokens]), size))
        return jnp.concatenate(outputs, axis=-1)

    def _check(self) -> None:
        check_sizes(self, "num_blocks", "width", "num_heads", "level_width")
        if self.width % self.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads = {self.num_heads}, got {self.width}"
            )
        if not 1 <= self.tokens_per_modality <= min(self.sizes):
            raise ValueError(
                f"tokens_per_modality must be in 1..{min(self.sizes)}, the size of the smallest latent, got "
                f"{self.tokens_per_modality}"
            )


class TransformerBlock(nn.Module):
    """Attention, then two dense layers, on tokens `[B, N, width]` with levels `[B, N, level_width]`.

    The sum over blocks stays in float32, because what one block adds may be small beside it.

    Attributes:
        num_heads: Number of heads of the attention.
        dtype: Dtype of the block.
    """

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, h: Array, levels: Array) -> Array:
        """Return the tokens after the block."""
        width = h.shape[-1]
        modulation = nn.Dense(6 * width, kernel_init=zeros, dtype=self.dtype)(levels)
        scale, shift, gate, scale_2, shift_2, gate_2 = jnp.split(modulation, 6, axis=-1)

        a = normalise(h) * (1 + scale) + shift
        a = attend(nn.Dense(3 * width, dtype=self.dtype)(a), self.num_heads)
        h = h + gate * nn.Dense(width, dtype=self.dtype)(a)

        a = normalise(h) * (1 + scale_2) + shift_2
        a = nn.gelu(nn.Dense(4 * width, dtype=self.dtype)(a))
        return h + gate_2 * nn.Dense(width, dtype=self.dtype)(a)


def to_pieces(z: Array, num: int) -> Array:
    """Cut latents `[B, d]` into `[num, B, ceil(d / num)]`, with zeros at the end of the last piece."""
    length = -(-z.shape[1] // num)
    z = jnp.pad(z, ((0, 0), (0, num * length - z.shape[1])))
    return z.reshape(z.shape[0], num, length).swapaxes(0, 1)


def from_pieces(pieces: Array, size: int) -> Array:
    """Undo `to_pieces`: `[num, B, length]` -> `[B, size]`."""
    return pieces.swapaxes(0, 1).reshape(pieces.shape[1], -1)[:, :size]
