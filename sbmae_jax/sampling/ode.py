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

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import normal_like
from sbmae_jax.sampling.leaves import SDETree, leaf_keys, leafwise, require_each
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, MemoryStep, ScoreFn, State, StepFn


def probability_flow(sde: SDETree, score: ScoreFn) -> StepFn:
    """Take an Euler step of the flow in (x/alpha, sigma/alpha), also known as DDIM.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t; evaluated once.

    Returns:
        A deterministic kernel of order 1.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, probability_flow
        >>> step = probability_flow(VP(), lambda x, t: -x)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Song, Meng and Ermon 2021 (arXiv:2010.02502), equation 12.
    """
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        del key

        def move(x, score_x, sde):
            ratio = sde.alpha(t_next) / sde.alpha(t)
            eps = sde.noise_from_score(score_x, t)
            return (ratio * x + (sde.sigma(t_next) - ratio * sde.sigma(t)) * eps).astype(x.dtype)

        return leafwise(move, x, score(x, t), sde=sde)

    return kernel


def heun(sde: SDETree, score: ScoreFn, churn: float = 0.0, observe: StepFn | None = None) -> StepFn:
    """Take a step of the flow by Heun's rule; two evaluations of the score.

    Without churn or correctors, Heun is the worst partner for `renoise`: nothing makes x forget the noise
    that steered it.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        churn: before each step raise the noise level by this fraction, at least 0. It is EDM's S_churn / N,
            which is at most 0.41 there. Some churn makes up for errors of the score.
        observe: a kernel that restores observed coordinates at the trial point too; give it where the step
            is wrapped in `given`.

    Returns:
        A kernel of order 2, best over `edm_times`.

    Raises:
        ValueError: for a churn below 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, heun
        >>> step = heun(VP(), lambda x, t: -x)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 2.
    """
    checks.require_number("churn", churn, low=0)
    if not isinstance(sde, SDE) and not _is_zero(churn):
        raise ValueError(
            "churn needs one sde for the whole state: it raises its time; set churn to 0"
        )
    score = checks.checked_score(score)

    processes = jax.tree.leaves(sde, is_leaf=lambda one: isinstance(one, SDE))

    def kernel(key, x, t, t_next):
        churn_key, observe_key = jax.random.split(key)
        if not _is_zero(churn):
            x, t = _raise_noise(sde, churn_key, x, t, churn)
        eps = _noise(sde, x, score(x, t), t)
        trial = _moved(sde, x, eps, t, t_next)
        if observe is not None:
            trial = observe(observe_key, trial, t_next, t_next)
        # At sigma = 0 there may be no score; there Euler's step, to the predicted clean data, stands.
        noisy = jnp.all(jnp.stack([one.sigma(t_next) > 0 for one in processes]))
        safe = jnp.where(noisy, t_next, t)
        eps_next = _noise(sde, x, score(trial, safe), safe)
        mean = jax.tree.map(lambda one, other: 0.5 * (one + other), eps, eps_next)
        better = _moved(sde, x, mean, t, t_next)
        return jax.tree.map(lambda a, b: jnp.where(noisy, a, b), better, trial)

    return kernel


def _noise(sde: Any, x: State, score_x: State, t: Array) -> State:
    return leafwise(lambda x, s, sde: sde.noise_from_score(s, t), x, score_x, sde=sde)


def _moved(sde: Any, x: State, eps: State, t: Array, t_next: Array) -> State:
    """Return where a straight line in (x/alpha, sigma/alpha) leads."""

    def move(x, eps, sde):
        y, r, r_next = (
            x / sde.alpha(t),
            sde.sigma(t) / sde.alpha(t),
            sde.sigma(t_next) / sde.alpha(t_next),
        )
        return (sde.alpha(t_next) * (y + (r_next - r) * eps)).astype(x.dtype)

    return leafwise(move, x, eps, sde=sde)


def _is_zero(value: Any) -> bool:
    """Return whether an option is known to be 0, which a traced one never is."""
    return not isinstance(value, jax.core.Tracer) and not value


def _raise_noise(sde: SDE, key: Key, x: State, t: Array, churn: float) -> tuple[State, Array]:
    """Add noise, and return the time to which x then belongs."""
    r = sde.sigma(t) / sde.alpha(t)
    # Never above the level at which sampling starts: no score has been trained there.
    top = jnp.full_like(t, sde.t_max)
    r_up = jnp.clip(r * (1 + churn), r, jnp.maximum(r, sde.sigma(top) / sde.alpha(top)))
    t_up = jnp.where(r_up > r, sde.time(-2 * jnp.log(r_up)), t)

    def add(x, key):
        # Written as a product of factors, since a difference of squares can round to below zero.
        y = x / sde.alpha(t) + jnp.sqrt((r_up - r) * (r_up + r)) * normal_like(key, x)
        return (sde.alpha(t_up) * y).astype(x.dtype)

    return leafwise(add, x, leaf_keys(key, x)), t_up


class MultistepMemory(NamedTuple):
    """What a multistep kernel remembers of the step before.

    Attributes:
        denoised: the clean data predicted there, of the shape of x.
        half_log_snr: ln(alpha / sigma) there, a scalar; +inf where there was no step.
    """

    denoised: Array
    half_log_snr: Array


def dpm_solver(sde: SDE, score: ScoreFn, eta: float = 0.0, temperature: float = 1.0) -> MemoryStep:
    """Take a step of DPM-Solver++(2M), the cheapest good sampler; one evaluation of the score.

    It remembers its last prediction. After a jump back, as of `repaint`, that lies at less noise and is not
    used: the step is of order 1.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        eta: 0 follows the ODE. 1 follows the reverse SDE with the same memory, which makes up for errors of
            the score and of conditioning. In between, and above, with less or more noise.
        temperature: multiplies the standard deviation of the noise that each step adds, which is none for
            eta 0; 1 samples the distribution, and less draws nearer to its modes.

    Returns:
        A kernel with a memory, of order 2, best over `log_snr_times`. The first step, and a step to
        sigma = 0, are of order 1.

    Raises:
        ValueError: for a number below 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, dpm_solver, log_snr_times, sample
        >>> sde, x = VP(), jax.numpy.ones((4, 2))
        >>> step = dpm_solver(sde, lambda x, t: -x, eta=1.0)
        >>> sample(jax.random.key(0), step, x, log_snr_times(sde, 8)).shape
        (4, 2)

    Source: Lu et al. 2022 (arXiv:2211.01095), algorithm 2 and appendix B.
    """
    require_each(checks.require_number, "eta", eta, low=0)
    require_each(checks.require_number, "temperature", temperature, low=0)
    score = checks.checked_score(score)

    def init(x):
        def empty(x):
            return jnp.zeros_like(x), jnp.asarray(jnp.inf, jnp.promote_types(x.dtype, jnp.float32))

        return MultistepMemory(*leafwise(empty, x))

    def move(key, x, memory, t, t_next):
        def one(x, score_x, key, denoised, half_log_snr, sde, eta, temperature):
            before = MultistepMemory(denoised, half_log_snr)
            denoised = sde.denoised_from_score(score_x, x, t).astype(x.dtype)
            mean, std = multistep_kernel(sde, x, before, denoised, t, t_next, eta, temperature)
            if not _is_zero(eta):
                mean = mean + std * normal_like(key, x)
            reached = (0.5 * sde.log_snr(t)).astype(half_log_snr.dtype)
            return mean.astype(x.dtype), denoised, reached

        options = {"sde": sde, "eta": eta, "temperature": temperature}
        x, *after = leafwise(one, x, score(x, t), leaf_keys(key, x), *memory, **options)
        return x, MultistepMemory(*after)

    return MemoryStep(init, move)


def multistep_kernel(
    sde: SDE, x: Array, memory: MultistepMemory, denoised: Array, t: Array, t_next: Array,
    eta: float, temperature: float = 1.0,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the mean, of the shape of x, and the scalar standard deviation of `dpm_solver`'s step."""
    half_log_snr = 0.5 * sde.log_snr(t)
    h, h_before = 0.5 * sde.log_snr(t_next) - half_log_snr, half_log_snr - memory.half_log_snr
    # After a jump back the step before did not lead here: it went the other way, or nowhere.
    usable = (h * h_before > 0) & jnp.isfinite(h)
    weight = jnp.where(usable, 0.5 * h / jnp.where(usable, h_before, 1.0), 0.0)
    best = denoised + weight * (denoised - memory.denoised)
    kept = sde.sigma(t_next) / sde.sigma(t)
    if not _is_zero(eta):
        kept = kept * jnp.exp(-eta * h)
    mean = kept * x - sde.alpha(t_next) * jnp.expm1(-(1 + eta) * h) * best
    return mean, temperature * sde.sigma(t_next) * jnp.sqrt(-jnp.expm1(-2 * eta * h))
