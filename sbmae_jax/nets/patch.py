"""Networks of patches and dense layers, for small pictures on few cores."""

import math

import flax.linen as nn
import jax.numpy as jnp

from sbmae_jax._check import require_number
from sbmae_jax.nets.blocks import check_sizes, from_patches, neighbourhoods, to_patches
from sbmae_jax.types import Array


def check_patches(shape: tuple[int, ...], patch: int) -> None:
    """Raise ValueError if pictures of a shape cannot be cut into patches."""
    check_sizes("patch", patch=patch)
    if len(shape) != 3 or shape[0] % patch or shape[1] % patch:
        raise ValueError(
            f"network 'patch' needs pictures [height, width, channels] with sides that are multiples "
            f"of patch = {patch}, got {shape}"
        )


class PatchEncoder(nn.Module):
    """A picture [B, H, W, C] in [0, 1] -> [B, num_heads latent_size].

    One dense layer on all patches alike, then two on the whole.
    """

    num_heads: int
    latent_size: int
    patch: int = 4
    channels: int = 48
    width: int = 384

    @nn.compact
    def __call__(self, x: Array) -> Array:
        check_sizes("patch", channels=self.channels, width=self.width)
        check_patches(x.shape[1:], self.patch)
        h = nn.gelu(nn.Dense(self.channels)(to_patches(2 * x - 1, self.patch)))
        h = nn.gelu(nn.Dense(self.width)(h.reshape(len(h), -1)))
        return nn.Dense(self.num_heads * self.latent_size)(h)


class PatchDecoder(nn.Module):
    """A latent [B, d] -> a picture [B, *shape], in two layers and a mask that chooses between them.

    Pictures are things in front of things. A sharp edge costs a plain decoder capacity at each pixel; here
    it is one crossing of zero of the mask, whatever the two layers show.
    """

    shape: tuple[int, ...]
    patch: int = 4
    channels: int = 48
    width: int = 384

    @nn.compact
    def __call__(self, z: Array) -> Array:
        check_sizes("patch", channels=self.channels, width=self.width)
        check_patches(self.shape, self.patch)
        height, width, depth = self.shape
        rows, columns = height // self.patch, width // self.patch
        h = nn.gelu(nn.Dense(self.width)(z))
        h = nn.gelu(nn.Dense(rows * columns * self.channels)(h))
        h = h.reshape(len(z), rows, columns, self.channels)
        y = from_patches(nn.Dense(self.patch**2 * (2 * depth + 1))(h), self.patch)
        front, back, mask = jnp.split(y, [depth, 2 * depth], axis=-1)
        mask = nn.sigmoid(4 * mask)
        return mask * nn.sigmoid(front) + (1 - mask) * nn.sigmoid(back)


class PatchClassifier(nn.Module):
    """A picture [B, H, W, C] in [0, 1] -> (logits [B, num_classes], features [B, width]).

    Two 3x3 convolutions on patches of 2, written as dense layers; dropout where `train`.
    """

    num_classes: int
    channels: tuple[int, int] = (32, 64)
    width: int = 128
    dropout: float = 0.3

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, Array]:
        check_sizes("patch", channels=self.channels, width=self.width)
        require_number("network 'patch': dropout", self.dropout, 0, below=1)
        check_patches(x.shape[1:], math.lcm(2, 4))
        h = to_patches(2 * x - 1, 2)
        h = nn.relu(nn.Dense(self.channels[0])(neighbourhoods(h)))
        h = nn.relu(nn.Dense(self.channels[1])(neighbourhoods(to_patches(h, 2))))
        h = nn.Dropout(self.dropout, deterministic=not train)(h.reshape(len(h), -1))
        features = nn.relu(nn.Dense(self.width)(h))
        h = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.num_classes)(h), features
