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
    SubVP,
    ancestral,
    annealed_langevin,
    by_norm,
    chain,
    denoise,
    dpm_solver,
    edm_times,
    euler_maruyama,
    heun,
    ladder_times,
    langevin,
    lift,
    log_snr_times,
    probability_flow,
    remember,
    repeat,
    sample,
    uniform_times,
)  # fmt: skip
from sbmae_jax.samplers import reverse_kernel

ALL = [VP(), SubVP(), VE(), EDM()]


def noise(key, *indices, shape):
    for i in indices:
        key = jax.random.fold_in(key, i)
    return jax.random.normal(key, shape)


def shrink(key, x, t, t_next):
    """A stand-in for a kernel: shows the noise and both times it was given."""
    return 0.5 * x + t + 10 * t_next + jax.random.normal(key, x.shape)


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
    assert path.shape == (2, 2, 3)
    for j, stop in enumerate((3, 6)):
        shorter = sample(jax.random.key(1), shrink, x, times[: stop + 1])
        np.testing.assert_allclose(path[j], shorter, rtol=1e-6)
    np.testing.assert_allclose(end, sample(jax.random.key(1), shrink, x, times), rtol=1e-6)


@pytest.mark.parametrize("sde", ALL, ids=repr)
@pytest.mark.parametrize("grid", [log_snr_times, edm_times])
def test_grids_fall_from_one_to_the_end_asked_for(sde, grid):
    times = grid(sde, 40, t_min=2e-3)
    assert times.shape == (41,)
    assert times[0] == 1.0
    assert times[-1] == jnp.float32(2e-3)
    assert jnp.all(jnp.diff(times) < 0)


def test_edm_grid_is_the_published_one_on_the_edm_process(x64):
    found = EDM().sigma(edm_times(EDM(), 17, t_min=0.0))
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# ---------------------------------------------------------------- exactness, step by step


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
        lambda scale: ancestral(VP(), lambda x, t: -x, noise_scale=scale),
        lambda scale: langevin(VP(), lambda x, t: -x, noise_scale=scale),
        lambda scale: from_memory(dpm_solver(VP(), lambda x, t: -x, eta=0.7, noise_scale=scale)),
    ],
    ids=["ancestral", "langevin", "dpm_solver"],
)
def test_noise_scale_multiplies_the_noise_alone(kernel):
    x, times = jnp.asarray([[1.0, -2.0]]), (jnp.asarray(0.6), jnp.asarray(0.4))
    none, half, whole = (kernel(s)(jax.random.key(0), x, *times) for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(half, (none + whole) / 2, rtol=1e-5)
    np.testing.assert_array_equal(none, kernel(0.0)(jax.random.key(1), x, *times))
    assert (jnp.abs(whole - none) > 0.01).all()


def from_memory(step):
    return lambda key, x, t, t_next: step(key, remember(x), t, t_next).x


def test_langevin_walks_the_path_of_its_noise():
    sde, t = VE(), jnp.asarray(0.5)
    x = x0 = jnp.asarray([[1.0, -2.0]])
    step = langevin(sde, lambda x, t: -x, snr=0.3, num_steps=2, noise_scale=0.5)
    found = step(jax.random.key(2), x0, t, t)
    size = 2 * (0.3 * 0.70710678) ** 2
    for j in range(2):
        x = (1 - size) * x + 0.5 * np.sqrt(2 * size) * noise(jax.random.key(2), j, shape=(1, 2))
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_annealed_langevin_takes_the_published_step_at_each_level():
    sigmas = jnp.linspace(5.0, 0.1, 3)
    sde, rate = VE(), 2e-3
    step = annealed_langevin(sde, lambda x, t: -x, rate, sigma_last=0.1, noise_scale=0.7)
    x = x0 = jnp.asarray([[1.0, -2.0]])
    found = sample(jax.random.key(2), step, x0, ladder_times(sde, sigmas))
    for i, sigma in enumerate(sigmas):
        size = rate * (sigma / 0.1) ** 2
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


# ---------------------------------------------------------------- order of convergence


@pytest.mark.parametrize(
    ("solver", "grid", "order"),
    [
        (probability_flow, edm_times, 1.0),
        (heun, edm_times, 2.0),
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
        start = remember(x) if solver is dpm_solver else x
        end = sample(jax.random.key(0), solver(sde, data.score(sde)), start, grid(sde, num, t_min))
        errors.append(np.abs((end.x if solver is dpm_solver else end) - exact).max())
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order - 0.1 < slope < order + 0.25


def test_flow_there_and_back_returns_the_start(x64, key):
    data, sde = analytic.three_modalities(), VP()
    x = data.sample(key, 3)
    step, times = heun(sde, data.score(sde)), edm_times(sde, 400, 1e-2)

    def rise(x, i):
        return step(jax.random.key(0), x, times[i], times[i - 1]), None

    up, _ = jax.lax.scan(rise, x, jnp.arange(400, 0, -1))
    assert jnp.abs(up - x).max() > 0.5
    down = sample(jax.random.key(0), step, up, times)
    np.testing.assert_allclose(down, x, atol=2e-3)


@pytest.mark.parametrize("solver", [probability_flow, heun, dpm_solver, ancestral])
def test_a_step_to_no_noise_is_the_prediction(solver):
    # VP has no noise at t = 0, and the score below does not exist there.
    sde, t, x = VP(), jnp.asarray(0.3), jnp.asarray([[1.0, -2.0]])
    score = analytic.gaussian([0.5, 0.5], 1e-12 * np.eye(2)).score(sde)
    start = remember(x) if solver is dpm_solver else x
    end = solver(sde, score)(jax.random.key(0), start, t, jnp.asarray(0.0))
    np.testing.assert_allclose(end.x if solver is dpm_solver else end, [[0.5, 0.5]], atol=1e-4)


# ---------------------------------------------------------------- laws


KERNELS = {
    "euler_maruyama": (euler_maruyama, 300, uniform_times),
    "ancestral": (functools.partial(ancestral, data_scale=1.0), 100, log_snr_times),
    "predictor-corrector": (
        lambda sde, score: chain(ancestral(sde, score), langevin(sde, score, 0.2, 3)),
        100,
        log_snr_times,
    ),
    "heun": (heun, 50, edm_times),
    "heun with churn": (functools.partial(heun, churn=0.1), 100, edm_times),
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
    start = remember(x) if "dpm" in name else x
    x = jax.jit(lambda key, x: sample(key, step, x, times))(loop_key, start)
    x = x.x if "dpm" in name else x
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
        start = remember(rows) if "dpm" in name else rows
        end = sample(jax.random.key(0), make(sde, data.score(sde)), start, times)
        ends.append(end.x if "dpm" in name else end)
    np.testing.assert_allclose(ends[0][:2], ends[1], rtol=1e-4, atol=1e-5)


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


def test_lift_lets_an_array_kernel_follow_a_multistep_one():
    sde, times = VP(), log_snr_times(VP(), 6)
    step = chain(dpm_solver(sde, lambda x, t: -x), lift(lambda key, x, t, t_next: x + 1.0))
    end = sample(jax.random.key(0), step, remember(jnp.ones((2, 3))), times)
    assert end.x.shape == (2, 3)
    assert jnp.all(end.x > 1.0)


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
        ({"x": jnp.ones((2, 3), int)}, r"x must be a floating array, got dtype int"),
        ({"times": uniform_times(4)[::-1]}, "times must fall from noise at 1 to data near 0"),
        ({"times": jnp.ones((3, 2))}, r"times must be one-dimensional .* got shape \(3, 2\)"),
        ({"times": jnp.ones(1)}, "times must be one-dimensional with at least two entries"),
        ({"key": jnp.zeros(2, jnp.uint32)}, r"key must be a typed key from jax\.random\.key"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"step": lambda key, x, t, s: x[:1]}, "step must return a state like x"),
        ({"step": euler_maruyama(VP(), lambda x, t: x[0])}, "score must return the shape of x"),
        ({"step": heun(VP(), lambda x, t: jnp.sum(x))}, "score must return the shape of x"),
        ({"step": dpm_solver(VP(), lambda x, t: x)}, r"pass remember\(x\)"),
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


def test_rising_times_are_refused_inside_jit_too():
    times = uniform_times(4)[::-1]
    with pytest.raises(ValueError, match="times must fall"):
        jax.jit(lambda x: sample(jax.random.key(0), shrink, x, times))(jnp.ones((2, 3)))
