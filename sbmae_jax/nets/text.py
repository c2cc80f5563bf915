"""Encoder and decoder of strings as numbers of tokens: attention between positions, then dense layers.

The decoder is parallel: it gives the logits of all positions at once, so that a string takes no longer than
a picture. What decides between wordings must then be in the latent, which has room for it as all positions
are encoded together. The attention lets positions agree on where words stand.

Source: Vaswani et al. 2017 (arXiv:1706.03762), with the normalisation before each layer.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sbmae_jax.nets.blocks import attend, check_sizes, normalise
from sbmae_jax.types import Array

_small = nn.initializers.normal(0.02)


class TextEncoder(nn.Module):
    """Encode the tokens of strings.

    Attributes:
        num_heads: 2 for the mean and the log-variance of a VAE, 1 for a regularised autoencoder.
        latent_size: Size of the latent.
        vocabulary: Number V of different tokens; those beyond it are not seen.
        token_width: Features of each position, a multiple of `attention_heads`.
        width: Width of the dense layers.
        num_blocks: Number of blocks of attention.
        attention_heads: Number of heads of the attention.

    Raises:
        ValueError: When called, if a field is out of range, or the heads cannot share the features.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.text import TextEncoder
        >>> encoder, x = TextEncoder(num_heads=2, latent_size=16, vocabulary=300), np.zeros((8, 20))
        >>> output, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), x)
        >>> output.shape
        (8, 32)
    """

    num_heads: int
    latent_size: int
    vocabulary: int = 257
    token_width: int = 64
    width: int = 256
    num_blocks: int = 1
    attention_heads: int = 4

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encode tokens `[B, T]`, integers of any dtype, as `[B, num_heads latent_size]`."""
        _check(self)
        # A product with one-hot vectors: the gradient of a look-up is a scatter, many times slower on a CPU.
        one_hot = jax.nn.one_hot(x.astype(jnp.int32), self.vocabulary)
        h = nn.Dense(self.token_width, use_bias=False, name="tokens")(one_hot)
        h = h + self.param("positions", _small, h.shape[1:])[None]
        for _ in range(self.num_blocks):
            h = TextBlock(self.attention_heads)(h)
        h = h.reshape(len(h), -1)
        hidden = nn.gelu(nn.Dense(self.width)(h))
        size = self.num_heads * self.latent_size
        return nn.Dense(size)(h) + nn.Dense(size, kernel_init=nn.initializers.zeros)(hidden)


class TextDecoder(nn.Module):
    """Decode latents into the logits of the tokens of all positions.

    Attributes:
        shape: `(T,)`, the number of positions.
        vocabulary: Number V of different tokens.
        token_width: Features of each position, a multiple of `attention_heads`.
        width: Width of the dense layers.
        num_blocks: Number of blocks of attention.
        attention_heads: Number of heads of the attention.

    Raises:
        ValueError: When called, for a shape of more axes, and as `TextEncoder`.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.text import TextDecoder
        >>> decoder, z = TextDecoder(shape=(20,), vocabulary=300), np.zeros((8, 16))
        >>> output, _ = jax.eval_shape(decoder.init_with_output, jax.random.key(0), z)
        >>> output.shape
        (8, 20, 300)
    """

    shape: tuple[int, ...]
    vocabulary: int = 257
    token_width: int = 64
    width: int = 256
    num_blocks: int = 1
    attention_heads: int = 4

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode latents `[B, latent_size]` into logits `[B, T, V]`."""
        _check(self)
        if len(self.shape) != 1:
            raise ValueError(f"shape must be (T,), the number of tokens, got {self.shape}")
        size = (self.shape[0], self.token_width)
        hidden = nn.gelu(nn.Dense(self.width)(z))
        h = nn.Dense(size[0] * size[1])(jnp.concatenate([z, hidden], axis=-1))
        h = h.reshape(len(z), *size) + self.param("positions", _small, size)[None]
        for _ in range(self.num_blocks):
            h = TextBlock(self.attention_heads)(h)
        return nn.Dense(self.vocabulary)(normalise(h))


class TextBlock(nn.Module):
    """Attention between positions, then two dense layers, on features `[B, T, token_width]`.

    Attributes:
        num_heads: Number of heads of the attention.
    """

    num_heads: int

    @nn.compact
    def __call__(self, h: Array) -> Array:
        """Return the features after the block."""
        width = h.shape[-1]
        a = attend(nn.Dense(3 * width)(normalise(h)), self.num_heads)
        h = h + nn.Dense(width)(a)
        return h + nn.Dense(width)(nn.gelu(nn.Dense(2 * width)(normalise(h))))


def _check(network: TextEncoder | TextDecoder) -> None:
    check_sizes(network, "vocabulary", "token_width", "width", "num_blocks", "attention_heads")
    if network.token_width % network.attention_heads:
        raise ValueError(
            f"token_width must be a multiple of attention_heads = {network.attention_heads}, got "
            f"{network.token_width}"
        )
