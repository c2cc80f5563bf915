import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import sharding
from sbmae_jax.data.loader import resident
from sbmae_jax.log import Log, read
from sbmae_jax.preemption import Preempted
from sbmae_jax.step import HELD_OUT, TrainState, make_step
from sbmae_jax.task import Task, stacked
from sbmae_jax.train import is_finished, load_params, train
from sbmae_jax.training import Training

TRUE = np.array([1.0, -2.0, 0.5], np.float32)
X = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ TRUE}
TRAINING = Training(
    num_steps=40, batch_size=16, learning_rate=0.1, warmup_steps=5, ema_decay=0.9,
    steps_per_call=5, checkpoint_every=10,
)  # fmt: skip
EXAMPLE = {
    "x": jax.ShapeDtypeStruct((1, 3), np.float32),
    "y": jax.ShapeDtypeStruct((1,), np.float32),
}


@functools.cache  # the same task is compiled once
def regression(noise: float = 0.1) -> Task:
    """Linear regression, with noise that depends on the key."""

    def loss(params, key, batch):
        jitter = noise * jax.random.normal(key, batch["y"].shape)
        error = (batch["x"] @ params["w"] - batch["y"] - jitter) ** 2
        return error, {}

    return Task(lambda key, batch: {"w": jax.random.normal(key, (3,))}, loss)


def fit(directory, task, feed_wrapper=lambda feed: feed, devices=1, training=TRAINING, **options):
    mesh = sharding.make_mesh(devices)
    feed = feed_wrapper(resident(jax.random.key(1), DATA, training.batch_size, mesh))
    log = Log(directory)
    try:
        return train(
            task, feed, training, jax.random.key(2), mesh, directory / "fit", log, "fit", **options
        )  # fmt: skip
    finally:
        log.close()


def interrupted(feed, at):
    def wrapped(step, size):
        if step >= at:
            raise KeyboardInterrupt
        return feed(step, size)

    return wrapped


def test_what_is_asked_to_stop_saves_and_goes_on_to_the_same_bits(tmp_path):
    straight = fit(tmp_path / "straight", regression())
    calls = iter(range(100))
    with pytest.raises(Preempted, match="fit: saved after step 15; the same command goes on"):
        fit(tmp_path, regression(), should_stop=lambda: next(calls) == 2)
    assert (tmp_path / "fit" / "15").is_dir()
    assert_equal(straight, fit(tmp_path, regression()))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


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
    rows = [read(tmp_path / run)["fit"] for run in ("straight", "broken")]
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
    assert not is_finished(tmp_path / "fit", TRAINING)
    with pytest.raises(ValueError, match="or it is damaged: run the stage before this one"):
        load_params(task, TRAINING, EXAMPLE, sharding.make_mesh(1), tmp_path / "fit")
    assert_equal(fit(tmp_path, task), state)
    assert is_finished(tmp_path / "fit", TRAINING)


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
        load_params(task, TRAINING, EXAMPLE, mesh, tmp_path / "fit")
    state = fit(tmp_path, task)
    assert is_finished(tmp_path / "fit", TRAINING)
    assert_equal(load_params(task, TRAINING, EXAMPLE, mesh, tmp_path / "fit"), state.ema_params)


def test_the_first_step_is_adams(key):
    task, optimizer = regression(0.0), Training(10, 4, 0.1, warmup_steps=0).optimizer()
    batch = jax.tree.map(lambda a: jnp.asarray(a[:4]), DATA)
    params = {"w": jnp.array([5.0, 5.0, 5.0])}
    state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
    new, metrics = make_step(task, optimizer, 0.9)(key, state, batch)
    gradient = jax.grad(lambda p: jnp.mean(task.loss(p, jax.random.key(9), batch)[0]))(params)["w"]
    np.testing.assert_allclose(new.params["w"], 5 - 0.1 * jnp.sign(gradient), atol=1e-4)
    np.testing.assert_allclose(metrics["gradient_norm"], jnp.linalg.norm(gradient), rtol=1e-5)
    # The average is warmed up: after one step it has moved by 9/10 of the way.
    np.testing.assert_allclose(new.ema_params["w"], 0.1 * 5 + 0.9 * new.params["w"], rtol=1e-5)


def test_stacked_networks_are_trained_as_each_would_be_alone(key):
    def loss(params, key, batch):
        return (batch["x"] @ params["w"]) ** 2, {}

    alone = Task(lambda key, batch: {"w": jax.random.normal(key, (3,))}, loss)
    both = stacked(alone, ("a", "b"))
    # Gradients of different lengths, of which the clipping keeps neither as it is.
    batch = {"a": jnp.asarray(X[:8]), "b": jnp.asarray(30 * X[8:16])}
    training = Training(10, 8, 0.1, warmup_steps=0, clip_norm=0.1)

    def two_steps(task, params, batch):
        optimizer = training.optimizer(task.num_members)
        state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
        for _ in range(2):
            state, metrics = make_step(task, optimizer, 0.9)(key, state, batch)
        return state, metrics

    start = both.init(jax.random.key(5), batch)
    assert np.abs(start["w"][0] - start["w"][1]).min() > 1e-3
    together, metrics = two_steps(both, start, batch)
    for m, name in enumerate("ab"):
        params = jax.tree.map(lambda leaf, m=m: leaf[m], start)
        expected, single = two_steps(alone, params, {"x": batch[name]})
        for got, wanted in (
            (together.params, expected.params), (together.ema_params, expected.ema_params),
            (together.opt_state[1][0].nu, expected.opt_state[1][0].nu),
        ):  # fmt: skip
            np.testing.assert_allclose(got["w"][m], wanted["w"], rtol=1e-5)
        np.testing.assert_allclose(metrics[name], single["loss"], rtol=1e-5)


PATIENT = dataclasses.replace(TRAINING, num_steps=100, patience=15, held_out_every=10)
# The training passes by what these rows want, and goes on: their loss falls, and rises again.
ASIDE = {"x": X[:32], "y": X[:32] @ (0.5 * TRUE)}


@functools.cache
def by_hand():
    """Train step by step, and look at the held-out rows as PATIENT says: {step: (loss, averages)}."""
    task, optimizer = regression(), PATIENT.optimizer()
    feed = resident(jax.random.key(1), DATA, PATIENT.batch_size, sharding.make_mesh(1))
    step = jax.jit(make_step(task, optimizer, PATIENT.ema_decay))
    params = task.init(jax.random.key(2), None)
    state, looks = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params)), {}
    for i in range(PATIENT.num_steps):
        state, _ = step(jax.random.key(2), state, jax.tree.map(lambda a: a[0], feed(i, 1)))
        if (i + 1) % PATIENT.held_out_every == 0:
            noise_key = jax.random.fold_in(jax.random.key(2), HELD_OUT)
            losses, _ = task.loss(state.ema_params, noise_key, ASIDE)
            looks[i + 1] = float(losses.mean()), state.ema_params
    return looks


def test_patience_ends_the_training_and_keeps_the_best_average(tmp_path):
    looks = by_hand()
    best = min(looks, key=lambda step: looks[step][0])
    # It ends with the first call that is `patience` steps past the best look, whether or not there is a look.
    end = best + PATIENT.patience
    assert best > PATIENT.held_out_every
    assert end < PATIENT.num_steps
    state = fit(tmp_path, regression(), training=PATIENT, held_out=ASIDE)
    rows = read(tmp_path)["fit"]
    assert rows[-1]["step"] == end
    found = {row["step"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
    assert list(found) == [step for step in looks if step <= end]
    for step, loss in found.items():
        assert loss == pytest.approx(looks[step][0], rel=1e-4)
    assert int(state.best.step) == best
    np.testing.assert_allclose(state.ema_params["w"], looks[best][1]["w"], rtol=1e-4)
    assert_equal(state.ema_params, state.best.params)
    assert (np.asarray(state.params["w"]) != np.asarray(state.ema_params["w"])).all()


def test_a_training_that_ended_early_is_finished_and_its_best_is_what_is_loaded(tmp_path):
    state = fit(tmp_path, regression(), training=PATIENT, held_out=ASIDE)
    assert int(state.step) == PATIENT.num_steps
    assert is_finished(tmp_path / "fit", PATIENT)
    mesh = sharding.make_mesh(1)
    loaded = load_params(regression(), PATIENT, EXAMPLE, mesh, tmp_path / "fit")
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
    rows = [read(tmp_path / run)["fit"] for run in ("straight", "broken")]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]


def test_patience_that_does_not_run_out_keeps_the_best_of_all(tmp_path):
    patient = dataclasses.replace(PATIENT, patience=100)
    looks = by_hand()
    best = min(looks, key=lambda step: looks[step][0])
    state = fit(tmp_path, regression(), training=patient, held_out=ASIDE)
    assert read(tmp_path)["fit"][-1]["step"] == patient.num_steps
    np.testing.assert_allclose(state.ema_params["w"], looks[best][1]["w"], rtol=1e-4)


def test_each_look_draws_the_same_noise(tmp_path):
    # Parameters that do not move have the same loss each time, though the loss is a noisy one.
    still = dataclasses.replace(PATIENT, num_steps=30, learning_rate=0.0, patience=30)
    fit(tmp_path, regression(1.0), training=still, held_out=ASIDE)
    rows = read(tmp_path)["fit"]
    looks = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert len(looks) == 3
    np.testing.assert_allclose(looks, looks[0], rtol=1e-5)
    assert np.std([row["loss"] for row in rows]) > 0.1


def test_without_patience_nothing_is_looked_at_and_no_best_is_kept(tmp_path):
    state = fit(tmp_path, regression())
    assert state.best is None
    assert all("held_out_loss" not in row for row in read(tmp_path)["fit"])


def test_held_out_rows_that_have_no_loss_stop_the_training(tmp_path):
    # A loss that is never less than another would leave the parameters of the start for the best.
    nan = ASIDE | {"y": np.full(32, np.nan, np.float32)}
    with pytest.raises(FloatingPointError, match="fit: the held out loss became nan between"):
        fit(tmp_path, regression(), training=PATIENT, held_out=nan)


def test_patience_must_see_the_held_out_rows_once():
    with pytest.raises(
        ValueError, match="patience must be 0, or at least held_out_every = 100, got 50"
    ):
        Training(1000, 16, 0.1, patience=50, held_out_every=100)
    with pytest.raises(ValueError, match="patience must be 0, or at least"):
        Training(1000, 16, 0.1, patience=-1)


@pytest.mark.parametrize("field", ["num_steps", "batch_size", "steps_per_call", "checkpoint_every"])
def test_counts_must_be_positive(field):
    values = {"num_steps": 1, "batch_size": 1, "learning_rate": 1.0} | {field: 0}
    with pytest.raises(ValueError, match=f"{field} must be at least 1"):
        Training(**values)


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


def test_parts_of_a_batch_give_the_gradient_of_the_whole(key):
    # Without noise; with it, each part draws its own.
    task, batch = regression(0.0), {name: array[:16] for name, array in DATA.items()}
    params = {"w": jnp.ones(3)}
    state = TrainState(jnp.zeros((), jnp.int32), params, params, TRAINING.optimizer().init(params))
    whole, _ = make_step(task, TRAINING.optimizer(), 0.9)(key, state, batch)
    for num in (2, 8):
        parts, metrics = make_step(task, TRAINING.optimizer(), 0.9, num)(key, state, batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), parts, whole)
        error = np.mean((batch["x"] @ np.ones(3) - batch["y"]) ** 2)
        np.testing.assert_allclose(metrics["loss"], error, rtol=1e-5)


def test_parts_of_a_batch_draw_noise_of_their_own(key):
    task = Task(
        lambda key, batch: {"w": jnp.zeros(())},
        lambda params, key, batch: (params["w"] + jax.random.normal(key, batch["y"].shape), {}),
    )
    params = {"w": jnp.zeros(())}
    state = TrainState(jnp.zeros((), jnp.int32), params, params, TRAINING.optimizer().init(params))
    batch = {"y": np.zeros(64, np.float32)}
    _, metrics = make_step(task, TRAINING.optimizer(), 0.9, 2)(key, state, batch)
    step_key = jax.random.fold_in(key, 0)
    draws = [jax.random.normal(jax.random.fold_in(step_key, i), (32,)) for i in (0, 1)]
    np.testing.assert_allclose(metrics["loss"], np.mean(draws), rtol=1e-5)


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
        state = train(task, feed, training, jax.random.key(2), mesh, directory / "fit", log, "fit")
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
    loaded = load_params(task, training, EXAMPLE, mesh, tmp_path / "split" / "fit")
    jax.tree.map(np.testing.assert_array_equal, loaded, split.ema_params)
