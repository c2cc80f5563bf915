r"""Kernels that stay at one time and correct x there.

With n ~ N(0, I),

    Langevin       x + e score + sqrt(2 e) n, which leaves p_t unchanged as e -> 0

They read t_next alone, so they follow a predictor in a chain. Step sizes depend on a row alone, never on its
batch.

Sources: Song et al. 2021 (arXiv:2011.13456), algorithms 4 and 5; Song and Ermon 2019 (arXiv:1907.05600),
algorithm 1.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import normal_like
from sbmae_jax.sampling.leaves import SDETree, leaf_keys, leafwise, require_each, require_masks
from sbmae_jax.sampling.samplers import repeat
from sbmae_jax.types import Array, ScoreFn, StepFn


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
