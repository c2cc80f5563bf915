r"""Samplers as kernels `(key, x, t, t_next) -> x`, and one scan that runs them.

Every sampler of a diffusion walks a falling grid of times and at each pair (t, t_next) applies the same
small kernel. The kernels here are closures over a process and a score; they are combined, not configured:

    step = chain(euler_maruyama(sde, score), langevin(sde, score))        # predictor-corrector
    x = sample(key, step, sde.prior(prior_key, shape), uniform_times(100))

**The convention.** In a chain the first kernel moves x from t to t_next; all others find it there and are
called as `step(key, x, t_next, t_next)`. A corrector therefore reads t_next only.

**Keys.** `sample` gives step i the key `fold_in(key, i)`, and `chain` gives its kernel j `fold_in(key, j)`;
so any noise can be drawn again alone. The same holds for `repeat`.

**Formulas.** With a = alpha(t), s = sigma(t), primes at t_next, and eps = -s score, x0 = (x - s eps) / a:

    reverse SDE        x + (f x - g^2 score)(t' - t) + g sqrt(t - t') n                 order 1 in law
    ancestral          the Gaussian p(x' | x, x0) of the forward process, exact if x0 were known
    Langevin           x + e score + sqrt(2 e) n: leaves p_t unchanged as e -> 0
    flow (DDIM)        y' = y + (r' - r) eps in y = x/a, r = s/a                        order 1
    Heun               the trapezium rule for the same equation                         order 2
    DPM-Solver++(2M)   the same equation in L/2 = ln(a/s): x' = (s'/s) x + a' (1 - e^-h) D, where
                       D = x0 + (h / 2 h_before)(x0 - x0_before), h the step of L/2      order 2

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 2 to 5; Ho et al. 2020 (arXiv:2006.11239); Song,
Meng and Ermon 2021 (arXiv:2010.02502); Karras et al. 2022 (arXiv:2206.00364), algorithm 2; Lu et al. 2022
(arXiv:2211.01095), algorithm 2; Song and Ermon 2019 (arXiv:1907.05600) for annealed Langevin dynamics.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from sbmae_jax.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn, Step


# ---------------------------------------------------------------- running and combining


def sample(
    key: Key,
    step: Step,
    x: Any,
    times: Array,
    *,
    every: int | None = None,
    last: Step | None = None,
    check: bool = False,
) -> Any:
    """Run a kernel over consecutive pairs of times, in one `lax.scan`.

    x: the state at times[0], usually `sde.prior(key, [B, D])`; any pytree of floats that the kernel takes.
    times: `[N + 1]`, never rising, from 1 to nearly 0; step i goes from times[i] to times[i + 1].
    every: also return the states after each `every` steps, stacked: `(x, path)`, path `[N // every, B, D]`.
    last: a kernel called once at the end, with time times[-1], e.g. `denoise(sde, score)`.
    check: raise at the first step after which x is not finite, and say which. Under your own `jit` this
        needs `jax.experimental.checkify`.

    Raises ValueError for an untyped key, a state that is not floating, a kernel that changes its shape
    or dtype, and times that rise, are not one-dimensional, or are fewer than two.
    """
    times = jnp.asarray(times)
    _refuse(key, step, x, times, every)
    num_steps = times.shape[0] - 1

    def advance(carry, i):
        x, path = carry
        x = step(jax.random.fold_in(key, i), x, times[i], times[i + 1])
        if check:
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(x)]))
            checkify.check(
                finite, "x is not finite after step {i}, at t = {t}", i=i, t=times[i + 1]
            )
        if every is not None:
            # Only every k-th state has a slot; the others point past the end and are dropped.
            slot = jnp.where((i + 1) % every == 0, i // every, num_steps)
            path = jax.tree.map(lambda p, v: p.at[slot].set(v, mode="drop"), path, x)
        return (x, path), None

    def run(x):
        path = None
        if every is not None:
            path = jax.tree.map(lambda v: jnp.zeros((num_steps // every, *v.shape), v.dtype), x)
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
    """Apply a kernel `num` times: `chain(step, ..., step)`, traced once."""

    def kernel(key, x, t, t_next):
        def body(j, x):
            return step(jax.random.fold_in(key, j), x, jnp.where(j == 0, t, t_next), t_next)

        return jax.lax.fori_loop(0, num, body, x)

    return kernel


# ---------------------------------------------------------------- stochastic kernels


def euler_maruyama(sde: SDE, score: ScoreFn) -> Step:
    """Step the reverse SDE; one evaluation. Wants about a hundred steps or more."""
    score = same_shape(score)

    def kernel(key, x, t, t_next):
        g, dt = sde.diffusion(t), t - t_next
        mean = x - dt * (sde.drift(t) * x - g**2 * score(x, t))
        return mean + g * jnp.sqrt(dt) * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def ancestral(sde: SDE, score: ScoreFn) -> Step:
    """Draw from p(x_next | x, x0) with x0 predicted; one evaluation. Exact if x0 is a point, at any step."""
    score = same_shape(score)

    def kernel(key, x, t, t_next):
        alpha, sigma = sde.alpha(t), sde.sigma(t)
        alpha_next, sigma_next = sde.alpha(t_next), sde.sigma(t_next)
        ratio = alpha / alpha_next
        added = jnp.maximum(
            sigma**2 - (ratio * sigma_next) ** 2, 0.0
        )  # rounding can make it negative
        denoised = sde.denoised_from_score(score(x, t), x, t)
        mean = (ratio * sigma_next**2 * x + alpha_next * added * denoised) / sigma**2
        return mean + sigma_next * jnp.sqrt(added) / sigma * jax.random.normal(
            key, x.shape, x.dtype
        )

    return kernel


def by_level(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose Langevin's step size 2 (snr sigma)^2: the same for every x, so p_t stays invariant as it shrinks."""
    return 2 * (snr * sigma) ** 2


def by_norm(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose Langevin's step size 2 (snr |n| / |s|)^2 per row, as Song et al. 2021, algorithm 5, do per batch.

    For a hundred dimensions or more. In few of them some rows have a score near 0, hence a huge step, and a
    batch average, which would hide that, is no cure: it lets rows change when others join them.
    """
    return 2 * (snr * _norm(noise) / jnp.maximum(_norm(score), jnp.finfo(score.dtype).tiny)) ** 2


def langevin(
    sde: SDE,
    score: ScoreFn,
    snr: float = 0.16,
    num_steps: int = 1,
    mask: Array | None = None,
    noise_scale: float = 1.0,
    rule: Callable[[float, Array, Array, Array], Array] = by_level,
) -> Step:
    """Correct x at time t_next by Langevin steps; `num_steps` evaluations.

    mask: `[D]` or `[B, D]` of bool; True marks observed coordinates, which never move and which do not
        count in the norms. To refresh their noise between inner steps, repeat a `given` kernel instead.
    noise_scale: below 1 is colder than the distribution.
    rule: how `snr` becomes a step size: `by_level`, `by_norm`, or any function of their signature.
    """
    score = same_shape(score)

    def inner(key, x, t, t_next):
        noise = jax.random.normal(key, x.shape, x.dtype)
        slope = score(x, t_next)
        if mask is not None:
            observed = like(mask, x, "mask")
            noise, slope = (jnp.where(observed, 0.0, v) for v in (noise, slope))
        size = rule(snr, noise, slope, sde.sigma(t_next))
        moved = x + size * slope + noise_scale * jnp.sqrt(2 * size) * noise
        return moved if mask is None else jnp.where(observed, x, moved)

    return repeat(inner, num_steps)


def annealed_langevin(
    sde: SDE, score: ScoreFn, rate: float, sigma_last: float, num_steps: int = 1, **options: Any
) -> Step:
    """Take Langevin steps of size rate (sigma / sigma_last)^2 at each level; run it over `ladder_times`.

    Source: Song and Ermon 2019 (arXiv:1907.05600), algorithm 1. It is `langevin` with the level rule;
    options: `mask`, `noise_scale`.
    """
    return langevin(sde, score, math.sqrt(rate / 2) / sigma_last, num_steps, **options)


# ---------------------------------------------------------------- deterministic kernels


def denoise(sde: SDE, score: ScoreFn) -> Step:
    """Replace x at time t by its best prediction of the clean data; one evaluation. The end of a run."""
    score = same_shape(score)

    def kernel(key, x, t, t_next):
        del key, t_next
        return sde.denoised_from_score(score(x, t), x, t)

    return kernel


def probability_flow(sde: SDE, score: ScoreFn) -> Step:
    """Step the probability-flow ODE by Euler in (x/alpha, sigma/alpha), also known as DDIM; order 1."""
    score = same_shape(score)

    def kernel(key, x, t, t_next):
        del key
        ratio = sde.alpha(t_next) / sde.alpha(t)
        eps = sde.noise_from_score(score(x, t), t)
        return ratio * x + (sde.sigma(t_next) - ratio * sde.sigma(t)) * eps

    return kernel


def heun(sde: SDE, score: ScoreFn, churn: float = 0.0, observe: Step | None = None) -> Step:
    """Step the probability-flow ODE by Heun's rule; two evaluations, order 2 (EDM, algorithm 2).

    churn: before each step raise the noise level by this fraction; EDM's S_churn / N, at most 0.41 there.
    observe: a kernel applied to the trial point as well, for conditioning. Without churn or correctors
        Heun is the worst partner for re-noised observations: nothing lets x forget what it was steered by.
    """
    score = same_shape(score)

    def kernel(key, x, t, t_next):
        noise_key, observe_key = jax.random.split(key)
        alpha, r = sde.alpha(t), sde.sigma(t) / sde.alpha(t)
        y, r_next = x / alpha, sde.sigma(t_next) / sde.alpha(t_next)
        if churn > 0:
            # Never above the level of t = 1: no score has been trained there.
            r_top = sde.sigma(jnp.ones_like(t)) / sde.alpha(jnp.ones_like(t))
            r_up = jnp.clip(r * (1 + churn), r, jnp.maximum(r, r_top))
            y = y + jnp.sqrt((r_up - r) * (r_up + r)) * jax.random.normal(
                noise_key, x.shape, x.dtype
            )
            t, r = jnp.where(r_up > r, sde.time(-2 * jnp.log(r_up)), t), r_up
        slope = sde.noise_from_score(score(sde.alpha(t) * y, t), t)
        trial = sde.alpha(t_next) * (y + (r_next - r) * slope)
        if observe is not None:
            trial = observe(observe_key, trial, t_next, t_next)
        # At sigma = 0 the score need not exist; there Euler's step is the exact end.
        safe = jnp.where(r_next > 0, t_next, t)
        slope_next = sde.noise_from_score(score(trial, safe), safe)
        better = sde.alpha(t_next) * (y + (r_next - r) * 0.5 * (slope + slope_next))
        return jnp.where(r_next > 0, better, trial)

    return kernel


class Memory(NamedTuple):
    """A state that remembers one step: `x`, the last prediction of the clean data, and its L/2."""

    x: Array
    denoised: Array
    level: Array


def remember(x: Array) -> Memory:
    """Make the starting state of a multistep kernel; level +inf says that nothing is remembered yet."""
    return Memory(x, jnp.zeros_like(x), jnp.asarray(jnp.inf, x.dtype))


def lift(step: Step) -> Step:
    """Let a kernel for plain arrays act on the `x` of a `Memory`, e.g. `chain(dpm_solver(...), lift(clamp(...)))`."""

    def kernel(key, state, t, t_next):
        return state._replace(x=step(key, state.x, t, t_next))

    return kernel


def dpm_solver(sde: SDE, score: ScoreFn) -> Step:
    """Step the probability-flow ODE by DPM-Solver++(2M); one evaluation, order 2.

    The state is a `Memory`: `sample(key, dpm_solver(sde, score), remember(x), times).x`. The first step
    and a step to sigma = 0 are of order 1. Raises ValueError when given a plain array.
    """
    score = same_shape(score)

    def kernel(key, state, t, t_next):
        del key
        if not isinstance(state, Memory):
            raise ValueError(
                "x must be a Memory for a multistep kernel: pass remember(x) to sample"
            )
        x, before, level_before = state
        level, level_next = 0.5 * sde.log_snr(t), 0.5 * sde.log_snr(t_next)
        h, h_before = level_next - level, level - level_before
        denoised = sde.denoised_from_score(score(x, t), x, t)
        usable = (h_before > 0) & jnp.isfinite(h)
        weight = jnp.where(usable, 0.5 * h / jnp.where(usable, h_before, 1.0), 0.0)
        best = denoised + weight * (denoised - before)
        x = sde.sigma(t_next) / sde.sigma(t) * x - sde.alpha(t_next) * jnp.expm1(-h) * best
        return Memory(x, denoised, level)

    return kernel


# ---------------------------------------------------------------- grids of times


def uniform_times(num: int, t_min: float = 1e-3) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced."""
    return jnp.linspace(1.0, t_min, num + 1)


def log_snr_times(sde: SDE, num: int, t_min: float = 1e-3) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced in log-SNR; the natural grid of DPM-Solver++."""
    ends = sde.log_snr(jnp.asarray([1.0, t_min]))
    return _pinned(sde.time(jnp.linspace(ends[0], ends[1], num + 1)), t_min)


def edm_times(sde: SDE, num: int, t_min: float = 1e-3, rho: float = 7.0) -> Array:
    """Return `num + 1` times from 1 to t_min, equally spaced in (sigma/alpha)^(1/rho): EDM, equation 5."""
    ends = jnp.exp(-0.5 * sde.log_snr(jnp.asarray([1.0, t_min])) / rho)
    return _pinned(sde.time(-2 * rho * jnp.log(jnp.linspace(ends[0], ends[1], num + 1))), t_min)


def ladder_times(sde: SDE, sigmas: Array) -> Array:
    """Return times for `annealed_langevin`: the first level is doubled, since kernels act on t_next."""
    sigmas = jnp.concatenate([sigmas[:1], sigmas])
    return sde.time(-2 * jnp.log(sigmas))


def _pinned(times: Array, t_min: float) -> Array:
    # Inverting the log-SNR rounds; the ends are known exactly.
    return times.at[0].set(1.0).at[-1].set(t_min)


# ---------------------------------------------------------------- checks at the entrance


def same_shape(score: ScoreFn) -> ScoreFn:
    """Wrap a score so that one of the wrong shape or dtype is refused when traced, at no cost when run."""

    def checked(x, t):
        out = score(x, t)
        if jnp.shape(out) != x.shape:
            raise ValueError(f"score must return the shape of x, {x.shape}, got {jnp.shape(out)}")
        return out

    return checked


def like(value: Array, x: Array, name: str) -> Array:
    """Broadcast a mask or value to the shape of x, or say which of its axes does not fit."""
    try:
        return jnp.broadcast_to(value, x.shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape of x, {x.shape}: one row, or one per sample; "
            f"got {jnp.shape(value)}"
        ) from None


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))


def _refuse(key: Key, step: Step, x: Any, times: Array, every: int | None) -> None:
    if not jnp.issubdtype(jnp.asarray(key).dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"key must be a typed key from jax.random.key, got dtype {jnp.asarray(key).dtype}"
        )
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"x must be a floating array, got dtype {jnp.result_type(leaf)}")
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(
            f"times must be one-dimensional with at least two entries, got shape {times.shape}"
        )
    if not isinstance(times, jax.core.Tracer):
        with jax.ensure_compile_time_eval():
            if not bool(jnp.all(jnp.diff(times) <= 0)):
                raise ValueError("times must fall from noise at 1 to data near 0; reverse the grid")
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    before, after = jax.eval_shape(lambda x: x, x), jax.eval_shape(step, key, x, times[0], times[1])
    if jax.tree.map(lambda v: (v.shape, v.dtype), before) != jax.tree.map(
        lambda v: (v.shape, v.dtype), after
    ):
        raise ValueError(f"step must return a state like x, {before}, got {after}")
