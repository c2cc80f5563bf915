"""The Inception network whose features FID is measured in.

Inception-v3 (Szegedy et al. 2016, arXiv:1512.00567) as it was released for TensorFlow 1 in December 2015 and
used by Heusel et al. 2017 (arXiv:1706.08500), in the form of the port pytorch-fid: its average pools count no
padding, its last block has a max pool, and a picture is resized by plain bilinear interpolation. Batch
normalisation is part of the kernels and biases. Layers bear the names of the port.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from sbmae_jax.types import Array

SIZE = 299  # sides of the picture that the network sees
NUM_FEATURES = 2048


def conv(x: Array, name: str, width: int, *kernel: int, stride: int = 1, padding: str = "SAME"):
    """Convolve with a kernel of one side or two, then relu: [B, H, W, C] -> [B, H', W', width].

    Full float32 on every device: FID is compared across papers, and GPUs and TPUs would round.
    """
    height, width_of_kernel = kernel * (3 - len(kernel))
    layer = nn.Conv(
        width,
        (height, width_of_kernel),
        stride,
        padding,
        precision=jax.lax.Precision.HIGHEST,
        name=name,
    )
    return nn.relu(layer(x))


def average(x: Array) -> Array:
    """Average each 3x3 surrounding over those of its positions that lie in the picture."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def prepare(x: Array) -> Array:
    """Resize pictures and scale them: [B, H, W, 3], floats in [0, 1] or uint8 -> [B, 299, 299, 3] in [-1, 1].

    Bilinear between centres of pixels, without antialiasing when it shrinks, as in pytorch-fid.

    Raises ValueError for other shapes and other integers.
    """
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ValueError(
            f"Inception needs pictures [B, H, W, 3], got {x.shape}: repeat grey ones over channels"
        )
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 255
    elif not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"Inception needs floats in [0, 1] or uint8, got {x.dtype}")
    x = x.astype(jnp.float32)
    x = jax.image.resize(x, (len(x), SIZE, SIZE, 3), "bilinear", antialias=False)
    return 2 * x - 1


class MixedA(nn.Module):
    """At 35x35, after figure 5 of the paper."""

    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        five = conv(x, "branch5x5_1", 48, 1)
        three = conv(x, "branch3x3dbl_1", 64, 1)
        three = conv(three, "branch3x3dbl_2", 96, 3)
        branches = (
            conv(x, "branch1x1", 64, 1),
            conv(five, "branch5x5_2", 64, 5),
            conv(three, "branch3x3dbl_3", 96, 3),
            conv(average(x), "branch_pool", self.pooled, 1),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedB(nn.Module):
    """From 35x35 to 17x17."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        double = conv(x, "branch3x3dbl_1", 64, 1)
        double = conv(double, "branch3x3dbl_2", 96, 3)
        branches = (
            conv(x, "branch3x3", 384, 3, stride=2, padding="VALID"),
            conv(double, "branch3x3dbl_3", 96, 3, stride=2, padding="VALID"),
            nn.max_pool(x, (3, 3), (2, 2)),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedC(nn.Module):
    """At 17x17, after figure 6 of the paper."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        once = conv(x, "branch7x7_1", self.width, 1)
        once = conv(once, "branch7x7_2", self.width, 1, 7)
        twice = conv(x, "branch7x7dbl_1", self.width, 1)
        twice = conv(twice, "branch7x7dbl_2", self.width, 7, 1)
        twice = conv(twice, "branch7x7dbl_3", self.width, 1, 7)
        twice = conv(twice, "branch7x7dbl_4", self.width, 7, 1)
        branches = (
            conv(x, "branch1x1", 192, 1),
            conv(once, "branch7x7_3", 192, 7, 1),
            conv(twice, "branch7x7dbl_5", 192, 1, 7),
            conv(average(x), "branch_pool", 192, 1),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedD(nn.Module):
    """From 17x17 to 8x8."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        three = conv(x, "branch3x3_1", 192, 1)
        seven = conv(x, "branch7x7x3_1", 192, 1)
        seven = conv(seven, "branch7x7x3_2", 192, 1, 7)
        seven = conv(seven, "branch7x7x3_3", 192, 7, 1)
        branches = (
            conv(three, "branch3x3_2", 320, 3, stride=2, padding="VALID"),
            conv(seven, "branch7x7x3_4", 192, 3, stride=2, padding="VALID"),
            nn.max_pool(x, (3, 3), (2, 2)),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedE(nn.Module):
    """At 8x8, after figure 7 of the paper; the last one has the max pool of the FID network."""

    maximum: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        once = conv(x, "branch3x3_1", 384, 1)
        twice = conv(x, "branch3x3dbl_1", 448, 1)
        twice = conv(twice, "branch3x3dbl_2", 384, 3)
        pooled = nn.max_pool(x, (3, 3), (1, 1), "SAME") if self.maximum else average(x)
        branches = (
            conv(x, "branch1x1", 320, 1),
            conv(once, "branch3x3_2a", 384, 1, 3),
            conv(once, "branch3x3_2b", 384, 3, 1),
            conv(twice, "branch3x3dbl_3a", 384, 1, 3),
            conv(twice, "branch3x3dbl_3b", 384, 3, 1),
            conv(pooled, "branch_pool", 192, 1),
        )
        return jnp.concatenate(branches, axis=-1)


class InceptionFeatures(nn.Module):
    """Pictures [B, H, W, 3], floats in [0, 1] or uint8, of any size -> pool3 features [B, 2048], at least 0.

    Raises ValueError for other shapes and other integers.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = prepare(x)
        h = conv(h, "Conv2d_1a_3x3", 32, 3, stride=2, padding="VALID")
        h = conv(h, "Conv2d_2a_3x3", 32, 3, padding="VALID")
        h = conv(h, "Conv2d_2b_3x3", 64, 3)
        h = nn.max_pool(h, (3, 3), (2, 2))
        h = conv(h, "Conv2d_3b_1x1", 80, 1)
        h = conv(h, "Conv2d_4a_3x3", 192, 3, padding="VALID")
        h = nn.max_pool(h, (3, 3), (2, 2))
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            h = MixedA(pooled, name=f"Mixed_5{letter}")(h)
        h = MixedB(name="Mixed_6a")(h)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            h = MixedC(width, name=f"Mixed_6{letter}")(h)
        h = MixedD(name="Mixed_7a")(h)
        for letter, maximum in zip("bc", (False, True), strict=True):
            h = MixedE(maximum, name=f"Mixed_7{letter}")(h)
        return h.mean(axis=(1, 2))
