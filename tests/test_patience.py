"""Held-out rows end a training early, and the best average is kept."""

import dataclasses
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitting import DATA, EXAMPLE, TRAINING, TRUE, X, fit, interrupted, regression, stage

from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.endings import describe_ending, describe_endings
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.loop import is_finished, load_params
from sbmae_jax.training.step import TrainState, compile_validation, make_step

PATIENT = dataclasses.replace(TRAINING, num_steps=100, patience=15, held_out_every=10)
# The training passes the parameters that suit these rows: their loss falls, and rises again.
HELD_OUT = {"x": X[:32], "y": X[:32] @ (0.5 * TRUE)}
fit_patiently = functools.partial(fit, training=PATIENT, held_out=HELD_OUT)


@pytest.fixture(scope="module")
def by_hand():
    """Train step by step, and measure the held-out loss as PATIENT says: {step: (loss, averages)}."""
    task, optimizer = regression(), PATIENT.optimizer()
    batch_fn = resident(jax.random.key(1), DATA, PATIENT.batch_size, sharding.make_mesh(1))
    step = jax.jit(make_step(task, optimizer, PATIENT.ema_decay))
    held_out_loss = jax.jit(lambda params, key: jnp.mean(task.loss(params, key, HELD_OUT)[0]))
    init_key, noise_key, held_out_key = jax.random.split(jax.random.key(2), 3)
    params = task.init(init_key, None)
    state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
    found, batches = {}, [jax.tree.map(np.asarray, batch_fn(i, 5)) for i in range(0, 100, 5)]
    for i in range(PATIENT.num_steps):
        state, _ = step(noise_key, state, {k: v[i % 5] for k, v in batches[i // 5].items()})
        if (i + 1) % PATIENT.held_out_every == 0:
            loss = held_out_loss(state.ema_params, jax.random.clone(held_out_key))
            found[i + 1] = float(loss), state.ema_params
    return found


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A training that patience ends: its folder and its final state."""
    folder = tmp_path_factory.mktemp("patient")
    return folder, fit_patiently(folder)


def best_step(by_hand):
    return min(by_hand, key=lambda step: by_hand[step][0])


def test_patience_ends_the_training_and_keeps_the_best_average(patient, by_hand):
    (folder, state), best = patient, best_step(by_hand)
    # It ends with the first call that is `patience` steps past the best loss, measured there or not.
    end = best + PATIENT.patience
    assert best > PATIENT.held_out_every
    assert end < PATIENT.num_steps
    rows = read_metrics(folder)["fit"]
    assert rows[-1]["step"] == end
    found = {row["step"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
    assert list(found) == [step for step in by_hand if step <= end]
    for step, loss in found.items():
        assert loss == pytest.approx(by_hand[step][0], rel=1e-4)
    assert int(state.best.step) == best
    np.testing.assert_allclose(state.ema_params["w"], by_hand[best][1]["w"], rtol=1e-4)
    chex.assert_trees_all_equal(state.ema_params, state.best.params)
    assert (np.asarray(state.params["w"]) != np.asarray(state.ema_params["w"])).all()


def test_a_training_that_ended_early_is_finished_and_its_best_is_what_is_loaded(patient):
    folder, state = patient
    assert int(state.step) == PATIENT.num_steps
    this = stage(folder, training=PATIENT)
    assert is_finished(this)
    chex.assert_trees_all_equal(load_params(this, EXAMPLE, sharding.make_mesh(1)), state.ema_params)
    chex.assert_trees_all_equal(fit_patiently(folder, wrap=interrupted(1)), state)


def test_resumed_equals_straight_with_patience(tmp_path, patient):
    with pytest.raises(KeyboardInterrupt):
        fit_patiently(tmp_path, wrap=interrupted(25))
    chex.assert_trees_all_equal(fit_patiently(tmp_path), patient[1])
    straight, resumed = (read_metrics(run)["fit"] for run in (patient[0], tmp_path))
    assert [row["loss"] for row in straight] == [row["loss"] for row in resumed]


def test_patience_that_does_not_run_out_keeps_the_best_of_all(tmp_path, by_hand):
    endless = dataclasses.replace(PATIENT, patience=100)
    state = fit(tmp_path, training=endless, held_out=HELD_OUT)
    assert read_metrics(tmp_path)["fit"][-1]["step"] == endless.num_steps
    best = by_hand[best_step(by_hand)][1]
    np.testing.assert_allclose(state.ema_params["w"], best["w"], rtol=1e-4)


def test_a_start_that_no_step_improves_is_kept(tmp_path):
    start = regression().init(jax.random.split(jax.random.key(2), 3)[0], None)
    exact = {"x": X[:32], "y": X[:32] @ np.asarray(start["w"])}
    state = fit(tmp_path, training=PATIENT, held_out=exact)
    assert int(state.best.step) == 0
    chex.assert_trees_all_equal(state.ema_params, start)
    assert read_metrics(tmp_path)["fit"][-1]["step"] == PATIENT.patience
    assert is_finished(stage(tmp_path, training=PATIENT))


def test_the_noise_of_the_held_out_loss_depends_on_its_key_alone(patient):
    validate = compile_validation(regression(), sharding.make_mesh(1))
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    a, b, c = (validate(key, jax.tree.map(jnp.copy, patient[1]), HELD_OUT)[1] for key in keys)
    assert a == b != c


def test_held_out_rows_that_have_no_loss_stop_the_training(tmp_path):
    # NaN is never less than another loss, so the best parameters would be those of the start.
    nan = HELD_OUT | {"y": np.full(32, np.nan, np.float32)}
    with pytest.raises(FloatingPointError, match="fit: the held out loss became nan between"):
        fit(tmp_path, training=PATIENT, held_out=nan)


def test_patience_must_see_the_held_out_loss_once():
    with pytest.raises(
        ValueError, match="patience must be 0, or at least held_out_every = 100, got 50"
    ):
        dataclasses.replace(TRAINING, patience=50)
    with pytest.raises(ValueError, match="patience must be at least 0"):
        dataclasses.replace(TRAINING, patience=-1)


def test_a_callback_that_raises_when_patience_has_run_out_keeps_the_best(
    tmp_path, patient, by_hand
):
    end = best_step(by_hand) + PATIENT.patience

    def fail(name, step, metrics):
        if step >= end:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit_patiently(tmp_path, callback=fail)
    assert is_finished(stage(tmp_path, training=PATIENT))
    chex.assert_trees_all_equal(fit_patiently(tmp_path, wrap=interrupted(1)), patient[1])


def test_a_training_that_is_ended_before_it_was_measured_keeps_its_averages(tmp_path):
    ended = fit(tmp_path / "a", training=PATIENT, held_out=HELD_OUT, callback=lambda *_: True)
    plain = fit(
        tmp_path / "b", training=dataclasses.replace(PATIENT, patience=0), callback=lambda *_: True
    )
    chex.assert_trees_all_equal(ended.ema_params, plain.ema_params)


def test_a_training_whose_time_is_over_is_finished_with_its_best(tmp_path, by_hand):
    timed = dataclasses.replace(PATIENT, max_minutes=1.0)
    # An interrupted process took a minute less than this one takes.
    state = fit(tmp_path, training=timed, held_out=HELD_OUT, seconds=60.0)
    rows = read_metrics(tmp_path)["fit"]
    assert [row["step"] for row in rows] == [PATIENT.steps_per_call]
    assert is_finished(stage(tmp_path, training=timed))
    chex.assert_trees_all_equal(fit(tmp_path, training=timed, held_out=HELD_OUT), state)
    said = describe_ending("fit", timed, rows)
    assert said == "ended by config.fit_training.max_minutes = 1 after 5 of 100 steps"
    in_time = dataclasses.replace(timed, max_minutes=10.0)
    fit(tmp_path / "b", training=in_time, held_out=HELD_OUT, seconds=60.0)
    assert len(read_metrics(tmp_path / "b")["fit"]) > 1
    with pytest.raises(ValueError, match="max_minutes must be"):
        dataclasses.replace(TRAINING, max_minutes=-1.0)


def rows_of(*losses, every=10):
    return [{"step": every * n, "held_out_loss": loss} for n, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            rows_of(9.0, 5.0, 4.0, 3.0, 2.0, every=20),
            r"lowest at the last of 100 steps .* 28\.6% came",
        ),
        (rows_of(-1.0, -9.0, every=50), "lowest at the last of 100 steps"),
        (rows_of(9.0, 5.0, 4.0, 3.0, 3.5, every=20), ""),  # it was lower before
        (rows_of(9.0, 5.0, 6.0, 7.0), ""),  # ended by patience
        (rows_of(9.0, 5.0, 4.0), ""),  # ended by a callback, whose author knows why
        (rows_of(9.0, every=100), ""),  # there is nothing to compare with
        ([{"step": 100, "loss": 1.0}], ""),
    ],
)
def test_a_training_that_was_best_at_its_end_says_what_to_raise(rows, says):
    found = describe_ending("autoencoder/lab", PATIENT, rows)
    assert bool(found) == bool(says)
    if says:
        assert re.search(says, found)
        assert "a larger config.autoencoder_training.num_steps" in found
    trainings = [("autoencoder/lab", PATIENT), ("score", PATIENT)]
    wanted = [f"autoencoder/lab: {found}"] if found else []
    assert describe_endings(trainings, {"autoencoder/lab": rows}) == wanted
