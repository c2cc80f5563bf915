r"""Rows: the arrays of a state side by side, `[B, D]`, for what needs all coordinates of a row at once.

Kernels act on each array alone (`leaves`). A divergence, a covariance or the weight of a particle is of the
whole row. There the arrays are put side by side, in the order of `jax.tree.leaves`, and what is returned is
taken apart again. A process for each array becomes one whose coefficients are a row, `[1, D]`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.leaves import SDETree, leafwise, spread_over
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, State


def is_lone(x: State) -> bool:
    """Return whether a state is one array, or something else that is no pytree of them."""
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(x))


class Rows:
    """How the arrays of a state become rows and back.

    Args:
        x: the state, or `jax.ShapeDtypeStruct`s in the place of its arrays.

    Raises:
        ValueError: for arrays that do not have the same number of rows.
    """

    def __init__(self, x: State):
        leaves, self._structure = jax.tree.flatten(x)
        kinds = [(jnp.shape(leaf), leaf.dtype) for leaf in leaves]
        if any(not shape or shape[0] != kinds[0][0][0] for shape, _ in kinds):
            raise ValueError(
                "x must be arrays [B, ...] with as many rows each, got shapes "
                f"{[shape for shape, _ in kinds]}"
            )
        self._kinds = [(shape[1:], dtype) for shape, dtype in kinds]
        self._sizes = [math.prod(shape) for shape, _ in self._kinds]
        self._like = self._structure.unflatten(jax.ShapeDtypeStruct(*kind) for kind in kinds)
        self.size = sum(self._sizes)

    def join(self, x: State) -> Array:
        """Put arrays side by side: [B, D]."""
        leaves = self._structure.flatten_up_to(x)
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)

    def split(self, rows: Array) -> State:
        """Take rows apart again, for any B."""
        parts = jnp.split(rows, np.cumsum(self._sizes)[:-1], axis=1)
        return self._structure.unflatten(
            part.reshape(part.shape[0], *shape).astype(dtype)
            for part, (shape, dtype) in zip(parts, self._kinds, strict=True)
        )

    def option(self, name: str, option: Any) -> Array | np.ndarray:
        """Return an option of each coordinate, such as the mask: `[D]`, or `[B, D]` if a part has rows."""
        parts = spread_over(name, option, self._like)
        traced = any(isinstance(part, jax.core.Tracer) for part in parts)
        lib = jnp if traced else np
        shapes = [leaf.shape for leaf in jax.tree.leaves(self._like)]
        by_row = any(
            jnp.ndim(part) == len(shape) for part, shape in zip(parts, shapes, strict=True)
        )
        placed = []
        for part, shape in zip(parts, shapes, strict=True):
            wanted = shape if by_row else shape[1:]
            try:
                part = lib.broadcast_to(lib.asarray(part), wanted)
            except ValueError:
                raise ValueError(
                    f"{name} must broadcast to each array of x, {shape}, got {jnp.shape(part)}"
                ) from None
            placed.append(part.reshape((shape[0], -1) if by_row else (-1,)))
        return lib.concatenate(placed, axis=-1)

    def process(self, sde: SDETree) -> SDE:
        """Return one process for the rows."""
        if isinstance(sde, SDE):
            return sde
        parts = spread_over("sde", sde, self._like)
        return JoinedSDE(tuple(zip(parts, self._sizes, strict=True)))

    def score(self, score: ScoreFn) -> ScoreFn:
        """Return a score of the state as one of rows."""
        checked = checks.checked_score(score)
        return lambda rows, t: self.join(checked(self.split(rows), t))


@dataclasses.dataclass(frozen=True)
class JoinedSDE(SDE):
    """The processes of several arrays as one for their rows `[B, D]`: its coefficients are `[1, D]`.

    Attributes:
        parts: for each array its process, and its number of coordinates.
    """

    parts: tuple[tuple[SDE, int], ...]

    def __post_init__(self):
        object.__setattr__(self, "t_max", min(sde.t_max for sde, _ in self.parts))

    @property
    def prior_scale(self) -> Array:
        """Return the standard deviation of the prior, [1, D]."""
        return self._each(lambda sde: sde.prior_scale)

    def log_alpha(self, t: Array) -> Array:
        """Return ln alpha, [1, D]."""
        return self._each(lambda sde: sde.log_alpha(t))

    def alpha(self, t: Array) -> Array:
        """Return alpha, [1, D]."""
        return self._each(lambda sde: sde.alpha(t))

    def sigma(self, t: Array) -> Array:
        """Return sigma, [1, D]."""
        return self._each(lambda sde: sde.sigma(t))

    def drift(self, t: Array) -> Array:
        """Return f, [1, D]."""
        return self._each(lambda sde: sde.drift(t))

    def diffusion(self, t: Array) -> Array:
        """Return g, [1, D]."""
        return self._each(lambda sde: sde.diffusion(t))

    def log_snr(self, t: Array) -> Array:
        """Return the log-SNR, [1, D]."""
        return self._each(lambda sde: sde.log_snr(t))

    def denoised_from_score(self, score: Array, x: Array, t: Array) -> Array:
        """Return the predicted clean data, [B, D]."""
        return (x + self.sigma(t) ** 2 * score) / self.alpha(t)

    def probability_flow_drift(self, x: Array, score: Array, t: Array) -> Array:
        """Return the velocity of the flow, [B, D]."""
        return self.drift(t) * x - 0.5 * self.diffusion(t) ** 2 * score

    def _each(self, coefficient: Callable[[SDE], Array | float]) -> Array:
        parts = [jnp.broadcast_to(coefficient(sde), (1, size)) for sde, size in self.parts]
        return jnp.concatenate(parts, axis=1)


def denoised_of(sde: SDETree, score: ScoreFn, x: State, t: Array) -> tuple[State, State]:
    """Return the predicted clean data of each array, and the score."""
    score_x = score(x, t)

    def predict(x, score_x, sde):
        return sde.denoised_from_score(score_x, x, t)

    return leafwise(predict, x, score_x, sde=sde), score_x
