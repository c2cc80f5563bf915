"""One optimiser step, of one network, of stacked ones, and of a batch in parts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from fitting import DATA, TRAINING, X, regression

from sbmae_jax.models.task import Task, stacked
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import TrainState, make_step


def config(**values):
    return TrainingConfig(num_steps=10, learning_rate=0.1, warmup_steps=0, **values)


def started(params, optimizer):
    return TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))


def take_step(task, key, params, batch, **options):
    """Take the first step of TRAINING, compiled."""
    optimizer = TRAINING.optimizer()
    step = jax.jit(make_step(task, optimizer, 0.9, **options))
    return step(key, started(params, optimizer), batch)


def test_the_first_step_is_adams(key):
    task, optimizer = regression(0.0), config(batch_size=4).optimizer()
    batch = jax.tree.map(lambda a: a[:4], DATA)
    params = {"w": jnp.array([5.0, 5.0, 5.0])}
    new, metrics = jax.jit(make_step(task, optimizer, 0.9))(key, started(params, optimizer), batch)
    gradient = batch["x"].T @ (batch["x"] @ np.full(3, 5.0) - batch["y"]) / 2
    np.testing.assert_allclose(new.params["w"], 5 - 0.1 * np.sign(gradient), atol=1e-4)
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(gradient), rtol=1e-5)
    # The average is warmed up: after one step it has moved by 9/10 of the way.
    np.testing.assert_allclose(new.ema_params["w"], 0.1 * 5 + 0.9 * new.params["w"], rtol=1e-5)


def test_stacked_networks_are_trained_as_each_would_be_alone(key):
    def loss(params, key, batch):
        return (batch["x"] @ params["w"]) ** 2, {}

    alone = Task(lambda key, batch: {"w": jax.random.normal(key, (3,))}, loss)
    both = stacked(alone, ("a", "b"))
    # Gradients of different lengths, both of which get clipped.
    batch = {"a": jnp.asarray(X[:8]), "b": jnp.asarray(30 * X[8:16])}
    training = config(batch_size=8, clip_norm=0.1)

    def two_steps(task):
        optimizer = training.optimizer(task.num_members)
        step = jax.jit(make_step(task, optimizer, 0.9))

        def run(params, batch):
            state, _ = step(key, started(params, optimizer), batch)
            return step(key, state, batch)

        return run

    start, run_alone = both.init(jax.random.key(5), batch), two_steps(alone)
    assert np.abs(start["w"][0] - start["w"][1]).min() > 1e-3
    together, metrics = two_steps(both)(start, batch)
    for m, name in enumerate("ab"):
        expected, single = run_alone({"w": start["w"][m]}, {"x": batch[name]})
        for got, wanted in (
            (together.params, expected.params), (together.ema_params, expected.ema_params),
            (together.opt_state[1][0].nu, expected.opt_state[1][0].nu),
        ):  # fmt: skip
            np.testing.assert_allclose(got["w"][m], wanted["w"], rtol=1e-5)
        np.testing.assert_allclose(metrics[name], single["loss"], rtol=1e-5)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(key):
    # Without noise; with it, each part draws its own.
    task, batch = regression(0.0), {name: array[:16] for name, array in DATA.items()}
    params = {"w": jnp.ones(3)}
    whole, _ = take_step(task, key, params, batch)
    error = np.mean((batch["x"] @ np.ones(3) - batch["y"]) ** 2)
    parts, metrics = take_step(task, key, params, batch, num_microbatches=4)
    chex.assert_trees_all_close(parts, whole, rtol=1e-5, atol=0)
    np.testing.assert_allclose(metrics["loss"], error, rtol=1e-5)


def test_parts_of_a_batch_draw_noise_of_their_own(key):
    task = Task(
        lambda key, batch: {"w": jnp.zeros(())},
        lambda params, key, batch: (params["w"] + jax.random.normal(key, batch["y"].shape), {}),
    )
    batch = {"y": np.zeros(64, np.float32)}
    _, metrics = take_step(task, key, {"w": jnp.zeros(())}, batch, num_microbatches=2)
    step_key = jax.random.fold_in(key, 0)
    draws = [jax.random.normal(jax.random.fold_in(step_key, i), (32,)) for i in (0, 1)]
    np.testing.assert_allclose(metrics["loss"], np.mean(draws), rtol=1e-5)


def test_a_loss_that_learns_from_the_average_is_told_of_it_and_of_the_progress(key):
    def loss(params, key, batch):
        return jnp.sum(params["w"]) + 0 * batch["x"], {}

    def training_loss(params, key, batch, average):
        seen = {"first": average.params["w"][0], "progress": average.progress}
        return loss(params, key, batch)[0], {n: v + 0 * batch["x"] for n, v in seen.items()}

    task = Task(lambda key, batch: None, loss, training_loss=training_loss)
    optimizer = config(batch_size=2).optimizer()
    step = jax.jit(make_step(task, optimizer, 0.9, num_steps=4))
    state = started({"w": jnp.array([5.0, 3.0])}, optimizer)
    state, first = step(key, state, {"x": jnp.zeros(2)})
    _, second = step(jax.random.clone(key), state, {"x": jnp.zeros(2)})
    assert [first[n] for n in ("first", "progress")] == [5, 0]
    assert second["progress"] == 0.25
    assert second["first"] == state.ema_params["w"][0] != 5
