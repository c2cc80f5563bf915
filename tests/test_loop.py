"""The loop: resumed, finished, damaged, on more devices, and stopped by what is not a number."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitting import EXAMPLE, TRAINING, TRUE, copied, fit, interrupted, regression, stage

from sbmae_jax.models.task import Task
from sbmae_jax.training import sharding
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.loop import is_finished, load_params
from sbmae_jax.training.preemption import Preempted

MESH = sharding.make_mesh(1)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A training without interruption: its folder and its final state. Copy it to change it."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, fit(folder)


def test_a_training_that_is_asked_to_stop_saves_and_resumes_to_the_same_bits(tmp_path, straight):
    calls = iter(range(100))
    with pytest.raises(Preempted, match="fit: saved after step 15; run the same command to resume"):
        fit(tmp_path, should_stop=lambda: next(calls) == 2)
    assert (tmp_path / "fit" / "15").is_dir()
    chex.assert_trees_all_equal(fit(tmp_path), straight[1])


def test_steps_taken_one_by_one_are_those_of_a_scan(tmp_path, straight):
    alone = fit(tmp_path, training=dataclasses.replace(TRAINING, steps_per_call=1))
    chex.assert_trees_all_close(alone, straight[1], rtol=1e-5, atol=0)


def test_training_finds_the_solution_and_keeps_its_average_and_traces_the_loss_once(tmp_path):
    task, training = regression(0.0), dataclasses.replace(TRAINING, num_steps=400, warmup_steps=100)
    traced_once = task._replace(loss=chex.assert_max_traces(task.loss, n=1))
    state = fit(tmp_path, traced_once, training=training)
    np.testing.assert_allclose(state.params["w"], TRUE, atol=0.02)
    np.testing.assert_allclose(state.ema_params["w"], TRUE, atol=0.05)


@pytest.mark.parametrize("at", [5, 10, 25, 35])
def test_resumed_equals_straight_bit_for_bit(tmp_path, straight, at):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, wrap=interrupted(at))
    chex.assert_trees_all_equal(fit(tmp_path), straight[1])
    rows = [read_metrics(run)["fit"] for run in (straight[0], tmp_path)]
    for a, b in zip(*rows, strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == b["loss"]


def test_without_patience_no_held_out_loss_is_measured_and_no_best_is_kept(straight):
    folder, state = straight
    assert state.best is None
    assert all("held_out_loss" not in row for row in read_metrics(folder)["fit"])


def test_a_finished_stage_takes_no_step(straight):
    folder, state = straight
    chex.assert_trees_all_equal(fit(folder, wrap=interrupted(1)), state)


def test_a_finished_stage_that_was_damaged_is_trained_again_from_the_checkpoint_before(
    tmp_path, straight
):
    folder, state = copied(straight[0], tmp_path), straight[1]
    last = folder / "fit" / str(TRAINING.num_steps)
    next(file for file in last.rglob("*") if file.is_file() and file.name != "sha256.json").unlink()
    assert not is_finished(stage(folder))
    with pytest.raises(ValueError, match="or a damaged one: train fit first"):
        load_params(stage(folder), EXAMPLE, MESH)
    chex.assert_trees_all_equal(fit(folder, wrap=interrupted(40)), state)
    assert is_finished(stage(folder))


def test_eight_devices_equal_one(tmp_path, straight):
    eight = fit(tmp_path, mesh=sharding.make_mesh(8))
    # Sums over a sharded batch are taken in another order.
    chex.assert_trees_all_close(eight, straight[1], rtol=1e-5, atol=1e-6)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path, straight):
    def poisoned(batch_fn):
        def wrapped(step, num_steps):
            chunk = batch_fn(step, num_steps)
            return chunk | {"y": chunk["y"] * np.float32(np.nan if step >= 20 else 1)}

        return wrapped

    with pytest.raises(
        FloatingPointError, match=r"fit: the loss became nan between steps 20 and 25"
    ):
        fit(tmp_path, wrap=poisoned)
    chex.assert_trees_all_equal(fit(tmp_path), straight[1])


def test_a_gradient_that_is_not_a_number_stops_before_it_is_saved(tmp_path):
    # The loss of the last step before a checkpoint is finite, only its gradient is not.
    def loss(params, key, batch):
        factor = jnp.where(batch["bad"], 0.0, 1.0)
        return jnp.sqrt(factor * params["w"] ** 2) + batch["y"] ** 2, {}

    def spoil(batch_fn):
        def wrapped(step, num_steps):
            chunk = batch_fn(step, num_steps)
            steps = step + np.arange(num_steps)[:, None]
            return chunk | {"bad": np.broadcast_to(steps == 19, chunk["y"].shape)}

        return wrapped

    task = Task(lambda key, batch: {"w": jnp.ones(())}, loss)
    with pytest.raises(FloatingPointError, match="the gradient norm became nan between"):
        fit(tmp_path, task, wrap=spoil)
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {"10"}


def test_load_params_gives_the_average_of_a_finished_stage_only(tmp_path, straight):
    with pytest.raises(ValueError, match="holds no finished training"):
        load_params(stage(tmp_path), EXAMPLE, MESH)
    folder, state = straight
    assert is_finished(stage(folder))
    chex.assert_trees_all_equal(load_params(stage(folder), EXAMPLE, MESH), state.ema_params)


@pytest.mark.parametrize("field", ["num_steps", "batch_size", "steps_per_call", "checkpoint_every"])
def test_counts_must_be_positive(field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1"):
        dataclasses.replace(TRAINING, **{field: 0})


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path):
    training = dataclasses.replace(TRAINING, batch_size=24, num_microbatches=2)
    with pytest.raises(ValueError, match=r"num_microbatches x devices, 2 x 8, got 24"):
        fit(tmp_path, mesh=sharding.make_mesh(8), training=training)


def test_a_trace_is_written_on_request(tmp_path, straight):
    fit(tmp_path, profile=tmp_path / "profile")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    # A finished training leaves nothing to trace.
    fit(straight[0], profile=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_state_sharded_over_devices_learns_the_same_and_is_read_on_one(tmp_path):
    def loss(params, key, batch):
        hidden = jnp.tanh(batch["x"] @ params["in"])
        jitter = 0.1 * jax.random.normal(key, batch["y"].shape)
        return (hidden @ params["out"] - batch["y"] - jitter) ** 2, {}

    def init(key, batch):
        in_key, out_key = jax.random.split(key)
        return {
            "in": jax.random.normal(in_key, (3, 8192)),
            "out": jax.random.normal(out_key, (8192,)) / 8192,
        }

    task = Task(init, loss)
    training = dataclasses.replace(TRAINING, learning_rate=1e-3, num_steps=5, steps_per_call=1)
    run = functools.partial(fit, task=task, training=training)
    sharded = run(tmp_path / "sharded", mesh=sharding.make_mesh(4, num_state_shards=2))
    whole = run(tmp_path / "whole")
    held = sharded.ema_params["in"].addressable_shards[0].data
    assert held.shape == (3, 4096)  # half of it on each device
    moments = [leaf for leaf in jax.tree.leaves(sharded.opt_state) if leaf.shape == (3, 8192)]
    assert len(moments) == 2
    assert all(leaf.addressable_shards[0].data.shape == (3, 4096) for leaf in moments)
    chex.assert_trees_all_close(sharded.params, whole.params, rtol=1e-4, atol=1e-5)
    loaded = load_params(stage(tmp_path / "sharded", task, training), EXAMPLE, MESH)
    chex.assert_trees_all_equal(loaded, sharded.ema_params)


def test_a_callback_sees_each_call_and_can_end_the_training_with_its_averages(tmp_path):
    calls = []

    def callback(name, step, metrics):
        calls.append((name, step, metrics["loss"]))
        return step == 15

    state = fit(tmp_path, callback=callback)
    assert [(name, step) for name, step, _ in calls] == [("fit", 5), ("fit", 10), ("fit", 15)]
    assert calls[-1][2] == read_metrics(tmp_path)["fit"][-1]["loss"]
    assert is_finished(stage(tmp_path))
    chex.assert_trees_all_equal(load_params(stage(tmp_path), EXAMPLE, MESH), state.ema_params)
    chex.assert_trees_all_equal(fit(tmp_path, wrap=interrupted(1)), state)


def test_a_callback_that_raises_loses_no_step(tmp_path, straight):
    def fail(name, step, metrics):
        if step == 15:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fit(tmp_path, callback=fail)
    steps = []
    resumed = fit(tmp_path, callback=lambda name, step, metrics: steps.append(step))
    assert steps == [20, 25, 30, 35, 40]
    chex.assert_trees_all_equal(resumed, straight[1])
