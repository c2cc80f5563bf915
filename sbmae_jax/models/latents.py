"""The joint latent vector: how the latents of the modalities are stacked, and how they are scaled."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_fields, require_numbers
from sbmae_jax.types import Array, Latents


@dataclass(frozen=True)
class Layout:
    """The order and the sizes of the modalities in the joint latent vector.

    Raises ValueError for names that are not different, and sizes that are not as many, each at least 1.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self):
        require_fields(self)
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be different ones, at least one, got {self.names}")
        if len(self.sizes) != len(self.names) or min(self.sizes) < 1:
            raise ValueError(
                f"sizes must be {len(self.names)} numbers from 1, one for each name, got {self.sizes}"
            )

    @property
    def size(self) -> int:
        """The length D of the joint latent vector."""
        return sum(self.sizes)

    def pack(self, latents: Mapping[str, Array]) -> Array:
        """Concatenate {name: [B, d_m]} into [B, D]; raises ValueError for a latent of another size."""
        for name, size in zip(self.names, self.sizes, strict=True):
            shape = np.shape(latents[name]) if name in latents else None
            if shape is None or shape[-1:] != (size,):
                raise ValueError(f"latents: {name} must be [B, {size}], got {shape}")
        return jnp.concatenate([latents[name] for name in self.names], axis=-1)

    def unpack(self, x: Array) -> Latents:
        """Split [B, D] into {name: [B, d_m]}; raises ValueError for an x of another size."""
        require_numbers("x", x)
        if np.shape(x)[-1:] != (self.size,):
            raise ValueError(f"x must be [B, {self.size}], got {np.shape(x)}")
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), axis=-1)
        return dict(zip(self.names, parts, strict=True))

    def expand(self, values: Array) -> Array:
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

    Raises ValueError for an x that is not [N, D] with a row at least, and a `present` that is not of bool and
    of its shape.
    """
    require_numbers("x", x)
    if np.ndim(x) != 2 or not len(x):
        raise ValueError(f"x must be [N, D] with N at least 1, got shape {np.shape(x)}")
    if present is not None and (
        getattr(present, "dtype", None) != jnp.bool_ or present.shape != x.shape
    ):
        raise ValueError(f"present must be bool, of the shape of x, {x.shape}")
    return Moments(
        jnp.mean(x, axis=0, where=present),
        jnp.maximum(jnp.std(x, axis=0, where=present), floor),
    )
