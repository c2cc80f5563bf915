"""The Inception network whose features FID is measured in.

Inception-v3 (Szegedy et al. 2016, arXiv:1512.00567) as it was released for TensorFlow 1 in December 2015 and
used by Heusel et al. 2017 (arXiv:1706.08500), in the form of the port pytorch-fid: its average pools count no
padding, its last block has a max pool, and pictures are resized by plain bilinear interpolation. Batch
normalisation is part of the kernels and biases. Layers have the names of the port.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sbmae_jax.types import Array

SIZE = 299  # side in pixels of the picture that the network sees
NUM_FEATURES = 2048

# A layer is its name, its width and the sides of its kernel; a branch is one layer after the other.
Layer = tuple[Any, ...]
REDUCTION_6A = (
    (("branch3x3", 384, 3),),
    (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
)
REDUCTION_7A = (
    (("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)),
    (
        ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1),
        ("branch7x7x3_4", 192, 3),
    ),
)  # fmt: skip


def conv(x: Array, name: str, width: int, *kernel: int, stride: int = 1, padding: str = "SAME"):
    """Convolve and apply relu, in the compact method that calls this.

    Args:
        x: `[B, H, W, C]`.
        name: Name of the layer.
        width: Number of output channels.
        *kernel: Side of a square kernel, or its height and width.
        stride: Of both sides.
        padding: "SAME" or "VALID".

    Returns:
        `[B, H', W', width]`.
    """
    sides = kernel * (3 - len(kernel))
    # Full float32 on every device: FID is compared across papers, and GPUs and TPUs would round.
    highest = jax.lax.Precision.HIGHEST
    return nn.relu(nn.Conv(width, sides, stride, padding, precision=highest, name=name)(x))


def convs(x: Array, *layers: Layer) -> Array:
    """Apply one `conv` after the other."""
    for layer in layers:
        x = conv(x, *layer)
    return x


def average(x: Array) -> Array:
    """Average the 3x3 surroundings of each position, over those positions that lie in the picture."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def prepare(x: Array) -> Array:
    """Resize pictures to what the network sees, and scale them to [-1, 1].

    The interpolation is bilinear between centres of pixels, without antialiasing, as in pytorch-fid.

    Args:
        x: `[B, H, W, 3]`, floats in [0, 1] or uint8.

    Returns:
        `[B, 299, 299, 3]`, float32 in [-1, 1].

    Raises:
        ValueError: If the shape or the dtype is another one.
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
    """The block at 35x35, after figure 5 of the paper.

    Attributes:
        pooled: Width of the branch that averages.
    """

    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Concatenate the branches: `[B, 35, 35, C]` -> `[B, 35, 35, 224 + pooled]`."""
        branches = (
            conv(x, "branch1x1", 64, 1),
            convs(x, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
            convs(
                x, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)
            ),
            conv(average(x), "branch_pool", self.pooled, 1),
        )
        return jnp.concatenate(branches, axis=-1)


class Reduction(nn.Module):
    """The block that halves the sides: convolutions whose last has stride 2, beside a max pool.

    Attributes:
        branches: The layers of each branch.
    """

    branches: tuple[tuple[Layer, ...], ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Concatenate the branches: `[B, H, W, C]` -> `[B, (H - 1) / 2, (W - 1) / 2, C']`."""
        outputs = [
            conv(convs(x, *layers), *last, stride=2, padding="VALID")
            for *layers, last in self.branches
        ]
        return jnp.concatenate([*outputs, nn.max_pool(x, (3, 3), (2, 2))], axis=-1)


class MixedC(nn.Module):
    """The block at 17x17, after figure 6 of the paper.

    Attributes:
        width: Width of the inner layers.
    """

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Concatenate the branches: `[B, 17, 17, C]` -> `[B, 17, 17, 768]`."""
        width = self.width
        once = (("branch7x7_1", width, 1), ("branch7x7_2", width, 1, 7), ("branch7x7_3", 192, 7, 1))
        twice = (
            ("branch7x7dbl_1", width, 1), ("branch7x7dbl_2", width, 7, 1),
            ("branch7x7dbl_3", width, 1, 7), ("branch7x7dbl_4", width, 7, 1),
            ("branch7x7dbl_5", 192, 1, 7),
        )  # fmt: skip
        branches = (
            conv(x, "branch1x1", 192, 1),
            convs(x, *once),
            convs(x, *twice),
            conv(average(x), "branch_pool", 192, 1),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedE(nn.Module):
    """The block at 8x8, after figure 7 of the paper.

    Attributes:
        maximum: Whether to take a maximum instead of an average, as the last block of the FID network does.
    """

    maximum: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Concatenate the branches: `[B, 8, 8, C]` -> `[B, 8, 8, 2048]`."""
        once = conv(x, "branch3x3_1", 384, 1)
        twice = convs(x, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
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
    """Compute the pool3 features of pictures, in which FID is measured.

    The network has 21,768,352 parameters. `evaluation.inception` reads the published weights.

    Example:
            from sbmae_jax.evaluation.inception import load

            params = load("inception.npz")  # written by `python -m sbmae_jax.evaluation.inception`
            features = InceptionFeatures().apply(params, pictures)
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the features of pictures.

        Args:
            x: Pictures of any size, `[B, H, W, 3]`, floats in [0, 1] or uint8.

        Returns:
            `[B, 2048]`, at least 0.

        Raises:
            ValueError: If the shape or the dtype is another one.
        """
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
        h = Reduction(REDUCTION_6A, name="Mixed_6a")(h)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            h = MixedC(width, name=f"Mixed_6{letter}")(h)
        h = Reduction(REDUCTION_7A, name="Mixed_7a")(h)
        for letter, maximum in zip("bc", (False, True), strict=True):
            h = MixedE(maximum, name=f"Mixed_7{letter}")(h)
        return h.mean(axis=(1, 2))
