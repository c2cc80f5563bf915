r"""Kernels for the probability-flow ODE: the few-step samplers.

In y = x/alpha and r = sigma/alpha the flow is dy/dr = eps_hat, the predicted noise (`sde`,
equation 5), and with primes at t_next, x0 the predicted clean data and h the step of
ln(alpha/sigma):

    flow (DDIM)        y' = y + (r' - r) eps                                            order 1
    Heun               the trapezium rule for the same equation                         order 2
    DPM-Solver++(2M)   x' = (sigma'/sigma) e^-(eta h) x + alpha' (1 - e^-(1+eta)h) D
                            + sigma' sqrt(1 - e^-(2 eta h)) n,
                       D = x0 + (h / 2 h_before) (x0 - x0_before)                       order 2

The last is exact for a D that does not change; eta = 0 is the ODE, eta = 1 the reverse SDE.

Sources: Song, Meng and Ermon 2021 (arXiv:2010.02502), equation 12; Karras et al. 2022
(arXiv:2206.00364), algorithm 2; Lu et al. 2022 (arXiv:2211.01095), algorithm 2 and appendix B.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax._check import checked_score, require_number, require_state
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, Step


def probability_flow(sde: SDE, score: ScoreFn) -> Step:
    """Step by Euler in (x/alpha, sigma/alpha), also known as DDIM; one evaluation, order 1."""
    score = checked_score(score)

    def kernel(key, x, t, t_next):
        del key
        ratio = sde.alpha(t_next) / sde.alpha(t)
        eps = sde.noise_from_score(score(x, t), t)
        return ratio * x + (sde.sigma(t_next) - ratio * sde.sigma(t)) * eps

    return kernel


def heun(sde: SDE, score: ScoreFn, churn: float = 0.0, observe: Step | None = None) -> Step:
    """Step by Heun's rule, two evaluations, order 2 (EDM, algorithm 2).

    churn: before each step raise the noise level by this fraction, EDM's S_churn / N; at most 0.41
        there. Some churn forgives errors of the score.
    observe: a kernel for the trial point too, if the outer step is `given`. Without churn or
        correctors Heun is the worst partner for re-noised observations: nothing makes x forget
        the noise that it was steered by.

    Raises ValueError for a churn below 0.
    """
    require_number("churn", churn, low=0)
    score = checked_score(score)

    def kernel(key, x, t, t_next):
        churn_key, observe_key = jax.random.split(key)
        y, r = x / sde.alpha(t), sde.sigma(t) / sde.alpha(t)
        r_next = sde.sigma(t_next) / sde.alpha(t_next)
        if churn > 0:
            y, t, r = _raise_noise(sde, churn_key, y, t, r, churn)
        slope = sde.noise_from_score(score(sde.alpha(t) * y, t), t)
        trial = sde.alpha(t_next) * (y + (r_next - r) * slope)
        if observe is not None:
            trial = observe(observe_key, trial, t_next, t_next)
        # At sigma = 0 there may be no score; Euler's step, to the predicted clean data, ends there.
        safe = jnp.where(r_next > 0, t_next, t)
        slope_next = sde.noise_from_score(score(trial, safe), safe)
        better = sde.alpha(t_next) * (y + (r_next - r) * 0.5 * (slope + slope_next))
        return jnp.where(r_next > 0, better, trial)

    return kernel


def _raise_noise(sde, key, y, t, r, churn):
    # Never above the level of t = 1: no score has been trained there.
    top = jnp.ones_like(t)
    r_up = jnp.clip(r * (1 + churn), r, jnp.maximum(r, sde.sigma(top) / sde.alpha(top)))
    # As a product of factors, since a difference of squares can round to below zero.
    y = y + jnp.sqrt((r_up - r) * (r_up + r)) * jax.random.normal(key, y.shape, y.dtype)
    return y, jnp.where(r_up > r, sde.time(-2 * jnp.log(r_up)), t), r_up


class MultistepState(NamedTuple):
    """A state that remembers one step: x, the last predicted clean data, its ln(alpha/sigma)."""

    x: Array
    denoised: Array
    level: Array


def _require_memory(state: MultistepState) -> None:
    if not isinstance(state, MultistepState):
        raise ValueError(
            "x must be a MultistepState for a multistep kernel: start from init_multistep(x)"
        )


def init_multistep(x: Array) -> MultistepState:
    """Make the first state of a multistep kernel; level +inf: there is nothing to remember yet.

    Raises ValueError for an x that is not a floating array.
    """
    require_state(x)
    return MultistepState(x, jnp.zeros_like(x), jnp.asarray(jnp.inf, x.dtype))


def lift(step: Step) -> Step:
    """Let a kernel for arrays act on the x of a `MultistepState`: `lift(clamp(value, mask))`.

    Raises ValueError when given a plain array.
    """

    def kernel(key, state, t, t_next):
        _require_memory(state)
        return state._replace(x=step(key, state.x, t, t_next))

    return kernel


def dpm_solver(sde: SDE, score: ScoreFn, eta: float = 0.0, temperature: float = 1.0) -> Step:
    """Step by DPM-Solver++(2M), one evaluation, order 2; the cheapest good sampler.

    The state is a `MultistepState`: `sample(key, dpm_solver(sde, score), init_multistep(x),
    times).x`. The first
    step, and a step to sigma = 0, are of order 1. Its natural grid is `log_snr_times`.
    eta: 0 follows the ODE; 1 the reverse SDE with the same memory, which forgives errors of the
        score and of conditioning.
    temperature: of the noise that an eta above 0 adds; below 1 is colder than the distribution.
    Raises ValueError when given a plain array, and for a number below 0.
    """
    require_number("eta", eta, low=0)
    require_number("temperature", temperature, low=0)
    score = checked_score(score)

    def kernel(key, state, t, t_next):
        _require_memory(state)
        x, before, level_before = state
        level, level_next = 0.5 * sde.log_snr(t), 0.5 * sde.log_snr(t_next)
        h, h_before = level_next - level, level - level_before
        denoised = sde.denoised_from_score(score(x, t), x, t)
        usable = (h_before > 0) & jnp.isfinite(h)
        weight = jnp.where(usable, 0.5 * h / jnp.where(usable, h_before, 1.0), 0.0)
        best = denoised + weight * (denoised - before)
        kept = sde.sigma(t_next) / sde.sigma(t)
        if eta > 0:
            kept = kept * jnp.exp(-eta * h)
        x = kept * x - sde.alpha(t_next) * jnp.expm1(-(1 + eta) * h) * best
        if eta > 0:
            std = temperature * sde.sigma(t_next) * jnp.sqrt(-jnp.expm1(-2 * eta * h))
            x = x + std * jax.random.normal(key, x.shape, x.dtype)
        return MultistepState(x, denoised, level)

    return kernel
