r"""Exact conditioning: a population of particles, guided towards the observation and reweighted.

A guided sampler is biased because its guidance is a guess. Importance weights correct any guess:
follow many particles, weigh each by how much more likely its step was under the true law than under
the guided one, and let the heavy ones replace the light ones. As the number of particles grows, their
weighted law tends to

    p(x) q(x, t_N)   with   q(x, t) = N(z_O; x0_hat(x, t)_O, v),   v = sigma^2/(alpha^2 + sigma^2),

where p is the law of the unguided chain at its last time, and q, the *twist*, is a guess of
p(z_O | x_t): the prediction of the observed coordinates with the spread that unit-variance data
would leave. At the end v is about sigma^2, about zero, so the target is the conditional law given
z_O, to within noise of that size.

One step from t to t', with m the mean and c the variance of the unguided kernel, n ~ N(0, I):

    guided      x' = m + d + sqrt(c) n,      d = the shift of m when grad ln q joins the score
    weight      ln w = ln q(x', t') - ln q(x, t) - |d|^2 / (2 c) - d.n / sqrt(c)

The last two terms are the log-ratio of the two kernels at x'. The kernel may remember the step
before, as that of `dpm_solver` does: particles carry the memory that the unguided kernel would
have, so that p is still the law of the unguided chain. Particles are resampled,
systematically, when the effective sample size 1 / sum w^2 falls below a share of their number.
With one particle this is reconstruction guidance; the product of the mean weights estimates
p(z_O) without bias.

The error falls as 1 / sqrt(P), with a constant that grows with the number of observed coordinates
and with the distance of the twist from the truth: read `ess` before trusting an answer.

Sources: Wu et al. 2023 (arXiv:2306.17775), algorithm 1; Ho et al. 2022 (arXiv:2204.03458),
equation 7, and Song et al. 2023 (PiGDM, ICLR) for the guess alone; Douc and Cappe 2005 for
systematic resampling.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax.sampling.ode import MultistepMemory, multistep_kernel
from sbmae_jax.sampling.predictors import reverse_kernel
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn


class Particles(NamedTuple):
    """A weighted sample of the conditional law, and how well it was kept.

    Attributes:
        x: `[P, D]`, with the observed coordinates equal to the given value.
        log_weights: `[P]`; their exponentials sum to 1.
        ess: `[N + 1]`, the effective sample size at each time, in [1, P], before any resampling there.
        log_evidence: a scalar estimate of ln p(z_O), in nats; its exponential is unbiased for the chain.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import Particles
        >>> particles = Particles(jnp.ones((4, 2)), jnp.full(4, -jnp.log(4.0)), jnp.full(3, 4.0), 0.0)
        >>> (jnp.exp(particles.log_weights) @ particles.x).tolist()  # the weighted mean
        [1.0, 1.0]
    """

    x: Array
    log_weights: Array
    ess: Array
    log_evidence: Array


def twist(
    sde: SDE, score: ScoreFn, value: Array, mask: Array, covariance: Array | None = None
) -> Callable:
    """Return `(x, t) -> ([B], score)`: the guess of ln p(z_O | x_t), and the score there."""
    checks.require_mask(mask)
    checks.require_numbers("value", value)
    score = checks.checked_score(score)
    if covariance is not None:
        checks.require_numbers("covariance", covariance, floating=True)
    if covariance is not None and (jnp.ndim(mask) != 1 or covariance.shape != mask.shape * 2):
        raise ValueError(
            f"covariance must be [D, D] and the mask [D], the same for all rows, "
            f"got {covariance.shape} and {mask.shape}"
        )
    spectrum = None if covariance is None else jnp.linalg.eigh(covariance)

    def log_twist(x, t):
        score_x, observed = score(x, t), checks.mask_like(mask, x)
        denoised = sde.denoised_from_score(score_x, x, t)
        gap = jnp.where(observed, checks.broadcast_like(value, x, "value") - denoised, 0.0)
        if spectrum is None:
            log_scale = -0.5 * jnp.logaddexp(0.0, sde.log_snr(t))
            gap, log_det = gap * jnp.exp(-log_scale), jnp.sum(observed, axis=1) * log_scale
        else:
            root = _residual_root(sde, spectrum, mask, t)
            gap = jax.scipy.linalg.solve_triangular(root, gap.T, lower=True).T
            log_det = jnp.sum(jnp.log(jnp.diagonal(root)))
        constant = 0.5 * math.log(2 * math.pi) * jnp.sum(observed, axis=1)
        return -0.5 * jnp.sum(gap**2, axis=1) - log_det - constant, score_x

    return log_twist


def _residual_root(sde: SDE, spectrum: tuple[Array, Array], mask: Array, t: Array) -> Array:
    """Return the Cholesky root of the covariance of z_O given x_t, filled up with 1 to [D, D]."""
    values, vectors = spectrum
    snr = jnp.exp(sde.log_snr(t))
    covariance = (vectors * (values / (1 + snr * values))[None]) @ vectors.T
    both = mask[:, None] & mask[None, :]
    return jnp.linalg.cholesky(jnp.where(both, covariance, jnp.diag(1.0 - mask)))


def reconstruction_guidance(
    sde: SDE, score: ScoreFn, value: Array, mask: Array, covariance: Array | None = None
) -> ScoreFn:
    """Guide a score towards an observation, by the gradient of the twist: the guess of one particle.

    The result is biased, except on Gaussian data of the given covariance. Observed coordinates end only near
    their value, so `clamp` them last.

    Args:
        sde: the process.
        score: the joint score, `(x, t) -> score`, for `x: [B, D]` and a scalar t.
        value: `[D]` or `[B, D]`, read where mask is True.
        mask: `[D]` or `[B, D]` of bool, True where observed.
        covariance: `[D, D]`, of the data; then the mask must be `[D]`. Without it, unit variances and no
            correlations are assumed, which costs accuracy where the data have them.

    Returns:
        A score that costs one evaluation with its derivative. It raises ValueError for arrays that do not
        fit x.

    Raises:
        ValueError: for a mask that is not of bool, arrays that are not of numbers, or a covariance that does
            not fit the mask.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, reconstruction_guidance
        >>> value, mask = jnp.asarray([2.0, 0.0]), jnp.asarray([True, False])
        >>> score = reconstruction_guidance(VP(), lambda x, t: -x, value, mask)
        >>> score_x = score(jnp.zeros((4, 2)), jnp.asarray(0.2))[0]
        >>> bool(score_x[0] > 0), bool(score_x[1] == 0)  # towards the value; nothing else
        (True, True)

    Source: Ho et al. 2022 (arXiv:2204.03458), equation 7; Song et al. 2023 (PiGDM, ICLR).
    """
    log_twist = twist(sde, score, value, mask, covariance)

    def guided(x, t):
        checks.require_numbers("x", x, floating=True)
        checks.require_numbers("t", t)
        if jnp.ndim(x) != 2 or jnp.ndim(t):
            raise ValueError(
                f"x must be [B, D] and t one number, got shapes {jnp.shape(x)} and {jnp.shape(t)}"
            )
        _, score_x, push = _evaluate(log_twist, x, t)
        return score_x + push

    return guided


def twisted_sample(
    key: Key,
    sde: SDE,
    score: ScoreFn,
    value: Array,
    mask: Array,
    times: Array,
    num_particles: int,
    *,
    threshold: float = 0.5,
    data_scale: float = 1.0,
    eta: float | None = None,
    covariance: Array | None = None,
) -> Particles:
    """Draw weighted particles from p(x_U | x_O = value): the twisted diffusion sampler.

    It evaluates the score N + 1 times with its derivative, for all particles at once.

    Args:
        key: a typed key.
        sde: the process.
        score: the joint score, `(x, t) -> score`, for `x: [P, D]` and a scalar t.
        value: `[D]`, one observation, read where mask is True. For several, `vmap` over value and mask.
        mask: `[D]` of bool, True where observed.
        times: `[N + 1]`, falling, as for `sample`.
        num_particles: P, in 1..1,000,000.
        threshold: resample when the effective sample size falls below this share of P, in 0..1.
        data_scale: as for `ancestral`, whose steps these are unless eta is given.
        eta: as for `dpm_solver`, and above 0; then these are its steps, which need fewer levels where the
            data are clustered.
        covariance: `[D, D]`, of the data, for a better twist. Without it, particles degenerate when many
            correlated coordinates are observed.

    Returns:
        The particles; `draw_particles` makes rows of equal weight of them.

    Raises:
        ValueError: for a value or mask that is not `[D]`, a mask that is not of bool, a number out of range,
            and for keys and times as `sample` does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, log_snr_times, twisted_sample
        >>> value, mask = jnp.asarray([2.0, 0.0]), jnp.asarray([True, False])
        >>> score, times = lambda x, t: -x, log_snr_times(VP(), 4)
        >>> particles = twisted_sample(jax.random.key(0), VP(), score, value, mask, times, 4)
        >>> particles.x[:, 0].tolist()
        [2.0, 2.0, 2.0, 2.0]

    Source: Wu et al. 2023 (arXiv:2306.17775), algorithm 1.
    """
    _require_observation(key, value, mask, times, num_particles)
    checks.require_number("threshold", threshold, 0, 1)
    checks.require_number("data_scale", data_scale, low=0)
    if eta is not None:
        checks.require_number("eta", eta, above=0)
    times = jnp.asarray(times)
    shape = (num_particles, value.shape[0])
    log_twist = twist(sde, score, value, mask, covariance)
    prior_key, loop_key = jax.random.split(key)

    def kernel(i, cloud, score_x):
        t, t_next = times[i], times[i + 1]
        if eta is None:
            return reverse_kernel(sde, cloud.x, score_x, t, t_next, data_scale)
        before = jnp.where(i > 0, 0.5 * sde.log_snr(times[jnp.maximum(i - 1, 0)]), jnp.inf)
        memory = MultistepMemory(cloud.denoised, before)
        denoised = sde.denoised_from_score(score_x, cloud.x, t)
        return multistep_kernel(sde, cloud.x, memory, denoised, t, t_next, eta)

    def advance(carry, i):
        cloud, log_w, log_evidence = carry
        move_key, pick_key = jax.random.split(jax.random.fold_in(loop_key, i))
        log_w, ess = _normalise(log_w)
        cloud, log_w = _resample(pick_key, cloud, log_w, ess < threshold * num_particles)
        denoised = sde.denoised_from_score(cloud.score_x, cloud.x, times[i])
        x, ratio = _move(move_key, partial(kernel, i), cloud)
        moved = _Cloud(x, *_evaluate(log_twist, x, times[i + 1]), denoised)
        log_w = log_w + moved.log_q - cloud.log_q + ratio
        return (moved, log_w, log_evidence + jax.nn.logsumexp(log_w)), ess

    x = sde.prior(prior_key, shape)
    cloud = _Cloud(x, *_evaluate(log_twist, x, times[0]), jnp.zeros_like(x))
    log_w = cloud.log_q - math.log(num_particles)
    start = (cloud, log_w, jax.nn.logsumexp(log_w))
    (cloud, log_w, log_evidence), ess = jax.lax.scan(advance, start, jnp.arange(len(times) - 1))
    log_w, last = _normalise(log_w)
    x = jnp.where(mask[None], value[None], cloud.x)
    return Particles(x, log_w, jnp.append(ess, last), log_evidence)


def draw_particles(key: Key, particles: Particles, num: int) -> Array:
    """Draw rows of equal weight from weighted particles, by systematic resampling.

    Args:
        key: a typed key.
        particles: as `twisted_sample` returns them.
        num: how many rows, in 1..1,000,000; beyond `particles.ess[-1]` they repeat.

    Returns:
        `[num, D]`.

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
    return particles.x[_systematic(key, particles.log_weights, num)]


class _Cloud(NamedTuple):
    """The particles: where they are, there the twist, the score and the twist's gradient, and a memory."""

    x: Array
    log_q: Array
    score_x: Array
    push: Array
    denoised: Array  # what the score alone predicted at the step before


def _evaluate(log_twist: Callable, x: Array, t: Array) -> tuple[Array, Array, Array]:
    def total(x):
        log_q, score_x = log_twist(x, t)
        return jnp.sum(log_q), (log_q, score_x)

    # Rows do not mix, so the gradient of the sum is each row's own.
    push, (log_q, score_x) = jax.grad(total, has_aux=True)(x)
    return log_q, score_x, push


def _move(key: Key, kernel: Callable, cloud: _Cloud) -> tuple[Array, Array]:
    """Take the guided step; also return the log-ratio of the true kernel to the guided one, [P]."""
    mean, std = kernel(cloud, cloud.score_x)
    guided, _ = kernel(cloud, cloud.score_x + cloud.push)
    shift = (guided - mean) / std
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return guided + std * noise, -jnp.sum(shift * (0.5 * shift + noise), axis=1)


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


def _require_observation(
    key: Key, value: Array, mask: Array, times: Array, num_particles: int
) -> None:
    checks.require_key(key)
    checks.require_times(times, falling=True)
    checks.require_numbers("value", value)
    checks.require_mask(mask)
    checks.require_int("num_particles", num_particles, 1, checks.MAX_COUNT)
    if jnp.ndim(value) != 1 or jnp.shape(mask) != jnp.shape(value):
        raise ValueError(
            f"value and mask must both be [D], one observation; vmap over several, "
            f"got {jnp.shape(value)} and {jnp.shape(mask)}"
        )
