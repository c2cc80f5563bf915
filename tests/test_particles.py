import functools

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VP,
    ancestral,
    clamp,
    draw_particles,
    log_snr_times,
    reconstruction_guidance,
    twisted_sample,
)
from sbmae_jax.sampling.particles import _systematic

SDE = VP()
CASES = {
    "pair": (analytic.pair(), [1.5, 0.0], [True, False]),
    "three modalities": (
        analytic.three_modalities(),
        [0.9, 0.0, 0.0, -0.4, 0.0],
        [True, False, False, True, False],
    ),
    "two modes": (analytic.two_modes(), [0.3, 0.0], [True, False]),
}


def run(key, case, num_particles, num_steps):
    data, value, mask = CASES[case]
    times = log_snr_times(SDE, num_steps)
    args = SDE, data.score(SDE), jnp.asarray(value), jnp.asarray(mask), times, num_particles
    return jax.jit(lambda key: twisted_sample(key, *args))(key)


@functools.cache
def fine_run(case):
    """1,024 particles in 400 steps: enough for the chain to be close to the diffusion itself."""
    return run(jax.random.key(0), case, 1024, 400)


def weighted_mean(particles):
    return jnp.exp(particles.log_weights) @ particles.x


@pytest.mark.parametrize("case", CASES)
def test_particles_recover_the_conditional_law(case):
    # The chain's own step bias is at most 0.02; the rest is the noise of the particles.
    data, value, mask = CASES[case]
    found = fine_run(case)
    exact, free = data.given(value, mask), ~np.asarray(mask)
    weights, x = np.exp(found.log_weights), np.asarray(found.x)[:, free]
    error = np.sqrt(np.diag(exact.covariance) / float(found.ess.min()))
    mean = weights @ x
    assert np.all(np.abs(mean - exact.mean) < 4 * error + 0.02)
    covariance = (weights[:, None] * (x - mean)).T @ (x - mean)
    np.testing.assert_allclose(covariance, exact.covariance, atol=0.15 * exact.covariance.max())


@pytest.mark.parametrize("case", CASES)
def test_evidence_is_the_density_of_the_observation(case):
    data, value, mask = CASES[case]
    seen = np.flatnonzero(mask)
    exact = np.logaddexp.reduce(data.log_joint(np.asarray(value)[None], seen)[0])
    assert abs(fine_run(case).log_evidence - exact) < 0.08


def test_the_covariance_of_gaussian_data_makes_a_better_twist():
    # It is then p(z_O | x_t) itself; only the steps, which take what is left of x0 for isotropic,
    # still make weights differ.
    data, value, mask = CASES["three modalities"]
    args = jnp.asarray(value), jnp.asarray(mask), log_snr_times(SDE, 400), 64
    found = jax.jit(
        lambda key: twisted_sample(
            key, SDE, data.score(SDE), *args, covariance=jnp.asarray(data.cov, jnp.float32)
        )
    )(jax.random.key(0))
    assert found.ess.min() / 64 > max(0.6, fine_run("three modalities").ess.min() / 1024)
    seen = np.flatnonzero(mask)
    exact = data.log_joint(np.asarray(value)[None], seen)[0, 0]
    assert abs(found.log_evidence - exact) < 0.05


@pytest.mark.slow
def test_a_covariance_of_one_changes_nothing():
    data, value, mask = CASES["pair"]
    args = SDE, data.score(SDE), jnp.asarray(value), jnp.asarray(mask)
    x = jax.random.normal(jax.random.key(0), (4, 2))
    found = reconstruction_guidance(*args, covariance=jnp.eye(2))(x, jnp.asarray(0.3))
    np.testing.assert_allclose(
        found, reconstruction_guidance(*args)(x, jnp.asarray(0.3)), rtol=1e-4
    )


@pytest.mark.slow
def test_error_falls_as_the_root_of_the_number_of_particles():
    # Nine times the particles: a third of the error; 100 repeats know each error to 7 %.
    exact = CASES["pair"][0].given(*CASES["pair"][1:]).mean[0]
    errors = []
    for num in (8, 72):
        keys = jax.random.split(jax.random.key(num), 100)
        means = jax.vmap(lambda key, num=num: weighted_mean(run(key, "pair", num, 60)))(keys)
        errors.append(float(jnp.sqrt(jnp.mean((means[:, 1] - exact) ** 2))))
    assert 2.3 < errors[0] / errors[1] < 4.0


def test_one_particle_is_reconstruction_guidance():
    data, value, mask = CASES["three modalities"]
    value, mask = jnp.asarray(value), jnp.asarray(mask)
    found = run(jax.random.key(3), "three modalities", 1, 10)
    prior_key, loop_key = jax.random.split(jax.random.key(3))
    x = SDE.prior(prior_key, (1, 5))
    step = ancestral(
        SDE, reconstruction_guidance(SDE, data.score(SDE), value, mask), data_scale=1.0
    )
    times = log_snr_times(SDE, 10)
    for i in range(10):
        move_key = jax.random.split(jax.random.fold_in(loop_key, i))[0]
        x = jax.jit(step)(move_key, x, times[i], times[i + 1])
    x = clamp(value, mask)(jax.random.key(0), x, times[-1], times[-1])
    np.testing.assert_allclose(found.x, x, rtol=1e-4, atol=1e-4)


def test_observed_coordinates_are_the_value_and_sizes_are_in_range():
    found = fine_run("three modalities")
    np.testing.assert_array_equal(found.x[:, 0], jnp.full(1024, 0.9))
    np.testing.assert_array_equal(found.x[:, 3], jnp.full(1024, -0.4))
    assert found.ess.shape == (401,)
    assert found.ess.min() >= 1.0
    assert found.ess.max() <= 1024.1
    np.testing.assert_allclose(jnp.exp(found.log_weights).sum(), 1.0, rtol=1e-5)


def test_nothing_observed_is_the_plain_chain():
    data, mask = analytic.pair(), jnp.zeros(2, bool)
    args = SDE, data.score(SDE), jnp.zeros(2), mask, log_snr_times(SDE, 10), 16
    found = jax.jit(lambda key: twisted_sample(key, *args))(jax.random.key(1))
    np.testing.assert_allclose(found.ess, 16.0, rtol=1e-5)
    np.testing.assert_allclose(found.log_evidence, 0.0, atol=1e-5)


def test_everything_observed_is_the_value():
    data = analytic.pair()
    value, mask = jnp.asarray([0.4, -0.2]), jnp.ones(2, bool)
    args = SDE, data.score(SDE), value, mask, log_snr_times(SDE, 50), 256
    found = jax.jit(lambda key: twisted_sample(key, *args))(jax.random.key(1))
    np.testing.assert_array_equal(found.x, jnp.broadcast_to(value, (256, 2)))
    assert abs(found.log_evidence - data.log_prob(np.asarray(value)[None])[0]) < 0.3


def test_several_observations_are_mapped_over():
    data, mask, times = analytic.pair(), jnp.asarray([True, False]), log_snr_times(SDE, 60)
    values = jnp.asarray([[1.5, 0.0], [-1.0, 0.0]])

    def one(key, value):
        return twisted_sample(key, SDE, data.score(SDE), value, mask, times, 512)

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0)), values)
    means = jax.vmap(weighted_mean)(found)[:, 1]
    np.testing.assert_allclose(means, [1.2, -0.8], atol=0.15)


def test_systematic_resampling_picks_as_often_as_expected(key):
    weights = jnp.asarray([0.5, 0.003, 0.297, 0.2])
    picked = _systematic(key, jnp.log(weights), 100)
    counts = np.bincount(picked, minlength=4)
    assert np.all(np.abs(counts - 100 * weights) < 1)


def test_draw_gives_equal_weights():
    found = fine_run("pair")
    rows = draw_particles(jax.random.key(2), found, 1000)
    assert rows.shape == (1000, 2)
    np.testing.assert_allclose(rows[:, 1].mean(), weighted_mean(found)[1], atol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_particles": 0}, "num_particles must be at least 1, got 0"),
        ({"value": jnp.zeros((3, 2))}, r"value must be \[D\], as the mask, one observation"),
        (
            {"operator": jnp.zeros(3, bool)},
            r"one observation; vmap over several, got \(2,\) and \(3,\)",
        ),
        ({"operator": jnp.zeros(2, int)}, "mask must be a boolean array"),
        ({"covariance": jnp.eye(3)}, r"covariance must be \[D, D\] .* got \(3, 3\) and \(2,\)"),
        ({"times": log_snr_times(SDE, 5)[::-1]}, "times must fall from noise at 1"),
        ({"score": lambda x, t: x[:1]}, "score must return the shape of x"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "sde": SDE,
        "score": lambda x, t: -x,
        "value": jnp.zeros(2),
        "operator": jnp.asarray([True, False]),
        "times": log_snr_times(SDE, 5),
        "num_particles": 4,
    }
    with pytest.raises(ValueError, match=message):
        twisted_sample(jax.random.key(0), **{**good, **change})
