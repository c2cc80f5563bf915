"""Adjusted moves: they keep the noised law, and with it the weights of modes."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VP,
    acceptance_rates,
    amortised,
    hamiltonian,
    langevin,
    reconstruction_guidance,
)  # fmt: skip
from sbmae_jax.sampling.correctors import _leapfrog, _moving

SDE = VP()
LEVEL = float(SDE.time(jnp.asarray(0.0)))  # sigma / alpha = 1, where the modes of `two_width` part


@pytest.mark.parametrize("make", [analytic.two_width, analytic.three_widths])
def test_adjusted_moves_keep_the_weights_of_modes(make):
    data, noised = make(), make().noised(SDE, LEVEL)
    score, x = data.score(SDE), noised.sample(jax.random.key(1), 3000)

    def shift(step):
        moved = jax.jit(step)(jax.random.key(2), x, LEVEL, LEVEL)
        return np.abs((noised.responsibilities(moved) - noised.responsibilities(x)).mean(0)).max()

    # The standard error is 0.013 if all rows have forgotten their mode.
    assert shift(hamiltonian(SDE, score, num_steps=20)) < 0.03
    # What it replaces: steps of Langevin as long as the moves, at the same evaluations.
    assert shift(langevin(SDE, score, snr=0.55, num_steps=40)) > 0.1


def test_the_ratio_of_densities_is_the_integral_of_the_score(x64):
    data = analytic.three_modalities()
    noised, score = data.noised(SDE, 0.2), data.score(SDE)
    x = noised.sample(jax.random.key(1), 50)
    field, size = _moving(SDE, score, x, 0.2, 1.2, None, 1.0)
    end, score_end, log_ratio = _leapfrog(jax.random.key(3), field, size, x, field(x))
    # Backwards from the end, with the momentum turned, the move leads to x: its ratio is the inverse.
    momentum = jax.random.normal(jax.random.key(3), x.shape, x.dtype)
    middle = x + size * (momentum + 0.5 * size * field(x))
    last = (end - middle) / size + 0.5 * size * score_end
    exact = noised.log_prob(end) - noised.log_prob(x) + 0.5 * ((momentum**2 - last**2).sum(1))
    np.testing.assert_allclose(log_ratio, exact, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(score_end, score(end, 0.2))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_moves_of_any_size_keep_the_law_of_a_gaussian(temperature, key):
    data = analytic.gaussian([0.5, -0.3], [[1.0, 0.8], [0.8, 1.0]])
    noised = data.noised(SDE, 0.3)
    step = hamiltonian(SDE, data.score(SDE), 1.2, num_steps=60, temperature=temperature)
    # 10,000 rows: the standard error of a covariance is 0.014.
    x = jax.jit(step)(key, jnp.zeros((10_000, 2)), 0.3, 0.3)
    np.testing.assert_allclose(x.mean(0), noised.mean, atol=0.06)
    np.testing.assert_allclose(jnp.cov(x.T), temperature**2 * noised.cov, atol=0.06)


def test_adjusted_moves_keep_a_conditional_density():
    # 4,000 rows: the standard error of a mean is 0.011, and of a covariance 0.01.
    data, t = analytic.pair(), 0.15
    value, mask = np.asarray([1.2, 0.0]), np.asarray([True, False])
    told = amortised(lambda x, t, _: data.conditional_score(SDE, mask)(x, t), jnp.asarray(mask))
    total, noise, y = np.ones((1, 2)), 0.3, np.asarray([1.5])
    cov = jnp.asarray(data.cov, jnp.float32)
    options = {"noise": noise, "covariance": cov}
    guided = reconstruction_guidance(
        SDE, data.score(SDE), jnp.asarray(y), jnp.asarray(total), **options
    )

    @jax.jit
    def run(key):
        keys, x = jax.random.split(key), jnp.broadcast_to(jnp.asarray(value), (4000, 2))
        by_mask = hamiltonian(SDE, told, 1.0, num_steps=30, mask=jnp.asarray(mask))
        by_twist = hamiltonian(SDE, guided, 1.0, num_steps=30)
        return by_mask(keys[0], x, t, t), by_twist(keys[1], x, t, t)

    seen, summed = run(jax.random.key(0))
    exact = data.given(value, mask).noised(SDE, t)
    assert (seen[:, 0] == jnp.float32(1.2)).all()
    np.testing.assert_allclose(seen[:, 1].mean(), exact.mean[0], atol=0.04)
    np.testing.assert_allclose(seen[:, 1].var(), exact.cov[0, 0], atol=0.04)
    # Of a Gaussian and two numbers whose sum was observed with noise.
    gain = data.cov @ total.T / (total @ data.cov @ total.T + noise**2)
    after = analytic.gaussian(gain @ y, data.cov - gain @ total @ data.cov).noised(SDE, t)
    np.testing.assert_allclose(summed.mean(0), after.mean, atol=0.04)
    np.testing.assert_allclose(jnp.cov(summed.T), after.cov, atol=0.04)


def test_observed_coordinates_stay_and_a_row_does_not_change_when_others_join():
    data, mask = analytic.pair(), jnp.asarray([True, False])
    step = jax.jit(hamiltonian(SDE, data.score(SDE), num_steps=3, mask=mask))
    x = jax.random.normal(jax.random.key(1), (6, 2))
    moved, alone = step(jax.random.key(0), x, 0.4, 0.4), step(jax.random.key(0), x[:2], 0.4, 0.4)
    assert (moved[:, 0] == x[:, 0]).all()
    assert (moved[:, 1] != x[:, 1]).any()
    np.testing.assert_allclose(moved[:2], alone, rtol=1e-4, atol=1e-5)


def test_a_row_whose_score_is_not_finite_stays_where_it_is():
    step = hamiltonian(SDE, lambda x, t: jnp.where(x > 0, jnp.nan, -x))
    x = jnp.asarray([[1.0], [-5.0]])
    assert jnp.isfinite(step(jax.random.key(0), x, 0.4, 0.4)).all()


def test_acceptance_tells_a_step_that_is_too_large_in_any_dimension():
    times = jnp.asarray([0.9, 0.5, 0.1])
    for size in (12, 300):
        x = jax.random.normal(jax.random.key(size), (500, size))
        args = jax.random.key(1), SDE, lambda x, t: -x, x, times
        good, bad = (np.asarray(acceptance_rates(*args, step_size=h)) for h in (1.0, 6.0))
        assert good.shape == (3,)
        assert (good > 0.75).all()
        assert bad[0] < 0.05


def test_a_state_of_several_arrays_is_moved_as_one(key):
    data = analytic.three_modalities()
    score = data.score(SDE)

    def split(x):
        return {"a": x[:, :2], "b": x[:, 2:]}

    def of_both(x, t):
        return split(score(jnp.concatenate([x["a"], x["b"]], axis=1), t))

    x = jax.random.normal(key, (4000, 5))
    rates = acceptance_rates(key, SDE, score, x, jnp.asarray([0.3]), step_size=2.0)
    parts = acceptance_rates(key, SDE, of_both, split(x), jnp.asarray([0.3]), step_size=2.0)
    np.testing.assert_allclose(parts, rates, atol=0.03)
    step = hamiltonian(SDE, of_both, 2.0, mask={"a": jnp.asarray([True, False]), "b": None})
    moved = step(key, split(x), 0.3, 0.3)
    np.testing.assert_array_equal(moved["a"][:, 0], x[:, 0])
    stays = [np.all(moved[name] == split(x)[name], axis=1) for name in ("a", "b")]
    np.testing.assert_array_equal(*stays)  # a row accepts or rejects as a whole
    assert 0.05 < stays[0].mean() < 0.95


def test_rows_are_needed(key):
    with pytest.raises(ValueError, match=r"hamiltonian needs rows, .*x\[None\]"):
        hamiltonian(SDE, lambda x, t: -x)(key, jnp.ones(3), 0.4, 0.4)
