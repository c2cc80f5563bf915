import dataclasses
import functools

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.sampling.generate import CONDITIONINGS, SAMPLERS, SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import VP

TARGET = analytic.three_modalities()
SCALE = np.sqrt(np.diag(TARGET.cov))
UNIT = analytic.gaussian(np.zeros(5), TARGET.cov / np.outer(SCALE, SCALE))
SDE = VP()
MASK = np.array([True, False, False, True, False])
VALUE = np.array([1.0, 0, 0, -0.5, 0])
SETTINGS = {
    "langevin": SamplingConfig("langevin", "renoise", num_levels=40, num_corrections=8, snr=0.3),
    "predictor_corrector": SamplingConfig(
        "predictor_corrector", "renoise", 60, num_corrections=3, snr=0.3
    ),
}


@functools.cache
def sampler(sampling, conditional=False):
    score = UNIT.conditional_score(SDE, MASK) if conditional else UNIT.score(SDE)
    return jax.jit(functools.partial(generate_latents, sde=SDE, score=score, sampling=sampling))


def draw(sampling, mask, num=4000, conditional=False, seed=0):
    value = jnp.broadcast_to(jnp.asarray(VALUE, jnp.float32), (num, 5))
    mask = jnp.broadcast_to(jnp.asarray(mask), (num, 5))
    return sampler(sampling, conditional)(jax.random.key(seed), value=value, mask=mask)


def assert_moments(x, mean, cov, bias):
    """Compare with the truth, allowing four standard errors and a bias of discretisation."""
    error = 4 * np.sqrt(np.diag(cov) / len(x))
    assert (np.abs(np.mean(x, axis=0) - mean) < error + bias).all()
    deviation = np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    assert (np.abs(np.cov(x.T) - cov) < deviation * (6 / len(x) ** 0.5 + bias)).all()


@pytest.mark.parametrize("sampling", SETTINGS.values(), ids=SETTINGS)
def test_unconditional_samples_have_the_right_mean_and_covariance(sampling):
    x = draw(sampling, np.zeros(5, bool))
    assert_moments(np.asarray(x), UNIT.mean, UNIT.cov, bias=0.06)


@pytest.mark.parametrize("sampling", SETTINGS.values(), ids=SETTINGS)
def test_conditional_samples_have_the_right_mean_and_covariance(sampling):
    x = np.asarray(draw(sampling, MASK))
    exact = UNIT.given(VALUE, MASK)
    assert_moments(x[:, ~MASK], exact.mean, exact.cov, bias=0.12)


def test_amortised_conditioning_needs_no_correction():
    # What is left is the first-order error of the ancestral step, which falls with the levels.
    x = np.asarray(
        draw(SamplingConfig("predictor_corrector", "amortised", 250), MASK, conditional=True)
    )
    exact = UNIT.given(VALUE, MASK)
    assert_moments(x[:, ~MASK], exact.mean, exact.cov, bias=0.06)


@pytest.mark.parametrize("conditional", [False, True])
def test_dpm_solver_needs_few_levels_and_no_correction(conditional):
    # At 24 levels its bias is 4 % of the variance (measured with 20,000 draws: 2 % at 48, 9 % at 12).
    mask = MASK if conditional else np.zeros(5, bool)
    exact = UNIT.given(VALUE, MASK) if conditional else UNIT
    spread = {}
    for kind in ("dpm_solver", "predictor_corrector"):
        sampling = SamplingConfig(kind, "amortised", 24)
        x = np.asarray(draw(sampling, mask, 20_000, conditional))[:, ~mask]
        spread[kind] = np.trace(np.cov(x.T)) / np.trace(exact.covariance)
        if kind == "dpm_solver":
            assert_moments(x, exact.mean, exact.covariance, bias=0.05)
    # An ancestral step to each level is too narrow by a third.
    assert spread["predictor_corrector"] < 0.8
    assert abs(spread["dpm_solver"] - 1) < 0.25 * abs(spread["predictor_corrector"] - 1)


def test_dpm_solver_of_eta_0_follows_the_flow_from_the_prior_draw():
    # So it draws nothing but the start: from there the exact flow of the ODE leads, and then the exact
    # denoiser. The error is of order 2: twice the levels, a quarter of it.
    sampling = SamplingConfig("dpm_solver", "amortised", 32, eta=0.0)
    start = SDE.prior(jax.random.split(jax.random.key(0))[0], (200, 5))
    t = jnp.asarray(sampling.t_min)
    x = jnp.asarray(UNIT.flow(SDE, start, 1.0, sampling.t_min), jnp.float32)
    end = SDE.denoised_from_score(UNIT.score(SDE)(x, t), x, t)
    errors = []
    for num_levels in (32, 64):
        found = draw(dataclasses.replace(sampling, num_levels=num_levels), np.zeros(5, bool), 200)
        errors.append(float(jnp.sqrt(jnp.mean((found - end) ** 2))))
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    # With eta 1 the way is another.
    other = draw(dataclasses.replace(sampling, eta=1.0), np.zeros(5, bool), 200)
    assert float(jnp.sqrt(jnp.mean((other - end) ** 2))) > 0.5


@pytest.mark.parametrize("kind", SAMPLERS)
def test_less_noise_draws_closer_to_the_mean(kind):
    # Deviations of the mean over the draws are within 0.02.
    sampling = SamplingConfig(kind, "amortised", 32, 4, temperature=0.7)
    found = np.asarray(draw(sampling, MASK, 4000, conditional=True))[:, ~MASK]
    plain = dataclasses.replace(sampling, temperature=1.0)
    other = np.asarray(draw(plain, MASK, 4000, conditional=True))[:, ~MASK]
    np.testing.assert_allclose(found.mean(0), UNIT.given(VALUE, MASK).mean, atol=0.1)
    assert 0.3 < np.trace(np.cov(found.T)) / np.trace(np.cov(other.T)) < 0.8


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_observed_entries_come_back_bit_for_bit(kind, conditioning):
    x = draw(SamplingConfig(kind, conditioning, 4, 1), MASK, num=8)
    np.testing.assert_array_equal(
        x[:, MASK], np.broadcast_to(VALUE[MASK].astype(np.float32), (8, 2))
    )


def test_a_full_mask_returns_the_value_and_an_empty_one_reads_nothing_of_it():
    sampling = SamplingConfig("predictor_corrector", "renoise", 4, 1)
    np.testing.assert_array_equal(draw(sampling, np.ones(5, bool), 3)[0], VALUE.astype(np.float32))
    nan = jnp.full((3, 5), jnp.nan)
    x = sampler(sampling)(jax.random.key(0), value=nan, mask=jnp.zeros((3, 5), bool))
    assert jnp.isfinite(x).all()


def test_one_trace_serves_every_subset_also_mixed_in_a_batch():
    traces = []

    def score(x, t):
        traces.append(1)
        return -x

    run = jax.jit(
        functools.partial(
            generate_latents,
            sde=SDE,
            score=score,
            sampling=SamplingConfig("langevin", "renoise", 4, 1),
        )
    )
    subsets = np.arange(32)[:, None] >> np.arange(5) & 1 == 1
    for i, subset in enumerate(subsets):
        mask = np.broadcast_to(subset, (4, 5))
        run(jax.random.key(i), value=jnp.zeros((4, 5)), mask=jnp.asarray(mask))
        if i == 0:
            first = len(traces)
    run(jax.random.key(9), value=jnp.zeros((4, 5)), mask=jnp.asarray(subsets[7:11]))
    assert len(traces) == first


def test_rows_with_different_subsets_equal_batches_with_one():
    sampling = SamplingConfig("predictor_corrector", "renoise", 6, 2)
    masks = jnp.asarray([MASK, ~MASK, np.zeros(5, bool), MASK])
    value = jnp.broadcast_to(jnp.asarray(VALUE, jnp.float32), (4, 5))
    mixed = sampler(sampling)(jax.random.key(3), value=value, mask=masks)
    for i, mask in enumerate(masks):
        same = sampler(sampling)(
            jax.random.key(3), value=value, mask=jnp.broadcast_to(mask, (4, 5))
        )
        np.testing.assert_allclose(mixed[i], same[i], atol=1e-5)


def test_a_row_does_not_depend_on_its_batch_mates():
    sampling = SamplingConfig("predictor_corrector", "renoise", 6, 2)
    mask = jnp.broadcast_to(jnp.asarray(MASK), (3, 5))
    value = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
    x = sampler(sampling)(jax.random.key(3), value=value, mask=mask)
    y = sampler(sampling)(jax.random.key(3), value=value.at[1:].add(5.0), mask=mask)
    np.testing.assert_allclose(x[0], y[0], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sampler": "ddim"}, "^sampler must be one of"),
        ({"conditioning": "hope"}, "^conditioning must be one of"),
        ({"sampler": "langevin", "num_corrections": 0}, "num_corrections must be at least 1"),
        (
            {"classifier_free": 2.0, "conditioning": "clamp"},
            "classifier_free needs conditioning 'amortised', whose score knows what is",
        ),
        ({"classifier_free": -1.0}, "^classifier_free must be"),
        ({"temperature": -0.1}, "^temperature must be"),
        (
            {"sampler": "dpm_solver", "eta": 0.0, "temperature": 0.5},
            "temperature scales the noise of steps, and sampler 'dpm_solver' with eta 0",
        ),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**values)


def test_number_of_evaluations_is_what_is_called():
    calls = []

    def score(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return -x

    for sampling in (
        SamplingConfig("langevin", "clamp", 3, 2),
        SamplingConfig("predictor_corrector", "clamp", 3, 2),
        SamplingConfig("dpm_solver", "clamp", 3, 2),
    ):
        calls.clear()
        x = generate_latents(
            jax.random.key(0), SDE, score, sampling, jnp.zeros((2, 5)), jnp.zeros((2, 5), bool)
        )
        jax.block_until_ready(x)
        jax.effects_barrier()
        assert len(calls) == sampling.num_evaluations
