"""Pieces that several networks share."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_int, require_type
from sbmae_jax.types import Array

WIDEST, DEEPEST = 2**16, 1000  # beyond these a network is a slip of the hand


def check_sizes(network: str, num_blocks: int = 1, **widths: int | tuple[int, ...]) -> None:
    """Raise ValueError for widths, one or a tuple of them, not in 1..WIDEST, and blocks not in 1..DEEPEST."""
    require_int(f"network {network!r}: num_blocks", num_blocks, 1, DEEPEST)
    for name, width in widths.items():
        several = width if isinstance(width, tuple) else (width,)
        if len(several) > DEEPEST:
            raise ValueError(
                f"network {network!r}: {name} must have at most {DEEPEST}, got {len(several)}"
            )
        for one in several:
            require_int(f"network {network!r}: {name}", one, 1, WIDEST)


def level_features(log_snr: Array, num: int = 16) -> Array:
    """Return sines and cosines of the noise level: [...] -> [..., 2 num].

    In ln(sigma / alpha) the periods run from a fifth of a nat-octave up to the whole range of levels, so
    that neighbouring levels differ; a sinusoid of t itself would be nearly constant.
    """
    frequencies = jnp.exp(jnp.linspace(np.log(0.25), np.log(4.0), num))
    angles = -0.5 * log_snr[..., None] * frequencies.reshape((1,) * log_snr.ndim + (num,))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def normalise(x: Array) -> Array:
    """Give each row mean 0 and variance 1 over the last axis; layer normalisation without parameters."""
    return nn.standardize(x, axis=-1, epsilon=1e-5)


class LevelEmbedding(nn.Module):
    """Embed log-SNR [...] into [..., width]."""

    width: int

    @nn.compact
    def __call__(self, log_snr: Array) -> Array:
        h = nn.silu(nn.Dense(self.width)(level_features(log_snr)))
        return nn.silu(nn.Dense(self.width)(h))


class PerModality(nn.Module):
    """A dense layer with its own weights for each modality: [M, B, in] -> [M, B, width]."""

    width: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", batch_axis=(0,)
    )

    @nn.compact
    def __call__(self, x: Array) -> Array:
        num_modalities, _, size = x.shape
        kernel = self.param("kernel", self.kernel_init, (num_modalities, size, self.width))
        y = jnp.einsum("mbi,mio->mbo", x, kernel)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (num_modalities, 1, self.width))
        return y


def enter_streams(
    x: Array, log_snr: Array, sizes: Sequence[int], width: int, level_width: int
) -> tuple[Array, Array]:
    """Give each modality a stream of its own, and embed its noise level; to be called in a compact module.

    (x [B, D], ln snr [B, M]) -> streams [M, B, width] and levels [M, B, level_width].
    sizes: of the latents; their sum is D.
    """
    levels = LevelEmbedding(level_width)(log_snr.T)
    parts = jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis=-1)
    h = jnp.stack([nn.Dense(width, name=f"enter_{m}")(part) for m, part in enumerate(parts)])
    return h + PerModality(width)(levels), levels


def to_patches(x: Array, size: int) -> Array:
    """Move squares into channels: [B, H, W, C] -> [B, H/size, W/size, size size C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // size, width // size, size * size * channels)


def from_patches(x: Array, size: int) -> Array:
    """Undo `to_patches`: [B, H, W, size size C] -> [B, H size, W size, C]."""
    batch, height, width, channels = x.shape
    channels //= size * size
    x = x.reshape(batch, height, width, size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * size, width * size, channels)


def neighbourhoods(x: Array) -> Array:
    """Gather the 3x3 surroundings of each position into channels: [B, H, W, C] -> [B, H, W, 9 C].

    A dense layer on it is a 3x3 convolution, written so that its gradient is a matrix product: XLA's CPU
    backend is slow at the gradient of a convolution inside a scan.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(parts, axis=-1)


def compute_dtype(name: str) -> jnp.dtype:
    """Return the type in which a network computes; parameters and outputs are float32 whatever it is.

    Raises ValueError for anything but "float32" and "bfloat16".
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {name!r}")
    return jnp.dtype(name)


def recomputed(block: type[nn.Module], remat: bool) -> type[nn.Module]:
    """Return a block that, if `remat`, computes its activations again for the gradient and keeps none.

    It takes less memory and more time (Chen et al. 2016, arXiv:1604.06174). Parameters keep their names.

    Raises ValueError if `remat` is neither True nor False.
    """
    require_type("remat", remat, bool)
    if not remat:
        return block
    again = nn.remat(block)
    again.__name__ = block.__name__
    return again


def activation(name: str, negative_slope: float) -> Callable[[Array], Array]:
    """Return the activation "gelu", or "leaky_relu" with `negative_slope` below zero.

    Raises ValueError for another name.
    """
    if name == "gelu":
        return nn.gelu
    if name == "leaky_relu":
        return lambda x: nn.leaky_relu(x, negative_slope)
    raise ValueError(f"activation must be 'leaky_relu' or 'gelu', got {name!r}")


def norm_groups(width: int) -> int:
    """Return into how many groups to cut `width` channels, so that each has 8..16 of them.

    One group where no such size divides the width: a group of few channels would be set to zero, or to
    signs, where the picture has shrunk to one position.
    """
    sizes = [size for size in range(8, 17) if width % size == 0]
    return width // sizes[-1] if sizes else 1


def group_norm(num_groups: int, dtype: jnp.dtype) -> nn.GroupNorm:
    """Return group normalisation with a scale and a bias per channel: as many weights as batch normalisation.

    Batch normalisation keeps running means, which are neither parameters nor anything that the other parts
    of the library know of, and makes a row depend on the batch. Means are taken in float32.
    """
    return nn.GroupNorm(num_groups, epsilon=1e-5, dtype=dtype)


def avg_pool(x: Array, factor: int) -> Array:
    """Average squares of pixels: [B, H, W, C] -> [B, H/factor, W/factor, C].

    Written as a mean: its gradient is a copy, where that of a windowed sum is a windowed sum again.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return jnp.mean(x, axis=(2, 4))


def upsample(x: Array, factor: int, method: str) -> Array:
    """Enlarge a picture: [B, H, W, C] -> [B, H factor, W factor, C].

    method: "nearest", or "bilinear" between the centres of the pixels, the edge repeated beyond it.

    Raises ValueError for another method.
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
