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

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sbmae_jax._check import (
    MAX_COUNT,
    broadcast_like,
    checked_score,
    require_int,
    require_key,
    require_mask,
    require_number,
    require_state,
    require_times,
)
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

_Rate = Callable[[Array, Array], tuple[Array, Array]]


def log_density(
    sde: SDE,
    score: ScoreFn,
    x: Array,
    times: Array,
    *,
    key: Key | None = None,
    num_probes: int = 1,
    mask: Array | None = None,
) -> Array:
    """Return ln p(x) for each row of `x: [B, D]`, in nats, by Heun's rule on a fixed grid: `[B]`.

    times: `[N + 1]`, rising from nearly 0 to 1, e.g. `edm_times(sde, 100)[::-1]`; 2 N evaluations
        of the score, each with D derivatives, or with `num_probes` of them.
    key: None for the exact divergence; a typed key for Hutchinson's estimate.
    mask: `[D]` or `[B, D]` of bool; observed coordinates are held, and the density is that of the
        others. Meant for conditional scores.

    Raises ValueError for times that do not rise, an x that is not `[B, D]` of floats, neither of them 0, an
    untyped key, a mask that is not of bool or does not fit x, or num_probes below 1.
    """
    require_times(times, falling=False)
    _refuse(x, key, num_probes, mask)
    times, x = jnp.asarray(times), _at_least_single(x)
    rate, held = _augmented(sde, score, x, key, num_probes, mask)

    def advance(carry, pair):
        x, gain = carry
        t, t_next = pair
        dt = t_next - t
        slope, trace = rate(x, t)
        slope_next, trace_next = rate(x + dt * slope, t_next)
        x = x + 0.5 * dt * (slope + slope_next)
        return (x, gain + 0.5 * dt * (trace + trace_next)), None

    start = (x, jnp.zeros(x.shape[0], x.dtype))
    (x, gain), _ = jax.lax.scan(advance, start, (times[:-1], times[1:]))
    return _prior_log_prob(sde, x, held) + gain


def log_density_adaptive(
    sde: SDE,
    score: ScoreFn,
    x: Array,
    *,
    t_min: float = 1e-3,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    max_steps: int = 4096,
    key: Key | None = None,
    num_probes: int = 1,
    mask: Array | None = None,
) -> Array:
    """Return ln p(x) for each row, as `log_density`, with steps chosen by diffrax's `Tsit5`.

    Each row has its own steps, so its value does not depend on its batch mates.
    Raises ImportError without diffrax, what `log_density` raises, and ValueError for a t_min that is not in
    0..1 and tolerances that are not above 0. Where max_steps do not suffice, diffrax raises RuntimeError.
    """
    _refuse(x, key, num_probes, mask)
    require_number("t_min", t_min, above=0, below=1)
    require_number("rtol", rtol, above=0)
    require_number("atol", atol, above=0)
    require_int("max_steps", max_steps, 1)
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            "log_density_adaptive needs diffrax: pip install 'sbmae_jax[ode]', or use log_density"
        ) from error

    def one(x, key, held):
        rate, held = _augmented(sde, score, x[None], key, num_probes, held)

        def field(t, state, args):
            slope, trace = rate(state[0], t)
            return slope, trace

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t_min,
            1.0,
            None,
            (x[None], jnp.zeros(1, x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol, atol),
            max_steps=max_steps,
        )
        end, gain = jax.tree.map(lambda path: path[-1], solution.ys)
        return (_prior_log_prob(sde, end, held) + gain)[0]

    x, held = _at_least_single(x), None if mask is None else broadcast_like(mask, x, "mask")
    keys = None if key is None else jax.random.split(key, x.shape[0])
    axes = (0, None if keys is None else 0, None if held is None else 0)
    return jax.vmap(one, axes)(x, keys, held)


def _augmented(
    sde: SDE, score: ScoreFn, x: Array, key: Key | None, num_probes: int, mask: Array | None
) -> tuple[_Rate, Array]:
    """Return the flow with its divergence, `(x, t) -> ([B, D], [B])`, and what is held."""
    score, held = (
        checked_score(score),
        broadcast_like(jnp.asarray(False) if mask is None else mask, x, "mask"),
    )
    if key is None:
        probes = jnp.eye(x.shape[1], dtype=x.dtype)[:, None, :]
        scale = 1.0
    else:
        probes = jax.random.rademacher(key, (num_probes, *x.shape), x.dtype)
        scale = 1.0 / num_probes

    def rate(x, t):
        def flow(x):
            return jnp.where(held, 0.0, sde.probability_flow_drift(x, score(x, t), t))

        def quadratic(probe):
            # Rows do not mix, so one probe serves the whole batch at once.
            probe = jnp.where(held, 0.0, jnp.broadcast_to(probe, x.shape))
            return jnp.sum(probe * push(probe), axis=1)

        slope, push = jax.linearize(flow, x)
        traces = jax.lax.map(quadratic, probes, batch_size=min(32, probes.shape[0]))
        return slope, scale * jnp.sum(traces, axis=0)

    return rate, held


def _refuse(x: Array, key: Key | None, num_probes: int, mask: Array | None) -> None:
    require_state(x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must be [B, D], one point per row; reshape it, got {x.shape}")
    require_int("num_probes", num_probes, 1, MAX_COUNT)
    if key is not None:
        require_key(key)
    if mask is not None:
        require_mask(mask)


def _at_least_single(x: Array) -> Array:
    # The times are float32, and a path that began in less could not be carried on in it.
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def _prior_log_prob(sde: SDE, x: Array, held: Array) -> Array:
    # A coordinate at 0 adds only the constant of its Gaussian; take that back where it is held.
    constant = sde.prior_log_prob(jnp.zeros_like(x)) / x.shape[1]
    free = sde.prior_log_prob(jnp.where(held, 0.0, x))
    return free - jnp.sum(held, axis=1) * constant
