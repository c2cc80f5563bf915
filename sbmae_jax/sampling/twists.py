r"""Twists: guesses of how likely an observation is, given a noisy x; and the scores they guide.

We observe y = A(x_0) + noise n, n ~ N(0, I), and want draws of p(x_0 | y) from a score of p alone. With

    h(x, t) = p(y | x_t = x)     the score of p_t(x | y) is   s(x, t) + grad ln h(x, t),

for any t, by Bayes' rule. But h is an average over all clean x_0 that could have become x. A *twist* q is
a guess of h. Here x_0 given x_t is taken for a Gaussian, whose mean is the denoiser
x0_hat = (x + sigma^2 s) / alpha; linearised there, with R the Jacobian of A at x0_hat,

    q(x, t) = N(y; A(x0_hat), S),     S = R cov(x_0 | x_t) R^T + noise^2 I.                    (1)

The choices differ in cov(x_0 | x_t), and so in what they are exact for:

    number v          v sigma^2 / (v alpha^2 + sigma^2) I: data of variance v and no correlations (PiGDM for
                      v = 1). For v -> 0 it is zero, and only the noise of y is left: DPS.
    covariance C      C (I + (alpha / sigma)^2 C)^-1: Gaussian data of covariance C
    "jacobian"        (sigma^2 / alpha) d x0_hat / dx: the true one, for every law of the data   (2)

(2) is the second derivative of the same identity whose first one is Tweedie's formula: as p(x_0 | x_t) is
an exponential family in x_t with the parameter alpha x_t / sigma^2, its mean has the derivative
d x0_hat / dx = (alpha / sigma^2) cov(x_0 | x_t). It knows in which mode x is and how wide that is. So the
gradient of ln q has two parts. With r = S^-1 (y - A(x0_hat)),

    grad ln q = (R d x0_hat/dx)^T r + 1/2 sum_jk (r_j r_k - (S^-1)_jk) grad S_jk.               (3)

Boys et al. leave the second part out. It is what moves x between modes of unequal width, where the
observation tells them apart by its spread; so it is kept here. `frozen_below` leaves it out where there
is little noise and the mode is decided, at half the cost.

Cost in evaluations of the score, where a product with its Jacobian counts as one, for m observed numbers:
2 for a number or a covariance; with "jacobian" 2 (m + 1), and m + 1 below `frozen_below`.

Any other weight is a twist too: `tilt` makes one of a function of (x, t, x0_hat). If q is wrong, guided
samples are biased, and the particles of `feynman_kac` are not.

Sources: Chung et al. 2023 (arXiv:2209.14687) for DPS; Song et al. 2023 (PiGDM, ICLR); Boys et al. 2023
(arXiv:2310.06721) for (2) and the first part of (3); Ho et al. 2022 (arXiv:2204.03458), equation 7.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.leaves import SDETree, require_each, require_masks
from sbmae_jax.sampling.observations import (
    Observation,
    Operator,
    is_zero,
    make_observation,
    pulled,
)
from sbmae_jax.sampling.rows import Rows, denoised_of, is_lone
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, State

JACOBIAN = "jacobian"
# Of the variance of unit data: rounding may push that of the Jacobian below zero.
MIN_SPREAD = 1e-5


class Twisted(NamedTuple):
    """A twist at some points, and the score there.

    Attributes:
        log_value: `[B]`, ln q in nats.
        gradient: `[B, D]`, or a pytree like x, the gradient of ln q, or what guides in its place.
        score: like gradient, the score of the model, without guidance.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import Twisted, twisted_score
        >>> flat = lambda x, t: Twisted(jnp.zeros(x.shape[0]), jnp.zeros_like(x), -x)
        >>> twisted_score(flat)(jnp.ones((4, 2)), jnp.asarray(0.2))[0].tolist()
        [-1.0, -1.0]
    """

    log_value: Array
    gradient: State
    score: State


Twist = Callable[[State, Array], Twisted]
"""`(x, t) -> Twisted`, for `x: [B, D]`, or a pytree of arrays, and a scalar t."""


def twist(
    sde: SDETree,
    score: ScoreFn,
    value: State,
    operator: Operator,
    *,
    noise: float | Array = 0.0,
    covariance: float | Array | str = 1.0,
    frozen_below: float = 0.0,
) -> Twist:
    """Make the twist of an observation y = A(x) + noise: a Gaussian guess of p(y | x_t), by (1).

    Args:
        sde: the process, or a pytree with one for each array of x.
        score: the joint score, `(x, t) -> score`, for `x: [B, D]`, or a pytree of arrays, and a scalar t.
        value: y, `[m]`, or `[B, m]` for one observation per row. For a mask `[D]` or `[B, D]`, read where
            it is True; for a pytree of masks, a pytree.
        operator: A. A mask, `[D]` or `[B, D]` of bool, observes the coordinates where it is True; a matrix
            `[m, D]` of floats observes these sums; any other A is a function `[B, D] -> [B, m]` that JAX
            can differentiate and that treats rows alike. Where x is a pytree, a pytree of masks, one for
            each array, or a function of x.
        noise: the standard deviation of the noise of y, at least 0. 0 is an exact observation. Where it
            differs by entry, divide A and y by it.
        covariance: what is assumed of the data. A number is their variance, without correlations; 0 ignores
            how uncertain the prediction of x_0 is, as DPS does, and needs noise. An array `[D, D]` is their
            covariance, of all arrays of x in the order of `jax.tree.leaves`. "jacobian" takes cov(x_0 | x_t)
            from the Jacobian of the denoiser, which is right for any data and costs most. A mask that is
            traced, or differs by row, then counts as D observed numbers.
        frozen_below: for "jacobian", the noise level sigma / alpha below which the gradient of the
            covariance is left out, which halves the cost. About the width of the narrower modes.

    Returns:
        A function `(x, t) -> Twisted`. It raises ValueError for arrays that do not fit x, and for a function
        that does not return one row of floats per row or cannot be differentiated.

    Raises:
        ValueError: for a value, operator, noise or covariance that is not of numbers, or that do not fit each
            other; and for a matrix of dependent rows without noise.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, twist
        >>> total = jnp.ones((1, 3))  # observe the sum of three coordinates
        >>> at = twist(VP(), lambda x, t: -x, jnp.asarray([6.0]), total, noise=0.5)
        >>> push = at(jnp.zeros((4, 3)), jnp.asarray(0.2)).gradient[0]
        >>> bool((push > 0).all()), bool(jnp.ptp(push) == 0)
        (True, True)

    Source: Song et al. 2023 (PiGDM, ICLR); Boys et al. 2023 (arXiv:2310.06721).
    """
    score = checks.checked_score(score)
    checks.require_number("noise", noise, low=0)
    checks.require_number("frozen_below", frozen_below, low=0)
    of_arrays = not (callable(operator) or is_lone(operator)) and jax.tree.leaves(operator)
    if of_arrays:
        require_masks(operator)
        require_each(checks.require_numbers, "value", value)
    _require_covariance(covariance, None if of_arrays else operator, noise)
    assumed = covariance
    if not isinstance(covariance, str) and jnp.ndim(covariance) == 2:
        assumed = tuple(jnp.linalg.eigh(covariance))  # one eigenbasis for all t
    options = {"noise": noise, "assumed": assumed, "frozen_below": frozen_below}
    alone = None
    if is_lone(sde) and not of_arrays:
        observed = make_observation(value, operator, covariance, noise)
        alone = _twist_of_rows(sde, score, observed, **options)

    def at(x, t):
        if is_lone(x):
            _require_rows(x, t)
            if alone is None:
                raise ValueError(
                    "sde, value and operator must be one, as x is one array, not several"
                )
            return alone(x, t)
        rows = Rows(x)
        if callable(operator):
            y, seen = value, lambda flat: operator(rows.split(flat))
        elif of_arrays or operator.dtype == jnp.bool_:
            y, seen = (
                rows.option(name, v) for name, v in (("value", value), ("operator", operator))
            )
        else:
            raise ValueError(
                "operator must be masks or a function, as x has several arrays, not a matrix"
            )
        observed = make_observation(y, seen, covariance, noise)
        flat = _twist_of_rows(rows.process(sde), rows.score(score), observed, **options)
        found = flat(rows.join(x), t)
        return Twisted(found.log_value, rows.split(found.gradient), rows.split(found.score))

    return at


def _twist_of_rows(
    sde: SDE, score: ScoreFn, observed: Observation, noise: float | Array, assumed: Any, frozen_below: float
) -> Twist:  # fmt: skip
    """Return the twist of rows [B, D]; `assumed` is a variance, the eigenbasis of a covariance, or a word."""
    follows_data = isinstance(assumed, str)

    def guess(x, t):
        """Return ln q, and the score."""
        denoised, score_x = denoised_of(sde, score, x, t)
        gap = observed.gap(denoised)
        spread = _spread(sde, observed, assumed, denoised, t)
        return observed.log_normal(gap, spread, noise)[0], score_x

    def with_jacobian(x, t):
        """Return ln q, the first part of (3), and the score."""

        def seen(x):
            denoised, score_x = denoised_of(sde, score, x, t)
            return observed.predict(denoised), (denoised, score_x)

        predicted, pull, (denoised, score_x) = jax.vjp(seen, x, has_aux=True)
        slopes = pulled(pull, predicted)  # of what is observed, [B, m, D]
        rows, scale = observed.rows(denoised), sde.sigma(t) ** 2 / sde.alpha(t)
        spread = _by_column(scale, slopes) @ jnp.swapaxes(rows, -1, -2)
        unknown = jnp.max(sde.sigma(t) ** 2 / (sde.alpha(t) ** 2 + sde.sigma(t) ** 2))
        spread = _positive(spread, rows, unknown)
        log_q, solved = observed.log_normal(observed.gap(denoised), spread, noise)
        return log_q, jnp.einsum("bmd,bm->bd", slopes, solved), score_x

    def differentiated(x, t):
        def total(x):
            log_q, *_, score_x = with_jacobian(x, t) if follows_data else guess(x, t)
            return jnp.sum(log_q), (log_q, score_x)

        # Rows do not mix, so the gradient of the sum is each row's own.
        push, (log_q, score_x) = jax.grad(total, has_aux=True)(x)
        return Twisted(log_q, push, score_x)

    def frozen(x, t):
        return Twisted(*with_jacobian(x, t))

    def at(x, t):
        if not follows_data or is_zero(frozen_below):
            return differentiated(x, t)
        decided = jnp.all(jnp.exp(-0.5 * sde.log_snr(t)) < frozen_below)
        return jax.lax.cond(decided, frozen, differentiated, x, t)

    return at


def tilt(
    sde: SDETree, score: ScoreFn, log_potential: Callable[[State, Array, State], Array]
) -> Twist:
    """Make a twist of any function of x, the time and the prediction of the clean data.

    Args:
        sde: the process, or a pytree with one for each array of x.
        score: `(x, t) -> score`, for `x: [B, ...]`, or a pytree of arrays, and a scalar t.
        log_potential: `(x, t, denoised) -> [B]`, in nats, high where rows are wanted. Each entry depends on
            its row alone, and JAX can differentiate it.

    Returns:
        A function `(x, t) -> Twisted` that costs two evaluations of the score. The particles of
        `feynman_kac` then sample p(x) exp(log_potential(x, t, denoised)) at the last time.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, tilt
        >>> near_three = lambda x, t, denoised: -0.5 * jnp.sum((denoised - 3.0) ** 2, axis=1)
        >>> at = tilt(VP(), lambda x, t: -x, near_three)
        >>> at(jnp.zeros((4, 2)), jnp.asarray(0.2)).log_value.tolist()
        [-9.0, -9.0, -9.0, -9.0]

    Source: Wu et al. 2023 (arXiv:2306.17775).
    """
    score = checks.checked_score(score)

    def at(x, t):
        for leaf in jax.tree.leaves(x):
            _require_rows(leaf, t, any_shape=True)
        num = jnp.shape(jax.tree.leaves(x)[0])[:1]

        def total(x):
            denoised, score_x = denoised_of(sde, score, x, t)
            log_value = log_potential(x, t, denoised)
            checks.require_numbers("log_potential", log_value, floating=True)
            if jnp.shape(log_value) != num:
                raise ValueError(
                    f"log_potential must return one number per row, {num}, got "
                    f"{jnp.shape(log_value)}"
                )
            return jnp.sum(log_value), (log_value, score_x)

        push, (log_value, score_x) = jax.grad(total, has_aux=True)(x)
        return Twisted(log_value, push, score_x)

    return at


def twisted_score(twist: Twist) -> ScoreFn:
    """Guide a score by a twist: the score of the model plus the gradient of the twist.

    Args:
        twist: `(x, t) -> Twisted`, as `twist` and `tilt` make it.

    Returns:
        A score that costs what the twist does.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, tilt, twisted_score
        >>> near_three = lambda x, t, denoised: -0.5 * jnp.sum((x - 3.0) ** 2, axis=1)
        >>> score = twisted_score(tilt(VP(), lambda x, t: -x, near_three))
        >>> score(jnp.ones((4, 2)), jnp.asarray(0.2))[0].tolist()  # -x - (x - 3)
        [1.0, 1.0]
    """

    def guided(x, t):
        found = twist(x, t)
        return jax.tree.map(jnp.add, found.score, found.gradient)

    return guided


def reconstruction_guidance(
    sde: SDETree,
    score: ScoreFn,
    value: State,
    operator: Operator,
    *,
    noise: float | Array = 0.0,
    covariance: float | Array | str = 1.0,
    frozen_below: float = 0.0,
) -> ScoreFn:
    """Guide a score towards an observation: `twisted_score` of its `twist`.

    The result is exact on Gaussian data of the given covariance, and with "jacobian" on any Gaussian data.
    Otherwise it is biased, by how far p(x_0 | x_t) is from a Gaussian. Coordinates that were observed without
    noise end only near their value, so `clamp` them last.

    Args:
        sde: as for `twist`.
        score: the joint score, `(x, t) -> score`, for `x: [B, D]`, or a pytree of arrays, and a scalar t.
        value: as for `twist`: `[m]` or `[B, m]`; for a mask `[D]` or `[B, D]`, read where it is True.
        operator: as for `twist`: a mask, a matrix `[m, D]`, or a function `[B, D] -> [B, m]`; for a pytree,
            masks or a function.
        noise: the standard deviation of the noise of the observation, at least 0.
        covariance: as for `twist`: the variance or the covariance of the data, or "jacobian".
        frozen_below: as for `twist`.

    Returns:
        A score that costs two evaluations, and with "jacobian" 2 (m + 1) of them. It raises ValueError as the
        function that `twist` returns.

    Raises:
        ValueError: as `twist`.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, reconstruction_guidance
        >>> value, mask = jnp.asarray([2.0, 0.0]), jnp.asarray([True, False])
        >>> score = reconstruction_guidance(VP(), lambda x, t: -x, value, mask)
        >>> score_x = score(jnp.zeros((4, 2)), jnp.asarray(0.2))[0]
        >>> bool(score_x[0] > 0), bool(score_x[1] == 0)  # towards the value; nothing else
        (True, True)

    Source: Ho et al. 2022 (arXiv:2204.03458), equation 7; and those of `twist`.
    """
    options = {"noise": noise, "covariance": covariance, "frozen_below": frozen_below}
    return twisted_score(twist(sde, score, value, operator, **options))


# ---------------------------------------------------------------- what is unknown of x_0


def _spread(sde: SDE, observed: Observation, assumed, denoised: Array, t: Array) -> Array:
    """Return R cov(x_0 | x_t) R^T for data of an assumed variance, or of a covariance with this spectrum.

    It is [B or 1, m, m], [1, m] where it is diagonal, or [] where it is a multiple of I.
    """
    snr = jnp.exp(sde.log_snr(t))
    if isinstance(assumed, tuple):
        values, vectors = assumed
        rows = jax.lax.stop_gradient(observed.rows(denoised)) @ vectors
        if jnp.ndim(snr):  # as below, for an snr by coordinate: no basis serves all t
            root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None]
            inner = jnp.eye(len(values)) + (root.T * snr) @ root
            seen = jax.lax.stop_gradient(observed.rows(denoised)) @ root
            return seen @ jnp.linalg.solve(inner[None], jnp.swapaxes(seen, 1, 2))
        return (rows * (values / (1 + snr * values))[None, None]) @ jnp.swapaxes(rows, 1, 2)
    unknown = assumed / (1 + snr * assumed)
    if observed.mask is not None:
        return unknown
    rows = jax.lax.stop_gradient(observed.rows(denoised))
    return _by_column(unknown, rows) @ jnp.swapaxes(rows, 1, 2)


def _by_column(scale: Array, rows: Array) -> Array:
    """Multiply rows, [B, m, D], by one number, or by one for each column, [1, D]."""
    return (scale[:, None] if jnp.ndim(scale) else scale) * rows


def _positive(spread: Array, rows: Array, unknown: Array) -> Array:
    """Return a symmetric matrix above a tiny part of what data of unit variance would leave."""
    spread = 0.5 * (spread + jnp.swapaxes(spread, -1, -2))
    size = jnp.mean(jnp.sum(rows**2, axis=-1), axis=-1)
    least = jnp.linalg.eigvalsh(jax.lax.stop_gradient(spread))[..., 0]
    lift = jnp.maximum(MIN_SPREAD * unknown * jax.lax.stop_gradient(size) - least, 0.0)
    return spread + lift[..., None, None] * jnp.eye(spread.shape[-1])[None]


# ---------------------------------------------------------------- checks


def _require_covariance(
    covariance: float | Array | str, operator: Operator | None, noise: float | Array
) -> None:
    if isinstance(covariance, str):
        checks.require_one_of("covariance", covariance, (JACOBIAN,))
        return
    shape = jnp.shape(covariance)
    checks.require_numbers("covariance", covariance, floating=len(shape) > 0)
    if len(shape) not in (0, 2) or shape[:1] != shape[1:]:
        raise ValueError(
            f"covariance must be one number, [D, D] or {JACOBIAN!r}, got shape {shape}"
        )
    wanted = None if operator is None or callable(operator) else np.shape(operator)
    if shape and wanted is not None and wanted[-1:] != shape[1:]:
        raise ValueError(
            f"covariance must be [D, D] for an operator of D coordinates, got {shape} and {wanted}"
        )
    if not shape:
        checks.require_number("covariance", covariance, low=0)
        if is_zero(covariance) and is_zero(noise):
            raise ValueError("covariance 0 leaves no spread but the noise: set noise above 0")


def _require_rows(x: Array, t: Array, any_shape: bool = False) -> None:
    checks.require_numbers("x", x, floating=True)
    checks.require_numbers("t", t)
    if not jnp.ndim(x) or jnp.ndim(t) or (jnp.ndim(x) != 2 and not any_shape):
        raise ValueError(
            f"x must be {'[B, ...]' if any_shape else '[B, D]'} and t one number, got shapes "
            f"{jnp.shape(x)} and {jnp.shape(t)}"
        )
