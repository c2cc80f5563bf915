"""Observations y = A(x) + noise: what is observed of clean data, and how it depends on them.

Three kinds of A share one form: a mask of coordinates, a matrix, and any function that JAX can
differentiate. `twists` and `particles` read only what they predict, and the derivative of that.
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
from sbmae_jax.types import Array

Operator = Any
"""What is observed of a row: a mask `[D]` or `[B, D]` of bool, a matrix `[m, D]`, or `[B, D] -> [B, m]`; of
several arrays, a pytree of masks or a function of the pytree."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """What is observed of clean data, and its value.

    Attributes:
        value: y, `[m]` or `[B, m]`.
        predict: from clean data, `[B, D]`, to what would be observed of them, `[B, m]`.
        rows: from clean data to the derivative of predict there, `[B or 1, m, D]`.
        mask: `[B or 1, m]` of bool, the entries that count; None where all do.
    """

    value: Array
    predict: Callable[[Array], Array]
    rows: Callable[[Array], Array]
    mask: Array | None = None

    def gap(self, denoised: Array) -> Array:
        """Return y - A(x0_hat), [B, m], and 0 for entries that do not count."""
        predicted = self.predict(denoised)
        try:
            gap = jnp.broadcast_to(self.value, predicted.shape) - predicted
        except ValueError:
            raise ValueError(
                f"value must be an observation, {predicted.shape[1:]}, or one per row of x, "
                f"{predicted.shape}, got shape {jnp.shape(self.value)}"
            ) from None
        return gap if self.mask is None else jnp.where(self.mask, gap, 0.0)

    def log_normal(self, gap: Array, spread: Array, noise: float | Array) -> tuple[Array, Array]:
        """Return ln N(gap; 0, S) of S = spread + noise^2 I, and S^-1 gap.

        A spread of `[]` stands for a multiple of I, `[1, m]` for a diagonal, `[B or 1, m, m]` for a matrix
        per row.
        """
        count, mask = gap.shape[1], None
        if self.mask is not None:
            mask = jnp.broadcast_to(self.mask, (self.mask.shape[0], gap.shape[1]))
            count = jnp.sum(mask, axis=1)
        constant = 0.5 * math.log(2 * math.pi) * count
        if jnp.ndim(spread) == 0:
            variance = spread + noise**2
            log_q = -0.5 * jnp.sum(gap**2, axis=1) / variance - 0.5 * jnp.log(variance) * count
            return log_q - constant, gap / variance
        if jnp.ndim(spread) == 2:
            variance = spread + noise**2
            log_det = jnp.log(variance) if mask is None else jnp.where(mask, jnp.log(variance), 0.0)
            log_q = -0.5 * jnp.sum(gap**2 / variance, axis=1) - 0.5 * jnp.sum(log_det, axis=1)
            return log_q - constant, gap / variance
        spread = spread + noise**2 * jnp.eye(gap.shape[1])[None]
        if mask is not None:  # entries that do not count are filled up with those of I
            both = mask[:, :, None] & mask[:, None, :]
            spread = jnp.where(both, spread, jnp.eye(gap.shape[1]))
        root = jnp.linalg.cholesky(spread)
        white, solved = _solved(root, gap)
        log_det = jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
        return -0.5 * jnp.sum(white**2, axis=1) - log_det - constant, solved


def _solved(root: Array, gap: Array) -> tuple[Array, Array]:
    """Return L^-1 gap and (L L^T)^-1 gap; one L for all rows is not copied for each."""
    solve = jax.scipy.linalg.solve_triangular
    if root.shape[0] == 1:
        white = solve(root[0], gap.T, lower=True)
        return white.T, solve(root[0].T, white, lower=False).T
    white = solve(root, gap[..., None], lower=True)
    return white[..., 0], solve(jnp.swapaxes(root, 1, 2), white, lower=False)[..., 0]


def make_observation(
    value: Any, operator: Operator, covariance: float | Array | str, noise: float | Array
) -> Observation:
    """Make the observation of a mask, a matrix or a function; raise ValueError for anything else."""
    checks.require_numbers("value", value)
    if isinstance(operator, jax.Array | np.ndarray):
        if jnp.issubdtype(operator.dtype, jnp.floating):
            _require_matrix(operator, noise)
            return _linear(value, operator)
    elif callable(operator):
        function = _checked_operator(operator)
        return Observation(value, function, _derivative(function))
    mask: Any = operator
    checks.require_mask(mask)
    return _masked(value, mask, covariance)


def _linear(value: Array, matrix: Array | np.ndarray) -> Observation:
    def predict(denoised):
        if denoised.shape[1] != matrix.shape[1]:
            raise ValueError(
                f"operator must be [m, D] for x of D = {denoised.shape[1]} coordinates, got shape "
                f"{matrix.shape}"
            )
        return denoised @ matrix.T

    return Observation(value, predict, lambda denoised: jnp.asarray(matrix)[None])


def _masked(value: Array, mask: Array, covariance: float | Array | str) -> Observation:
    if isinstance(covariance, str) and not isinstance(mask, jax.core.Tracer):
        known = np.flatnonzero(np.asarray(mask))
        if jnp.ndim(mask) == 1 and len(known) and jnp.shape(value)[-1:] == jnp.shape(mask):
            # Few observed numbers need few products with the Jacobian.
            return _linear(value[..., known], np.eye(len(mask), dtype=np.float32)[known])

    def predict(denoised):
        return jnp.where(checks.mask_like(mask, denoised), denoised, 0.0)

    seen = jnp.atleast_2d(mask)

    def rows(denoised):
        return jnp.where(seen[:, :, None], jnp.eye(denoised.shape[1])[None], 0.0)

    return Observation(value, predict, rows, seen)


def _checked_operator(operator: Callable[..., Any]) -> Callable[[Array], Array]:
    """Wrap an operator so that it raises ValueError for what is not one row of floats per row."""

    def checked(x):
        try:
            seen, _ = jax.vjp(operator, x)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"operator must be a function [B, D] -> [B, m] that JAX can differentiate, which fails for "
                f"x of shape {x.shape}: {error}"
            ) from error
        checks.require_numbers("operator", seen, floating=True)
        if jnp.ndim(seen) != 2 or seen.shape[0] != x.shape[0]:
            raise ValueError(
                f"operator must return one row of numbers per row of x, ({x.shape[0]}, m), got shape "
                f"{jnp.shape(seen)}"
            )
        return seen

    return checked


def _derivative(operator: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def rows(denoised):
        seen, pull = jax.vjp(operator, denoised)
        return pulled(pull, seen)

    return rows


def pulled(pull: Callable, seen: Array) -> Array:
    """Return the derivative of each of m numbers, [B, m, D]; rows do not mix, so m products are enough."""
    each = jnp.broadcast_to(
        jnp.eye(seen.shape[1], dtype=seen.dtype)[:, None], (seen.shape[1], *seen.shape)
    )
    return jnp.swapaxes(jax.vmap(lambda one: pull(one)[0])(each), 0, 1)


def is_zero(value: float | Array | str) -> bool:
    """Return whether a number is known to be 0: a traced one may be anything."""
    return not isinstance(value, jax.core.Tracer | str) and float(value) == 0


def _require_matrix(matrix: Array | np.ndarray, noise: float | Array) -> None:
    if jnp.ndim(matrix) != 2 or not all(matrix.shape):
        raise ValueError(
            f"operator must be a matrix [m, D], a mask of bool, or a function, got an array of floats of "
            f"shape {jnp.shape(matrix)}"
        )
    if isinstance(matrix, jax.core.Tracer) or not is_zero(noise):
        return
    if np.linalg.matrix_rank(np.asarray(matrix)) < matrix.shape[0]:
        raise ValueError(
            "operator has rows that depend on each other, whose exact observations would repeat or "
            "contradict each other: leave some out, or set noise above 0"
        )
