"""Samplers as a whole: orders of convergence, and the laws that they end in."""

import functools

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    EDM,
    VE,
    VP,
    adams,
    ancestral,
    chain,
    dpm_solver,
    edm_times,
    euler_maruyama,
    heun,
    langevin,
    log_snr_times,
    probability_flow,
    sample,
    uniform_times,
    vp_times,
)  # fmt: skip
from sbmae_jax.sampling.ode import adams_weights
from sbmae_jax.sampling.samplers import once

# ---------------------------------------------------------------- order of convergence


@pytest.mark.parametrize(
    ("solver", "grid", "order"),
    [
        (probability_flow, edm_times, 1.0),
        (heun, vp_times, 2.0),
        (functools.partial(adams, order=1), vp_times, 1.0),
        (functools.partial(adams, order=2), vp_times, 2.0),
        (dpm_solver, log_snr_times, 2.0),
    ],
)
@pytest.mark.parametrize("sde", [VP(), EDM()], ids=repr)
def test_order_of_convergence(sde, solver, grid, order, x64, key):
    data, t_min = analytic.three_modalities(), 0.02
    x = sde.prior(key, (4, 5))
    exact = data.flow(sde, x, 1.0, t_min)
    errors = []
    steps = np.array([100, 200, 400])
    for num in steps:
        end = sample(jax.random.key(0), solver(sde, data.score(sde)), x, grid(sde, num, t_min))
        errors.append(np.abs(end - exact).max())
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order - 0.1 < slope < order + 0.25


@pytest.mark.parametrize(
    ("solver", "tolerance"), [(probability_flow, 0.1), (heun, 2e-3), (dpm_solver, 2e-3)]
)
def test_flow_there_and_back_returns_the_start(solver, tolerance, x64, key):
    data, sde = analytic.three_modalities(), VP()
    x = data.sample(key, 3)
    step, times = solver(sde, data.score(sde)), log_snr_times(sde, 200, 1e-2)
    up = sample(jax.random.key(0), step, x, times[::-1], rising=True)
    assert jnp.abs(up - x).max() > 0.5
    np.testing.assert_allclose(up, data.flow(sde, x, 1e-2, 1.0), atol=tolerance)
    down = sample(jax.random.key(0), step, up, times)
    np.testing.assert_allclose(down, x, atol=tolerance)


@pytest.mark.parametrize("solver", [probability_flow, heun, dpm_solver, ancestral])
def test_a_step_to_no_noise_is_the_prediction(solver):
    # VP has no noise at t = 0, and the score below does not exist there.
    sde, t, x = VP(), jnp.asarray(0.3), jnp.asarray([[1.0, -2.0]])
    score = analytic.gaussian([0.5, 0.5], 1e-12 * np.eye(2)).score(sde)
    end = once(solver(sde, score))(jax.random.key(0), x, t, jnp.asarray(0.0))
    np.testing.assert_allclose(end, [[0.5, 0.5]], atol=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_adams_weights_integrate_polynomials_below_their_order(order, x64):
    # Hence the order of a step; the first two steps of a run have no such memory.
    step, places = -0.3, np.array([0.0, 0.1, 0.35])
    weights = np.array(adams_weights(step, jnp.asarray(places[1:]), order))
    for power in range(order):
        exact = step ** (power + 1) / (power + 1)
        np.testing.assert_allclose(weights @ places**power, exact, rtol=1e-12)
    assert abs(weights @ places**order - step ** (order + 1) / (order + 1)) > 1e-4


@pytest.mark.parametrize("make", [heun, adams])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_one_step_is_exact_on_gaussian_data_of_the_scale_that_it_assumes(make, scale, x64):
    sde, x = VP(), jnp.asarray([[1.0, -2.0]])
    data = analytic.gaussian(np.zeros(2), scale**2 * np.eye(2))
    step = make(sde, data.score(sde), data_scale=scale)
    end = sample(jax.random.key(0), step, x, jnp.asarray([1.0, 0.1]))
    np.testing.assert_allclose(end, data.flow(sde, x, 1.0, 0.1), rtol=1e-8)


def test_adams_takes_no_memory_from_less_noise():
    # After a jump back, as of RePaint, the step is Euler's.
    sde, x = VP(), jnp.asarray([[1.0, -2.0]])
    score, step = analytic.two_modes().score(sde), adams(sde, analytic.two_modes().score(sde))
    memory = step.step(jax.random.key(0), x, step.init(x), 0.3, 0.2)[1]
    after, plain = (step.step(jax.random.key(0), x, m, 0.5, 0.4)[0] for m in (memory, step.init(x)))
    np.testing.assert_array_equal(after, plain)
    euler = adams(sde, score, order=1)
    np.testing.assert_allclose(
        plain, euler.step(jax.random.key(0), x, euler.init(x), 0.5, 0.4)[0], rtol=1e-6
    )


# ---------------------------------------------------------------- laws


KERNELS = {
    "euler_maruyama": (euler_maruyama, 300, uniform_times),
    "ancestral": (functools.partial(ancestral, data_scale=1.0), 100, log_snr_times),
    "predictor-corrector": (
        lambda sde, score: chain(ancestral(sde, score), langevin(sde, score, 0.2, 3)),
        100,
        log_snr_times,
    ),
    "heun": (heun, 20, vp_times),
    "adams": (adams, 20, vp_times),
    "heun with churn": (functools.partial(heun, churn=0.1), 100, vp_times),
    "probability_flow": (probability_flow, 300, edm_times),
    "dpm_solver": (dpm_solver, 40, log_snr_times),
    "dpm_solver, stochastic": (functools.partial(dpm_solver, eta=1.0), 80, log_snr_times),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("sde", [VP(), VE()], ids=repr)
def test_every_sampler_recovers_mean_and_covariance(name, sde, key):
    # 10,000 rows: standard errors are 0.01 for means and 0.014 for covariances; with a step bias of
    # at most 0.03 and three errors, 0.07.
    make, num, grid = KERNELS[name]
    data = analytic.gaussian([0.5, -0.3], [[1.0, 0.8], [0.8, 1.0]])
    prior_key, loop_key = jax.random.split(key)
    x = sde.prior(prior_key, (10_000, 2))
    step = make(sde, data.score(sde))
    times = grid(num) if grid is uniform_times else grid(sde, num)
    x = jax.jit(lambda key, x: sample(key, step, x, times))(loop_key, x)
    np.testing.assert_allclose(x.mean(0), data.mean, atol=0.06)
    np.testing.assert_allclose(jnp.cov(x.T), data.cov, atol=0.07)


@pytest.mark.parametrize("name", KERNELS)
def test_a_row_does_not_change_when_others_join(name):
    make, _, grid = KERNELS[name]
    sde, data = VP(), analytic.pair()
    times = grid(4) if grid is uniform_times else grid(sde, 4)
    x = sde.prior(jax.random.key(1), (6, 2))
    ends = []
    for rows in (x, x[:2]):
        ends.append(sample(jax.random.key(0), make(sde, data.score(sde)), rows, times))
    np.testing.assert_allclose(ends[0][:2], ends[1], rtol=1e-4, atol=1e-5)
