"""Conditioning by particles, own steps, and data frames, on a model whose score is known exactly."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import polars as pl
import pytest
from opening import one_sentence
from test_density import COV, NAMES, OWNER, Identity, gaussian_model, rows
from test_model import model as own_model
from test_pickled import model_of

from sbmae_jax import (
    VP,
    MemoryStep,
    ancestral,
    chain,
    dpm_solver,
    edm_times,
    guide,
    heun,
    langevin,
    log_snr_times,
    probability_flow,
    repaint,
    uniform_times,
)  # fmt: skip
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models import generation
from sbmae_jax.models.model import complete

PARTICLES = {"conditioning": "particles", "num_particles": 16}
GIVEN = {"b": np.array([[1.2], [-0.5]], np.float32)}
NUM = 1000


def conditional(seen, value):
    """Return mean and covariance of the latents that are not seen, given those that are."""
    seen = np.isin(OWNER, [NAMES.index(name) for name in seen])
    gain = COV[np.ix_(~seen, seen)] @ np.linalg.inv(COV[np.ix_(seen, seen)])
    return gain @ value, COV[np.ix_(~seen, ~seen)] - gain @ COV[np.ix_(seen, ~seen)]


def assert_conditional(made, bias=0.06):
    """Compare the samples [2, NUM, ...] of a and c given b with the truth, within four standard errors."""
    assert made["b"].shape == (2, NUM, 1)
    for row, value in enumerate(GIVEN["b"]):
        assert (made["b"][row] == value).all()
        x = np.concatenate([made["a"][row], made["c"][row]], axis=1)
        mean, cov = conditional(["b"], value)
        assert (np.abs(x.mean(0) - mean) < 4 * np.sqrt(np.diag(cov) / NUM) + bias).all()
        assert (np.abs(np.cov(x.T) - cov) < 6 / np.sqrt(NUM) + bias).all()


class Certain(Identity):
    """Values of which p(x|z) leaves nothing open."""

    def draw(self, params, key, z):
        return z


def framed():
    """Return a model of frames: a vector of two columns with names, and two modalities of one column."""
    scaling = Scaling("vector", (), "float64", np.array([2.0]), np.array([0.5]))
    return dataclasses.replace(
        gaussian_model(),
        autoencoders=(Certain(),) * 3,
        modalities=tuple(
            dataclasses.replace(m, shape=(1,)) if m.name != "a" else m
            for m in gaussian_model().modalities
        ),
        scalings=(
            ("a", Scaling("vector", (2,), "float64", np.zeros(2), np.ones(2))),
            ("b", scaling),
            ("c", scaling),
        ),
        entries=(("a", ("sodium", "iron")),),
        ignored=("id",),
    )


def test_particles_condition_the_joint_score():
    model = gaussian_model(**PARTICLES).with_sampling(num_levels=32)
    assert_conditional(model.generate(GIVEN, num_samples=NUM))


def test_particles_with_rows_that_observe_different_modalities_or_nothing():
    model = gaussian_model(**PARTICLES).with_sampling(num_levels=4)
    observed = np.array([[False, True, False], [True, False, True], [False] * 3, [True] * 3])
    batch = rows(4)
    made = complete(model, jax.random.key(0), batch, observed)
    for m, name in enumerate(NAMES):
        same = np.isclose(made[name], batch[name]).all(axis=1)
        np.testing.assert_array_equal(same, observed[:, m])
    assert model.generate({}, num_samples=4)["a"].shape == (4, 2)
    # A row is drawn alike whatever else is in the batch.
    batch = {name: np.concatenate([x[:2], x[:2] + 1]) for name, x in batch.items()}
    other = complete(model, jax.random.key(0), batch, np.concatenate([observed[:2], ~observed[:2]]))
    np.testing.assert_allclose(other["a"][:2], made["a"][:2], atol=1e-5)


@pytest.mark.slow
def test_particles_fill_holes_and_run_in_exported_files(tmp_path):
    model = framed().with_sampling(**PARTICLES, num_levels=2)
    found = model.impute({"b": [1.0, np.nan, 2.0], "c": [0.5, 1.0, np.nan]}, num_samples=2)
    assert {name: x.shape for name, x in found.samples.items()} == {
        "a": (3, 2, 2), "b": (1, 2), "c": (1, 2),
    }  # fmt: skip
    model.export(tmp_path / "model.jax")
    run = jax.export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).call
    batch, observed = rows(2), np.array([[False, True, False], [True, False, True]])
    made = run(np.array([0, 7], np.uint32), batch, observed)
    for name, x in complete(model, jax.random.key(7), batch, observed).items():
        np.testing.assert_allclose(made[name], x, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_particles_follow_a_network():
    model = model_of().with_sampling(conditioning="particles", num_particles=3, num_levels=2)
    made = model.generate({"town": np.array(["Oslo", "Bonn"])}, num_samples=2)
    assert np.isfinite(made["first"]).all()
    assert made["first"].shape == (2, 2, 3)


def test_particles_refuse_what_an_energy_or_guidance_would_change():
    with pytest.raises(ValueError, match="set guidance to 0") as error:
        model_of(energy="tower").with_sampling(conditioning="particles")
    one_sentence(error)
    with pytest.raises(ValueError, match="classifier_free needs conditioning 'amortised'"):
        gaussian_model(classifier_free=2.0).with_sampling(**PARTICLES)


def corrected(sde, score):
    return chain(ancestral(sde, score, data_scale=1.0), langevin(sde, score, 0.3))


def corrected_solver(sde, score):
    return chain(dpm_solver(sde, score, eta=1.0), langevin(sde, score, 0.3))


def repainted(sde, score):
    return repaint(ancestral(sde, score, data_scale=1.0), sde, 2)


STEPS = {
    "heun": (heun, edm_times(VP(), 24)),
    "probability_flow": (probability_flow, log_snr_times(VP(), 64)),
    "dpm_solver": (dpm_solver, log_snr_times(VP(), 24)),
    "corrected": (corrected, log_snr_times(VP(), 32)),
    "corrected_solver": (corrected_solver, log_snr_times(VP(), 24)),
    "repainted": (repainted, log_snr_times(VP(), 24)),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("probability_flow", "repainted")))
        for name in STEPS
    ],
)
def test_any_step_samples_the_conditional_law_in_one_line(name):
    make_step, times = STEPS[name]
    made = gaussian_model().sample_with(make_step, GIVEN, times=times, num_samples=NUM)
    assert list(made) == list(NAMES)
    assert_conditional(made)


def test_a_step_follows_the_conditioning_of_the_model():
    # Renoised values guide the joint score: biased, but not blind.
    model = gaussian_model(conditioning="renoise", num_corrections=1)
    made = model.sample_with(corrected, GIVEN, num_samples=NUM)
    mean = np.array(
        [x["a"].mean(axis=(0, 1)) for x in ({"a": made["a"][:1]}, {"a": made["a"][1:]})]
    )
    assert (made["b"] == GIVEN["b"][:, None]).all()
    assert mean[0, 1] > 0.2 > mean[1, 1]


def test_a_step_may_reach_time_0_and_times_are_those_of_the_model_by_default():
    model = gaussian_model()
    seen = []

    def traced(sde, score):
        def step(key, x, t, t_next):
            jax.debug.callback(lambda t: seen.append(float(t)), t)
            return heun(sde, score)(key, x, t, t_next)

        return step

    made = model.sample_with(traced, {}, num_samples=2)
    jax.effects_barrier()
    assert len(seen) == model.sampling.num_levels
    np.testing.assert_allclose(sorted(seen)[::-1], log_snr_times(VP(), 16)[:-1], rtol=1e-5)
    assert made["a"].shape == (2, 2)
    whole = model.sample_with(heun, GIVEN, times=uniform_times(20, t_min=0.0))
    assert all(np.isfinite(x).all() for x in whole.values())


def test_steps_are_compiled_once_and_drawn_in_pieces(monkeypatch):
    monkeypatch.setattr(generation, "MAX_BATCH", 8)
    model, made_steps = gaussian_model(), []

    def counted(sde, score):
        made_steps.append(1)
        return probability_flow(sde, score)

    args = {"times": uniform_times(3), "key": 2}
    whole = model.sample_with(counted, {}, num_samples=21, **args)
    few = model.sample_with(counted, {}, num_samples=8, **args)
    assert len(made_steps) == 1
    np.testing.assert_array_equal(whole["a"][:8], few["a"])
    assert len(np.unique(whole["a"][:, 0])) == 21


def test_noise_of_the_decoder_is_drawn_as_in_generate():
    model, given = own_model(), {"town": np.array(["Oslo"] * 6)}
    plain, noisy = (
        model.sample_with(heun, given, times=uniform_times(2), noise=n) for n in (False, True)
    )
    assert plain["age"].shape == noisy["age"].shape == (6,)
    assert not np.isclose(plain["age"], noisy["age"]).any()
    assert plain["town"].tolist() == ["Oslo"] * 6


def forgetful(sde, score):
    return MemoryStep(lambda x: 0, lambda key, x, i, t, t_next: x)


def exploding(sde, score):
    return lambda key, x, t, t_next: x / 0


@pytest.mark.parametrize(
    ("make_step", "options", "message"),
    [
        (None, {}, "make_step must be a function .*got None"),
        (heun(VP(), lambda x, t: -x), {}, "takes other arguments: wrap it"),
        (lambda sde: heun, {}, "takes other arguments: wrap it"),
        (lambda sde, score: None, {}, "make_step must return a step.*got None"),
        (lambda sde, score: guide(score, lambda x, t: x[:, 0]), {}, "make_step must return a step"),
        (lambda sde, score: lambda key, x, t, t_next: x[:, :1], {}, "step must return a state like x"),
        (forgetful, {}, r"return \(x, memory\)"),
        (exploding, {}, "values that are not finite: take smaller steps"),
        (heun, {"times": uniform_times(4)[::-1]}, "times must fall from noise at 1"),
        (heun, {"times": uniform_times(4)[1:]}, "times must fall from 1, where latents are noise"),
        (heun, {"times": np.array([1.0, -0.1])}, "times must fall from 1, where latents are noise"),
        (heun, {"times": np.array([1.0, np.nan])}, "times must be finite"),
        (heun, {"times": np.array([1.0])}, "times must be one-dimensional with at least two"),
        (heun, {"times": [1.0, 0.1]}, "times must be an array"),
        (heun, {"times": 20}, "times must be"),
        (heun, {"noise": 1}, "noise must be True or False"),
        (heun, {"key": -1}, "key must be"),
        (heun, {"num_samples": 0}, "num_samples must be at least 1"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_refused_in_one_sentence(make_step, options, message):
    with pytest.raises(ValueError, match=message) as error:
        gaussian_model().sample_with(make_step, GIVEN, **{"times": uniform_times(2), **options})
    one_sentence(error)


def test_particles_have_steps_of_their_own():
    with pytest.raises(ValueError, match="conditioning 'particles' has its own: use generate"):
        gaussian_model(**PARTICLES).sample_with(heun, GIVEN)


# ---------------------------------------------------------------- data frames


COLUMNS = {"iron": [1.0, 2.0, 3.0], "b": [2.0, 2.5, 1.0], "sodium": [0.0, -1.0, 0.5]}


@pytest.mark.parametrize("frame", [pd.DataFrame(COLUMNS), pl.DataFrame(COLUMNS)], ids=["pd", "pl"])
def test_a_data_frame_is_given_as_its_arrays_are(frame):
    model = framed()
    arrays = {
        "a": np.stack([COLUMNS["sodium"], COLUMNS["iron"]], axis=1), "b": np.array(COLUMNS["b"]),
    }  # fmt: skip
    wanted, made = (model.generate(x, num_samples=2, key=3) for x in (arrays, frame))
    assert made["a"].shape == (3, 2, 2)
    assert made["c"].shape == (3, 2)
    for name, x in wanted.items():
        np.testing.assert_array_equal(made[name], x)
    with_id = pd.DataFrame(COLUMNS | {"id": ["one", "two", "three"]})  # training left it out
    np.testing.assert_array_equal(model.generate(with_id, num_samples=2, key=3)["c"], made["c"])
    stepped = model.sample_with(heun, frame, times=uniform_times(2))
    np.testing.assert_array_equal(stepped["a"], arrays["a"])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame(COLUMNS).drop(columns="iron"), "data lack the column 'iron' of a"),
        (pd.DataFrame(COLUMNS | {"b": [1.0, np.nan, 2.0]}), "b has a hole in row 1: use impute"),
        (pl.DataFrame(COLUMNS | {"iron": [1.0, 2.0, None]}), "a has a hole in row 2: use impute"),
        (pd.DataFrame({"town": ["Bonn"]}), "unknown modality 'town'"),
        (pl.LazyFrame(COLUMNS), r"give data\.collect\(\)"),
        (pd.DataFrame(COLUMNS).iloc[:0], "given has no rows"),
        (pd.Series([1.0]), "given must be {name: array}, or a data frame"),
    ],
)
def test_a_data_frame_that_does_not_fit_is_refused_in_one_sentence(frame, message):
    with pytest.raises(ValueError, match=message) as error:
        framed().generate(frame)
    one_sentence(error)
