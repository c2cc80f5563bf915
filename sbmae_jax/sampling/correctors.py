r"""Kernels that stay at one time and correct x there.

With n ~ N(0, I),

    Langevin       x + e score + sqrt(2 e) n, which leaves p_t unchanged as e -> 0

                   and for any other e ends in a density that is too wide, most of all in narrow modes
    Hamiltonian    two leapfrog steps of size h from x with the momentum n, each
                   n + (h/2) score, then x + h n, then n + (h/2) score, accepted with probability
                   min(1, p_t(x')/p_t(x) exp(|n|^2/2 - |n'|^2/2)), which leaves p_t unchanged for any h

One step of size h is a Langevin step of size e = h^2 / 2. Of the density only the score s is at hand, so
ln p_t(x') - ln p_t(x) is the integral of s along the curve of second order through the three points
x_0, x_1, x_2 of the two steps. Simpson's rule needs s nowhere else, and is exact for cubic ln p_t:

    [s_0 (4 x_1 - 3 x_0 - x_2) + 4 s_1 (x_2 - x_0) + s_2 (3 x_2 - 4 x_1 + x_0)] / 6    (1)

Its error is of order h^5, and matters only where modes meet. The rule of the two ends alone, of order h^3,
misses what the adjustment is to find there: the weights of the modes then move as without it.

They read t_next alone, so they follow a predictor in a chain. Step sizes depend on a row alone, never on its
batch.

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 4 and 5; Song and Ermon 2019 (arXiv:1907.05600),
algorithm 1; Neal 2011 (arXiv:1206.1901), section 5, for the Hamiltonian moves; Sjoberg et al. 2023
(arXiv:2303.04187) for a Metropolis rule from integrals of the score.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import normal_like
from sbmae_jax.sampling.leaves import SDETree, leaf_keys, leafwise, require_each, require_masks
from sbmae_jax.sampling.samplers import iterate, repeat
from sbmae_jax.sampling.sde import expand
from sbmae_jax.types import Array, Key, ScoreFn, State, StepFn


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
    if jnp.ndim(score) < 2:
        raise ValueError(
            f"by_norm needs rows, x of [B, ...], to have a norm for each; got shape {jnp.shape(score)}: "
            "use by_level, or add an axis with x[None]"
        )
    square = [jnp.sum(v**2, axis=tuple(range(1, v.ndim)), keepdims=True) for v in (noise, score)]
    return 2 * snr**2 * square[0] / jnp.maximum(square[1], jnp.finfo(score.dtype).tiny)


def langevin(
    sde: SDETree,
    score: ScoreFn,
    snr: float = 0.16,
    num_steps: int = 1,
    mask: Array | None = None,
    temperature: float = 1.0,
    rule: Callable[[float, Array, Array, Array], Array] = by_level,
) -> StepFn:
    """Correct x at time t_next by Langevin steps; `num_steps` evaluations of the score.

    It is not adjusted: with large steps rows leave narrow modes for wide ones, and more of them do so more.
    Keep snr at .16 or below, or use `hamiltonian`, which accepts or rejects its moves.

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
    require_each(checks.require_number, "snr", snr, low=0)
    checks.require_int("num_steps", num_steps, 0, checks.MAX_COUNT)
    require_each(checks.require_number, "temperature", temperature, low=0)
    if mask is not None:
        require_masks(mask)
    score = checks.checked_score(score)

    def inner(key, x, t, t_next):
        def move(x, score_x, key, sde, snr, mask, temperature):
            observed = checks.mask_like(mask, x)
            noise, score_x = (jnp.where(observed, 0.0, v) for v in (normal_like(key, x), score_x))
            size = rule(snr, noise, score_x, sde.sigma(t_next))
            moved = x + size * score_x + temperature * jnp.sqrt(2 * size) * noise
            return jnp.where(observed, x, moved).astype(x.dtype)

        options = {"sde": sde, "snr": snr, "mask": mask, "temperature": temperature}
        return leafwise(move, x, score(x, t_next), leaf_keys(key, x), **options)

    return repeat(inner, num_steps)


def hamiltonian(
    sde: SDETree,
    score: ScoreFn,
    step_size: float = 0.7,
    num_steps: int = 1,
    mask: Any = None,
    temperature: float = 1.0,
) -> StepFn:
    """Correct x at time t_next by adjusted moves, which keep p_t whatever their size.

    Each move takes two leapfrog steps and evaluates the score twice; one more evaluation comes first. A row
    accepts or rejects its own moves. Read `acceptance_rates` first: below one half, take smaller steps.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t. It must be the gradient of a density, up
            to small errors: then the ratio of densities is its integral. The density may be conditional:
            that of `amortised`, with its mask, or of `reconstruction_guidance`, without `frozen_below`.
        step_size: of a leapfrog step, above 0: it is step_size sigma D^(-1/6), with D the coordinates that
            move. With the default, nine of ten moves are accepted or more, for any D.
        num_steps: moves, in 0..1,000,000.
        mask: `[D]` or `[B, D]` of bool, True where observed. These coordinates never move.
        temperature: above 0; 1 samples the distribution p, and T samples p^(1 / T^2), as `langevin` does.

    Returns:
        A kernel that reads t_next alone.

    Raises:
        ValueError: for a number out of range, or a mask that is not of bool or does not fit x.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, adams, chain, hamiltonian, sample, vp_times
        >>> sde, score = VP(), lambda x, t: -x
        >>> step = chain(adams(sde, score), hamiltonian(sde, score, num_steps=2))
        >>> run = jax.jit(lambda x: sample(jax.random.key(0), step, x, vp_times(sde, 8)))
        >>> run(jax.numpy.ones((4, 2))).shape
        (4, 2)

    Source: this module, equation 1; Neal 2011 (arXiv:1206.1901), section 5.
    """
    checks.require_number("step_size", step_size, above=0)
    checks.require_int("num_steps", num_steps, 0, checks.MAX_COUNT)
    checks.require_number("temperature", temperature, above=0)
    if mask is not None:
        require_masks(mask)
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        field, size = _moving(sde, score, x, t_next, step_size, mask, temperature)

        def body(j, x, score_x):
            moved, score_moved, log_ratio = _leapfrog(
                jax.random.fold_in(key, 2 * j), field, size, x, score_x
            )
            u = jax.random.uniform(jax.random.fold_in(key, 2 * j + 1), log_ratio.shape)
            # NaN is never accepted: where the score is infinite, x stays.
            taken = jnp.log(u) < log_ratio

            def choose(new, old):
                return jnp.where(expand(taken, old), new, old)

            return jax.tree.map(choose, moved, x), jax.tree.map(choose, score_moved, score_x)

        return iterate(body, num_steps, x, field(x))[0]

    return kernel


def acceptance_rates(
    key: Key,
    sde: SDETree,
    score: ScoreFn,
    x: State,
    times: Array,
    *,
    step_size: float = 0.7,
    mask: Any = None,
) -> Array:
    """Return the share of moves that `hamiltonian` would accept at each time: its diagnostic.

    Args:
        key: a typed key.
        sde: the process.
        score: as for `hamiltonian`.
        x: clean rows, `[B, ...]` of floats: data, or samples. They are noised to each time.
        times: `[N]`, each above 0 and at most 1.
        step_size: as for `hamiltonian`.
        mask: as for `hamiltonian`. Observed coordinates stay clean, as an amortised score wants them.

    Returns:
        `[N]`, in 0..1. Near 1, larger steps are possible; below one half, smaller ones correct more. Sudden
        small values say that the score is rough there, or not the gradient of a density.

    Raises:
        ValueError: for an untyped key, a number out of range, or a mask that does not fit x.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, acceptance_rates
        >>> x = jax.random.normal(jax.random.key(0), (500, 2))
        >>> times, score = jax.numpy.asarray([0.9, 0.1]), lambda x, t: -x
        >>> rates = jax.jit(lambda key, x: acceptance_rates(key, VP(), score, x, times))
        >>> bool((rates(jax.random.key(1), x) > 0.8).all())
        True
    """
    checks.require_key(key)
    checks.require_state(x)
    checks.require_numbers("times", times, floating=True)
    checks.require_number("step_size", step_size, above=0)
    if mask is not None:
        require_masks(mask)
    score, times = checks.checked_score(score), jnp.asarray(times)

    def rate(i):
        noise_key, move_key = jax.random.split(jax.random.fold_in(key, i))

        def noise(x, key, sde, mask):
            noised = sde.perturb(x, normal_like(key, x), times[i]).astype(x.dtype)
            return jnp.where(checks.mask_like(mask, x), x, noised)

        noised = leafwise(noise, x, leaf_keys(noise_key, x), sde=sde, mask=mask)
        field, size = _moving(sde, score, noised, times[i], step_size, mask, 1.0)
        _, _, log_ratio = _leapfrog(move_key, field, size, noised, field(noised))
        return jnp.mean(jnp.exp(jnp.minimum(jnp.nan_to_num(log_ratio, nan=-jnp.inf), 0.0)))

    return jax.lax.map(rate, jnp.arange(times.shape[0]))


def _moving(
    sde: Any, score: ScoreFn, x: State, t: Array, step_size: float, mask: Any, temperature: float
) -> tuple[Callable[[State], State], State]:
    """Return `x -> score` of what is sampled, zero where observed, and the leapfrog steps."""
    if any(jnp.ndim(leaf) < 2 for leaf in jax.tree.leaves(x)):
        raise ValueError(
            "hamiltonian needs rows, x of [B, ...], each of which accepts its own moves, "
            f"got shapes {[jnp.shape(leaf) for leaf in jax.tree.leaves(x)]}: add an axis with x[None]"
        )
    observed = leafwise(lambda x, mask: checks.mask_like(mask, x), x, mask=mask)
    counts = [jnp.sum(~seen, axis=tuple(range(1, seen.ndim))) for seen in jax.tree.leaves(observed)]
    shrink = jnp.maximum(sum(counts), 1) ** (-1 / 6)

    def field(x):
        def free(score_x, seen, x):
            return jnp.where(seen, 0.0, score_x / temperature**2).astype(x.dtype)

        return leafwise(free, score(x, t), observed, x)

    def size(x, seen, sde):
        steps = temperature * step_size * sde.sigma(t) * expand(shrink, x)
        return jnp.where(seen, 0.0, steps)

    return field, leafwise(size, x, observed, sde=sde)


def _leapfrog(
    key: Key, field: Callable[[State], State], size: State, x: State, score_x: State
) -> tuple[State, State, Array]:
    """Return where two leapfrog steps lead and the score there, and what accepts each row, as a logarithm."""
    momentum = leafwise(lambda x, key: normal_like(key, x), x, leaf_keys(key, x))

    def start(x, score_x, momentum, size):
        faster = momentum + 0.5 * size * score_x
        return (x + size * faster).astype(x.dtype), faster

    middle, middle_momentum = leafwise(start, x, score_x, momentum, size)
    score_middle = field(middle)

    def go_on(middle, score_middle, momentum, size):
        faster = momentum + size * score_middle
        return (middle + size * faster).astype(middle.dtype), faster

    end, end_momentum = leafwise(go_on, middle, score_middle, middle_momentum, size)
    score_end = field(end)

    def gained(x, score_x, middle, score_middle, end, score_end, first, last, size):
        last = last + 0.5 * size * score_end
        gain = score_x * (4 * middle - 3 * x - end) + 4 * score_middle * (end - x)
        gain = (gain + score_end * (3 * end - 4 * middle + x)) / 6
        gain = gain + jnp.where(size > 0, 0.5 * (first**2 - last**2), 0.0)
        return jnp.sum(gain, axis=tuple(range(1, x.ndim)))

    parts = leafwise(
        gained, x, score_x, middle, score_middle, end, score_end, momentum, end_momentum, size
    )
    return end, score_end, jnp.sum(jnp.stack(jax.tree.leaves(parts)), axis=0)


def annealed_langevin(
    sde: SDETree,
    score: ScoreFn,
    step_size: float,
    sigma_last: float,
    num_steps: int = 1,
    **options: Any,
) -> StepFn:
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
