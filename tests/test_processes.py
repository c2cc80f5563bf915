"""Processes given by alpha and sigma alone: what is derived agrees with closed forms; samples are right."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    EDM,
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    Process,
    RectifiedFlow,
    SubVP,
    dpm_solver,
    edm_times,
    log_density,
    log_density_adaptive,
    log_snr_times,
    sample,
)  # fmt: skip

CLOSED = [VP(), SubVP(), VE(), EDM(), CosineVP(), RectifiedFlow()]
DDPM = DiscreteVP(np.linspace(1e-4, 0.02, 1000))
NEW = [CosineVP(), RectifiedFlow(), DDPM]
TIMES = np.array([0.003, 0.1, 0.5, 0.9])


@pytest.mark.parametrize("sde", CLOSED, ids=repr)
def test_all_follows_from_alpha_and_sigma(sde, x64):
    derived, t = Process(sde.log_alpha, sde.sigma, sde.t_max), jnp.asarray(TIMES)
    np.testing.assert_allclose(derived.drift(t), sde.drift(t), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(derived.diffusion(t), sde.diffusion(t), rtol=1e-9)
    np.testing.assert_allclose(derived.prior_scale, sde.prior_scale, rtol=1e-4)
    levels = sde.log_snr(t)
    np.testing.assert_allclose(derived.time(levels), t, rtol=1e-8)
    slopes = [jax.vmap(jax.grad(one.time))(levels) for one in (derived, sde)]
    np.testing.assert_allclose(*slopes, rtol=1e-6)
    ends = derived.time(jnp.asarray([np.inf, -np.inf]))  # beyond its ends, the clock stops there
    np.testing.assert_allclose(ends, [0.0, sde.t_max], atol=1e-11)


def test_the_inverse_has_the_derivative_in_the_parameters(x64):
    def derived(beta):
        one = VP(0.1, 20.0)
        return Process(lambda t: beta * one.log_alpha(t), one.sigma).time(jnp.asarray(0.5))

    slope = jax.grad(derived)(1.0)
    found = (derived(1.0 + 1e-5) - derived(1.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, found, rtol=1e-5)


@pytest.mark.parametrize("sde", NEW, ids=["cosine", "ddpm", "flow"])
def test_new_processes_invert_their_clock_and_make_grids(sde, x64):
    t = jnp.asarray(TIMES)
    np.testing.assert_allclose(sde.time(sde.log_snr(t)), t, rtol=1e-7)
    for grid in (log_snr_times, edm_times):
        times = grid(sde, 20)
        assert times[0] == sde.t_max
        assert np.isfinite(sde.log_snr(times)).all()
        assert (np.diff(times) < 0).all()
    drawn = sde.sample_time(jax.random.key(0), (50,), "likelihood", 1e-3)
    assert ((drawn >= 1e-3) & (drawn <= sde.t_max)).all()


def test_the_discrete_process_has_the_levels_of_its_betas(x64):
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha2 = np.cumprod(1 - betas)
    steps = np.array([0, 1, 500, 999])
    t = jnp.asarray(steps / 999)
    np.testing.assert_allclose(DDPM.alpha(t) ** 2, alpha2[steps], rtol=1e-9)
    np.testing.assert_allclose(DDPM.sigma(t) ** 2, 1 - alpha2[steps], rtol=1e-9)
    assert hash(DDPM) == hash(DiscreteVP(betas))


def test_the_cosine_process_is_the_published_one(x64):
    t = jnp.asarray(TIMES)
    published = [np.cos(0.5 * np.pi * (t + 0.008) / 1.008) ** 2 for t in (TIMES, 0.0)]
    np.testing.assert_allclose(CosineVP().alpha(t) ** 2, published[0] / published[1], rtol=1e-9)
    np.testing.assert_allclose(
        CosineVP().alpha(t) ** 2 + CosineVP().sigma(t) ** 2, np.ones(4), rtol=1e-9
    )


@pytest.mark.parametrize("sde", [*NEW, VP(), VE()], ids=repr)
def test_a_sample_of_a_gaussian_is_where_its_flow_leads(sde, x64, key):
    data, t_min = analytic.gaussian([0.5, -0.3], [[1.0, 0.8], [0.8, 1.0]]), 0.02
    x, times = sde.prior(key, (4, 2)), log_snr_times(sde, 100, t_min)
    end = sample(jax.random.key(0), dpm_solver(sde, data.score(sde)), x, times)
    np.testing.assert_allclose(end, data.flow(sde, x, sde.t_max, t_min), atol=5e-3)


@pytest.mark.slow
def test_the_density_starts_at_the_last_time_of_the_process(x64, key):
    sde, data = RectifiedFlow(), analytic.gaussian([0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])
    x = data.sample(key, 3)
    exact = -0.5 * np.sum(x @ np.linalg.inv(data.cov) * x, axis=1)
    exact = exact - np.log(2 * np.pi) - 0.5 * np.log(np.linalg.det(data.cov))
    times = log_snr_times(sde, 200)[::-1]
    np.testing.assert_allclose(log_density(sde, data.score(sde), x, times), exact, atol=0.02)
    found = log_density_adaptive(sde, data.score(sde), x)
    np.testing.assert_allclose(found, exact, atol=0.02)


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("sde", [*CLOSED, DDPM], ids=repr)
def test_velocity_and_v_are_turned_into_the_exact_score(sde, x64):
    # Of Gaussian data: E[x0 | x] and E[eps | x] are linear, and the score is exact.
    data, t = analytic.gaussian([0.5, -0.3], [[1.0, 0.8], [0.8, 1.0]]), jnp.asarray(0.4)
    x = jnp.asarray([[1.0, -2.0], [0.3, 0.1]])
    score = data.score(sde)(x, t)
    clean, eps = sde.denoised_from_score(score, x, t), sde.noise_from_score(score, t)
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    velocity = jax.grad(sde.alpha)(t) * clean + jax.grad(sde.sigma)(t) * eps
    v = alpha * eps - sigma * clean
    np.testing.assert_allclose(sde.score_from_velocity(velocity, x, t), score, rtol=1e-7)
    np.testing.assert_allclose(sde.probability_flow_drift(x, score, t), velocity, rtol=1e-7)
    np.testing.assert_allclose(sde.score_from_v(v, x, t), score, rtol=1e-7)
    np.testing.assert_allclose(sde.v_from_score(score, x, t), v, rtol=1e-7)


def test_rectified_flow_has_the_published_score(x64):
    x, u, t = jnp.asarray([[1.0, -2.0]]), jnp.asarray([[0.3, 0.1]]), jnp.asarray([0.3])
    expected = -(x + (1 - 0.3) * u) / 0.3
    np.testing.assert_allclose(RectifiedFlow().score_from_velocity(u, x, t), expected, rtol=1e-9)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Process(0.5, lambda t: t), "log_alpha_fn must be a function of t, got 0.5"),
        (lambda: Process(jnp.log, None), "sigma_fn must be a function of t, got None"),
        (lambda: Process(jnp.log, jnp.sin, t_max=0), "t_max must be above 0, got 0"),
        (lambda: CosineVP(t_max=1.0), r"t_max must be below 1, got 1\.0"),
        (lambda: CosineVP(offset=0.0), r"offset must be above 0, got 0\.0"),
        (lambda: RectifiedFlow(1.0), r"t_max must be below 1, got 1\.0"),
        (lambda: DiscreteVP([0.1]), "betas must be two or more variances"),
        (lambda: DiscreteVP([0.1, 1.0]), "betas must be two or more variances, each above 0 and below 1"),
        (lambda: DiscreteVP("a"), "betas must be two or more variances.*got 'a'"),
        (lambda: RectifiedFlow().score_from_velocity(jnp.ones(2), jnp.ones((3, 2)), 0.5), "velocity must"),
        (lambda: VP().score_from_v(jnp.ones(2), jnp.ones((3, 2)), 0.5), "v must have the shape of x"),
        (lambda: VP().v_from_score(jnp.ones(2), jnp.ones((3, 2)), 0.5), "score must have the shape of x"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
