"""Sampling of latents: every sampler and conditioning, on a Gaussian whose conditionals are known.

Compiling is most of the cost, so each config is compiled once, for one batch that asks everything: a row
for each of the 32 subsets, `num` rows that observe nothing, and `num` rows that observe MASK.
"""

import functools
from typing import NamedTuple

import analytic
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import VP

TARGET = analytic.three_modalities()
SCALE = np.sqrt(np.diag(TARGET.cov))
UNIT = analytic.gaussian(np.zeros(5), TARGET.cov / np.outer(SCALE, SCALE))
SDE = VP()
SUBSETS = np.arange(32)[:, None] >> np.arange(5) & 1 == 1
MASK = np.array([True, False, False, True, False])
VALUE = np.array([1.0, 0, 0, -0.5, 0], np.float32)
EXACT = {"nothing": UNIT, "mask": UNIT.given(VALUE, MASK)}

LANGEVIN = SamplingConfig("langevin", "renoise", num_levels=40, num_corrections=8, snr=0.3)
CORRECTED = SamplingConfig("predictor_corrector", "renoise", 60, num_corrections=3, snr=0.3)
FINE = SamplingConfig("predictor_corrector", "amortised", 250)
COARSE = SamplingConfig("predictor_corrector", "amortised", 24)
SOLVER = SamplingConfig("dpm_solver", "amortised", 24)
FLOW = SamplingConfig("dpm_solver", "amortised", 32, eta=0.0)
CONFIGS = {
    "langevin": (LANGEVIN, 4000),
    "corrected": (CORRECTED, 4000),
    "fine": (FINE, 4000),
    "coarse": (COARSE, 20_000),
    "solver": (SOLVER, 20_000),
    "flow": (FLOW, 200),
    "solver, renoised": (SamplingConfig("dpm_solver", "renoise", 4, 1), 1),
    "particles": (SamplingConfig("dpm_solver", "particles", 4, num_particles=3), 10),
    "less noise": (SamplingConfig("predictor_corrector", "clamp", 32, 4, temperature=0.7), 4000),
    "less noise, langevin": (SamplingConfig("langevin", "amortised", 32, 4, temperature=0.7), 4000),
    "less noise, solver": (SamplingConfig("dpm_solver", "amortised", 32, temperature=0.7), 4000),
}


class Run(NamedTuple):
    function: object
    traces: list
    value: np.ndarray
    mask: np.ndarray
    x: np.ndarray
    num_evaluations: int


@functools.cache
def run(name):
    """Sample the batch once; NaN stands wherever a value must not be read."""
    sampling, num = CONFIGS[name]
    mask = np.concatenate([SUBSETS, np.zeros((num, 5), bool), np.tile(MASK, (num, 1))])
    value = np.where(mask, VALUE, np.nan).astype(np.float32)
    evaluations, traces = [], []

    def score_given(mask):
        joint, conditional = UNIT.score(SDE), UNIT.conditional_score(SDE, MASK)

        def score(x, t):
            jax.debug.callback(lambda: evaluations.append(1))
            if sampling.conditioning in ("renoise", "particles"):
                return joint(x, t)
            known = jnp.all(mask == jnp.asarray(MASK)[None], axis=1, keepdims=True)
            return jnp.where(known, conditional(x, t), joint(x, t))

        return score

    @jax.jit
    def function(key, value, mask):
        traces.append(1)
        return generate_latents(key, SDE, score_given(mask), sampling, value, mask)

    x = np.asarray(function(jax.random.key(0), value, mask))
    jax.effects_barrier()
    return Run(function, traces, value, mask, x, len(evaluations))


def drawn(name, observed):
    """Return the unobserved coordinates of the rows that observe nothing, or MASK."""
    x, num = run(name).x, CONFIGS[name][1]
    return x[-2 * num : -num] if observed == "nothing" else x[-num:, ~MASK]


def assert_moments(x, truth, bias):
    """Compare with the truth, allowing four standard errors and a bias of discretisation."""
    error = 4 * np.sqrt(np.diag(truth.cov) / len(x))
    assert (np.abs(np.mean(x, axis=0) - truth.mean) < error + bias).all()
    deviation = np.sqrt(np.outer(np.diag(truth.cov), np.diag(truth.cov)))
    assert (np.abs(np.cov(x.T) - truth.cov) < deviation * (6 / len(x) ** 0.5 + bias)).all()


@pytest.mark.parametrize("name", ["langevin", "corrected"])
@pytest.mark.parametrize(("observed", "bias"), [("nothing", 0.06), ("mask", 0.12)])
def test_samples_have_the_right_mean_and_covariance(name, observed, bias):
    assert_moments(drawn(name, observed), EXACT[observed], bias)


def test_amortised_conditioning_needs_no_correction():
    # What is left is the first-order error of the ancestral step, which falls with the levels.
    assert_moments(drawn("fine", "mask"), EXACT["mask"], bias=0.06)


@pytest.mark.parametrize("observed", ["nothing", "mask"])
def test_dpm_solver_needs_few_levels_and_no_correction(observed):
    # At 24 levels its bias is 4 % of the variance (measured with 20,000 draws: 2 % at 48, 9 % at 12).
    exact = EXACT[observed]
    assert_moments(drawn("solver", observed), exact, bias=0.05)
    solver, coarse = (
        np.trace(np.cov(drawn(name, observed).T)) / np.trace(exact.cov)
        for name in ("solver", "coarse")
    )
    # An ancestral step to each level is too narrow by a third.
    assert coarse < 0.8
    assert abs(solver - 1) < 0.25 * abs(coarse - 1)


def test_dpm_solver_of_eta_0_follows_the_flow_from_the_prior_draw():
    # So it draws nothing but the start: from there the exact flow of the ODE leads, and then the exact
    # denoiser. That its error is of order 2 is a test of the solver.
    rows = slice(32, 232)  # those that observe nothing
    start = SDE.prior(jax.random.split(jax.random.key(0))[0], (432, 5))[rows]
    t = jnp.asarray(FLOW.t_min)
    x = jnp.asarray(UNIT.flow(SDE, start, 1.0, FLOW.t_min), jnp.float32)
    end = np.asarray(SDE.denoised_from_score(UNIT.score(SDE)(x, t), x, t))
    assert np.sqrt(np.mean((run("flow").x[rows] - end) ** 2)) < 0.02
    # With eta 1 the way is another.
    assert np.sqrt(np.mean((run("solver").x[rows] - end) ** 2)) > 0.5


@pytest.mark.parametrize("name", ["less noise", "less noise, langevin", "less noise, solver"])
def test_less_noise_draws_closer_to_the_mean(name):
    # Deviations of the mean over the draws are within 0.02.
    found, exact = drawn(name, "mask"), EXACT["mask"]
    np.testing.assert_allclose(found.mean(0), exact.mean, atol=0.1)
    assert 0.3 < np.trace(np.cov(found.T)) / np.trace(exact.cov) < 0.8


@pytest.mark.parametrize("name", CONFIGS)
def test_every_subset_comes_back_bit_for_bit_and_nothing_else_is_read(name):
    found = run(name)
    np.testing.assert_array_equal(found.x[found.mask], found.value[found.mask])
    chex.assert_tree_all_finite(found.x)
    assert not np.isin(found.x[~found.mask], VALUE).any()


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "particles"])
def test_number_of_evaluations_is_what_is_called(name):
    assert run(name).num_evaluations == CONFIGS[name][0].num_evaluations


@pytest.mark.slow
def test_number_of_evaluations_counts_all_particles():
    sampling, rows = SamplingConfig("dpm_solver", "particles", 2, num_particles=3), []

    def score(x, t):
        rows.append(len(x))
        return -x

    with jax.disable_jit():
        value, mask = jnp.zeros((1, 2)), jnp.asarray([[True, False]])
        generate_latents(jax.random.key(0), SDE, score, sampling, value, mask)
    assert sum(rows) == sampling.num_evaluations


@pytest.mark.parametrize("name", ["corrected", "langevin", "solver, renoised", "flow", "particles"])
def test_a_row_depends_neither_on_its_batch_mates_nor_on_their_subsets(name):
    found = run(name)
    others = np.arange(len(found.x)) >= 32
    mask = np.where(others[:, None], ~found.mask, found.mask)
    value = np.where(others[:, None], 5.0, found.value).astype(np.float32)
    x = found.function(jax.random.key(0), value, mask)
    np.testing.assert_allclose(x[:32], found.x[:32], atol=1e-5)
    assert not np.isclose(x[32:], found.x[32:]).any()
    assert len(found.traces) == 1


def drawn_by(sampling, data, value, mask, num):
    """Return `num` draws of the unobserved coordinates."""
    values, masks = (np.tile(np.asarray(v), (num, 1)) for v in (value, mask))
    values = np.where(masks, values, np.nan).astype(np.float32)
    made = jax.jit(
        lambda key: generate_latents(key, SDE, data.score(SDE), sampling, values, masks)
    )(jax.random.key(1))
    return np.asarray(made)[:, ~np.asarray(mask)]


@pytest.mark.parametrize("sampler", ["dpm_solver", "predictor_corrector"])
def test_particles_have_the_moments_of_the_conditional_law(sampler):
    particles = SamplingConfig(sampler, "particles", 32, num_particles=16)
    assert_moments(drawn_by(particles, UNIT, VALUE, MASK, 2000), EXACT["mask"], bias=0.05)


def test_clamping_with_the_same_steps_is_worse_than_particles():
    # Clean values beside noisy ones: 0.4 of the variance too much, even with four corrections a level.
    clamped = SamplingConfig("dpm_solver", "clamp", 32, 4)
    with pytest.raises(AssertionError):
        assert_moments(drawn_by(clamped, UNIT, VALUE, MASK, 2000), EXACT["mask"], bias=0.05)


@pytest.mark.slow
def test_the_more_particles_the_closer_to_the_conditional_law():
    # Of two modes, which the guess of one particle mixes up: its mean is 0.3 deviations off.
    modes = analytic.two_modes()
    scale = np.sqrt(np.diag(modes.covariance))
    data = analytic.Mixture(
        modes.weights, (modes.means - modes.mean) / scale, modes.cov / np.outer(scale, scale)
    )
    value, mask = np.array([0.2, 0.0]), np.array([True, False])
    exact = data.given(value, mask)
    mean, std = exact.mean[0], np.sqrt(exact.covariance[0, 0])
    errors = []
    for num in (1, 8, 64):
        sampling = SamplingConfig("dpm_solver", "particles", 48, num_particles=num)
        x = drawn_by(sampling, data, value, mask, 4000)
        errors.append((abs(x.mean() - mean) / std, abs(x.std() / std - 1)))
    assert errors[0][0] > 0.2
    assert errors[0][1] > 0.15
    # Four standard errors of a mean over 4,000 draws are 0.063, of a deviation at most 0.1.
    assert errors[2][0] < 0.07
    assert errors[2][1] < 0.1
    assert errors[2][0] < errors[1][0] < errors[0][0]


@pytest.mark.slow
def test_few_clouds_at_once_draw_the_same(monkeypatch):
    sampling = SamplingConfig("dpm_solver", "particles", 4, num_particles=3)
    whole = drawn_by(sampling, UNIT, VALUE, MASK, 7)
    monkeypatch.setattr("sbmae_jax.sampling.generate.MAX_PARTICLES", 9)  # 3 rows, and one remains
    np.testing.assert_allclose(drawn_by(sampling, UNIT, VALUE, MASK, 7), whole, atol=1e-5)
    monkeypatch.setattr("sbmae_jax.sampling.generate.MAX_PARTICLES", 1)
    np.testing.assert_allclose(drawn_by(sampling, UNIT, VALUE, MASK, 7), whole, atol=1e-5)


def test_clamp_and_amortised_differ_in_the_score_alone():
    def program(sampler, conditioning):
        sampling = SamplingConfig(sampler, conditioning, 4, 1)
        args = SDE, UNIT.score(SDE), sampling, jnp.zeros((2, 5))
        made = jax.make_jaxpr(lambda key, mask: generate_latents(key, *args, mask))
        return str(made(jax.random.key(0), np.zeros((2, 5), bool)))

    for sampler in ("langevin", "predictor_corrector", "dpm_solver"):
        assert program(sampler, "clamp") == program(sampler, "amortised")
        assert program(sampler, "clamp") != program(sampler, "renoise")


PARTICLES = {"conditioning": "particles"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "ddim"}, "^sampler must be one of"),
        ({"conditioning": "hope"}, "^conditioning must be one of"),
        ({"num_levels": 4.0}, "^num_levels must be an integer, got 4.0"),
        ({"sampler": "langevin", "num_corrections": 0}, "num_corrections must be at least 1"),
        (
            {"classifier_free": 2.0, "conditioning": "clamp"},
            "classifier_free needs conditioning 'amortised', whose score knows what is",
        ),
        ({"classifier_free": -1.0}, "^classifier_free must be"),
        ({"temperature": -0.1}, "^temperature must be"),
        ({"num_particles": 0}, "^num_particles must be at least 1, got 0"),
        ({"num_particles": 8.0}, "^num_particles must be an integer"),
        ({**PARTICLES, "guidance": 0.1}, "without guidance: set guidance to 0, got 0.1"),
        ({**PARTICLES, "temperature": 0.7}, "without temperature: set temperature to 1, got 0.7"),
        ({**PARTICLES, "num_corrections": 1}, "set num_corrections to 0, got 1"),
        ({**PARTICLES, "classifier_free": 2.0}, "classifier_free needs conditioning 'amortised'"),
        (
            {**PARTICLES, "sampler": "dpm_solver", "eta": 0.0},
            "needs steps with noise from level to level: .*'dpm_solver' with eta above 0",
        ),
        (
            {"sampler": "dpm_solver", "eta": 0.0, "temperature": 0.5},
            "temperature scales the noise of steps, and sampler 'dpm_solver' with eta 0",
        ),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**values)
