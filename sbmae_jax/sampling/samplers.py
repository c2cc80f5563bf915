r"""Samplers as kernels `(key, x, t, t_next) -> x`, and one scan that runs them.

Every sampler of a diffusion walks a falling grid of times and applies the same small kernel at each
pair (t, t_next). The kernels, here and in `ode`, are closures over a process and a score; they are
combined, not configured:

    step = chain(euler_maruyama(sde, score), langevin(sde, score))        # predictor-corrector
    x = sample(key, step, sde.prior(prior_key, shape), uniform_times(100))

In a chain the first kernel moves x from t to t_next; all others find it there and are called as
`step(key, x, t_next, t_next)`: a corrector reads t_next only. `sample` gives step i the key
`fold_in(key, i)`, `chain` and `repeat` give kernel j `fold_in(key, j)`, so any noise can be drawn
again alone. Step sizes depend on a row alone, never on its batch. With primes at t_next,
x0 = (x + sigma^2 score) / alpha and n ~ N(0, I),

    reverse SDE    x + (f x - g^2 score) (t' - t) + g sqrt(t - t') n        order 1 in law
    ancestral      k (alpha'/alpha) x + alpha' (1 - k) x0 + sigma' sqrt(1 - k) n, with
                   k = (alpha sigma' / alpha' sigma)^2, the Gaussian p(x' | x, x0)
    Langevin       x + e score + sqrt(2 e) n, which leaves p_t unchanged as e -> 0

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 2 to 5; Ho et al. 2020 (arXiv:2006.11239),
equation 7; Song and Ermon 2019 (arXiv:1907.05600), algorithm 1; Karras et al. 2022
(arXiv:2206.00364), equation 5, for the grid.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from sbmae_jax import _check as checks
from sbmae_jax._check import broadcast_like, checked_score, require_int, require_number
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn, State, Step


def sample(
    key: Key,
    step: Step,
    x: State,
    times: Array,
    *,
    every: int | None = None,
    last: Step | None = None,
    check: bool = False,
) -> State:
    """Run a kernel over consecutive pairs of times, in one `lax.scan`.

    x: the state at times[0], usually `sde.prior(key, (B, D))`; any pytree of floats.
    times: `[N + 1]`, never rising, from 1 to nearly 0; step i goes from times[i] to times[i + 1].
    every: also return each `every`-th state: `(x, path)`, with path `[N // every, B, D]`.
    last: a kernel called once at the end, at time times[-1], e.g. `denoise(sde, score)`.
    check: raise at the first step after which x is not finite, and say which. Inside your own
        `jit`, wrap that with `jax.experimental.checkify.checkify`.

    Raises ValueError for an untyped key, a state that is not floating, a kernel that changes its
    shape or dtype, and times that rise, are not one-dimensional, or are fewer than two,
    and an `every` that is not in 1..N.
    """
    checks.require_key(key)
    checks.require_times(times, falling=True)
    checks.require_state(x)
    times = jnp.asarray(times)
    if every is not None:
        require_int("every", every, 1)
    num_steps = times.shape[0] - 1
    if every is not None and every > num_steps:
        raise ValueError(
            f"every must be at most {num_steps}, the steps that times has, got {every}"
        )
    num_kept = 0 if every is None else num_steps // every

    def advance(carry, i):
        x, path = carry
        x = checks.same_state(x, step(jax.random.fold_in(key, i), x, times[i], times[i + 1]))
        if check:
            message = "x is not finite after step {i}, at t = {t}"
            checkify.check(checks.all_finite(x), message, i=i, t=times[i + 1])
        if every is not None:
            # Only every k-th state has a slot; the others point past the end and are dropped.
            slot = jnp.where((i + 1) % every == 0, i // every, num_steps)
            path = jax.tree.map(lambda p, v: p.at[slot].set(v, mode="drop"), path, x)
        return (x, path), None

    def run(x):
        path = jax.tree.map(lambda v: jnp.zeros((num_kept, *v.shape), v.dtype), x)
        return jax.lax.scan(advance, (x, path), jnp.arange(num_steps))[0]

    if check:
        error, (x, path) = checkify.checkify(run)(x)
        checkify.check_error(error)
    else:
        x, path = run(x)
    if last is not None:
        x = last(jax.random.fold_in(key, num_steps), x, times[-1], times[-1])
    return x if every is None else (x, path)


def chain(*steps: Step) -> Step:
    """Apply kernels in turn: the first moves x from t to t_next, the others act on it there."""

    def kernel(key, x, t, t_next):
        for j, step in enumerate(steps):
            x = step(jax.random.fold_in(key, j), x, t if j == 0 else t_next, t_next)
        return x

    return kernel


def repeat(step: Step, num: int) -> Step:
    """Apply a kernel `num` times: `chain(step, ..., step)`, traced once.

    Raises ValueError for a num that is not a whole number from 0.
    """
    require_int("num", num, 0, checks.MAX_COUNT)

    def kernel(key, x, t, t_next):
        def body(j, x):
            return step(jax.random.fold_in(key, j), x, jnp.where(j == 0, t, t_next), t_next)

        return iterate(body, num, x)

    return kernel


def iterate(body: Callable[[Array, State], State], num: int, x: State) -> State:
    """Apply `body(j, x) -> x` for j = 0 to num - 1, in one compiled loop.

    Raises ValueError for a body that does not return a state like x, which such a loop needs.
    """
    return jax.lax.fori_loop(0, num, lambda j, x: checks.same_state(x, body(j, x)), x)


def euler_maruyama(sde: SDE, score: ScoreFn) -> Step:
    """Step the reverse SDE; one evaluation. Wants about a hundred steps or more."""
    score = checked_score(score)

    def kernel(key, x, t, t_next):
        g, dt = sde.diffusion(t), t - t_next
        mean = x - dt * (sde.drift(t) * x - g**2 * score(x, t))
        return mean + g * jnp.sqrt(dt) * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def ancestral(sde: SDE, score: ScoreFn, data_scale: float = 0.0, temperature: float = 1.0) -> Step:
    """Draw from p(x_next | x), with x0 predicted and taken as N(x0, its spread); one evaluation.

    data_scale: 0 takes x0 for known, as DDPM does with its smaller variance; 1 leaves x0 the spread
        that unit-variance Gaussian data would have, for which each step is then exact. The first is
        too narrow on broad data, the second too wide on data in tight clusters.
    temperature: below 1 is colder than the distribution.

    Raises ValueError for a number below 0.
    """
    require_number("data_scale", data_scale, low=0)
    require_number("temperature", temperature, low=0)
    score = checked_score(score)

    def kernel(key, x, t, t_next):
        mean, std = reverse_kernel(sde, x, score(x, t), t, t_next, data_scale)
        return mean + temperature * std * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def reverse_kernel(
    sde: SDE, x: Array, score: Array, t: Array, t_next: Array, data_scale: float = 0.0
) -> tuple[Array, Array]:
    """Return mean, of the shape of x, and scalar standard deviation of `ancestral`'s step."""
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    alpha_next, sigma_next = sde.alpha(t_next), sde.sigma(t_next)
    kept = (alpha * sigma_next) ** 2 / (alpha_next * sigma) ** 2  # the ratio of the two SNRs
    gained = jnp.maximum(1 - kept, 0.0)
    denoised = sde.denoised_from_score(score, x, t)
    mean = kept * alpha_next / alpha * x + alpha_next * gained * denoised
    # What is unknown of x0 given x, for Gaussian data of this scale.
    unknown = (data_scale * sigma) ** 2 / ((data_scale * alpha) ** 2 + sigma**2)
    variance = sigma_next**2 * gained + (alpha_next * gained) ** 2 * unknown
    return mean, jnp.sqrt(variance)


def by_level(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose Langevin's step size 2 (snr sigma)^2, the same for every x."""
    return 2 * (snr * sigma) ** 2


def by_norm(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose the step size 2 (snr |n| / |s|)^2 row by row (Song et al. 2021, algorithm 5).

    For a hundred dimensions or more: in few, some rows have a score near 0, hence a huge step.
    """
    square = [jnp.sum(v**2, axis=tuple(range(1, v.ndim)), keepdims=True) for v in (noise, score)]
    return 2 * snr**2 * square[0] / jnp.maximum(square[1], jnp.finfo(score.dtype).tiny)


def langevin(
    sde: SDE,
    score: ScoreFn,
    snr: float = 0.16,
    num_steps: int = 1,
    mask: Array | None = None,
    temperature: float = 1.0,
    rule: Callable[[float, Array, Array, Array], Array] = by_level,
) -> Step:
    """Correct x at time t_next by Langevin steps; `num_steps` evaluations.

    snr: the size of the steps, of the order of the noise's standard deviation times this.
    mask: `[D]` or `[B, D]` of bool, True where observed: such coordinates never move and do not
        count in norms. To refresh them between inner steps, repeat a `given` kernel instead.
    temperature: below 1 is colder than the distribution.
    rule: makes a step size of `snr`: `by_level`, `by_norm`, or any function of their signature.

    Raises ValueError for a number below 0, no whole number of steps from 0, and a mask that is not of bool or
    does not fit x.
    """
    require_number("snr", snr, low=0)
    require_int("num_steps", num_steps, 0, checks.MAX_COUNT)
    require_number("temperature", temperature, low=0)
    if mask is not None:
        checks.require_mask(mask)
    score = checked_score(score)

    def inner(key, x, t, t_next):
        noise = jax.random.normal(key, x.shape, x.dtype)
        observed = broadcast_like(jnp.asarray(False) if mask is None else mask, x, "mask")
        noise, slope = (jnp.where(observed, 0.0, v) for v in (noise, score(x, t_next)))
        size = rule(snr, noise, slope, sde.sigma(t_next))
        moved = x + size * slope + temperature * jnp.sqrt(2 * size) * noise
        return jnp.where(observed, x, moved)

    return repeat(inner, num_steps)


def annealed_langevin(
    sde: SDE, score: ScoreFn, rate: float, sigma_last: float, num_steps: int = 1, **options: Any
) -> Step:
    """Take Langevin steps of size rate (sigma / sigma_last)^2, over `ladder_times`.

    It is `langevin` with the level rule, without a predictor; options: `mask`, `temperature`. Errors as
    there, and for a rate below 0 or a sigma_last that is not above 0.
    """
    require_number("rate", rate, low=0)
    require_number("sigma_last", sigma_last, above=0)
    return langevin(sde, score, math.sqrt(rate / 2) / sigma_last, num_steps, **options)


def denoise(sde: SDE, score: ScoreFn) -> Step:
    """Replace x at time t by its predicted clean data; one evaluation. For the end of a run."""
    score = checked_score(score)

    def kernel(key, x, t, t_next):
        del key, t_next
        return sde.denoised_from_score(score(x, t), x, t)

    return kernel


def uniform_times(num: int, t_min: float = 1e-3) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced.

    Raises ValueError for a num that is not in 1..1,000,000, and a t_min that is not in 0..1.
    """
    _require_grid(num, t_min)
    return jnp.linspace(1.0, t_min, num + 1)


def log_snr_times(sde: SDE, num: int, t_min: float = 1e-3) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced in log-SNR.

    Raises ValueError as `uniform_times`, and for a t_min so small that the SNR is infinite there.
    """
    _require_grid(num, t_min)
    ends = sde.log_snr(jnp.asarray([1.0, t_min]))
    _require_finite(ends, t_min)
    return _pinned(sde.time(jnp.linspace(ends[0], ends[1], num + 1)), t_min)


def edm_times(sde: SDE, num: int, t_min: float = 1e-3, rho: float = 7.0) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced in (sigma/alpha)^(1/rho).

    Raises ValueError as `uniform_times`, and for a rho not in 1..100.
    """
    _require_grid(num, t_min)
    require_number("rho", rho, 1, 100)
    ends = jnp.exp(-0.5 * sde.log_snr(jnp.asarray([1.0, t_min])) / rho)
    return _pinned(sde.time(-2 * rho * jnp.log(jnp.linspace(ends[0], ends[1], num + 1))), t_min)


def ladder_times(sde: SDE, sigmas: Array) -> Array:
    """Return the times of falling noise levels, the first one doubled: Langevin acts on t_next.

    Raises ValueError for levels that are not `[N]`, or are not above 0 and falling.
    """
    checks.require_numbers("sigmas", sigmas, floating=True)
    if jnp.ndim(sigmas) != 1 or not len(sigmas):
        raise ValueError(f"sigmas must be [N] with N at least 1, got shape {jnp.shape(sigmas)}")
    if not isinstance(sigmas, jax.core.Tracer):
        levels = np.asarray(sigmas)
        if not (np.isfinite(levels) & (levels > 0)).all() or (np.diff(levels) > 0).any():
            raise ValueError("sigmas must be finite numbers above 0 that never rise")
    return sde.time(-2 * jnp.log(jnp.concatenate([sigmas[:1], sigmas])))


def _require_grid(num: int, t_min: float) -> None:
    require_int("num", num, 1, checks.MAX_COUNT)
    require_number("t_min", t_min, low=0, below=1)


def _require_finite(ends: Array, t_min: float) -> None:
    if not isinstance(ends, jax.core.Tracer) and not np.isfinite(np.asarray(ends)).all():
        raise ValueError(
            f"t_min must be so large that there is noise, else the SNR is infinite: got {t_min}"
        )


def _pinned(times: Array, t_min: float) -> Array:
    # Inverting the log-SNR rounds; the ends are known exactly.
    return times.at[0].set(1.0).at[-1].set(t_min)
