r"""Exact conditioning: a population of particles, guided towards the observation and reweighted.

A guided sampler is biased because its guidance is a guess. Importance weights correct any guess:
follow many particles, weigh each by how much more likely its step was under the true law than under
the guided one, and let the heavy ones replace the light ones. As the number of particles grows, their
weighted law tends to the Feynman-Kac measure

    p(x) q(x, t_N),

where p is the law of the unguided chain at its last time, and q any positive function, the *twist*
(`twists`). For an observation y it is a guess of p(y | x_t), which at the last time, where x is almost
clean, is almost the likelihood of y: to within noise of the size of sigma(t_N) / alpha(t_N). Then the
target is p(x | y), and the better the guesses before, the fewer particles are needed. The target does not
depend on them, nor on the gradient that guides: a `frozen_below` biases nothing here.

One step from t to t', with m the mean and c the variance of the unguided kernel, n ~ N(0, I):

    guided      x' = m + d + sqrt(c) n,      d = the shift of m when grad ln q joins the score
    weight      ln w = ln q(x', t') - ln q(x, t) - |d|^2 / (2 c) - d.n / sqrt(c)

The last two terms are the log-ratio of the two kernels at x'. The kernel may remember the step
before, as that of `dpm_solver` does: particles carry the memory that the unguided kernel would
have, so that p is still the law of the unguided chain. Particles are resampled,
systematically, when the effective sample size 1 / sum w^2 falls below a share of their number.
With one particle this is reconstruction guidance; the product of the mean weights estimates
the mean of q over p, which is p(y), without bias.

The error falls as 1 / sqrt(P), with a constant that grows with the number of observed coordinates
and with the distance of the twist from the truth: read `ess` before trusting an answer.

Sources: Wu et al. 2023 (arXiv:2306.17775), algorithm 1; Del Moral 2004, Feynman-Kac Formulae; Douc and
Cappe 2005 for systematic resampling.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax._placement import settled
from sbmae_jax.sampling.leaves import SDETree
from sbmae_jax.sampling.observations import Operator, is_zero
from sbmae_jax.sampling.ode import MultistepMemory, multistep_kernel
from sbmae_jax.sampling.predictors import reverse_kernel
from sbmae_jax.sampling.rows import Rows, is_lone
from sbmae_jax.sampling.samplers import narrowed
from sbmae_jax.sampling.twists import Twist, Twisted, twist
from sbmae_jax.types import Array, Key, ScoreFn, State


class Particles(NamedTuple):
    """A weighted sample of the conditional law, and how well it was kept.

    Attributes:
        x: `[P, D]`, or a pytree of arrays `[P, ...]`; coordinates that were observed without noise are equal
            to the given value.
        log_weights: `[P]`; their exponentials sum to 1.
        ess: `[N + 1]`, the effective sample size at each time, in [1, P], before any resampling there.
        log_evidence: a scalar estimate of ln p(y), in nats; its exponential is unbiased for the chain.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import Particles
        >>> particles = Particles(jnp.ones((4, 2)), jnp.full(4, -jnp.log(4.0)), jnp.full(3, 4.0), 0.0)
        >>> (jnp.exp(particles.log_weights) @ particles.x).tolist()  # the weighted mean
        [1.0, 1.0]
    """

    x: State
    log_weights: Array
    ess: Array
    log_evidence: Array


def feynman_kac(
    key: Key,
    sde: SDETree,
    twist: Twist,
    times: Array,
    shape: Any,
    *,
    threshold: float = 0.5,
    data_scale: float = 1.0,
    eta: float | None = None,
) -> Particles:
    """Draw weighted particles from p(x) q(x, t_N), for any twist q: `twisted_sample` for other weights.

    It evaluates the twist N + 1 times, for all particles at once.

    Args:
        key: a typed key.
        sde: the process, or a pytree with one for each array of x.
        twist: `(x, t) -> Twisted`, as `twist` and `tilt` make it. Its values at all times steer the
            particles, and those at the last time are what they are weighted by in the end.
        times: `[N + 1]`, falling, as for `sample`.
        shape: of the particles, `(P, ...)`, with P in 1..1,000,000; or a pytree of shapes, of the same P,
            for particles of several arrays.
        threshold: resample when the effective sample size falls below this share of P, in 0..1.
        data_scale: as for `ancestral`, whose steps these are unless eta is given.
        eta: as for `dpm_solver`, and above 0; then these are its steps.

    Returns:
        The particles, `x: [P, ...]`; `log_evidence` is the logarithm of the mean of q(x, t_N) over p.

    Raises:
        ValueError: for a number out of range, a shape without particles, and for keys and times as `sample`
            does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, feynman_kac, log_snr_times, tilt
        >>> sde, score = VP(), lambda x, t: -x  # of standard normal data
        >>> warm = tilt(sde, score, lambda x, t, denoised: denoised[:, 0])  # weights exp(x_0)
        >>> times = log_snr_times(sde, 30)
        >>> run = jax.jit(lambda key: feynman_kac(key, sde, warm, times, (2000, 1), eta=1.0))
        >>> found = run(jax.random.key(0))
        >>> round(float(jnp.exp(found.log_weights) @ found.x[:, 0]))  # the mean of N(1, 1)
        1

    Source: Wu et al. 2023 (arXiv:2306.17775), algorithm 1; Del Moral 2004, Feynman-Kac Formulae.
    """
    checks.require_key(key)
    checks.require_times(times, falling=True)
    if not isinstance(shape, tuple) and not is_lone(shape):
        return _several(
            key, sde, twist, times, shape, threshold=threshold, data_scale=data_scale, eta=eta
        )
    checks.require_shape(shape)
    if len(shape) < 2:
        raise ValueError(f"shape must be that of the particles, (P, ...), got {shape}")
    checks.require_int("the number of particles", shape[0], 1, checks.MAX_COUNT)
    checks.require_number("threshold", threshold, 0, 1)
    checks.require_number("data_scale", data_scale, low=0)
    if eta is not None:
        checks.require_number("eta", eta, above=0)
    num, times = shape[0], narrowed(times, jnp.zeros(()))  # that is what the prior draws
    num_steps = times.shape[0] - 1
    prior_key, loop_key = jax.random.split(key)

    def kernel(j, cloud, score_x):
        if eta is None:
            return reverse_kernel(sde, cloud.x, score_x, times[j], times[j + 1], data_scale)
        before = jnp.where(j > 0, 0.5 * sde.log_snr(times[jnp.maximum(j - 1, 0)]), jnp.inf)
        memory = MultistepMemory(cloud.denoised, before)
        denoised = sde.denoised_from_score(score_x, cloud.x, times[j])
        return multistep_kernel(sde, cloud.x, memory, denoised, times[j], times[j + 1], eta)

    def visit(carry, i):
        x, before, log_w, log_evidence = carry
        # Only here is the twist evaluated; so a program has one copy of the score and of its derivatives.
        cloud = _Cloud(x, before.denoised, twist(x, times[i]))
        log_w = log_w + cloud.at.log_value + before.log_ratio
        log_evidence = log_evidence + jax.nn.logsumexp(log_w)
        log_w, ess = _normalise(log_w)
        # At the last time there is no step: its result is not used.
        j = jnp.minimum(i, num_steps - 1)
        move_key, pick_key = jax.random.split(jax.random.fold_in(loop_key, i))
        needed = (ess < threshold * num) & (i < num_steps)
        cloud, log_w = _resample(pick_key, cloud, log_w, needed)
        denoised = sde.denoised_from_score(cloud.at.score, cloud.x, times[j])
        x, log_ratio = _move(move_key, partial(kernel, j), cloud)
        moved = _Before(denoised, log_ratio - cloud.at.log_value)
        return (jnp.where(i < num_steps, x, cloud.x), moved, log_w, log_evidence), ess

    x = sde.prior(prior_key, shape)
    start = (
        x,
        _Before(jnp.zeros_like(x), jnp.zeros(num)),
        jnp.full(num, -math.log(num)),
        jnp.zeros(()),
    )
    start = settled(lambda carry: visit(carry, jnp.asarray(0))[0], start)
    (x, _, log_w, log_evidence), ess = jax.lax.scan(visit, start, jnp.arange(num_steps + 1))
    return Particles(x, log_w, ess, log_evidence)


def _several(
    key: Key, sde: SDETree, twist: Twist, times: Array, shape: Any, **options: Any
) -> Particles:
    """Draw particles of several arrays, as rows of their coordinates."""

    def placeholder(one):
        checks.require_shape(one)
        return jax.ShapeDtypeStruct(one, jnp.zeros(()).dtype)

    like = jax.tree.map(placeholder, shape, is_leaf=lambda v: isinstance(v, tuple))
    rows, num = Rows(like), jax.tree.leaves(like)[0].shape[0]

    def of_rows(x, t):
        found = twist(rows.split(x), t)
        return Twisted(found.log_value, rows.join(found.gradient), rows.join(found.score))

    found = feynman_kac(key, rows.process(sde), of_rows, times, (num, rows.size), **options)
    return found._replace(x=rows.split(found.x))


def twisted_sample(
    key: Key,
    sde: SDETree,
    score: ScoreFn,
    value: State,
    operator: Operator,
    times: Array,
    num_particles: int,
    *,
    noise: float | Array = 0.0,
    covariance: float | Array | str = 1.0,
    frozen_below: float = 0.0,
    size: Any = None,
    threshold: float = 0.5,
    data_scale: float = 1.0,
    eta: float | None = None,
) -> Particles:
    """Draw weighted particles from p(x | y = A(x) + noise): the twisted diffusion sampler.

    It evaluates the score and its derivatives, as `twist` counts them, N + 1 times for all particles at once.

    Args:
        key: a typed key.
        sde: the process, or a pytree with one for each array of x.
        score: the joint score, `(x, t) -> score`, for `x: [P, D]`, or a pytree of arrays, and a scalar t.
        value: one observation: `[D]` for a mask, read where it is True; `[m]` for any other operator. For
            several, `vmap` over value and mask.
        operator: as for `twist`: a mask `[D]` of bool, a matrix `[m, D]`, or a function `[P, D] -> [P, m]`.
            A pytree of masks, each of the shape of a particle's array, makes particles of several arrays.
        times: `[N + 1]`, falling, as for `sample`.
        num_particles: P, in 1..1,000,000.
        noise: the standard deviation of the noise of the observation, at least 0.
        covariance: as for `twist`: the variance or the covariance of the data, or "jacobian". With variance
            1, particles degenerate when many correlated coordinates are observed.
        frozen_below: as for `twist`.
        size: D, where the operator is a function; for particles of several arrays a pytree with D, or a tuple
            of sizes, for each.
        threshold: resample when the effective sample size falls below this share of P, in 0..1.
        data_scale: as for `ancestral`, whose steps these are unless eta is given.
        eta: as for `dpm_solver`, and above 0; then these are its steps, which need fewer levels where the
            data are clustered.

    Returns:
        The particles; `draw_particles` makes rows of equal weight of them. Where a mask was observed without
        noise, their observed coordinates are set to the value.

    Raises:
        ValueError: for a value that is not one observation, a missing size, and as `twist` and `feynman_kac`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, log_snr_times, twisted_sample
        >>> value, mask = jnp.asarray([2.0, 0.0]), jnp.asarray([True, False])
        >>> score, times = lambda x, t: -x, log_snr_times(VP(), 4)
        >>> run = jax.jit(lambda key: twisted_sample(key, VP(), score, value, mask, times, 4))
        >>> run(jax.random.key(0)).x[:, 0].tolist()
        [2.0, 2.0, 2.0, 2.0]

    Source: Wu et al. 2023 (arXiv:2306.17775), algorithm 1.
    """
    checks.require_key(key)
    checks.require_int("num_particles", num_particles, 1, checks.MAX_COUNT)
    options = {"noise": noise, "covariance": covariance, "frozen_below": frozen_below}
    at = twist(sde, score, value, operator, **options)
    shape = _shape_of(num_particles, value, operator, size)
    options = {"threshold": threshold, "data_scale": data_scale, "eta": eta}
    found = feynman_kac(key, sde, at, times, shape, **options)
    masks = not callable(operator) and all(v.dtype == bool for v in jax.tree.leaves(operator))
    if is_zero(noise) and masks:

        def put(mask, value, x):
            return jnp.where(mask[None], jnp.broadcast_to(value, mask.shape)[None], x)

        found = found._replace(x=jax.tree.map(put, operator, value, found.x))
    return found


def draw_particles(key: Key, particles: Particles, num: int) -> State:
    """Draw rows of equal weight from weighted particles, by systematic resampling.

    Args:
        key: a typed key.
        particles: as `twisted_sample` returns them.
        num: how many rows, in 1..1,000,000; beyond `particles.ess[-1]` they repeat.

    Returns:
        `[num, D]`, or a pytree of arrays like those of the particles.

    Raises:
        ValueError: for an untyped key, or a num out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import Particles, draw_particles
        >>> log_weights = jnp.log(jnp.asarray([0.5, 0.5, 0.0, 0.0]))
        >>> particles = Particles(jnp.arange(8.0).reshape(4, 2), log_weights, jnp.full(3, 2.0), 0.0)
        >>> draw_particles(jax.random.key(0), particles, 4)[:, 0].tolist()
        [0.0, 0.0, 2.0, 2.0]

    Source: Douc and Cappe 2005.
    """
    checks.require_key(key)
    checks.require_int("num", num, 1, checks.MAX_COUNT)
    picked = _systematic(key, particles.log_weights, num)
    return jax.tree.map(lambda x: x[picked], particles.x)


class _Before(NamedTuple):
    """What particles keep of the step before.

    Attributes:
        denoised: what the score alone predicted there, [P, ...].
        log_ratio: of the true step to the guided one, over the twist there, [P].
    """

    denoised: Array
    log_ratio: Array


class _Cloud(NamedTuple):
    """The particles: where they are, what was predicted at the step before, and the twist."""

    x: Array
    denoised: Array
    at: Twisted


def _move(key: Key, kernel: Callable, cloud: _Cloud) -> tuple[Array, Array]:
    """Take the guided step; also return the log-ratio of the true kernel to the guided one, [P]."""
    mean, std = kernel(cloud, cloud.at.score)
    guided, _ = kernel(cloud, cloud.at.score + cloud.at.gradient)
    shift = (guided - mean) / std
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    axes = tuple(range(1, mean.ndim))
    return guided + std * noise, -jnp.sum(shift * (0.5 * shift + noise), axis=axes)


def _normalise(log_w: Array) -> tuple[Array, Array]:
    """Return log-weights that sum to 1, and their effective sample size."""
    log_w = jax.nn.log_softmax(log_w)
    return log_w, jnp.exp(-jax.nn.logsumexp(2 * log_w))


def _resample(key: Key, cloud: _Cloud, log_w: Array, needed: Array) -> tuple[_Cloud, Array]:
    num = log_w.shape[0]
    picked = jnp.where(needed, _systematic(key, log_w, num), jnp.arange(num))
    return jax.tree.map(lambda v: v[picked], cloud), jnp.where(needed, -math.log(num), log_w)


def _systematic(key: Key, log_w: Array, num: int) -> Array:
    # One uniform number and an even comb: a row is picked as often as expected, within one.
    comb = (jnp.arange(num) + jax.random.uniform(key)) / num
    picked = jnp.searchsorted(jnp.cumsum(jnp.exp(log_w)), comb)
    return jnp.minimum(picked, log_w.shape[0] - 1)  # the sum may round to just below 1


def _shape_of(num: int, value: State, operator: Operator, size: Any) -> Any:
    """Return the shape of the particles, or a pytree of shapes."""
    if callable(operator) and not (size is None or isinstance(size, int)):
        _require_one(value, operator, 1)

        def whole(one):
            return (num, *(one if isinstance(one, tuple) else (one,)))

        return jax.tree.map(whole, size, is_leaf=lambda v: isinstance(v, tuple))
    if callable(operator) or is_lone(operator):
        return num, _require_one(value, operator, size)
    return jax.tree.map(lambda mask: (num, *mask.shape), operator)


def _require_one(value: Array, operator: Operator, size: int | None) -> int:
    """Return D, or raise ValueError where value or mask are not those of one observation."""
    found = jnp.shape(value)
    if not isinstance(operator, jax.Array | np.ndarray):
        if size is None:
            raise ValueError(
                "size must be D, the number of coordinates, where operator is a function"
            )
        checks.require_int("size", size, 1)
        wanted, others = "[m]", ""
    elif operator.dtype == jnp.bool_:
        size, wanted, others = operator.shape[-1], "[D], as the mask", f" and {operator.shape}"
        found = found if found == operator.shape else (None, *found)
    else:
        size, wanted, others = operator.shape[-1], "[m]", ""
    if len(found) != 1:
        raise ValueError(
            f"value must be {wanted}, one observation; vmap over several, got {jnp.shape(value)}{others}"
        )
    return size
