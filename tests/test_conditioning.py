import itertools

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    EDM,
    VE,
    VP,
    SubVP,
    amortised,
    amortised_by_time,
    ancestral,
    chain,
    clamp,
    denoise,
    dpm_solver,
    euler_maruyama,
    forward_transition,
    given,
    heun,
    langevin,
    log_snr_times,
    renoise,
    repaint,
    repeat,
    sample,
    substeps,
    uniform_times,
)  # fmt: skip

VALUE = jnp.asarray([[1.0, -2.0, 3.0], [0.5, 0.25, -0.125]])
MASK = jnp.asarray([[True, False, False], [False, True, True]])


def stay(key, x, t, t_next):
    """A kernel that shows the noise and the times it was given."""
    return x + t + 10 * t_next + jax.random.normal(key, x.shape)


def run(step, key, value, mask, num=8, rows=2, sde=VP(), score=lambda x, t: -x):
    """Sample with the usual end: predict the clean data, put the observed part back."""
    last = chain(denoise(sde, score), clamp(value, mask))
    return sample(key, step, jnp.ones((rows, value.shape[-1])), log_snr_times(sde, num), last=last)


# ---------------------------------------------------------------- the kernels that restore


def test_clamp_restores_only_what_is_observed():
    x = jnp.zeros((2, 3))
    found = clamp(VALUE, MASK)(jax.random.key(0), x, jnp.asarray(1.0), jnp.asarray(0.5))
    np.testing.assert_array_equal(found, [[1.0, 0, 0], [0, 0.25, -0.125]])


def test_renoise_draws_fresh_noise_of_the_level_reached():
    sde, t_next = VE(), jnp.asarray(0.5)
    found = renoise(sde, VALUE, MASK)(
        jax.random.key(3), jnp.zeros((2, 3)), jnp.asarray(1.0), t_next
    )
    n = jax.random.normal(jax.random.key(3), (2, 3))
    expected = np.where(MASK, VALUE + 0.70710678 * n, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_renoise_with_fixed_noise_ignores_the_key():
    put = renoise(VP(), VALUE, MASK, noise=jnp.ones(3))
    args = jnp.zeros((2, 3)), jnp.asarray(1.0), jnp.asarray(0.5)
    np.testing.assert_array_equal(put(jax.random.key(0), *args), put(jax.random.key(1), *args))


@pytest.mark.parametrize("sde", [VP(), SubVP()], ids=repr)
def test_renoise_without_noise_is_clamp(sde):
    args = jnp.zeros((2, 3)), jnp.asarray(0.1), jnp.asarray(0.0)
    found = renoise(sde, VALUE, MASK)(jax.random.key(0), *args)
    np.testing.assert_array_equal(found, clamp(VALUE, MASK)(jax.random.key(0), *args))


# ---------------------------------------------------------------- wrapping


def test_given_restores_at_the_time_before_and_the_time_after():
    seen = []

    def observe(key, x, t, t_next):
        seen.append((float(t), float(t_next)))
        return x + jax.random.normal(key, x.shape)

    x = jnp.zeros((2, 3))
    found = given(stay, observe)(jax.random.key(1), x, jnp.asarray(0.75), jnp.asarray(0.5))
    noise = sum(
        jax.random.normal(jax.random.fold_in(jax.random.key(1), j), (2, 3)) for j in (0, 1, 2)
    )
    np.testing.assert_allclose(found, noise + 0.75 + 5.0, rtol=1e-5)
    assert seen == [(0.75, 0.75), (0.5, 0.5)]


def test_one_visit_is_a_plain_step():
    args = jnp.ones((2, 3)), jnp.asarray(0.75), jnp.asarray(0.5)
    found = repaint(stay, VP(), 1)(jax.random.key(1), *args)
    expected = stay(jax.random.fold_in(jax.random.key(1), 0), *args)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_visits_step_jump_and_step():
    sde, x = VP(), jnp.ones((2, 3))
    t, t_next = jnp.asarray(0.75), jnp.asarray(0.5)
    found = repaint(stay, sde, 2)(jax.random.key(1), x, t, t_next)
    keys = [jax.random.fold_in(jax.random.key(1), j) for j in range(3)]
    x = forward_transition(sde)(keys[1], stay(keys[0], x, t, t_next), t_next, t)
    np.testing.assert_allclose(found, stay(keys[2], x, t, t_next), rtol=1e-5)


def test_a_divided_step_is_its_parts_at_equally_spaced_times():
    x, t, t_next = jnp.ones((2, 3)), jnp.asarray(0.75), jnp.asarray(0.5)
    found = substeps(stay, 2)(jax.random.key(1), x, t, t_next)
    keys = [jax.random.fold_in(jax.random.key(1), j) for j in range(2)]
    x = stay(keys[0], x, t, jnp.asarray(0.625))
    np.testing.assert_allclose(found, stay(keys[1], x, jnp.asarray(0.625), t_next), rtol=1e-6)


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE(), EDM()], ids=repr)
def test_jump_carries_the_law_from_one_time_to_a_later_one(sde, x64):
    t, t_next = jnp.asarray(0.3), jnp.asarray(0.6)
    x, eps = jnp.asarray([[2.0]]), jax.random.normal(jax.random.key(0), (1, 1))
    centre = (
        forward_transition(sde)(jax.random.key(0), jnp.zeros((1, 1)), t, t_next) / eps
    )  # its noise scale
    ratio = (forward_transition(sde)(jax.random.key(0), x, t, t_next) - centre * eps) / x
    np.testing.assert_allclose(ratio * sde.alpha(t), sde.alpha(t_next)[None, None], rtol=1e-8)
    variance = (ratio * sde.sigma(t)) ** 2 + centre**2
    np.testing.assert_allclose(variance[0, 0], sde.sigma(t_next) ** 2, rtol=1e-8)


# ---------------------------------------------------------------- whole runs


def conditional_steps(sde, score, value, mask):
    put, clean = renoise(sde, value, mask), clamp(value, mask)
    return {
        "clamp": given(ancestral(sde, score), clean),
        "renoise": given(euler_maruyama(sde, score), put),
        "heun": given(heun(sde, score, churn=0.3, observe=put), put),
        "corrected": chain(
            given(ancestral(sde, score), put),
            repeat(given(langevin(sde, score, mask=mask), put), 2),
        ),
        "repaint": repaint(given(ancestral(sde, score), put), sde, 3),
        "repaint of a solver": repaint(given(dpm_solver(sde, score), put), sde, 2),
    }


NAMES = sorted(conditional_steps(VP(), lambda x, t: -x, VALUE, MASK))


@pytest.mark.parametrize("name", NAMES)
def test_observed_coordinates_come_back_bit_for_bit(name):
    step = conditional_steps(VP(), lambda x, t: -x, VALUE, MASK)[name]
    x = run(step, jax.random.key(0), VALUE, MASK)
    np.testing.assert_array_equal(x[MASK], VALUE[MASK])
    assert not jnp.any(x[~MASK] == VALUE[~MASK])


@pytest.mark.parametrize("name", NAMES)
def test_a_full_mask_returns_the_value(name):
    mask = jnp.ones(3, bool)
    x = run(
        conditional_steps(VP(), lambda x, t: -x, VALUE, mask)[name], jax.random.key(0), VALUE, mask
    )
    np.testing.assert_array_equal(x, VALUE)


def test_an_empty_mask_leaves_sampling_unconditional():
    mask, sde = jnp.zeros(3, bool), VP()
    step = euler_maruyama(sde, lambda x, t: -x)
    args = jnp.ones((2, 3)), jnp.asarray(0.75), jnp.asarray(0.5)
    for put in (clamp(VALUE, mask), renoise(sde, VALUE, mask)):
        found = given(step, put)(jax.random.key(1), *args)
        np.testing.assert_array_equal(found, step(jax.random.fold_in(jax.random.key(1), 1), *args))


@pytest.mark.parametrize("name", NAMES)
def test_one_executable_serves_all_subsets_and_rows_may_differ(name):
    data, sde, traces = analytic.gaussian(np.zeros(3), 0.5 * np.eye(3) + 0.5), VP(), []
    score = data.score(sde)

    @jax.jit
    def generate(key, value, mask):
        traces.append(mask)
        return run(conditional_steps(sde, score, value, mask)[name], key, value, mask, rows=8)

    subsets = jnp.asarray(list(itertools.product([False, True], repeat=3)))
    value = jnp.broadcast_to(VALUE[0], (8, 3))
    mixed = generate(jax.random.key(0), value, subsets)
    for i, mask in enumerate(np.asarray(subsets)):
        alone = generate(jax.random.key(0), value, jnp.broadcast_to(mask, (8, 3)))
        np.testing.assert_allclose(mixed[i], alone[i], rtol=1e-4, atol=1e-5)
    assert len(traces) == 1
    fixed = jnp.asarray([False, True, False])  # closed over, so a constant to the compiler
    step = conditional_steps(sde, score, value, fixed)[name]
    constant = jax.jit(lambda key: run(step, key, value, fixed, rows=8))(jax.random.key(0))
    np.testing.assert_allclose(constant[2], mixed[2], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- laws: exact, and closer with work


def law(step, num, correlation=0.8, observed=1.0, rows=20_000, sde=VP(), score=None, times=None):
    """Return mean and variance of the second of two Gaussian coordinates, given the first."""
    value, mask = jnp.asarray([observed, 0.0]), jnp.asarray([True, False])
    score = analytic.pair(correlation).score(sde) if score is None else score
    kernel = step(sde, score, value, mask)
    times = uniform_times(num) if times is None else times

    @jax.jit
    def generate(prior_key, loop_key):
        x = sde.prior(prior_key, (rows, 2))
        last = chain(denoise(sde, score), clamp(value, mask))
        return sample(loop_key, kernel, x, times, last=last)[:, 1]

    x = generate(jax.random.key(1), jax.random.key(0))
    return float(x.mean()), float(x.var())


def clamped(sde, score, value, mask):
    return given(euler_maruyama(sde, score), clamp(value, mask))


def renoised(sde, score, value, mask):
    return given(euler_maruyama(sde, score), renoise(sde, value, mask))


def corrected(num):
    def make(sde, score, value, mask):
        put = renoise(sde, value, mask)
        correct = given(langevin(sde, score, snr=0.2, mask=mask), put)
        return chain(given(euler_maruyama(sde, score), put), repeat(correct, num))

    return make


def resampled(num):
    def make(sde, score, value, mask):
        put = renoise(sde, value, mask)
        return repaint(given(euler_maruyama(sde, score), put), sde, num)

    return make


def test_amortised_sampling_with_the_exact_score_is_exact():
    # 20,000 rows: errors 0.004 (mean 0.8) and 0.004 (variance 0.36), plus 0.01 for 300 steps.
    data, sde = analytic.pair(), VP()
    exact = data.conditional_score(sde, np.array([True, False]))
    score = amortised(lambda x, t, mask: exact(x, t), jnp.asarray([True, False]))
    mean, variance = law(clamped, 300, score=score)
    assert abs(mean - 0.8) < 0.022
    assert abs(variance - 0.36) < 0.022


@pytest.mark.slow
def test_replacement_is_biased_by_a_known_amount():
    # VP(0.1, 20), 500 steps, computed elsewhere: clamp 0.60 / 0.50, renoise 0.50 / 0.50.
    np.testing.assert_allclose(law(clamped, 500, rows=8_000), (0.60, 0.50), atol=0.03)
    np.testing.assert_allclose(law(renoised, 500, rows=8_000), (0.50, 0.50), atol=0.03)


@pytest.mark.slow
def test_corrections_bring_replacement_closer():
    # 4,000 rows: the error of each mean is 0.01; the bias is 0.27 without any correction.
    few, some, many = (abs(law(corrected(n), 60, rows=4_000)[0] - 0.8) for n in (0, 3, 12))
    assert few - 0.05 > some > many + 0.05


@pytest.mark.slow
def test_resampling_brings_replacement_closer():
    few, some, many = (abs(law(resampled(n), 60, rows=4_000)[0] - 0.8) for n in (1, 3, 12))
    assert few - 0.05 > some > many + 0.05


# ---------------------------------------------------------------- amortised scores


def test_amortised_passes_the_mask_and_silences_observed_coordinates():
    score = amortised(lambda x, t, mask: x + mask + t, jnp.asarray([True, False, False]))
    found = score(VALUE, jnp.asarray(0.5))
    np.testing.assert_allclose(found, np.where([True, False, False], 0.0, VALUE + 0.5))


def test_amortised_times_are_zero_where_observed():
    score = amortised_by_time(lambda x, times: times, MASK)
    found = amortised_by_time(lambda x, times: 1.0 + times, MASK)(VALUE, jnp.asarray(0.5))
    np.testing.assert_allclose(score(VALUE, jnp.asarray(0.5)), np.where(MASK, 0.0, 0.5))
    np.testing.assert_allclose(found, np.where(MASK, 0.0, 1.5))


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "make", [clamp, lambda v, m: renoise(VP(), v, m)], ids=["clamp", "renoise"]
)
@pytest.mark.parametrize(
    ("value", "mask", "message"),
    [
        (VALUE, MASK.astype(float), "mask must be a boolean array, .* got dtype float"),
        (VALUE, jnp.ones(4, bool), r"mask must broadcast to the shape of x, \(2, 3\).*got \(4,\)"),
        (VALUE, jnp.ones(2, bool), r"mask must broadcast .* one per sample; got \(2,\)"),
        (jnp.ones((5, 3)), MASK, r"value must broadcast to the shape of x, \(2, 3\).*got \(5, 3\)"),
    ],
)
def test_bad_masks_and_values_are_named(make, value, mask, message):
    with pytest.raises(ValueError, match=message):
        make(value, mask)(jax.random.key(0), jnp.ones((2, 3)), jnp.asarray(1.0), jnp.asarray(0.5))


def test_amortised_refuses_a_mask_of_numbers():
    with pytest.raises(ValueError, match="mask must be a boolean array"):
        amortised(lambda x, t, mask: x, jnp.ones(3))
