r"""Scores given many independent observations, from scores that were each given one.

Simulation-based inference trains a score of parameters x given one observation y. For n observations that
are independent given x,

    p(x_0 | x_t, y_1..y_n)  is in proportion to  p(x_0 | x_t)^(1 - n) prod_i p(x_0 | x_t, y_i),      (1)

since the n + 1 - n powers of p(x_t | x_0) leave one. Scores at t do not add up like that, but means of clean
data do, if all these laws of x_0 are taken for Gaussians: with M_i = (alpha / sigma)^2 cov(x_0 | x_t, y_i),
and M_0 without observations,

    s = L^-1 [sum_i M_i^-1 s_i + (1 - n) M_0^-1 s_0],     L = sum_i M_i^-1 + (1 - n) M_0^-1.         (2)

As the weights add up to I, (2) holds for scores as it does for means. It is exact for Gaussians. M comes from
the Jacobian of the score, M = I + sigma^2 ds/dx, which is right for every law (`twists`, equation 2); or from
a covariance C of clean data, M = snr C (I + snr C)^-1, without derivatives.

Sources: Linhart et al. 2024 (arXiv:2404.07593), whose JAC and GAUSS these two are; Geffner et al. 2023
(arXiv:2209.14249) for the composition.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn

# Of the largest eigenvalue: rounding may push the smallest below zero.
_MIN_EIGENVALUE = 1e-5


def composed_score(
    sde: SDE,
    conditional: Callable[[Array, Array, Any], Array],
    observations: Any,
    prior: ScoreFn,
    covariances: tuple[Array, Array] | None = None,
) -> ScoreFn:
    """Make the score given n independent observations, from one that is given a single observation.

    Args:
        sde: the process.
        conditional: `(x, t, y) -> score`, given one observation y, for `x: [B, D]` and a scalar t.
        observations: an array `[n, ...]`, or a pytree of them: one y after another.
        prior: `(x, t) -> score`, without observations.
        covariances: None takes them from the Jacobians of the scores, which costs D derivatives of each.
            Otherwise the covariance of x given one observation, `[D, D]` or `[n, D, D]`, and that of the
            prior, `[D, D]`; then it costs no derivatives.

    Returns:
        A score that costs n + 1 evaluations and, without covariances, their derivatives. It is exact for
        Gaussians, and an approximation otherwise.

    Raises:
        ValueError: for observations that are not n in number each, or covariances of other shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, composed_score
        >>> sde, prior = VP(), lambda x, t: -x  # x ~ N(0, I), and y = x + noise of deviation 1
        >>> def conditional(x, t, y):  # x given y is N(y / 2, I / 2)
        ...     variance = sde.alpha(t) ** 2 / 2 + sde.sigma(t) ** 2
        ...     return (sde.alpha(t) * y[None] / 2 - x) / variance
        >>> score = composed_score(sde, conditional, 1.2 * jnp.ones((5, 2)), prior)
        >>> t, x = jnp.asarray(1e-3), jnp.ones((1, 2))  # given five y, x is N(1, I / 6)
        >>> bool(jnp.abs(score(x, t)).max() < 0.01)
        True

    Source: Linhart et al. 2024 (arXiv:2404.07593); this module, equation 2.
    """
    leaves = jax.tree.leaves(observations)
    for leaf in leaves:
        checks.require_numbers("observations", leaf)
    if not leaves or any(
        jnp.shape(v)[:1] != jnp.shape(leaves[0])[:1] or not jnp.ndim(v) for v in leaves
    ):
        raise ValueError(
            "observations must be [n, ...], one after another, with the same n in all arrays, got shapes "
            f"{[jnp.shape(leaf) for leaf in leaves]}"
        )
    num = leaves[0].shape[0]
    if covariances is not None:
        given_one, alone = covariances
        checks.require_numbers("covariances", given_one, floating=True)
        checks.require_numbers("covariances", alone, floating=True)
        square = jnp.shape(alone)
        if len(square) != 2 or jnp.shape(given_one) not in (square, (num, *square)):
            raise ValueError(
                "covariances must be that given one observation, [D, D] or [n, D, D], and that of the prior, "
                f"[D, D], got shapes {jnp.shape(given_one)} and {square}"
            )
        given_one = jnp.broadcast_to(given_one, (num, *square))
    prior = checks.checked_score(prior, "prior")

    def composed(x, t):
        checks.require_numbers("x", x, floating=True)
        if jnp.ndim(x) != 2:
            raise ValueError(f"x must be [B, D], got shape {jnp.shape(x)}")

        def add(total, one):
            y, cov = one
            score = checks.checked_score(lambda x, t: conditional(x, t, y), "conditional")
            precision, pull = _precision_and_pull(sde, score, x, t, cov)
            return (total[0] + precision, total[1] + pull), None

        start = _precision_and_pull(sde, prior, x, t, None if covariances is None else alone)
        start = jax.tree.map(lambda v: (1 - num) * v, start)
        each = observations, None if covariances is None else given_one
        (precision, pull), _ = jax.lax.scan(add, start, each)
        solved = jnp.linalg.solve(_positive(precision), pull[..., None])[..., 0]
        return jnp.broadcast_to(solved, x.shape).astype(x.dtype)

    return composed


def _precision_and_pull(
    sde: SDE, score: ScoreFn, x: Array, t: Array, covariance: Array | None
) -> tuple[Array, Array]:
    """Return M^-1, [B or 1, D, D], and M^-1 s, [B, D], of equation 2."""
    if covariance is None:
        score_x, push = jax.linearize(lambda x: score(x, t), x)
        basis = jnp.eye(x.shape[1], dtype=x.dtype)[:, None]
        columns = jax.vmap(lambda v: push(jnp.broadcast_to(v, x.shape)))(basis)  # [D, B, D]
        spread = jnp.eye(x.shape[1])[None] + sde.sigma(t) ** 2 * jnp.moveaxis(columns, 0, 2)
    else:
        score_x, snr = score(x, t), jnp.exp(sde.log_snr(t))
        inner = jnp.eye(x.shape[1]) + snr * covariance
        spread = snr * jnp.linalg.solve(inner, covariance)[None]
    precision = jnp.linalg.inv(_positive(spread))
    return precision, jnp.einsum(
        "bij,bj->bi", jnp.broadcast_to(precision, (x.shape[0], *precision.shape[1:])), score_x
    )


def _positive(matrix: Array) -> Array:
    """Return a symmetric matrix whose eigenvalues are above a tiny part of the largest."""
    values, vectors = jnp.linalg.eigh(0.5 * (matrix + jnp.swapaxes(matrix, -1, -2)))
    values = jnp.maximum(values, _MIN_EIGENVALUE * jnp.max(values, axis=-1, keepdims=True))
    return (vectors * values[:, None]) @ jnp.swapaxes(vectors, -1, -2)
