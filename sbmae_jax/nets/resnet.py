"""Residual convolutional encoder and decoder of pictures.

These are the networks of the reference implementation, of residual blocks (He et al. 2016, arXiv:1512.03385),
with group normalisation (Wu and He 2018, arXiv:1803.08494) instead of batch normalisation, and without a 1x1
convolution in blocks that keep their width. For its data sets, as (middle, width, factor) of each stage:

    PolyMNIST pictures 28x28x3: padding 2, leaky_relu, nearest, slope 0.2; 2,417,475 parameters
        encoder  stem 64, (64, 64, 2) (128, 128, 2) (256, 256, 2)
        decoder  start 256, (128, 128, 2) (128, 64, 2) (64, 64, 2)
    CelebA pictures 128x128x3: gelu, bilinear, slope 0.1 in the encoder and 0.2 in the decoder; 51,798,467
        encoder  stem 64, (128, 128, 2) (256, 256, 2) (512, 512, 2)
        decoder  start 512, (512, 256, 2) (256, 128, 2) (128, 64, 2)
    CelebA masks 128x128x1: the same options; 7,633,601 parameters
        encoder  stem 64, (128, 128, 4) (256, 256, 4)
        decoder  start 256, (256, 128, 4) (128, 64, 4)
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax._check import require_int
from sbmae_jax.nets.blocks import (
    activation,
    avg_pool,
    check_sizes,
    compute_dtype,
    group_norm,
    norm_groups,
    recomputed,
    upsample,
)
from sbmae_jax.types import Array

Stages = tuple[tuple[int, int, int], ...]
"""For each residual block its middle width, its width, and the factor by which the picture then changes."""

MAX_PADDING = 1000  # pixels


class _ResNet(nn.Module, kw_only=True):
    """The options that encoder and decoder share."""

    stages: Stages
    activation: str = "leaky_relu"
    negative_slope: float = 0.2
    padding: int = 0
    dtype: str = "float32"
    remat: bool = False

    def block(self, middle: int, width: int) -> nn.Module:
        """Return a residual block."""
        act = activation(self.activation, self.negative_slope)
        block = recomputed(ResidualBlock, self.remat)
        return block(middle, width, act, compute_dtype(self.dtype))

    def check(self, shape: tuple[int, ...], factor: int, width: str) -> None:
        """Raise ValueError for fields out of range and for pictures that the stages cannot shrink.

        Args:
            shape: Shape of a picture.
            factor: By how much its sides shrink.
            width: Name of the field with a width of its own.
        """
        require_int("padding", self.padding, 0, MAX_PADDING)
        check_sizes(self, width, "stages")
        if len(shape) != 3 or any((side + 2 * self.padding) % factor for side in shape[:2]):
            raise ValueError(
                "pictures must be [height, width, channels] whose sides plus twice the padding of "
                f"{self.padding} are multiples of {factor}, because the stages shrink them, got {shape}"
            )


class ResNetEncoder(_ResNet):
    """Encode pictures by residual convolutions.

    Each head reads its own share of the last channels. Parameter counts of the reference's networks, encoder
    and decoder together, are at the head of this file.

    Attributes:
        num_heads: 2 for the mean and the log-variance of a VAE, 1 for a regularised autoencoder.
        latent_size: Size of the latent.
        stem: Width of the first convolution, after which the picture is halved.
        stages: (middle width, width, factor of the pooling) of each block.
        activation: Activation of the blocks, "leaky_relu" or "gelu"; that of the stem is "leaky_relu".
        negative_slope: Slope of "leaky_relu" below zero.
        padding: Width in pixels of the frame of zeros around the picture, for sides that do not halve evenly.
        dtype: Dtype of the convolutions, "float32" or "bfloat16"; parameters are always float32.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Raises:
        ValueError: When called, if the sides do not halve evenly, the heads cannot share the last width, or a
            field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.resnet import ResNetEncoder
        >>> encoder = ResNetEncoder(num_heads=2, latent_size=5, stem=8, stages=((8, 16, 2),))
        >>> output, _ = jax.eval_shape(
        ...     encoder.init_with_output, jax.random.key(0), np.zeros((8, 28, 28, 3))
        ... )
        >>> output.shape
        (8, 10)
    """

    num_heads: int
    latent_size: int
    stem: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Encode pictures in [0, 1], `[B, H, W, C]`, as `[B, num_heads latent_size]`."""
        dtype, around = compute_dtype(self.dtype), (self.padding, self.padding)
        self.check(x.shape[1:], 2 * math.prod(pool for _, _, pool in self.stages), "stem")
        x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        h = nn.Conv(self.stem, (5, 5), dtype=dtype)(x)
        h = group_norm(norm_groups(self.stem), dtype)(h)
        h = avg_pool(nn.leaky_relu(h, self.negative_slope), 2)
        for middle, width, pool in self.stages:
            h = avg_pool(self.block(middle, width)(h), pool)
        if h.shape[-1] % self.num_heads:
            raise ValueError(
                f"the last width of stages must be a multiple of {self.num_heads}, because {self.num_heads} "
                f"heads share it, got {h.shape[-1]}"
            )
        shares = jnp.split(h.astype(jnp.float32), self.num_heads, axis=-1)
        heads = [nn.Dense(self.latent_size)(share.reshape(h.shape[0], -1)) for share in shares]
        return jnp.concatenate(heads, axis=-1)


class ResNetDecoder(_ResNet):
    """Decode latents into pictures by residual convolutions.

    Attributes:
        shape: Height, width and channels of the pictures.
        start: Channels of the smallest picture, whose sides follow from `shape` and `stages`.
        stages: (middle width, width, factor of the upsampling) of each block.
        activation: Activation of the blocks, "leaky_relu" or "gelu"; that of the last is "leaky_relu".
        upsampling: "nearest" or "bilinear".
        negative_slope: Slope of "leaky_relu" below zero.
        padding: Width in pixels of the frame that is made around the picture and cut off, to match the
            encoder's.
        dtype: Dtype of the convolutions, "float32" or "bfloat16"; parameters are always float32.
        remat: Whether to recompute the activations of the blocks for the gradient, which saves memory.

    Raises:
        ValueError: When called, if the sides do not halve evenly, or a field is out of range.

    Example:
        >>> import jax, numpy as np
        >>> from sbmae_jax.nets.resnet import ResNetDecoder
        >>> decoder = ResNetDecoder(shape=(28, 28, 3), start=16, stages=((8, 8, 4),))
        >>> output, _ = jax.eval_shape(decoder.init_with_output, jax.random.key(0), np.zeros((8, 5)))
        >>> output.shape
        (8, 28, 28, 3)
    """

    shape: tuple[int, ...]
    start: int
    upsampling: str = "nearest"

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Decode latents `[B, latent_size]` into unbounded means or logits, `[B, *shape]`."""
        dtype, pad = compute_dtype(self.dtype), self.padding
        shrunk = math.prod(factor for _, _, factor in self.stages)
        self.check(self.shape, shrunk, "start")
        height, width, depth = self.shape
        height, width = height + 2 * pad, width + 2 * pad
        size = (height // shrunk, width // shrunk, self.start)
        h = nn.relu(nn.Dense(math.prod(size), dtype=dtype)(z)).reshape(z.shape[0], *size)
        for middle, out, factor in self.stages:
            h = upsample(self.block(middle, out)(h), factor, self.upsampling)
        last = h.shape[-1]
        h = ResidualBlock(last, last, activation("leaky_relu", self.negative_slope), dtype)(h)
        x = nn.Conv(depth, (5, 5))(h.astype(jnp.float32))
        return x[:, pad : height - pad, pad : width - pad]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with normalisation beside a shortcut: `[B, H, W, in]` -> `[B, H, W, width]`.

    Attributes:
        middle: Width of the first convolution.
        width: Width of the second convolution.
        act: The activation function.
        dtype: Dtype of the convolutions.
    """

    middle: int
    width: int
    act: Callable[[Array], Array]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the block."""
        h = nn.Conv(self.middle, (3, 3), use_bias=False, dtype=self.dtype)(x)
        h = self.act(group_norm(norm_groups(self.middle), self.dtype)(h))
        h = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype)(h)
        h = group_norm(norm_groups(self.width), self.dtype)(h)
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype)(x)
        return self.act(h + x)
