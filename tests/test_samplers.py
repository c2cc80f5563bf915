"""What runs and combines kernels: `sample`, `chain`, `repeat`, grids of times."""

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
    MemoryStep,
    SubVP,
    ancestral,
    by_norm,
    chain,
    denoise,
    dpm_solver,
    edm_times,
    euler_maruyama,
    forward_transition,
    given,
    heun,
    langevin,
    log_snr_times,
    repaint,
    repeat,
    sample,
    substeps,
    uniform_times,
    vp_times,
)  # fmt: skip
from sbmae_jax.sampling.samplers import once

ALL = [VP(), SubVP(), VE(), EDM()]


def shrink(key, x, t, t_next):
    """A stand-in for a kernel: shows the noise and both times it was given."""
    return 0.5 * x + t + 10 * t_next + jax.random.normal(key, x.shape)


def shift(key, x, t, t_next):
    return x + 1.0


# ---------------------------------------------------------------- running and combining


def test_chain_moves_once_and_folds_the_key_by_position():
    x, t, t_next = jnp.ones((2, 3)), jnp.asarray(0.8), jnp.asarray(0.6)
    found = chain(shrink, shrink)(jax.random.key(5), x, t, t_next)
    first = 0.5 * x + 0.8 + 6.0 + noise(jax.random.key(5), 0, shape=(2, 3))
    second = 0.5 * first + 0.6 + 6.0 + noise(jax.random.key(5), 1, shape=(2, 3))
    np.testing.assert_allclose(found, second, rtol=1e-6)


def test_repeat_is_a_chain_of_the_same_kernel():
    args = jnp.ones((2, 3)), jnp.asarray(0.8), jnp.asarray(0.6)
    found = repeat(shrink, 3)(jax.random.key(5), *args)
    expected = chain(shrink, shrink, shrink)(jax.random.key(5), *args)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sample_is_a_loop_over_pairs_of_times():
    times = uniform_times(4)
    x = jnp.ones((2, 3))
    found = sample(jax.random.key(1), shrink, x, times, last=shrink)
    for i in range(4):
        x = shrink(jax.random.fold_in(jax.random.key(1), i), x, times[i], times[i + 1])
    x = shrink(jax.random.fold_in(jax.random.key(1), 4), x, times[4], times[4])
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_every_returns_the_states_that_shorter_runs_end_in():
    times = uniform_times(7)
    x = jnp.ones((2, 3))
    end, path = sample(jax.random.key(1), shrink, x, times, every=3)
    assert path.shape == (4, 2, 3)
    np.testing.assert_array_equal(path[0], x)
    np.testing.assert_array_equal(path[-1], end)
    for j, stop in enumerate((3, 6), start=1):
        shorter = sample(jax.random.key(1), shrink, x, times[: stop + 1])
        np.testing.assert_allclose(path[j], shorter, rtol=1e-6)
    np.testing.assert_allclose(end, sample(jax.random.key(1), shrink, x, times), rtol=1e-6)
    whole = sample(jax.random.key(1), shrink, x, times[:7], every=3, last=shrink)
    np.testing.assert_allclose(whole[1], path[:3], rtol=1e-6)  # `last` comes after the trajectory


@pytest.mark.parametrize("sde", ALL, ids=repr)
@pytest.mark.parametrize("grid", [log_snr_times, edm_times, vp_times])
def test_grids_fall_from_one_to_the_end_asked_for(sde, grid):
    times = grid(sde, 40, t_min=2e-3)
    assert times.shape == (41,)
    assert times[0] == 1.0
    assert times[-1] == jnp.float32(2e-3)
    assert jnp.all(jnp.diff(times) < 0)


def test_vp_grid_is_a_power_of_time_where_beta_rises_from_zero(x64):
    # There the integral of beta is 10 t^2, so that equal steps of its fifth root are equal steps of t^0.4.
    found = vp_times(VP(1e-9, 20.0), 9, t_min=1e-3)
    expected = np.linspace(1.0, 1e-3**0.4, 10) ** 2.5
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_edm_grid_is_the_published_one_on_the_edm_process(x64):
    found = EDM().sigma(edm_times(EDM(), 17, t_min=0.0))
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# ---------------------------------------------------------------- under the user's transformations


def test_sampling_is_differentiable_and_maps_over_keys():
    sde, times = VP(), uniform_times(8, 0.1)

    def mean_square(scale, key):
        step = euler_maruyama(sde, lambda x, t: -scale * x)
        return jnp.mean(sample(key, step, jnp.ones((4, 2)), times) ** 2)

    slope = jax.grad(mean_square)(1.0, jax.random.key(0))
    eps = 1e-2
    ends = [mean_square(1.0 + d, jax.random.key(0)) for d in (-eps, eps)]
    np.testing.assert_allclose(slope, (ends[1] - ends[0]) / (2 * eps), rtol=1e-2)
    many = jax.vmap(mean_square, (None, 0))(1.0, jax.random.split(jax.random.key(1), 3))
    assert len(set(many.tolist())) == 3


def test_a_sharded_batch_gives_the_same_samples():
    sde, data = VP(), analytic.pair()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = sde.prior(jax.random.key(1), (16, 2))
    step = ancestral(sde, data.score(sde))
    run = jax.jit(lambda x: sample(jax.random.key(0), step, x, uniform_times(5)))
    np.testing.assert_allclose(run(jax.device_put(x, rows)), run(x), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- memories

# Moves x by the number of steps before, which it counts.
counting = MemoryStep(lambda x: 0, lambda key, x, i, t, t_next: (x + i, i + 1))


@pytest.mark.parametrize(
    ("step", "added"),
    [
        (counting, 0 + 1 + 2),
        (chain(shift, counting), 3 + 0 + 1 + 2),  # each part counts its own calls
        (chain(counting, shift, counting), 3 + 2 * (0 + 1 + 2)),
        (repeat(counting, 2), sum(range(6))),
        (substeps(counting, 2), sum(range(6))),
        (given(counting, shift), 2 * 3 + 0 + 1 + 2),
        (given(shift, counting), 3 + sum(range(6))),
        (given(repeat(counting, 2), shift), 2 * 3 + sum(range(6))),
    ],
)
def test_combinations_keep_the_memory_of_their_parts(step, added):
    x = jnp.ones((2, 3))
    end = sample(jax.random.key(0), step, x, uniform_times(3))
    np.testing.assert_array_equal(end, x + added)
    memory = step.init(x)
    for i in range(3):
        x, memory = step.step(jax.random.key(i), x, memory, 0.5, 0.4)
    np.testing.assert_array_equal(end, x)


def test_plain_parts_make_a_plain_kernel_and_a_last_one_may_have_a_memory():
    x = jnp.ones((2, 3))
    for step in (chain(shift, shift), given(shift, shift), repeat(shift, 2), substeps(shift, 2)):
        np.testing.assert_array_equal(step(jax.random.key(0), x, 0.5, 0.4) > x, True)
    plain, counted = (
        sample(jax.random.key(0), shift, x, uniform_times(2), last=last)
        for last in (None, repeat(counting, 3))
    )
    np.testing.assert_array_equal(counted, plain + 0 + 1 + 2)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x, i: x, r"step must return \(x, memory\) for a MemoryStep, got"),
        (lambda x, i: (x, i + 0.5), "step must return one like memory, .*int32.* got .*float32"),
        (lambda x, i: (x[:1], i), "step must return a state like x"),
    ],
)
@pytest.mark.parametrize("combine", [lambda step: step, lambda step: repeat(chain(step), 2)])
def test_a_memory_that_changes_is_refused(combine, returned, message):
    step = MemoryStep(lambda x: 0, lambda key, x, i, t, t_next: returned(x, i))
    with pytest.raises(ValueError, match=message):
        sample(jax.random.key(0), combine(step), **GOOD)


def test_a_jump_back_makes_the_solver_forget():
    # Its prediction from before the jump lies at less noise: the second visit is as one without a memory.
    sde, x = VP(), jnp.ones((2, 3))
    solver = dpm_solver(sde, lambda x, t: -0.5 * x)
    t, t_next = jnp.asarray(0.5), jnp.asarray(0.4)
    x, memory = solver.step(jax.random.key(0), x, solver.init(x), t, t_next)
    x = forward_transition(sde)(jax.random.key(1), x, t_next, t)
    after_jump, _ = solver.step(jax.random.key(2), x, memory, t, t_next)
    fresh, _ = solver.step(jax.random.key(2), x, solver.init(x), t, t_next)
    np.testing.assert_array_equal(after_jump, fresh)


def test_denoise_evaluates_where_x_is():
    sde, x = VP(), jnp.asarray([[1.0, -2.0]])
    step, times = lambda key, x, t, t_next: x, jnp.asarray([1.0, 0.5])
    end = sample(jax.random.key(0), step, x, times, last=denoise(sde, lambda x, t: -x))
    alpha, sigma = sde.alpha(0.5), sde.sigma(0.5)
    np.testing.assert_allclose(end, (1 - sigma**2) / alpha * x, rtol=1e-5)


# ---------------------------------------------------------------- bad input


def test_check_says_at_which_step_a_score_broke():
    def score(x, t):
        return jnp.where(t < 0.45, jnp.nan, -x)

    step = euler_maruyama(VP(), score)
    with pytest.raises(Exception, match=r"x is not finite after step 6, at t = 0\.3"):
        sample(jax.random.key(0), step, jnp.ones((2, 3)), uniform_times(10), check=True)


def test_check_changes_nothing_otherwise():
    step = euler_maruyama(VP(), lambda x, t: -x)
    args = step, jnp.ones((2, 3)), uniform_times(10)
    plain, checked = (sample(jax.random.key(0), *args, check=c) for c in (False, True))
    np.testing.assert_allclose(plain, checked, rtol=1e-6)


GOOD = {"x": jnp.ones((2, 3)), "times": uniform_times(4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": jnp.ones((2, 3), int)}, r"x must be a floating-point array, got dtype int"),
        ({"times": uniform_times(4)[::-1]}, "times must fall from noise at 1 to data near 0"),
        ({"times": jnp.ones((3, 2))}, r"times must be one-dimensional .* got shape \(3, 2\)"),
        ({"times": jnp.ones(1)}, "times must be one-dimensional with at least two entries"),
        ({"key": jnp.zeros(2, jnp.uint32)}, r"key must be a typed key from jax\.random\.key"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"step": lambda key, x, t, s: x[:1]}, "step must return a state like x"),
        ({"step": euler_maruyama(VP(), lambda x, t: x[0])}, "score must return the shape of x"),
        ({"step": heun(VP(), lambda x, t: jnp.sum(x))}, "score must return the shape of x"),
        (
            {"step": langevin(VP(), lambda x, t: x, mask=jnp.zeros(4, bool))},
            r"mask must broadcast to the shape of x, \(2, 3\).* got \(4,\)",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    args = {"key": jax.random.key(0), "step": shrink, **GOOD, **change}
    with pytest.raises(ValueError, match=message):
        sample(**args)


def no_change(key, x, t, t_next):
    return x


@pytest.mark.parametrize(
    "combine",
    [
        lambda step: step,
        lambda step: chain(no_change, step),
        lambda step: given(step, no_change),
        lambda step: repeat(step, 2),
        lambda step: repaint(step, VP(), 2),
        lambda step: substeps(step, 2),
    ],
    ids=["alone", "chain", "given", "repeat", "repaint", "substeps"],
)
@pytest.mark.parametrize("returned", [None, jnp.ones(3), jnp.ones((2, 3), jnp.float16)], ids=repr)
def test_a_step_that_returns_another_state_is_refused(combine, returned):
    step = combine(lambda key, x, t, t_next: returned)
    with pytest.raises(ValueError, match="step must return a state like x"):
        sample(jax.random.key(0), step, **GOOD)


def test_falling_times_are_refused_where_they_are_to_rise():
    with pytest.raises(ValueError, match="times must rise"):
        sample(jax.random.key(0), shrink, rising=True, **GOOD)


@pytest.mark.parametrize(
    "make",
    [
        lambda v: dpm_solver(VP(), lambda x, t: -x, eta=v, temperature=v),
        lambda v: heun(VP(), lambda x, t: -x, churn=v),
        lambda v: ancestral(VP(), lambda x, t: -x, data_scale=v, temperature=v),
        lambda v: langevin(VP(), lambda x, t: -x, snr=v, temperature=v),
    ],
    ids=["dpm_solver", "heun", "ancestral", "langevin"],
)
def test_options_may_be_traced(make):
    def run(value):
        return once(make(value))(jax.random.key(0), jnp.ones((2, 3)), 0.6, 0.4)

    traced = jax.jit(jax.vmap(run))(jnp.asarray([0.0, 0.3]))
    np.testing.assert_allclose(traced, jnp.stack([run(0.0), run(0.3)]), rtol=1e-4, atol=1e-5)


def test_a_traced_count_is_refused_by_name():
    with pytest.raises(ValueError, match="num_steps must be an integer, got"):
        jax.jit(lambda n: langevin(VP(), lambda x, t: -x, num_steps=n))(3)


def test_rows_without_a_batch_have_no_norm():
    step = langevin(VP(), lambda x, t: -x, rule=by_norm)
    with pytest.raises(ValueError, match=r"by_norm needs rows, x of \[B, \.\.\.\].* use by_level"):
        step(jax.random.key(0), jnp.ones(3), 0.5, 0.4)


def test_rising_times_are_refused_inside_jit_too():
    times = uniform_times(4)[::-1]
    with pytest.raises(ValueError, match="times must fall"):
        jax.jit(lambda x: sample(jax.random.key(0), shrink, x, times))(jnp.ones((2, 3)))
