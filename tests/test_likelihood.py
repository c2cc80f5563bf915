import sys

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import EDM, VP, edm_times, log_density, log_density_adaptive, uniform_times

T_MIN = 1e-2


def rising(sde, num):
    return edm_times(sde, num, T_MIN)[::-1]


@pytest.mark.slow
def test_density_converges_to_the_closed_form_at_second_order(x64):
    # Centred data: at t = 1 VP still remembers alpha = 0.007 of a mean, and the prior does not.
    data, sde = analytic.gaussian(np.zeros(5), analytic.three_modalities().cov), VP()
    noised = data.noised(sde, T_MIN)
    x = noised.sample(jax.random.key(0), 6)
    found = [log_density(sde, data.score(sde), x, rising(sde, n)) for n in (25, 50, 100)]
    errors = [np.abs(f - noised.log_prob(x)).max() for f in found]
    slope = -np.polyfit(np.log([25, 50, 100]), np.log(errors), 1)[0]
    assert 1.9 < slope < 2.3
    assert errors[-1] < 6e-3


@pytest.mark.parametrize("sde", [VP(), EDM()], ids=repr)
def test_density_of_a_mixture(sde, x64):
    # The prior at t = 1 is not quite the noised law; the gap is below 2e-3.
    data = analytic.two_modes()
    noised = data.noised(sde, T_MIN)
    x = noised.sample(jax.random.key(0), 6)
    found = log_density(sde, data.score(sde), x, rising(sde, 400))
    np.testing.assert_allclose(found, noised.log_prob(x), atol=6e-3)


@pytest.mark.slow
def test_adaptive_steps_agree_with_the_closed_form(x64):
    data, sde = analytic.two_modes(), VP()
    noised = data.noised(sde, T_MIN)
    x = noised.sample(jax.random.key(0), 6)
    found = log_density_adaptive(sde, data.score(sde), x, t_min=T_MIN, rtol=1e-7, atol=1e-7)
    # The prior forgets a mean of 0.04 and a scale, to the order of alpha(1) = 0.007 times them.
    np.testing.assert_allclose(found, noised.log_prob(x), atol=2e-3)
    alone = log_density_adaptive(sde, data.score(sde), x[:1], t_min=T_MIN, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(alone, found[:1], rtol=1e-10)


def test_one_probe_is_exact_for_independent_coordinates(x64):
    data, sde = analytic.gaussian([0.0, 1.0, 2.0], np.diag([0.5, 1.0, 2.0])), VP()
    x = data.sample(jax.random.key(0), 4)
    args = sde, data.score(sde), x, rising(sde, 20)
    probed = log_density(*args, key=jax.random.key(1))
    np.testing.assert_allclose(probed, log_density(*args), rtol=1e-8)


def test_probes_are_unbiased(x64):
    data, sde = analytic.pair(), VP()
    x = jnp.broadcast_to(jnp.asarray([[0.3, -0.4]]), (400, 2))
    options = {"key": jax.random.key(1), "num_probes": 4}
    found = log_density(sde, data.score(sde), x, rising(sde, 100), **options)
    exact = data.noised(sde, T_MIN).log_prob(x[:1])[0]
    error = found.std() / np.sqrt(400)
    assert error < 0.1
    assert abs(found.mean() - exact) < 4 * error


def test_conditional_density_with_a_conditional_score(x64):
    # Hold the observed coordinates: the density of the others, given them, at the smallest noise.
    data, sde = analytic.three_modalities(), VP()
    mask = np.array([True, False, False, True, False])
    x = data.sample(jax.random.key(0), 4)
    score = data.conditional_score(sde, mask)
    found = log_density(sde, score, x, rising(sde, 400), mask=jnp.asarray(mask))
    for row in range(4):
        part = data.given(x[row], mask).noised(sde, T_MIN)
        np.testing.assert_allclose(found[row], part.log_prob(x[row : row + 1, ~mask])[0], atol=1e-2)


def test_with_everything_held_nothing_is_left():
    x = jnp.ones((2, 3))
    found = log_density(VP(), lambda x, t: -x, x, rising(VP(), 5), mask=jnp.ones(3, bool))
    np.testing.assert_allclose(found, 0.0, atol=1e-5)


GOOD = {"sde": VP(), "score": lambda x, t: -x, "x": jnp.ones((2, 3)), "times": rising(VP(), 5)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": uniform_times(5)}, "times must rise from data near 0 to noise at 1"),
        ({"times": jnp.ones(1)}, "times must be one-dimensional with at least two entries"),
        ({"x": jnp.ones(3)}, r"x must be \[B, D\], one point per row; reshape it, got \(3,\)"),
        ({"num_probes": 0}, "num_probes must be at least 1, got 0"),
        ({"score": lambda x, t: x[:1]}, r"score must return the shape of x, \(2, 3\)"),
        ({"mask": jnp.ones(4, bool)}, r"mask must broadcast to the shape of x, \(2, 3\)"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        log_density(**{**GOOD, **change})


def test_without_diffrax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ImportError, match=r"pip install 'sbmae_jax\[ode\]'"):
        log_density_adaptive(VP(), lambda x, t: -x, jnp.ones((2, 3)))
