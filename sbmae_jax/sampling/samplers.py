r"""Samplers as kernels `(key, x, t, t_next) -> x`, and one scan that runs them.

Every sampler of a diffusion walks a falling grid of times and applies the same small kernel to each
pair (t, t_next). The kernels, here and in `ode`, are closures over a process and a score; they are
combined, not configured:

    step = chain(euler_maruyama(sde, score), langevin(sde, score))        # predictor-corrector
    x = sample(key, step, sde.prior(prior_key, shape), uniform_times(100))

In a chain the first kernel moves x from t to t_next. All others find it there and are called as
`step(key, x, t_next, t_next)`, so a corrector reads t_next only. `sample` gives step i the key
`fold_in(key, i)`, and `chain` and `repeat` give kernel j `fold_in(key, j)`, so any noise can be drawn
again alone. Step sizes depend on a row alone, never on its batch. With primes at t_next,
x0 = (x + sigma^2 score) / alpha and n ~ N(0, I),

    reverse SDE    x + (f x - g^2 score) (t' - t) + g sqrt(t - t') n        order 1 in law
    ancestral      k (alpha'/alpha) x + alpha' (1 - k) x0 + sigma' sqrt(1 - k) n, with
                   k = (alpha sigma' / alpha' sigma)^2, the Gaussian p(x' | x, x0)
    Langevin       x + e score + sqrt(2 e) n, which leaves p_t unchanged as e -> 0

Some kernels take a `temperature`, by which they multiply the standard deviation of the noise that a
step adds. 1 samples the distribution; less noise draws samples nearer to its modes, and 0 adds none.

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 2 to 5; Ho et al. 2020 (arXiv:2006.11239),
equation 7; Song and Ermon 2019 (arXiv:1907.05600), algorithm 1; Karras et al. 2022
(arXiv:2206.00364), equation 5, for the grid.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from sbmae_jax import _check as checks
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn, State, Step

# ---------------------------------------------------------------- running and combining


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

    Args:
        key: a typed key; step i gets `fold_in(key, i)`.
        step: the kernel; see this module for those that there are.
        x: the state at times[0], usually `sde.prior(key, (B, D))`; any pytree of floats.
        times: `[N + 1]`, never rising, from 1 to nearly 0; step i goes from times[i] to times[i + 1].
        every: also return each `every`-th state, in 1..N.
        last: a kernel that is called once at the end, at time times[-1], e.g. `denoise(sde, score)`.
        check: raise at the first step after which x is not finite, and say which. Inside your own
            `jit`, wrap that with `jax.experimental.checkify.checkify`.

    Returns:
        The state at times[-1]; with `every`, `(x, path)`, where path is `[N // every, B, D]`.

    Raises:
        ValueError: for an untyped key; a state that is not of floats; a kernel that changes the shape or
            dtype of the state; an `every` out of range; or times that rise, are not one-dimensional, or are
            fewer than two.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, ancestral, denoise, log_snr_times, sample
        >>> sde, score = VP(), lambda x, t: -x  # the score of standard normal data
        >>> prior_key, loop_key = jax.random.split(jax.random.key(0))
        >>> x = sde.prior(prior_key, (4, 2))
        >>> step, last = ancestral(sde, score), denoise(sde, score)
        >>> sample(loop_key, step, x, log_snr_times(sde, 20), last=last).shape
        (4, 2)
    """
    checks.require_key(key)
    checks.require_times(times, falling=True)
    checks.require_state(x)
    times = jnp.asarray(times)
    num_steps = times.shape[0] - 1
    if every is not None:
        checks.require_int("every", every, 1)
    if every is not None and every > num_steps:
        raise ValueError(
            f"every must be at most the number of steps in times, {num_steps}, got {every}"
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
    """Apply kernels in turn: the first moves x from t to t_next, the others act on it there.

    Args:
        *steps: kernels for the same state; the first a predictor, the others correctors.

    Returns:
        One kernel, which gives kernel j the key `fold_in(key, j)`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, chain, euler_maruyama, langevin
        >>> sde, score = VP(), lambda x, t: -x
        >>> step = chain(euler_maruyama(sde, score), langevin(sde, score))
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Song et al. 2021 (arXiv:2011.13456), algorithms 2 and 3, for predictor and corrector.
    """

    def kernel(key, x, t, t_next):
        for j, step in enumerate(steps):
            x = step(jax.random.fold_in(key, j), x, t if j == 0 else t_next, t_next)
        return x

    return kernel


def repeat(step: Step, num: int) -> Step:
    """Apply a kernel `num` times: `chain(step, ..., step)`, traced once.

    Args:
        step: the kernel.
        num: how often, in 0..1,000,000.

    Returns:
        One kernel, which gives call j the key `fold_in(key, j)`.

    Raises:
        ValueError: for a num out of range.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, langevin, repeat
        >>> step = repeat(langevin(VP(), lambda x, t: -x), 3)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.4, 0.4).shape
        (4, 2)
    """
    checks.require_int("num", num, 0, checks.MAX_COUNT)

    def kernel(key, x, t, t_next):
        def body(j, x):
            return step(jax.random.fold_in(key, j), x, jnp.where(j == 0, t, t_next), t_next)

        return iterate(body, num, x)

    return kernel


def iterate(body: Callable[[Array, State], State], num: int, x: State) -> State:
    """Apply `body(j, x) -> x` for j = 0 to num - 1, in one compiled loop.

    Raises ValueError for a body that does not return a state like x, which a compiled loop needs.
    """
    return jax.lax.fori_loop(0, num, lambda j, x: checks.same_state(x, body(j, x)), x)


# ---------------------------------------------------------------- predictors


def euler_maruyama(sde: SDE, score: ScoreFn) -> Step:
    """Take an Euler step of the reverse SDE; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.

    Returns:
        A kernel for a hundred steps or more, as its error is of order 1.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, euler_maruyama
        >>> step = euler_maruyama(VP(), lambda x, t: -x)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.49).shape
        (4, 2)

    Source: Song et al. 2021 (arXiv:2011.13456), equation 6.
    """
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        g, dt = sde.diffusion(t), t - t_next
        mean = x - dt * (sde.drift(t) * x - g**2 * score(x, t))
        return mean + g * jnp.sqrt(dt) * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def ancestral(sde: SDE, score: ScoreFn, data_scale: float = 0.0, temperature: float = 1.0) -> Step:
    """Draw from p(x_next | x), with x0 predicted from x; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        data_scale: standard deviation that the data are assumed to have, at least 0. 0 takes the prediction
            of x0 for certain, as DDPM does with its smaller variance: too narrow on broad data. 1 makes each
            step exact on Gaussian data of unit variance: too wide on data in tight clusters.
        temperature: multiplies the standard deviation of the noise that each step adds; 1 samples the
            distribution, and less draws nearer to its modes.

    Returns:
        A kernel, best over `log_snr_times`.

    Raises:
        ValueError: for a number below 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, ancestral
        >>> step = ancestral(VP(), lambda x, t: -x, data_scale=1.0)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 7, for any linear process.
    """
    checks.require_number("data_scale", data_scale, low=0)
    checks.require_number("temperature", temperature, low=0)
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        mean, std = reverse_kernel(sde, x, score(x, t), t, t_next, data_scale)
        return mean + temperature * std * jax.random.normal(key, x.shape, x.dtype)

    return kernel


def reverse_kernel(
    sde: SDE, x: Array, score: Array, t: Array, t_next: Array, data_scale: float = 0.0
) -> tuple[Array, Array]:
    """Return the mean, of the shape of x, and the scalar standard deviation of `ancestral`'s step."""
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    alpha_next, sigma_next = sde.alpha(t_next), sde.sigma(t_next)
    kept = (alpha * sigma_next) ** 2 / (alpha_next * sigma) ** 2  # the ratio of the two SNRs
    gained = jnp.maximum(1 - kept, 0.0)
    denoised = sde.denoised_from_score(score, x, t)
    mean = kept * alpha_next / alpha * x + alpha_next * gained * denoised
    # The variance of x0 given x, for Gaussian data of this scale.
    unknown = (data_scale * sigma) ** 2 / ((data_scale * alpha) ** 2 + sigma**2)
    variance = sigma_next**2 * gained + (alpha_next * gained) ** 2 * unknown
    return mean, jnp.sqrt(variance)


# ---------------------------------------------------------------- correctors


def by_level(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose Langevin's step size from the noise level, the same for every row.

    Args:
        snr: the size of a step relative to the noise.
        noise: the noise of this step, `[B, ...]`; not read.
        score: the score at x, `[B, ...]`; not read.
        sigma: the standard deviation of the noise at this time, a scalar.

    Returns:
        2 (snr sigma)^2, a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import by_level
        >>> x = jnp.ones((4, 2))
        >>> round(by_level(0.5, x, -x, 2.0), 3)
        2.0
    """
    return 2 * (snr * sigma) ** 2


def by_norm(snr: float, noise: Array, score: Array, sigma: Array) -> Array:
    """Choose Langevin's step size row by row, from the norms of noise and score.

    It is meant for a hundred dimensions or more. In few dimensions some rows have a score near 0, hence a
    huge step.

    Args:
        snr: the size of a step relative to the noise.
        noise: the noise of this step, `[B, ...]`.
        score: the score at x, `[B, ...]`.
        sigma: the standard deviation of the noise at this time; not read.

    Returns:
        2 (snr |noise| / |score|)^2, with the norms over each row: `[B, 1, ...]`.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import by_norm
        >>> x = jnp.ones((4, 2))
        >>> by_norm(0.5, x, -x, 2.0).tolist()
        [[0.5], [0.5], [0.5], [0.5]]

    Source: Song et al. 2021 (arXiv:2011.13456), algorithm 5.
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
    """Correct x at time t_next by Langevin steps; `num_steps` evaluations of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        snr: the size of a step relative to the noise, at least 0; the default is that of Song et al.
        num_steps: in 0..1,000,000.
        mask: `[D]` or `[B, D]` of bool, True where observed. These coordinates never move and do not
            count in norms. To redraw them between the steps, repeat a `given` kernel instead.
        temperature: multiplies the standard deviation of the noise that each step adds; 1 samples the
            distribution, and less draws nearer to its modes.
        rule: turns snr into a step size: `by_level`, `by_norm`, or any function of their signature.

    Returns:
        A kernel that reads t_next alone.

    Raises:
        ValueError: for a number out of range, or a mask that is not of bool or does not fit x.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, langevin
        >>> step = langevin(VP(), lambda x, t: -x, snr=0.2, mask=jax.numpy.asarray([True, False]))
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.4, 0.4)[:, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]

    Source: Song et al. 2021 (arXiv:2011.13456), algorithms 4 and 5.
    """
    checks.require_number("snr", snr, low=0)
    checks.require_int("num_steps", num_steps, 0, checks.MAX_COUNT)
    checks.require_number("temperature", temperature, low=0)
    if mask is not None:
        checks.require_mask(mask)
    score = checks.checked_score(score)

    def inner(key, x, t, t_next):
        noise = jax.random.normal(key, x.shape, x.dtype)
        observed = checks.mask_like(mask, x)
        noise, score_x = (jnp.where(observed, 0.0, v) for v in (noise, score(x, t_next)))
        size = rule(snr, noise, score_x, sde.sigma(t_next))
        moved = x + size * score_x + temperature * jnp.sqrt(2 * size) * noise
        return jnp.where(observed, x, moved)

    return repeat(inner, num_steps)


def annealed_langevin(
    sde: SDE,
    score: ScoreFn,
    step_size: float,
    sigma_last: float,
    num_steps: int = 1,
    **options: Any,
) -> Step:
    """Take Langevin steps without a predictor, over `ladder_times`.

    It is `langevin` with `by_level` and the step size step_size (sigma / sigma_last)^2.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        step_size: the size of a step at the last noise level, at least 0.
        sigma_last: the last noise level, above 0.
        num_steps: steps at each level.
        **options: `mask` and `temperature`, as for `langevin`.

    Returns:
        A kernel that reads t_next alone.

    Raises:
        ValueError: for a number out of range, and as `langevin`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VE, annealed_langevin
        >>> step = annealed_langevin(VE(), lambda x, t: -x, step_size=2e-5, sigma_last=0.01)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.4, 0.4).shape
        (4, 2)

    Source: Song and Ermon 2019 (arXiv:1907.05600), algorithm 1.
    """
    checks.require_number("step_size", step_size, low=0)
    checks.require_number("sigma_last", sigma_last, above=0)
    return langevin(sde, score, (step_size / 2) ** 0.5 / sigma_last, num_steps, **options)


def denoise(sde: SDE, score: ScoreFn) -> Step:
    """Replace x at time t by the prediction of the clean data; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.

    Returns:
        A kernel for the end of a run, `sample(..., last=denoise(sde, score))`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, denoise
        >>> x = jax.numpy.ones((4, 2))
        >>> denoised = denoise(VP(), lambda x, t: -x)(jax.random.key(0), x, 0.1, 0.1)
        >>> round(float(denoised[0, 0]), 3) == round(float(VP().alpha(0.1)), 3)
        True

    Source: Tweedie's formula; `sde`, equation 4.
    """
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        del key, t_next
        return sde.denoised_from_score(score(x, t), x, t)

    return kernel


# ---------------------------------------------------------------- grids of times


def uniform_times(num: int, t_min: float = 1e-3) -> Array:
    """Return times from 1 to t_min, equally spaced.

    Args:
        num: steps, in 1..1,000,000.
        t_min: the last time, at least 0 and below 1.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import uniform_times
        >>> uniform_times(4, t_min=0.0).tolist()
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    _require_grid(num, t_min)
    return jnp.linspace(1.0, t_min, num + 1)


def log_snr_times(sde: SDE, num: int, t_min: float = 1e-3) -> Array:
    """Return times from 1 to t_min, equally spaced in log-SNR: the grid of few-step samplers.

    Args:
        sde: the process.
        num: steps, in 1..1,000,000.
        t_min: the last time, below 1, and so large that the process has noise there.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import VP, log_snr_times
        >>> [round(t, 2) for t in log_snr_times(VP(), 4).tolist()]
        [1.0, 0.72, 0.3, 0.03, 0.0]

    Source: Lu et al. 2022 (arXiv:2211.01095).
    """
    _require_grid(num, t_min)
    ends = sde.log_snr(jnp.asarray([1.0, t_min]))
    if not isinstance(ends, jax.core.Tracer) and not np.isfinite(np.asarray(ends)).all():
        raise ValueError(
            f"t_min is too small: the process has no noise there, its SNR is infinite; got {t_min}"
        )
    return _pin_ends(sde.time(jnp.linspace(ends[0], ends[1], num + 1)), t_min)


def edm_times(sde: SDE, num: int, t_min: float = 1e-3, rho: float = 7.0) -> Array:
    """Return times from 1 to t_min, equally spaced in (sigma / alpha)^(1/rho): the grid of EDM.

    Args:
        sde: the process.
        num: steps, in 1..1,000,000.
        t_min: the last time, at least 0 and below 1.
        rho: in 1..100; the larger, the more steps are at low noise.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import EDM, edm_times
        >>> [round(t, 2) for t in edm_times(EDM(), 4, t_min=0.0).tolist()]  # uniform on its own process
        [1.0, 0.75, 0.5, 0.25, 0.0]

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 5.
    """
    _require_grid(num, t_min)
    checks.require_number("rho", rho, 1, 100)
    ends = jnp.exp(-0.5 * sde.log_snr(jnp.asarray([1.0, t_min])) / rho)
    roots = jnp.linspace(ends[0], ends[1], num + 1)
    return _pin_ends(sde.time(-2 * rho * jnp.log(roots)), t_min)


def ladder_times(sde: SDE, sigmas: Array) -> Array:
    """Return the times of given noise levels, for `annealed_langevin`.

    Args:
        sde: the process.
        sigmas: `[N]`, values of sigma / alpha, above 0 and never rising.

    Returns:
        `[N + 1]`, with the first time doubled, as Langevin steps act on t_next.

    Raises:
        ValueError: for levels of another shape, or that are not above 0, or rise.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VE, ladder_times
        >>> [round(t, 2) for t in ladder_times(VE(), jnp.asarray([50.0, 1.0, 0.01])).tolist()]
        [1.0, 1.0, 0.54, 0.0]
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
    checks.require_int("num", num, 1, checks.MAX_COUNT)
    checks.require_number("t_min", t_min, low=0, below=1)


def _pin_ends(times: Array, t_min: float) -> Array:
    # Inverting the log-SNR rounds, but the ends are known exactly.
    return times.at[0].set(1.0).at[-1].set(t_min)
