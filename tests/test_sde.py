import dataclasses
import math

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import EDM, VE, VP, SubVP

ALL = [VP(), VP(1.0, 5.0), SubVP(), VE(), EDM()]
TIMES = np.array([0.003, 0.1, 0.5, 0.9, 1.0])


@pytest.mark.parametrize(
    ("sde", "t", "alpha", "sigma"),
    [
        (VP(0.1, 5.0), 1.0, 0.279431, 0.960166),
        (VP(0.1, 5.0), 0.5, 0.718026, 0.696017),
        (VP(1.0, 5.0), 1.0, 0.223130, 0.974789),
        (VP(1.0, 5.0), 0.5, 0.606531, 0.795060),
        (VP(), 1.0, 0.006572, 0.999978),
        (VP(), 0.5, 0.281183, 0.959654),
        (VE(), 0.0, 1.0, 0.01),
        (VE(), 0.5, 1.0, 0.707107),
        (VE(), 1.0, 1.0, 50.0),
        (EDM(), 0.0, 1.0, 0.002),
        (EDM(), 1.0, 1.0, 80.0),
    ],
)
def test_known_values(sde, t, alpha, sigma):
    np.testing.assert_allclose(sde.alpha(jnp.asarray(t)), alpha, rtol=2e-4)
    np.testing.assert_allclose(sde.sigma(jnp.asarray(t)), sigma, rtol=1e-5)


def test_sub_vp_has_the_noise_of_vp_squared():
    t = jnp.asarray(TIMES)
    np.testing.assert_allclose(SubVP().sigma(t), VP().sigma(t) ** 2, rtol=1e-5)


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_drift_and_diffusion_are_those_of_alpha_and_sigma(sde, x64):
    t = jnp.asarray(TIMES)
    drift = jax.vmap(jax.grad(lambda t: jnp.log(sde.alpha(t))))(t)
    growth = jax.vmap(jax.grad(lambda t: sde.sigma(t) ** 2))(t)
    np.testing.assert_allclose(sde.drift(t), drift, rtol=1e-10)
    np.testing.assert_allclose(
        sde.diffusion(t) ** 2, growth - 2 * drift * sde.sigma(t) ** 2, rtol=1e-10
    )


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_log_snr_falls_at_the_rate_of_noise_over_noise(sde, x64):
    t = jnp.asarray(TIMES)
    slope = jax.vmap(jax.grad(sde.log_snr))(t)
    np.testing.assert_allclose(-slope, (sde.diffusion(t) / sde.sigma(t)) ** 2, rtol=1e-10)


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_time_inverts_log_snr(sde, x64):
    t = jnp.asarray(TIMES)
    np.testing.assert_allclose(sde.time(sde.log_snr(t)), t, rtol=1e-9)


def test_time_inverts_log_snr_of_a_constant_rate(x64):
    t = jnp.asarray(TIMES)
    np.testing.assert_allclose(VP(3.0, 3.0).time(VP(3.0, 3.0).log_snr(t)), t, rtol=1e-9)


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_predictions_convert_into_each_other(sde, x64, key):
    x0, eps = jax.random.normal(key, (2, 5, 3))
    t = jnp.asarray(TIMES)
    x = sde.perturb(x0, eps, t)
    score = sde.score_from_noise(eps, t)
    np.testing.assert_allclose(sde.noise_from_score(score, t), eps, rtol=1e-9)
    np.testing.assert_allclose(sde.denoised_from_score(score, x, t), x0, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(sde.score_from_denoised(x0, x, t), score, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_denoised_is_the_posterior_mean(sde, x64, key):
    data, t = analytic.three_modalities(), 0.3
    x = jax.random.normal(key, (4, 5))
    alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
    gain = alpha * data.cov @ np.linalg.inv(alpha**2 * data.cov + sigma**2 * np.eye(5))
    expected = data.mean + (np.asarray(x) - alpha * data.mean) @ gain.T
    found = sde.denoised_from_score(data.score(sde)(x, t), x, t)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_time_per_row_noises_each_row_alone(key):
    x, eps = jax.random.normal(key, (2, 5, 2, 3))
    rows = VP().perturb(x, eps, jnp.asarray(TIMES))
    for i, t in enumerate(TIMES):
        np.testing.assert_allclose(rows[i], VP().perturb(x, eps, jnp.asarray(t))[i], rtol=1e-6)


@pytest.mark.parametrize("sde", ALL, ids=repr)
def test_slope_is_the_derivative_of_the_exact_flow(sde, x64, key):
    data, t, h = analytic.three_modalities(), 0.4, 1e-5
    x = jax.random.normal(key, (3, 5))
    ends = [data.flow(sde, x, t, s) for s in (t - h, t + h)]
    slope = sde.probability_flow_drift(x, data.score(sde)(x, t), jnp.asarray(t))
    np.testing.assert_allclose(slope, (ends[1] - ends[0]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("sde", [VP(), VE(), EDM()], ids=repr)
def test_prior_has_the_density_it_is_drawn_from(sde, x64):
    x = sde.prior(jax.random.key(1), (20_000, 2))
    # The entropy of the Gaussian; the mean of 20,000 values of unit variance has error 0.007.
    entropy = 1 + math.log(2 * math.pi) + 2 * math.log(sde.prior_scale)
    assert abs(-sde.prior_log_prob(x).mean() - entropy) < 0.03
    np.testing.assert_allclose(x.std(), sde.prior_scale, rtol=0.02)


def test_likelihood_times_follow_the_closed_form_of_vp(x64):
    b0, b1, t_min = 0.1, 20.0, 1e-5
    found = VP(b0, b1).sample_time(jax.random.key(3), (1000,), "likelihood")
    u = 1 - jax.random.uniform(jax.random.key(3), (1000,))  # ours runs from noise to data

    def beta_integral(t):
        return b0 * t + (b1 - b0) * t**2 / 2

    low, high = (math.log(math.exp(beta_integral(t)) - 1) for t in (t_min, 1.0))
    big = jnp.log(1 + jnp.exp(low + u * (high - low)))
    expected = (-b0 + jnp.sqrt(b0**2 + 2 * (b1 - b0) * big)) / (b1 - b0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("sde", ALL, ids=repr)
@pytest.mark.parametrize("weighting", ["noise", "likelihood"])
def test_times_stay_in_range(sde, weighting, key):
    t = sde.sample_time(key, (4096,), weighting, t_min=1e-3)
    assert t.min() >= 1e-3
    assert t.max() <= 1.0


def test_unknown_weighting_is_refused(key):
    with pytest.raises(ValueError, match=r"weighting must be one of noise, likelihood, got"):
        VP().sample_time(key, (3,), "importance")


def test_processes_are_values():
    assert hash(VP()) == hash(VP(0.1, 20.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        VP().beta_min = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="beta"):
        VP(beta=3.0)  # type: ignore[call-arg]
