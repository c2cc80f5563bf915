"""The loop: resumed, finished, damaged, on more devices, and stopped by what is not a number."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitting import DATA, EXAMPLE, TRAINING, TRUE, assert_equal, fit, interrupted, regression, stage

from sbmae_jax.models.task import Task
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import Log, read_metrics
from sbmae_jax.training.loop import is_finished, load_params, train
from sbmae_jax.training.preemption import Preempted


def test_what_is_asked_to_stop_saves_and_goes_on_to_the_same_bits(tmp_path):
    straight = fit(tmp_path / "straight", regression())
    calls = iter(range(100))
    with pytest.raises(Preempted, match="fit: saved after step 15; run the same command to resume"):
        fit(tmp_path, regression(), should_stop=lambda: next(calls) == 2)
    assert (tmp_path / "fit" / "15").is_dir()
    assert_equal(straight, fit(tmp_path, regression()))


def test_steps_taken_one_by_one_are_those_of_a_scan(tmp_path):
    scanned = fit(tmp_path / "scan", regression())
    single = dataclasses.replace(TRAINING, steps_per_call=1)
    alone = fit(tmp_path / "alone", regression(), training=single)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), scanned, alone)


def test_training_finds_the_solution_and_keeps_its_average(tmp_path):
    state = fit(tmp_path, regression(0.0), training=TRAINING.__class__(
        num_steps=400, batch_size=32, learning_rate=0.1, steps_per_call=100))  # fmt: skip
    np.testing.assert_allclose(state.params["w"], TRUE, atol=0.02)
    np.testing.assert_allclose(state.ema_params["w"], TRUE, atol=0.05)


@pytest.mark.parametrize("at", [5, 10, 25, 35])
def test_resumed_equals_straight_bit_for_bit(tmp_path, at):
    straight = fit(tmp_path / "straight", regression())
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", regression(), functools.partial(interrupted, at=at))
    resumed = fit(tmp_path / "broken", regression())
    assert_equal(straight, resumed)
    rows = [read_metrics(tmp_path / run)["fit"] for run in ("straight", "broken")]
    for a, b in zip(*rows, strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == b["loss"]


def test_a_finished_stage_takes_no_step(tmp_path):
    task = regression()
    state = fit(tmp_path, task)
    again = fit(tmp_path, task, functools.partial(interrupted, at=1))
    assert_equal(state, again)


def test_a_finished_stage_that_was_damaged_is_trained_again_from_the_checkpoint_before(tmp_path):
    task = regression()
    state = fit(tmp_path, task)
    last = tmp_path / "fit" / str(TRAINING.num_steps)
    next(file for file in last.rglob("*") if file.is_file() and file.name != "sha256.json").unlink()
    assert not is_finished(stage(tmp_path, regression()))
    with pytest.raises(ValueError, match="or a damaged one: train fit first"):
        load_params(stage(tmp_path, task), EXAMPLE, sharding.make_mesh(1))
    assert_equal(fit(tmp_path, task), state)
    assert is_finished(stage(tmp_path, regression()))


def test_eight_devices_equal_one(tmp_path):
    one, eight = (fit(tmp_path / str(n), regression(), devices=n) for n in (1, 8))
    # Sums over a split batch are taken in another order.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), one, eight)


def test_the_step_is_traced_once(tmp_path):
    task, traces = regression(), []

    def counted(params, key, batch):
        traces.append(1)
        return task.loss(params, key, batch)

    fit(tmp_path, task._replace(loss=counted))
    assert len(traces) == 1


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path):
    def poisoned(feed):
        def wrapped(step, size):
            chunk = feed(step, size)
            return chunk | {"y": chunk["y"] * jnp.where(step >= 20, jnp.nan, 1.0)}

        return wrapped

    with pytest.raises(
        FloatingPointError, match=r"fit: the loss became nan between steps 20 and 25"
    ):
        fit(tmp_path, regression(), poisoned)
    resumed = fit(tmp_path, regression())
    assert_equal(resumed, fit(tmp_path / "straight", regression()))


def test_load_params_gives_the_average_of_a_finished_stage_only(tmp_path):
    task, mesh = regression(), sharding.make_mesh(1)
    with pytest.raises(ValueError, match="holds no finished training"):
        load_params(stage(tmp_path, task), EXAMPLE, mesh)
    state = fit(tmp_path, task)
    assert is_finished(stage(tmp_path, regression()))
    assert_equal(load_params(stage(tmp_path, task), EXAMPLE, mesh), state.ema_params)


@pytest.mark.parametrize("field", ["num_steps", "batch_size", "steps_per_call", "checkpoint_every"])
def test_counts_must_be_positive(field):
    values = {"num_steps": 1, "batch_size": 1, "learning_rate": 1.0} | {field: 0}
    with pytest.raises(ValueError, match=f"{field} must be at least 1"):
        TrainingConfig(**values)


def test_a_gradient_that_is_not_a_number_stops_before_it_is_saved(tmp_path):
    # The loss of the last step before a checkpoint is finite, only its gradient is not.
    def loss(params, key, batch):
        gone = jnp.where(batch["bad"], 0.0, 1.0)
        return jnp.sqrt(gone * params["w"] ** 2) + batch["y"] ** 2, {}

    task = Task(lambda key, batch: {"w": jnp.ones(())}, loss)

    def spoil(feed):
        def call(step, num_steps):
            chunk = feed(step, num_steps)
            steps = step + jnp.arange(num_steps)[:, None]
            return chunk | {"bad": jnp.broadcast_to(steps == 19, chunk["y"].shape)}

        return call

    with pytest.raises(FloatingPointError, match="the gradient norm became nan between"):
        fit(tmp_path, task, spoil)
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {"10"}


def test_a_batch_that_cannot_be_cut_is_named(tmp_path):
    training = dataclasses.replace(TRAINING, batch_size=24, num_microbatches=2)
    with pytest.raises(ValueError, match=r"num_microbatches x devices, 2 x 8, got 24"):
        fit(tmp_path, regression(), devices=8, training=training)


def test_a_trace_is_written_where_it_is_asked_for(tmp_path):
    fit(tmp_path, regression(), profile=tmp_path / "profile")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    # The second training is at its end before there is anything to trace.
    fit(tmp_path, regression(), profile=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_state_split_over_devices_learns_the_same_and_is_read_on_one(tmp_path):
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

    task, training = Task(init, loss), dataclasses.replace(TRAINING, learning_rate=1e-3)

    def run(mesh, directory):
        log = Log(directory)
        feed = resident(jax.random.key(1), DATA, training.batch_size, mesh)
        state = train(stage(directory, task, training), feed, jax.random.key(2), mesh=mesh, log=log)
        log.close()
        return state

    split = run(sharding.make_mesh(num_state_shards=4), tmp_path / "split")
    whole = run(sharding.make_mesh(1), tmp_path / "whole")
    held = split.ema_params["in"].addressable_shards[0].data
    assert held.shape == (3, 2048)  # a quarter of it on each device
    moments = [leaf for leaf in jax.tree.leaves(split.opt_state) if leaf.shape == (3, 8192)]
    assert len(moments) == 2
    assert all(leaf.addressable_shards[0].data.shape == (3, 2048) for leaf in moments)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        split.params,
        whole.params,
    )
    mesh = sharding.make_mesh(1)
    loaded = load_params(stage(tmp_path / "split", task, training), EXAMPLE, mesh)
    jax.tree.map(np.testing.assert_array_equal, loaded, split.ema_params)
