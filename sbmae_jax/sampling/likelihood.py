r"""Log-density of given points, by following the probability-flow ODE to the prior.

Along any flow dx/dt = v(x, t), the density of the moving point changes by the flow's divergence,
d/dt ln p_t(x(t)) = -div v. Integrating from the data to the prior at t = 1,

    ln p_0(x) = ln p_1(x(1)) + integral_0^1 div v(x(t), t) dt,      v = f x - g^2 s / 2.

The divergence is a trace of the Jacobian of s. Exactly it costs one forward derivative per
coordinate; Hutchinson's estimate E[n^T J n] = tr J, with random signs n, costs one per probe. A
row keeps its probes along the path, so the integrand stays smooth; the estimate of ln p is
unbiased, up to the solver's error.

The path starts at t_min > 0, where x counts as a point of the slightly noised p_{t_min}: for
densities smooth on the scale sigma(t_min) the difference is negligible. With an inexact score, ln
p is the density of the flow model, which is not that of the stochastic samplers.

Conditional densities: for a score of p_t(x_U(t) | x_O), such as `amortised` gives, hold x_O and
integrate over U only (`mask`). A joint score does not allow that; subtract ln p(x_O) under a
score of x_O instead.

Sources: Chen et al. 2018 (arXiv:1806.07366), equation 8; Grathwohl et al. 2019 (arXiv:1810.01367)
for the probes; Song et al. 2021 (arXiv:2011.13456), equation 39.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import placed_like, settled
from sbmae_jax.sampling.leaves import SDETree, leafwise, require_masks
from sbmae_jax.sampling.rows import Rows, is_lone
from sbmae_jax.sampling.samplers import narrowed
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn, State

_Flow = Callable[[Array, Array], tuple[Array, Array]]


def log_density(
    sde: SDETree,
    score: ScoreFn,
    x: State,
    times: Array,
    *,
    key: Key | None = None,
    num_probes: int = 1,
    mask: State | None = None,
) -> Array:
    """Return the log-density of points, by Heun's rule on a fixed grid.

    It evaluates the score 2 N times, each time with D derivatives, or with `num_probes` of them.

    Args:
        sde: the process, or a pytree with one for each array of x.
        score: `(x, t) -> score`, for x as it is given here and a scalar t.
        x: the points, `[B, D]` of floats, one per row; or a pytree of arrays `[B, ...]`, for their joint
            density.
        times: `[N + 1]`, rising from nearly 0 to 1. Take `vp_times(sde, 50)[::-1]`; the page on
            sampling compares it with others.
        key: None for the exact divergence; a typed key for Hutchinson's estimate.
        num_probes: probes of that estimate, in 1..1,000,000. Few probes are rough for single densities: use
            the exact divergence where D allows it.
        mask: `[D]` or `[B, D]` of bool; observed coordinates are held, and the density is that of the
            others. Meant for conditional scores. One for all arrays of x, or a pytree with one for each.

    Returns:
        ln p(x) for each row, `[B]`, in nats.

    Raises:
        ValueError: for times that do not rise; an x of another shape or type, or without entries; an untyped
            key; a mask that is not of bool or does not fit x; or num_probes out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP, log_density, uniform_times
        >>> sde, score, times = VP(), lambda x, t: -x, uniform_times(10)[::-1]  # of a standard normal
        >>> log_p = jax.jit(lambda x: log_density(sde, score, x, times))
        >>> round(float(log_p(jnp.zeros((1, 2)))[0]), 3)  # -ln(2 pi)
        -1.838

    Source: Song et al. 2021 (arXiv:2011.13456), equation 39.
    """
    checks.require_times(times, falling=False)
    sde, score, x, mask = _as_rows(sde, score, x, mask)
    _require_points(x, key, num_probes, mask)
    x = _at_least_single(x)
    times = narrowed(times, x)
    flow, held = _flow_with_divergence(sde, score, x, key, num_probes, mask)

    def advance(carry, pair):
        x, gain = carry
        t, t_next = pair
        dt = t_next - t
        drift, divergence = flow(x, t)
        drift_next, divergence_next = flow(x + dt * drift, t_next)
        x = x + 0.5 * dt * (drift + drift_next)
        return (x, gain + 0.5 * dt * (divergence + divergence_next)), None

    start = (x, jnp.zeros_like(x[:, 0]))
    start = settled(lambda carry: advance(carry, (times[0], times[1]))[0], start)
    (x, gain), _ = jax.lax.scan(advance, start, (times[:-1], times[1:]))
    return _prior_log_prob(sde, x, held) + gain


def log_density_adaptive(
    sde: SDETree,
    score: ScoreFn,
    x: State,
    *,
    t_min: float = 1e-3,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 4096,
    key: Key | None = None,
    num_probes: int = 1,
    mask: State | None = None,
) -> Array:
    """Return the log-density of points, with steps chosen by diffrax's `Tsit5`.

    Each row takes its own steps, so its value does not depend on the other rows of the batch.

    Args:
        sde: as for `log_density`.
        score: as for `log_density`.
        x: as for `log_density`.
        t_min: where the path starts, above 0 and below 1.
        rtol: relative tolerance of a step, above 0.
        atol: absolute tolerance of a step, above 0.
        max_steps: at most this many steps for a row.
        key: as for `log_density`.
        num_probes: as for `log_density`.
        mask: as for `log_density`.

    Returns:
        ln p(x) for each row, `[B]`, in nats.

    Raises:
        ImportError: without diffrax, which `pip install 'sbmae_jax[ode]'` installs.
        ValueError: as `log_density`, and for a number out of range.
        RuntimeError: by diffrax, if max_steps do not suffice.

    Example:
        A tighter tolerance than the default, for points of which the score is smooth::

            log_p = log_density_adaptive(VP(), score, x, rtol=1e-7, atol=1e-7)
    """
    sde, score, x, mask = _as_rows(sde, score, x, mask)
    _require_points(x, key, num_probes, mask)
    checks.require_number("t_min", t_min, above=0, below=1)
    checks.require_number("rtol", rtol, above=0)
    checks.require_number("atol", atol, above=0)
    checks.require_int("max_steps", max_steps, 1)
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            "log_density_adaptive needs diffrax: pip install 'sbmae_jax[ode]', or use log_density"
        ) from error

    def one(x, key, held):
        flow, held = _flow_with_divergence(sde, score, x[None], key, num_probes, held)

        def field(t, state, args):
            return flow(state[0], t)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t_min,
            sde.t_max,
            None,
            (x[None], jnp.zeros(1, x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol, atol),
            max_steps=max_steps,
        )
        end, gain = jax.tree.map(lambda path: path[-1], solution.ys)
        return (_prior_log_prob(sde, end, held) + gain)[0]

    x, held = _at_least_single(x), None if mask is None else checks.mask_like(mask, x)
    keys = None if key is None else jax.random.split(key, x.shape[0])
    axes = (0, None if keys is None else 0, None if held is None else 0)
    return jax.vmap(one, axes)(x, keys, held)


def _flow_with_divergence(
    sde: SDE, score: ScoreFn, x: Array, key: Key | None, num_probes: int, mask: Array | None
) -> tuple[_Flow, Array]:
    """Return `(x, t) -> (drift [B, D], divergence [B])`, and which coordinates are held."""
    score, held = checks.checked_score(score), checks.mask_like(mask, x)
    if key is None:
        probes = jnp.eye(x.shape[1], dtype=x.dtype)[:, None, :]
        scale = 1.0
    else:
        probes = jax.random.rademacher(key, (num_probes, *x.shape), x.dtype)
        scale = 1.0 / num_probes

    def flow(x, t):
        def drift(x):
            return jnp.where(held, 0.0, sde.probability_flow_drift(x, score(x, t), t))

        def quadratic(probe):
            # Rows do not mix, so one probe serves the whole batch at once.
            probe = placed_like(jnp.broadcast_to(probe, x.shape), x)
            probe = jnp.where(held, 0.0, probe)
            return jnp.sum(probe * push(probe), axis=1)

        drift_x, push = jax.linearize(drift, x)
        traces = jax.lax.map(quadratic, probes, batch_size=min(32, probes.shape[0]))
        return drift_x, scale * jnp.sum(traces, axis=0)

    return flow, held


def _as_rows(
    sde: SDETree, score: ScoreFn, x: State, mask: State | None
) -> tuple[SDE, ScoreFn, Array, Array | None]:
    """Return process, score, points and mask of rows [B, D] where a state has several arrays."""
    checks.require_state(x)
    if is_lone(x):
        return sde, score, x, mask
    if mask is not None:
        require_masks(mask)
        mask = leafwise(lambda x, mask: checks.mask_like(mask, x), x, mask=mask)
    rows = Rows(x)
    held = None if mask is None else rows.join(mask)
    return rows.process(sde), rows.score(score), rows.join(x), held


def _require_points(x: Array, key: Key | None, num_probes: int, mask: Array | None) -> None:
    checks.require_state(x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must be [B, D], one point per row; reshape it, got {x.shape}")
    checks.require_int("num_probes", num_probes, 1, checks.MAX_COUNT)
    if key is not None:
        checks.require_key(key)
    if mask is not None:
        checks.require_mask(mask)


def _at_least_single(x: Array) -> Array:
    # Times are float32, so a path that started in a smaller type could not keep its dtype.
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def _prior_log_prob(sde: SDE, x: Array, held: Array) -> Array:
    log_scale = jnp.log(jnp.asarray(sde.prior_scale, x.dtype))
    each = -0.5 * (x / sde.prior_scale) ** 2 - 0.5 * math.log(2 * math.pi) - log_scale
    return jnp.sum(jnp.where(held, 0.0, each), axis=1)
