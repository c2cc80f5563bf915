r"""Kernels for the probability-flow ODE: the few-step samplers.

In y = x/alpha and r = sigma/alpha the flow is dy/dr = eps_hat, the predicted noise (`sde`,
equation 5), and with primes at t_next, x0 the predicted clean data and h the step of
ln(alpha/sigma):

    flow (DDIM)        y' = y + (r' - r) eps                                            order 1
    DPM-Solver++(2M)   x' = (sigma'/sigma) e^-(eta h) x + alpha' (1 - e^-(1+eta)h) D
                            + sigma' sqrt(1 - e^-(2 eta h)) n,
                       D = x0 + (h / 2 h_before) (x0 - x0_before)                       order 2

The last is exact for a D that does not change; eta = 0 is the ODE, eta = 1 the reverse SDE.

Those two are exact for data at one point. The others are exact for Gaussian data of deviation c. There x
has the deviation s = (c^2 alpha^2 + sigma^2)^(1/2), and the flow keeps z = x / s. With the angle
phi = arctan(sigma / (c alpha)), z = cos(phi) x_0 / c + sin(phi) eps; as in `sde`, equation 5, its velocity is
that of this line, with predictions for x_0 and eps:

    dz/dphi = v = (c alpha eps - sigma x0 / c) / s.    (1)

phi falls from pi / 2 to 0, and v is 0 for such data and small for others, so that large steps do:

    Heun               z' = z + (phi' - phi) (v + v') / 2                               order 2
    Adams              z' = z + the integral from phi to phi' of the polynomial
                            through the last 1, 2 or 3 velocities              order 1, 2 or 3

With c = 1, v is the "v prediction" of trained networks.

Sources: Song, Meng and Ermon 2021 (arXiv:2010.02502), equation 12; Karras et al. 2022
(arXiv:2206.00364), algorithm 2; Lu et al. 2022 (arXiv:2211.01095), algorithm 2 and appendix B; Salimans and
Ho 2022 (arXiv:2202.00512), appendix D, for the angle and v.
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


def heun(
    sde: SDETree,
    score: ScoreFn,
    churn: float = 0.0,
    observe: StepFn | None = None,
    data_scale: float = 1.0,
) -> StepFn:
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
        data_scale: standard deviation that the data are assumed to have, above 0; the step is exact on
            Gaussian data of this deviation.

    Returns:
        A kernel of order 2, best over `vp_times`.

    Raises:
        ValueError: for a churn below 0, or a data_scale not above 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, heun
        >>> step = heun(VP(), lambda x, t: -x)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 2, in the coordinates of this module, equation 1.
    """
    checks.require_number("churn", churn, low=0)
    if not isinstance(sde, SDE) and not _is_zero(churn):
        raise ValueError(
            "churn needs one sde for the whole state: it raises its time; set churn to 0"
        )
    require_each(checks.require_number, "data_scale", data_scale, above=0)
    score = checks.checked_score(score)

    processes = jax.tree.leaves(sde, is_leaf=lambda one: isinstance(one, SDE))

    def kernel(key, x, t, t_next):
        churn_key, observe_key = jax.random.split(key)
        if not _is_zero(churn):
            x, t = _raise_noise(sde, churn_key, x, t, churn)
        score_x = score(x, t)
        # At sigma = 0 there may be no score; there the predicted clean data stand.
        noisy = jnp.all(jnp.stack([one.sigma(t_next) > 0 for one in processes]))

        def first(x, score_x, sde, data_scale):
            velocity = angular_velocity(sde, score_x, x, t, data_scale)
            moved = _turned(sde, x, velocity, t, t_next, data_scale)
            clean = sde.alpha(t_next) * sde.denoised_from_score(score_x, x, t)
            return velocity, jnp.where(noisy, moved, clean).astype(x.dtype)

        options = {"sde": sde, "data_scale": data_scale}
        velocity, trial = leafwise(first, x, score_x, **options)
        if observe is not None:
            trial = observe(observe_key, trial, t_next, t_next)
        safe = jnp.where(noisy, t_next, t)

        def second(x, trial, score_trial, velocity, sde, data_scale):
            mean = 0.5 * (velocity + angular_velocity(sde, score_trial, trial, safe, data_scale))
            better = _turned(sde, x, mean, t, t_next, data_scale)
            return jnp.where(noisy, better, trial).astype(x.dtype)

        return leafwise(second, x, trial, score(trial, safe), velocity, **options)

    return kernel


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


def angle_and_scale(sde: SDE, t: Array, data_scale: float) -> tuple[Array, Array]:
    """Return phi and s of equation 1."""
    clean, noise = data_scale * sde.alpha(t), sde.sigma(t)
    return jnp.arctan2(noise, clean), jnp.hypot(noise, clean)


def angular_velocity(sde: SDE, score: Array, x: Array, t: Array, data_scale: float) -> Array:
    """Return dz/dphi of equation 1."""
    eps = sde.noise_from_score(score, t)
    clean = sde.denoised_from_score(score, x, t) / data_scale
    _, scale = angle_and_scale(sde, t, data_scale)
    return (data_scale * sde.alpha(t) * eps - sde.sigma(t) * clean) / scale


def _turned(
    sde: SDE, x: Array, velocity: Array, t: Array, t_next: Array, data_scale: float
) -> Array:
    """Return where a constant velocity of equation 1 leads."""
    angle, scale = angle_and_scale(sde, t, data_scale)
    angle_next, scale_next = angle_and_scale(sde, t_next, data_scale)
    return scale_next * (x / scale + (angle_next - angle) * velocity)


class AdamsMemory(NamedTuple):
    """What `adams` remembers of the last two steps, the later one first.

    Attributes:
        last: dz/dphi at the last step, of the shape of x.
        before: dz/dphi at the one before.
        angles: phi at both, `[2]` for each array of x; +inf where there was no step.
    """

    last: State
    before: State
    angles: State


def adams(sde: SDETree, score: ScoreFn, order: int = 3, data_scale: float = 1.0) -> MemoryStep:
    """Take an Adams-Bashforth step of the flow in its angle: the best at 10 to 20 steps; one evaluation.

    It needs a smooth score on data of about unit scale. Where a learned score is rough, `dpm_solver` is the
    safer choice, and forgives errors with eta 1.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        order: in 1..3. 1 is Euler's step, which needs no memory.
        data_scale: standard deviation that the data are assumed to have, above 0; the step is exact on
            Gaussian data of this deviation.

    Returns:
        A kernel with a memory, best over `vp_times`. The first steps are of order 1 and 2, which is seen
        only beyond a hundred steps; so are those after a jump back, as of `repaint`.

    Raises:
        ValueError: for an order out of range, or a data_scale not above 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, adams, sample, vp_times
        >>> sde = VP()
        >>> step, times = adams(sde, lambda x, t: -x), vp_times(sde, 8)
        >>> run = jax.jit(lambda x: sample(jax.random.key(0), step, x, times))
        >>> run(jax.numpy.ones((4, 2))).shape
        (4, 2)

    Source: this module, equation 1, by the rule of Bashforth and Adams (1883) for unequal steps.
    """
    checks.require_int("order", order, 1, 3)
    require_each(checks.require_number, "data_scale", data_scale, above=0)
    score = checks.checked_score(score)

    def init(x):
        def empty(x):
            nowhere = jnp.full(2, jnp.inf, jnp.promote_types(x.dtype, jnp.float32))
            return jnp.zeros_like(x), jnp.zeros_like(x), nowhere

        return AdamsMemory(*leafwise(empty, x))

    def move(key, x, memory, t, t_next):
        del key

        def one(x, score_x, last, before, angles, sde, data_scale):
            velocity = angular_velocity(sde, score_x, x, t, data_scale)
            angle, scale = angle_and_scale(sde, t, data_scale)
            angle_next, scale_next = angle_and_scale(sde, t_next, data_scale)
            weights = adams_weights(angle_next - angle, angles - angle, order)
            turn = weights[0] * velocity + weights[1] * last + weights[2] * before
            moved = scale_next * (x / scale + turn)
            reached = jnp.stack([jnp.broadcast_to(angle, ()).astype(angles.dtype), angles[0]])
            return moved.astype(x.dtype), velocity.astype(x.dtype), last, reached

        options = {"sde": sde, "data_scale": data_scale}
        x, *after = leafwise(one, x, score(x, t), *memory, **options)
        return x, AdamsMemory(*after)

    return MemoryStep(init, move)


def adams_weights(step: Array, before: Array, order: int) -> tuple[Array, Array, Array]:
    """Return the weights of the last three velocities in a step of Adams and Bashforth.

    Args:
        step: the step, of either sign.
        before: `[2]`, where the two velocities before the last were taken, relative to the last, the later
            one first. One that does not lie behind the last one and that before is not used.
        order: in 1..3, how many are used at most.
    """
    first, second = before[0], before[1]
    one = (first * step < 0) & jnp.isfinite(first) & (order > 1)
    two = one & ((second - first) * step < 0) & jnp.isfinite(second) & (order > 2)
    a, b = jnp.where(one, first, 1.0), jnp.where(two, second, 2.0 * jnp.where(one, first, 1.0))
    # The integrals over the step of the polynomials that are 1 at one place and 0 at the others.
    square, cube = step**2 / 2, step**3 / 3
    weight_one = jnp.where(two, (cube - b * square) / (a * (a - b)), square / a)
    weight_one = jnp.where(one, weight_one, 0.0)
    weight_two = jnp.where(two, (cube - a * square) / (b * (b - a)), 0.0)
    return step - weight_one - weight_two, weight_one, weight_two


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
        >>> sde = VP()
        >>> step, times = dpm_solver(sde, lambda x, t: -x, eta=1.0), log_snr_times(sde, 8)
        >>> run = jax.jit(lambda x: sample(jax.random.key(0), step, x, times))
        >>> run(jax.numpy.ones((4, 2))).shape
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
