r"""Guidance: functions that take a score and return a steered score.

Tilting p_t by an energy, p_t(x) exp(-w E(x, t)), adds -w grad E to the score. If E is the
negative log-ratio of a conditional to a marginal density, weight 1 is Bayes' rule; larger weights
sharpen it, and
then the tilted densities at different t no longer come from one diffusion: the result is steered,
not exact. A quadratic E on Gaussian data stays Gaussian at each t, which the tests use.

The gradient is of the sum of the energies over the batch. Each row's energy depends on that row
alone, so this is each row's own gradient, and a strength means the same at every batch size; the
gradient of a batch mean would divide it by B.

Classifier-free guidance needs no energy: the difference of a conditional and an unconditional
score is the gradient of ln p(c | x), up to a constant in x, so with weight w

    s = s_u + w (s_c - s_u) = (1 - w) s_u + w s_c,      w = 1 plainly conditional, 0 unconditional.

A joint score gives an unconditional one without more training: with the observed part noised as the rest is,
it knows of it what is left at time t, at the first times nothing.

Sources: Dhariwal and Nichol 2021 (arXiv:2105.05233), section 4; Ho and Salimans 2022
(arXiv:2207.12598), equation 6, where their weight is our w - 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sbmae_jax._check import (
    broadcast_like,
    checked_score,
    require_mask,
    require_numbers,
    require_type,
)
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, EnergyFn, ScoreFn


def guide(
    score: ScoreFn,
    energy: EnergyFn,
    strength: float | Callable[[Array], Array] = 1.0,
    *,
    mask: Array | None = None,
    weights: Array | None = None,
    window: tuple[float, float] = (0.0, 1.0),
) -> ScoreFn:
    """Subtract an energy's gradient from a score: s - strength weights grad E, in the window.

    energy: `(x, t) -> [B]`, in nats, low where rows are wanted; each entry depends on its row only.
    strength: a number, or a function of the scalar t, e.g. `lambda t: 2 * (1 - t)`, which fades in
        as the noise goes.
    mask: `[D]` or `[B, D]` of bool; observed coordinates feel no gradient.
    weights: broadcasts to x; one number per coordinate, the same within a modality, weighs it.
    window: times `(low, high)`, both included; outside them the score is left alone.

    Raises ValueError for an energy that is not one number per row, an empty window, and arrays that are not
    numbers, or of bool, or do not fit x. The numbers themselves are not looked at.
    """
    score, (low, high) = checked_score(score), _window(window)
    if not callable(strength):
        require_numbers("strength", strength)
    if weights is not None:
        require_numbers("weights", weights)
    if mask is not None:
        require_mask(mask)

    def total(x, t):
        values = energy(x, t)
        require_numbers("energy", values, floating=True)
        if jnp.shape(values) != x.shape[:1]:
            raise ValueError(
                f"energy must return one number per row, {x.shape[:1]}, got {jnp.shape(values)}"
            )
        return jnp.sum(values)

    def guided(x, t):
        require_numbers("x", x, floating=True)
        require_numbers("t", t)
        if not jnp.ndim(x):
            raise ValueError("x must be [B, ...], one sample per row, got a single number")
        size = strength(t) if callable(strength) else strength
        if jnp.shape(size) not in ((), x.shape[:1]):
            raise ValueError(
                f"strength must be one number, or one per row of x, {x.shape}, got shape {jnp.shape(size)}"
            )
        size = jnp.where((low <= t) & (t <= high), size, 0.0)
        push = size.reshape(size.shape + (1,) * (x.ndim - size.ndim)) * jax.grad(total)(x, t)
        if weights is not None:
            push = broadcast_like(weights, x, "weights") * push
        if mask is not None:
            push = jnp.where(broadcast_like(mask, x, "mask"), 0.0, push)
        return score(x, t) - push

    return guided


def _window(window: tuple[float, float]) -> tuple[float, float]:
    require_type("window", window, tuple[float, float])
    if not window[0] <= window[1]:
        raise ValueError(f"window must be (low, high) with low <= high, got {window}")
    return window


def classifier_free(
    conditional: ScoreFn, unconditional: ScoreFn, weight: float | Array = 1.0
) -> ScoreFn:
    """Mix two scores: (1 - weight) unconditional + weight conditional; two evaluations.

    weight: a number, or an array that broadcasts to x, e.g. one number per coordinate for a weight
        per modality. 0 is the unconditional score, 1 the conditional one, above 1 sharper than it.

    Raises ValueError for a weight that is not of numbers or does not fit x, and scores that do not return the
    shape of x.
    """
    require_numbers("weight", weight)
    conditional = checked_score(conditional, "conditional")
    unconditional = checked_score(unconditional, "unconditional")

    def mixed(x, t):
        require_numbers("x", x)
        w = weight if jnp.ndim(weight) == 0 else broadcast_like(weight, x, "weight")
        return (1 - w) * unconditional(x, t) + w * conditional(x, t)

    return mixed


def noise_condition(score: ScoreFn, sde: SDE, noise: Array, mask: Array) -> ScoreFn:
    """Return a joint score that sees the observed coordinates, clean in x, as noised as the others are.

    noise: standard normal, like x; the same at all times, so that the score is a function.
    mask: `[D]` or `[B, D]` of bool; on observed coordinates the score is 0.

    The score takes one evaluation and has the shape of x. At large t it is the unconditional one of Ho and
    Salimans; later it still knows what the noise leaves of the observed part.

    Raises ValueError for a noise that is not of numbers, a mask that is not of bool, and either if it does
    not fit x.
    """
    score = checked_score(score)
    require_numbers("noise", noise, floating=True)
    require_mask(mask)

    def noised(x, t):
        require_numbers("x", x, floating=True)
        seen = broadcast_like(mask, x, "mask")
        there = sde.perturb(x, broadcast_like(noise, x, "noise"), t)
        return jnp.where(seen, 0.0, score(jnp.where(seen, there, x), t))

    return noised
