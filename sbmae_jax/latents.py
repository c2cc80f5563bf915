"""The joint latent vector: how the latents of the modalities are stacked, and how they are scaled."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sbmae_jax.types import Array, Latents


@dataclass(frozen=True)
class Layout:
    """The order and the sizes of the modalities in the joint latent vector."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """The length D of the joint latent vector."""
        return sum(self.sizes)

    def pack(self, latents: Mapping[str, Array]) -> Array:
        """Concatenate {name: [B, d_m]} into [B, D]."""
        return jnp.concatenate([latents[name] for name in self.names], axis=-1)

    def unpack(self, x: Array) -> Latents:
        """Split [B, D] into {name: [B, d_m]}."""
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), axis=-1)
        return dict(zip(self.names, parts, strict=True))

    def spread(self, values: Array) -> Array:
        """Repeat one value per modality [..., M] over its coordinates: [..., D]."""
        return jnp.repeat(values, np.array(self.sizes), axis=-1, total_repeat_length=self.size)

    def observed(self, names: Collection[str], num_rows: int) -> np.ndarray:
        """Return which modalities are observed, [num_rows, M] bool, the same in each row.

        Raises ValueError for a name that is not a modality.
        """
        for name in names:
            if name not in self.names:
                known = ", ".join(self.names)
                raise ValueError(f"unknown modality {name!r}: this model has {known}")
        row = np.array([name in names for name in self.names])
        return np.broadcast_to(row, (num_rows, len(row)))


class Moments(NamedTuple):
    """Mean and standard deviation of each latent coordinate over the training set, [D] each."""

    mean: Array
    std: Array

    def standardise(self, x: Array) -> Array:
        """Give each coordinate of x [B, D] mean 0 and variance 1."""
        return (x - self.mean[None]) / self.std[None]

    def restore(self, x: Array) -> Array:
        """Undo `standardise`."""
        return x * self.std[None] + self.mean[None]


def moments(x: Array, present: Array | None = None, floor: float = 0.05) -> Moments:
    """Estimate moments from [N, D], each coordinate over the rows where `present` [N, D] bool holds.

    `floor` bounds the standard deviation from below: a coordinate that a VAE has switched off is
    nearly constant, and dividing by its deviation would blow noise up to signal.
    """
    return Moments(
        jnp.mean(x, axis=0, where=present),
        jnp.maximum(jnp.std(x, axis=0, where=present), floor),
    )
