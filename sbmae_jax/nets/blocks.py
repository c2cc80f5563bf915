"""Pieces that several networks share."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_int, require_type
from sbmae_jax.types import Array

MAX_WIDTH, MAX_DEPTH = 2**16, 1000  # larger values are almost certainly typos


def check_sizes(network: nn.Module, *fields: str) -> None:
    """Check fields of a network that hold a size or a tuple of sizes.

    Args:
        network: The module.
        *fields: Names of its fields. `num_blocks` must be in 1..MAX_DEPTH; every other size must be in
            1..MAX_WIDTH, and a tuple may have at most MAX_DEPTH entries.

    Raises:
        ValueError: If a size is not an integer or is out of range; the message names the field.
    """
    for name in fields:
        value = getattr(network, name)
        if isinstance(value, tuple) and len(value) > MAX_DEPTH:
            raise ValueError(f"{name} must have at most {MAX_DEPTH} entries, got {len(value)}")
        high = MAX_DEPTH if name == "num_blocks" else MAX_WIDTH
        for size in jax.tree.leaves(value, is_leaf=lambda one: one is None):
            require_int(name, size, 1, high)


def sinusoids(log_snr: Array, frequencies: Array) -> Array:
    """Return the sines and cosines of noise levels.

    Args:
        log_snr: ln(alpha^2 / sigma^2), `[...]`.
        frequencies: In radians per nat of ln(sigma / alpha), `[K]`.

    Returns:
        `[..., 2 K]`: first the sines, then the cosines.
    """
    frequencies = frequencies.reshape((1,) * log_snr.ndim + (-1,))
    angles = -0.5 * log_snr[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def level_features(log_snr: Array, num: int = 16) -> Array:
    """Return sinusoids that tell neighbouring noise levels apart: `[...]` -> `[..., 2 num]`.

    In ln(sigma / alpha), which spans about a dozen nats, their periods run from 1.6 to 25 nats. Sinusoids of
    the time t in 0..1 would be nearly constant.
    """
    return sinusoids(log_snr, jnp.exp(jnp.linspace(np.log(0.25), np.log(4.0), num)))


def normalise(x: Array) -> Array:
    """Scale the last axis to mean 0 and variance 1: layer normalisation without parameters."""
    return nn.standardize(x, axis=-1, epsilon=1e-5)


def attend(qkv: Array, num_heads: int) -> Array:
    """Let each position look at all others, by several heads of attention.

    Args:
        qkv: Queries, keys and values, one after the other, `[B, N, 3 width]`.
        num_heads: Number of heads, which share the width.

    Returns:
        What each position has seen, `[B, N, width]`.
    """
    batch, num, width = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(batch, num, 3, num_heads, width // (3 * num_heads)), 2, 0)
    return jax.nn.dot_product_attention(q, k, v).reshape(batch, num, width // 3)


class LevelEmbedding(nn.Module):
    """Two dense layers that embed noise levels: log-SNR `[...]` -> `[..., width]`.

    Attributes:
        width: Size of the embedding.
    """

    width: int

    @nn.compact
    def __call__(self, log_snr: Array) -> Array:
        """Embed ln(alpha^2 / sigma^2)."""
        h = nn.silu(nn.Dense(self.width)(level_features(log_snr)))
        return nn.silu(nn.Dense(self.width)(h))


class PerModality(nn.Module):
    """A dense layer with separate weights for each modality: `[M, B, in]` -> `[M, B, width]`.

    Attributes:
        width: Number of outputs.
        use_bias: Whether to add a bias.
        kernel_init: Initialiser of the kernels `[M, in, width]`.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.blocks import PerModality
        >>> layer, x = PerModality(5), np.zeros((3, 8, 4))
        >>> params = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
        >>> params["kernel"].shape, params["bias"].shape
        ((3, 4, 5), (3, 1, 5))
    """

    width: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", batch_axis=(0,)
    )

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply to each modality its own layer."""
        num_modalities, _, size = x.shape
        kernel = self.param("kernel", self.kernel_init, (num_modalities, size, self.width))
        y = jnp.einsum("mbi,mio->mbo", x, kernel)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (num_modalities, 1, self.width))
        return y


def split_latents(x: Array, sizes: Sequence[int]) -> list[Array]:
    """Split joint latents `[B, D]` into one array `[B, size]` for each modality."""
    return jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis=-1)


def enter_streams(
    x: Array, log_snr: Array, sizes: Sequence[int], width: int, level_width: int
) -> tuple[Array, Array]:
    """Give each modality its own stream of features. Call this in a compact method.

    Args:
        x: Joint latents, `[B, D]`.
        log_snr: Noise level of each modality, `[B, M]`.
        sizes: Sizes of the latents; they sum to D.
        width: Width of the streams.
        level_width: Width of the embedded noise levels.

    Returns:
        The streams `[M, B, width]` and the embedded noise levels `[M, B, level_width]`.
    """
    levels = LevelEmbedding(level_width)(log_snr.T)
    parts = split_latents(x, sizes)
    h = jnp.stack([nn.Dense(width, name=f"enter_{m}")(part) for m, part in enumerate(parts)])
    return h + PerModality(width)(levels), levels


def to_patches(x: Array, size: int) -> Array:
    """Move squares of pixels into channels: `[B, H, W, C]` -> `[B, H/size, W/size, size size C]`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // size, width // size, size * size * channels)


def from_patches(x: Array, size: int) -> Array:
    """Undo `to_patches`: `[B, H, W, size size C]` -> `[B, H size, W size, C]`."""
    batch, height, width, channels = x.shape
    channels //= size * size
    x = x.reshape(batch, height, width, size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * size, width * size, channels)


def neighbourhoods(x: Array) -> Array:
    """Gather the 3x3 surroundings of each position into channels: `[B, H, W, C]` -> `[B, H, W, 9 C]`.

    A dense layer on the result is a 3x3 convolution, written so that its gradient is a matrix product: XLA's
    CPU backend is slow at the gradient of a convolution inside a scan.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, axis=-1)


def compute_dtype(name: str) -> jnp.dtype:
    """Return the dtype in which a network computes; its parameters and outputs are always float32.

    Args:
        name: "float32" or "bfloat16".

    Returns:
        The dtype.

    Raises:
        ValueError: If the name is neither of these.
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {name!r}")
    return jnp.dtype(name)


def recomputed(block: type[nn.Module], remat: bool) -> type[nn.Module]:
    """Return a block that keeps no activations for the gradient, but computes them again.

    This takes less memory and more time (Chen et al. 2016, arXiv:1604.06174). The names of the parameters
    do not change.

    Args:
        block: The class of the block.
        remat: Whether to recompute; if not, the block is returned unchanged.

    Returns:
        A class that is called in the same way.

    Raises:
        ValueError: If `remat` is neither True nor False.
    """
    require_type("remat", remat, bool)
    if not remat:
        return block
    again = nn.remat(block)
    again.__name__ = block.__name__
    return again


def activation(name: str, negative_slope: float) -> Callable[[Array], Array]:
    """Return an activation function by its name.

    Args:
        name: "gelu" or "leaky_relu".
        negative_slope: The slope of "leaky_relu" below zero.

    Returns:
        The function, elementwise.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "gelu":
        return nn.gelu
    if name == "leaky_relu":
        return lambda x: nn.leaky_relu(x, negative_slope)
    raise ValueError(f"activation must be 'leaky_relu' or 'gelu', got {name!r}")


def norm_groups(width: int) -> int:
    """Return the number of groups for group normalisation, so that each has 8..16 of `width` channels.

    It is one group if no such size divides the width. Smaller groups would fail where the picture has shrunk
    to one position: their few values would be normalised to signs, a single one to zero.
    """
    sizes = [size for size in range(8, 17) if width % size == 0]
    return width // sizes[-1] if sizes else 1


def group_norm(num_groups: int, dtype: jnp.dtype) -> nn.GroupNorm:
    """Return group normalisation with a scale and a bias for each channel.

    It has as many weights as batch normalisation, but no running means, which would be a second kind of
    state, and it does not make a row depend on its batch. Its means are taken in float32.
    """
    return nn.GroupNorm(num_groups, epsilon=1e-5, dtype=dtype)


def avg_pool(x: Array, factor: int) -> Array:
    """Average squares of pixels: `[B, H, W, C]` -> `[B, H/factor, W/factor, C]`."""
    # The gradient of a mean copies; that of `nn.avg_pool`, a windowed sum, is a windowed sum again.
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return jnp.mean(x, axis=(2, 4))


def upsample(x: Array, factor: int, method: str) -> Array:
    """Enlarge pictures.

    Args:
        x: `[B, H, W, C]`.
        factor: By how much to enlarge each side.
        method: "nearest", or "bilinear" between the centres of the pixels, with edges repeated outwards.

    Returns:
        `[B, H factor, W factor, C]`.

    Raises:
        ValueError: If the method is unknown.
    """
    batch, height, width, channels = x.shape
    shape = (batch, height * factor, width * factor, channels)
    if method == "bilinear":
        return jax.image.resize(x, shape, "bilinear")
    if method != "nearest":
        raise ValueError(f"upsampling must be 'nearest' or 'bilinear', got {method!r}")
    # Its gradient is a sum over axes; that of `jax.image.resize` is a scatter, many times slower on a CPU.
    squares = (batch, height, factor, width, factor, channels)
    return jnp.broadcast_to(x[:, :, None, :, None, :], squares).reshape(shape)
