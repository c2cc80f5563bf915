"""Each kernel against its formula, step by step."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import noise

from sbmae_jax import (
    EDM,
    VE,
    VP,
    SubVP,
    ancestral,
    annealed_langevin,
    by_norm,
    dpm_solver,
    euler_maruyama,
    ladder_times,
    langevin,
    sample,
    uniform_times,
)  # fmt: skip
from sbmae_jax.sampling.predictors import reverse_kernel
from sbmae_jax.sampling.samplers import once

ALL = [VP(), SubVP(), VE(), EDM()]


def test_euler_maruyama_walks_the_path_of_its_noise():
    # On standard normal data the score is -x and VP's drift cancels half of it.
    sde, times = VP(), uniform_times(5)
    x = x0 = jnp.asarray([[1.0, -2.0], [0.5, 3.0]])
    found = sample(jax.random.key(2), euler_maruyama(sde, lambda x, t: -x), x0, times)
    for i in range(5):
        rate, dt = 0.1 + 19.9 * times[i], times[i] - times[i + 1]
        n = noise(jax.random.key(2), i, shape=(2, 2))
        x = (1 - 0.5 * rate * dt) * x + jnp.sqrt(rate * dt) * n
    np.testing.assert_allclose(found, x, rtol=1e-5)


@pytest.mark.parametrize("sde", ALL, ids=repr)
@pytest.mark.parametrize("data_scale", [0.0, 1.0])
def test_ancestral_step_is_exact_on_the_data_it_assumes(sde, data_scale, x64):
    # A point (scale 0) or a standard normal (scale 1), moved by one large step.
    t, t_next, centre = jnp.asarray(0.9), jnp.asarray(0.2), 0.7

    def moments(t):
        return sde.alpha(t) * centre, (data_scale * sde.alpha(t)) ** 2 + sde.sigma(t) ** 2

    def moved(x):
        mean, variance = moments(t)
        score = -(x - mean) / variance
        return reverse_kernel(sde, x, score, t, t_next, data_scale)

    mean, variance = moments(t)
    start = jnp.full((1, 1), mean)
    found, spread = moved(start)
    gain = jax.jvp(lambda x: moved(x)[0], (start,), (jnp.ones((1, 1)),))[1]
    mean_next, variance_next = moments(t_next)
    np.testing.assert_allclose(found[0, 0], mean_next, rtol=1e-8)
    np.testing.assert_allclose(gain[0, 0] ** 2 * variance + spread**2, variance_next, rtol=1e-8)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda scale: ancestral(VP(), lambda x, t: -x, temperature=scale),
        lambda scale: langevin(VP(), lambda x, t: -x, temperature=scale),
        lambda scale: once(dpm_solver(VP(), lambda x, t: -x, eta=0.7, temperature=scale)),
    ],
    ids=["ancestral", "langevin", "dpm_solver"],
)
def test_noise_scale_multiplies_the_noise_alone(kernel):
    x, times = jnp.asarray([[1.0, -2.0]]), (jnp.asarray(0.6), jnp.asarray(0.4))
    none, half, whole = (kernel(s)(jax.random.key(0), x, *times) for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-5)
    np.testing.assert_array_equal(none, kernel(0.0)(jax.random.key(1), x, *times))
    assert (jnp.abs(whole - none) > 0.01).all()


def test_langevin_walks_the_path_of_its_noise():
    sde, t = VE(), jnp.asarray(0.5)
    x = x0 = jnp.asarray([[1.0, -2.0]])
    step = langevin(sde, lambda x, t: -x, snr=0.3, num_steps=2, temperature=0.5)
    found = step(jax.random.key(2), x0, t, t)
    size = 2 * (0.3 * 0.70710678) ** 2
    for j in range(2):
        x = (1 - size) * x + 0.5 * np.sqrt(2 * size) * noise(jax.random.key(2), j, shape=(1, 2))
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_annealed_langevin_takes_the_published_step_at_each_level():
    sigmas = jnp.linspace(5.0, 0.1, 3)
    sde, step_size = VE(), 2e-3
    step = annealed_langevin(sde, lambda x, t: -x, step_size, sigma_last=0.1, temperature=0.7)
    x = x0 = jnp.asarray([[1.0, -2.0]])
    found = sample(jax.random.key(2), step, x0, ladder_times(sde, sigmas))
    for i, sigma in enumerate(sigmas):
        size = step_size * (sigma / 0.1) ** 2
        x = x - size * x + 0.7 * jnp.sqrt(2 * size) * noise(jax.random.key(2), i, 0, shape=(1, 2))
    np.testing.assert_allclose(found, x, rtol=1e-4)


def test_norm_rule_is_per_row_and_ignores_what_is_observed():
    sde, t = VP(), jnp.asarray(0.5)
    mask = jnp.asarray([True, False, False])
    x = jnp.asarray([[9.0, 1.0, 2.0], [0.1, -1.0, 1.0]])
    n = jnp.where(mask[None], 0.0, noise(jax.random.key(4), 0, shape=(2, 3)))
    step = langevin(sde, lambda x, t: -x, snr=0.2, mask=mask, rule=by_norm)
    found = step(jax.random.key(4), x, t, t)
    for row in range(2):
        size = 2 * (0.2 * np.linalg.norm(n[row]) / np.linalg.norm(x[row, 1:])) ** 2
        expected = (1 - size) * x[row, 1:] + np.sqrt(2 * size) * n[row, 1:]
        np.testing.assert_allclose(found[row, 1:], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 0], x[:, 0])


@pytest.mark.parametrize("rule", ["level", "norm"])
@pytest.mark.parametrize("mask", [jnp.ones(3, bool), jnp.zeros(3, bool)], ids=["full", "empty"])
def test_langevin_with_a_full_or_an_empty_mask(mask, rule):
    rules = {"norm": {"rule": by_norm}, "level": {}}[rule]
    step = langevin(VP(), lambda x, t: -x, mask=mask, **rules)
    plain = langevin(VP(), lambda x, t: -x, **rules)
    x, t = jnp.ones((2, 3)), jnp.asarray(0.5)
    found = step(jax.random.key(4), x, t, t)
    expected = x if mask.all() else plain(jax.random.key(4), x, t, t)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE()], ids=repr)
def test_langevin_keeps_the_noised_law(sde, key):
    # 10,000 rows: the error of a variance is 0.014 relative. A score halved would double it.
    data, t = analytic.pair(), 0.2
    start_key, loop_key = jax.random.split(key)
    noised = data.noised(sde, t)
    x = noised.sample(start_key, 10_000)
    step = langevin(sde, data.score(sde), snr=0.15, num_steps=150)
    x = jax.jit(step)(loop_key, x, jnp.asarray(t), jnp.asarray(t))
    np.testing.assert_allclose(jnp.cov(x.T), noised.cov, atol=0.06 * noised.cov.max())
