"""Residual convolutional encoder and decoder of pictures.

The networks of the reference implementation (method, section 2.2; blocks after He et al. 2016,
arXiv:1512.03385), with group normalisation (Wu and He 2018, arXiv:1803.08494) for batch normalisation and
no 1x1 convolution where a block keeps its width. For its two data sets:

    PolyMNIST 28x28x3, padding 2, leaky_relu, nearest, slope 0.2
        encoder  stem 64, (64, 64, 2) (128, 128, 2) (256, 256, 2)
        decoder  start 256, (128, 128, 2) (128, 64, 2) (64, 64, 2)
    CelebA 128x128x3, gelu, bilinear, slope 0.1 in the encoder and 0.2 in the decoder
        encoder  stem 64, (128, 128, 2) (256, 256, 2) (512, 512, 2)
        decoder  start 512, (512, 256, 2) (256, 128, 2) (128, 64, 2)
    its masks 128x128x1, likewise
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


class ResNetEncoder(nn.Module):
    """A picture [B, H, W, C] in [0, 1] -> [B, num_heads latent_size].

    Each head reads its own share of the last channels: two heads for the mean and the log-variance of a
    VAE, one for a regularised autoencoder.

    stem: width of the first convolution, after which the picture is halved.
    stages: (middle, width, pool) of each block.
    activation: of the blocks, "leaky_relu" or "gelu".  negative_slope: of leaky_relu; the stem's
    is always that.
    padding: zeros that are put around the picture, for sides that do not halve cleanly.
    remat: compute the activations of the blocks again for the gradient, rather than keep them.

    Raises ValueError for pictures that do not halve cleanly, and widths that the heads cannot share.
    """

    num_heads: int
    latent_size: int
    stem: int
    stages: Stages
    activation: str = "leaky_relu"
    negative_slope: float = 0.2
    padding: int = 0
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        dtype, around = compute_dtype(self.dtype), (self.padding, self.padding)
        check_resnet(self.padding, self.stages, stem=self.stem)
        factor = 2 * math.prod(pool for _, _, pool in self.stages)
        check_factor(x.shape[1:], factor, self.padding)
        x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        act = activation(self.activation, self.negative_slope)
        h = nn.Conv(self.stem, (5, 5), dtype=dtype)(x)
        h = group_norm(norm_groups(self.stem), dtype)(h)
        h = avg_pool(nn.leaky_relu(h, self.negative_slope), 2)
        for middle, width, pool in self.stages:
            h = avg_pool(recomputed(ResidualBlock, self.remat)(middle, width, act, dtype)(h), pool)
        if h.shape[-1] % self.num_heads:
            raise ValueError(
                f"network 'resnet' needs a last width of stages that its {self.num_heads} heads can share, "
                f"got {h.shape[-1]}"
            )
        shares = jnp.split(h.astype(jnp.float32), self.num_heads, axis=-1)
        heads = [nn.Dense(self.latent_size)(share.reshape(len(h), -1)) for share in shares]
        return jnp.concatenate(heads, axis=-1)


class ResNetDecoder(nn.Module):
    """A latent [B, d] -> [B, *shape]: means of any size, or logits.

    shape: (height, width, channels) of the picture.
    start: number of channels of the smallest picture; its sides follow from `shape` and `stages`.
    stages: (middle, width, factor of the upsampling) of each block.
    activation: of the blocks, "leaky_relu" or "gelu".  negative_slope: of leaky_relu; the last
    block's is always that.
    upsampling: "nearest" or "bilinear".
    padding: pixels that are made around the picture and cut off, as the encoder puts zeros there.

    Raises ValueError for shapes that do not halve cleanly.
    """

    shape: tuple[int, ...]
    start: int
    stages: Stages
    activation: str = "leaky_relu"
    upsampling: str = "nearest"
    negative_slope: float = 0.2
    padding: int = 0
    dtype: str = "float32"
    remat: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        dtype, pad = compute_dtype(self.dtype), self.padding
        check_resnet(pad, self.stages, start=self.start)
        factor = math.prod(factor for _, _, factor in self.stages)
        check_factor(self.shape, factor, pad)
        height, width, depth = self.shape
        height, width = height + 2 * pad, width + 2 * pad
        act = activation(self.activation, self.negative_slope)
        size = (height // factor, width // factor, self.start)
        h = nn.relu(nn.Dense(math.prod(size), dtype=dtype)(z)).reshape(len(z), *size)
        for middle, out, factor in self.stages:
            block = recomputed(ResidualBlock, self.remat)(middle, out, act, dtype)
            h = upsample(block(h), factor, self.upsampling)
        last = h.shape[-1]
        h = ResidualBlock(last, last, activation("leaky_relu", self.negative_slope), dtype)(h)
        x = nn.Conv(depth, (5, 5))(h.astype(jnp.float32))
        return x[:, pad : height - pad, pad : width - pad]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with normalisation beside a shortcut: [B, H, W, in] -> [B, H, W, width]."""

    middle: int
    width: int
    act: Callable[[Array], Array]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = nn.Conv(self.middle, (3, 3), use_bias=False, dtype=self.dtype)(x)
        h = self.act(group_norm(norm_groups(self.middle), self.dtype)(h))
        h = nn.Conv(self.width, (3, 3), use_bias=False, dtype=self.dtype)(h)
        h = group_norm(norm_groups(self.width), self.dtype)(h)
        if x.shape[-1] != self.width:
            x = nn.Conv(self.width, (1, 1), use_bias=False, dtype=self.dtype)(x)
        return self.act(h + x)


def check_resnet(padding: int, stages: Stages, **widths: int) -> None:
    """Raise ValueError for a padding, widths or stages out of range."""
    require_int("network 'resnet': padding", padding, 0, MAX_PADDING)
    check_sizes("resnet", max(len(stages), 1), **widths)
    for stage in stages:
        check_sizes("resnet", stages=stage)


def check_factor(shape: tuple[int, ...], factor: int, padding: int) -> None:
    """Raise ValueError if pictures of a shape, with a padding around them, cannot be shrunk by a factor."""
    if len(shape) != 3 or any((side + 2 * padding) % factor for side in shape[:2]):
        raise ValueError(
            f"network 'resnet' needs pictures [height, width, channels] whose sides, with a padding "
            f"of {padding} on either side, are multiples of {factor}, as its stages shrink them, got {shape}"
        )
