"""The joint latent vector: how the latents of the modalities are concatenated and scaled."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_fields, require_numbers
from sbmae_jax.data.names import NOT_MODELLED
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.types import Array, Latents

MIN_STD = 0.05
"""The smallest standard deviation by which latents of autoencoders are divided."""


@dataclass(frozen=True)
class Layout:
    """The order and the sizes of the modalities in the joint latent vector.

    Attributes:
        names: Names of the M modalities, all different.
        sizes: Length d_m of each latent, at least 1.

    Raises:
        ValueError: For repeated names, no names, or sizes that do not match them.

    Example:
        >>> layout = Layout(("picture", "caption"), (2, 1))
        >>> layout.observed(["caption"], num_rows=1)
        array([[False,  True]])
        >>> layout.expand(layout.observed(["caption"], num_rows=1)).tolist()
        [[False, False, True]]
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self):
        require_fields(self)
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be all different and at least one, got {self.names}")
        if len(self.sizes) != len(self.names) or min(self.sizes) < 1:
            raise ValueError(
                f"names and sizes must be of one length, and sizes at least 1, got {self.names} and "
                f"{self.sizes}"
            )

    @property
    def size(self) -> int:
        """The length D of the joint latent vector."""
        return sum(self.sizes)

    def pack(self, latents: Mapping[str, Array]) -> Array:
        """Concatenate latents.

        Args:
            latents: `{name: [B, d_m]}`.

        Returns:
            `[B, D]`.

        Raises:
            ValueError: For a latent that is missing or has another size.
        """
        for name, size in zip(self.names, self.sizes, strict=True):
            shape = np.shape(latents[name]) if name in latents else None
            if shape is None or shape[-1:] != (size,):
                raise ValueError(f"latents: {name} must be [B, {size}], got {shape}")
        return jnp.concatenate([latents[name] for name in self.names], axis=-1)

    def unpack(self, x: Array) -> Latents:
        """Split joint latents.

        Args:
            x: `[B, D]`.

        Returns:
            `{name: [B, d_m]}`.

        Raises:
            ValueError: For an x of another size.
        """
        require_numbers("x", x)
        if np.shape(x)[-1:] != (self.size,):
            raise ValueError(f"x must be [B, {self.size}], got {np.shape(x)}")
        parts = jnp.split(x, np.cumsum(self.sizes)[:-1].tolist(), axis=-1)
        return dict(zip(self.names, parts, strict=True))

    def expand(self, values: Array) -> Array:
        """Repeat values per modality `[..., M]` over the coordinates of each, `[..., D]`."""
        return jnp.repeat(values, np.array(self.sizes), axis=-1, total_repeat_length=self.size)

    def observed(self, names: Collection[str], num_rows: int) -> np.ndarray:
        """Return which modalities are observed, the same ones in each row.

        Args:
            names: The observed modalities.
            num_rows: Number of rows B.

        Returns:
            `[B, M]` bool.

        Raises:
            ValueError: For a name that is not a modality.
        """
        for name in names:
            if name not in self.names:
                known = ", ".join(self.names)
                hint = f"; {NOT_MODELLED}" if name == "label" else ""
                raise ValueError(f"unknown modality {name!r}: this model has {known}{hint}")
        row = np.array([name in names for name in self.names])
        return np.broadcast_to(row, (num_rows, len(row)))


class Moments(NamedTuple):
    """Mean and standard deviation of the latents over the training set, and perhaps their covariance.

    Attributes:
        mean: Mean of each coordinate, `[D]`.
        std: Standard deviation of each coordinate, `[D]`.
        rotation: Orthogonal matrices by modality, `[d_m, d_m]`, by which latents are rotated once they are
            scaled; none for a score without a covariance.
        covariance: Of the rotated latents, for a score that starts from it; None for one that does not.
    """

    mean: Array
    std: Array
    rotation: tuple[Array, ...] = ()
    covariance: FactorGaussian | None = None

    def as_tree(self) -> dict[str, Any]:
        """Return the arrays as dicts of dicts, as they are named in files; `moments_of_tree` reads them."""
        tree: dict[str, Any] = {"mean": self.mean, "std": self.std}
        if self.covariance is not None:
            tree["rotation"] = {str(m): matrix for m, matrix in enumerate(self.rotation)}
            tree["covariance"] = self.covariance._asdict()
        return tree

    def standardise(self, x: Array) -> Array:
        """Shift and scale x `[B, D]` so that each coordinate has mean 0 and variance 1, and rotate it."""
        return _rotated((x - self.mean[None]) / self.std[None], self.rotation)

    def restore(self, x: Array) -> Array:
        """Undo `standardise`."""
        x = _rotated(x, tuple(matrix.T for matrix in self.rotation))
        return x * self.std[None] + self.mean[None]


def moments_of_tree(tree: Mapping[str, Any]) -> Moments:
    """Return the moments of a tree of arrays. Those of earlier versions have no covariance.

    Raises:
        KeyError, TypeError: For a tree that lacks arrays, or has others.
    """
    if "covariance" not in tree:
        return Moments(**tree)
    matrices = tree.get(
        "rotation", {}
    )  # the first covariances were of latents that are not rotated
    rotation = tuple(matrices[str(m)] for m in range(len(matrices)))
    return Moments(tree["mean"], tree["std"], rotation, FactorGaussian(**tree["covariance"]))


def _rotated(x: Array, matrices: tuple[Array, ...]) -> Array:
    """Return x [B, D] with the part of each modality times its matrix, if there are any."""
    if not matrices:
        return x
    parts = jnp.split(x, np.cumsum([len(matrix) for matrix in matrices])[:-1].tolist(), axis=1)
    pairs = zip(parts, matrices, strict=True)
    return jnp.concatenate([jnp.matmul(p, m, precision="highest") for p, m in pairs], axis=1)


def moments(x: Array, present: Array | None = None, floor: float | Array = MIN_STD) -> Moments:
    """Estimate the moments of latents.

    Args:
        x: Latents `[N, D]`.
        present: `[N, D]` bool, the entries to use; None uses all.
        floor: The smallest standard deviation, a number or one for each coordinate, `[D]`. A coordinate that
            a VAE does not use is nearly constant, and dividing by its deviation would turn noise into signal.
            With 0, only coordinates that are constant are not scaled.

    Raises:
        ValueError: For an x that is not `[N, D]` or has no rows, and for a `present` that is not bool or
            has another shape.
    """
    require_numbers("x", x)
    if np.ndim(x) != 2 or not len(x):
        raise ValueError(f"x must be [N, D] with N at least 1, got shape {np.shape(x)}")
    if present is not None and (
        getattr(present, "dtype", None) != jnp.bool_ or present.shape != x.shape
    ):
        raise ValueError(f"present must be a bool array with the shape of x, {x.shape}")
    std = jnp.maximum(jnp.std(x, axis=0, where=present), floor)
    return Moments(jnp.mean(x, axis=0, where=present), jnp.where(std > 0, std, 1.0))
