"""Held-out rows end a training early, and the best average is kept."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitting import (
    DATA,
    EXAMPLE,
    TRAINING,
    TRUE,
    X,
    assert_equal,
    fit,
    interrupted,
    regression,
    stage,
)  # fmt: skip

from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.loop import is_finished, load_params
from sbmae_jax.training.step import TrainState, make_step

PATIENT = dataclasses.replace(TRAINING, num_steps=100, patience=15, held_out_every=10)
# The training passes by what these rows want, and goes on: their loss falls, and rises again.
ASIDE = {"x": X[:32], "y": X[:32] @ (0.5 * TRUE)}


@functools.cache
def by_hand():
    """Train step by step, and look at the held-out rows as PATIENT says: {step: (loss, averages)}."""
    task, optimizer = regression(), PATIENT.optimizer()
    feed = resident(jax.random.key(1), DATA, PATIENT.batch_size, sharding.make_mesh(1))
    step = jax.jit(make_step(task, optimizer, PATIENT.ema_decay))
    init_key, noise_key, held_out_key = jax.random.split(jax.random.key(2), 3)
    params = task.init(init_key, None)
    state, losses_by_step = (
        TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params)),
        {},
    )
    for i in range(PATIENT.num_steps):
        state, _ = step(noise_key, state, jax.tree.map(lambda a: a[0], feed(i, 1)))
        if (i + 1) % PATIENT.held_out_every == 0:
            losses, _ = task.loss(state.ema_params, jax.random.clone(held_out_key), ASIDE)
            losses_by_step[i + 1] = float(losses.mean()), state.ema_params
    return losses_by_step


def test_patience_ends_the_training_and_keeps_the_best_average(tmp_path):
    losses_by_step = by_hand()
    best = min(losses_by_step, key=lambda step: losses_by_step[step][0])
    # It ends with the first call that is `patience` steps past the best look, whether or not there is a look.
    end = best + PATIENT.patience
    assert best > PATIENT.held_out_every
    assert end < PATIENT.num_steps
    state = fit(tmp_path, regression(), training=PATIENT, held_out=ASIDE)
    rows = read_metrics(tmp_path)["fit"]
    assert rows[-1]["step"] == end
    found = {row["step"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
    assert list(found) == [step for step in losses_by_step if step <= end]
    for step, loss in found.items():
        assert loss == pytest.approx(losses_by_step[step][0], rel=1e-4)
    assert int(state.best.step) == best
    np.testing.assert_allclose(state.ema_params["w"], losses_by_step[best][1]["w"], rtol=1e-4)
    assert_equal(state.ema_params, state.best.params)
    assert (np.asarray(state.params["w"]) != np.asarray(state.ema_params["w"])).all()


def test_a_training_that_ended_early_is_finished_and_its_best_is_what_is_loaded(tmp_path):
    state = fit(tmp_path, regression(), training=PATIENT, held_out=ASIDE)
    assert int(state.step) == PATIENT.num_steps
    assert is_finished(stage(tmp_path, regression(), PATIENT))
    mesh = sharding.make_mesh(1)
    loaded = load_params(stage(tmp_path, regression(), PATIENT), EXAMPLE, mesh)
    assert_equal(loaded, state.ema_params)
    again = fit(
        tmp_path,
        regression(),
        functools.partial(interrupted, at=1),
        training=PATIENT,
        held_out=ASIDE,
    )
    assert_equal(again, state)


@pytest.mark.parametrize("at", [25])
def test_resumed_equals_straight_with_patience(tmp_path, at):
    straight = fit(tmp_path / "straight", regression(), training=PATIENT, held_out=ASIDE)
    with pytest.raises(KeyboardInterrupt):
        fit(
            tmp_path / "broken", regression(), functools.partial(interrupted, at=at),
            training=PATIENT, held_out=ASIDE,
        )  # fmt: skip
    resumed = fit(tmp_path / "broken", regression(), training=PATIENT, held_out=ASIDE)
    assert_equal(straight, resumed)
    rows = [read_metrics(tmp_path / run)["fit"] for run in ("straight", "broken")]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_patience_that_does_not_run_out_keeps_the_best_of_all(tmp_path):
    patient = dataclasses.replace(PATIENT, patience=100)
    losses_by_step = by_hand()
    best = min(losses_by_step, key=lambda step: losses_by_step[step][0])
    state = fit(tmp_path, regression(), training=patient, held_out=ASIDE)
    assert read_metrics(tmp_path)["fit"][-1]["step"] == patient.num_steps
    np.testing.assert_allclose(state.ema_params["w"], losses_by_step[best][1]["w"], rtol=1e-4)


def test_each_look_draws_the_same_noise(tmp_path):
    # Parameters that do not move have the same loss each time, though the loss is a noisy one.
    still = dataclasses.replace(PATIENT, num_steps=30, learning_rate=0.0, patience=30)
    fit(tmp_path, regression(1.0), training=still, held_out=ASIDE)
    rows = read_metrics(tmp_path)["fit"]
    losses_by_step = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert len(losses_by_step) == 3
    np.testing.assert_allclose(losses_by_step, losses_by_step[0], rtol=1e-5)
    assert np.std([row["loss"] for row in rows]) > 0.1


def test_without_patience_nothing_is_looked_at_and_no_best_is_kept(tmp_path):
    state = fit(tmp_path, regression())
    assert state.best is None
    assert all("held_out_loss" not in row for row in read_metrics(tmp_path)["fit"])


def test_held_out_rows_that_have_no_loss_stop_the_training(tmp_path):
    # A loss that is never less than another would leave the parameters of the start for the best.
    nan = ASIDE | {"y": np.full(32, np.nan, np.float32)}
    with pytest.raises(FloatingPointError, match="fit: the held out loss became nan between"):
        fit(tmp_path, regression(), training=PATIENT, held_out=nan)


def test_patience_must_see_the_held_out_rows_once():
    with pytest.raises(
        ValueError, match="patience must be 0, or at least held_out_every = 100, got 50"
    ):
        dataclasses.replace(TRAINING, patience=50)
    with pytest.raises(ValueError, match="patience must be at least 0"):
        dataclasses.replace(TRAINING, patience=-1)
