"""The compiled step of a training: its state, its gradient, and a look at held-out rows."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from sbmae_jax.models.task import Batch, Params, Task
from sbmae_jax.training import sharding
from sbmae_jax.training.config import MAX_STEPS, TrainingConfig
from sbmae_jax.types import Array, Key

Tree = TypeVar("Tree")


class Best(NamedTuple):
    """The averaged parameters with the least loss on held-out rows so far, and the step they had taken."""

    loss: Array
    step: Array
    params: Params


class TrainState(NamedTuple):
    """All that changes in training; the number of steps taken stands here and nowhere else.

    best: None where training does not look at held-out rows.
    """

    step: Array
    params: Params
    ema_params: Params
    opt_state: optax.OptState
    best: Best | None = None


# No training takes so many steps: the noise of held-out rows is that of no step.
HELD_OUT_FOLD = MAX_STEPS + 1

Init = Callable[[Key, Batch], TrainState]
Steps = Callable[[Key, TrainState, Batch], tuple[TrainState, dict[str, Array]]]
"""(key, state, chunk of batches with a leading axis of steps) -> (state, mean metrics)"""


@functools.cache
def compile_training(task: Task, training: TrainingConfig, mesh: Mesh) -> tuple[Init, Steps]:
    """Return the compiled functions that begin and that advance the training of a task.

    The state is built inside a compiled function, so that no two of its arrays share a buffer and each
    can be donated. Tasks that are the same object are compiled once.
    """
    optimizer = training.optimizer(task.num_members)
    step = make_step(task, optimizer, training.ema_decay, training.num_microbatches)

    def init(key, chunk):
        params = task.init(key, jax.tree.map(lambda array: array[0], chunk))
        step = jnp.zeros((), jnp.int32)
        best = Best(jnp.full((), jnp.inf), step, params) if training.patience else None
        state = TrainState(step, params, params, optimizer.init(params), best)
        return sharding.with_sharding(mesh, state)

    def run(key, state, chunk):
        if len(jax.tree.leaves(chunk)[0]) == 1:
            # Not even a scan of one step: XLA's CPU backend is slow at the gradient of a convolution in it.
            state, metrics = step(key, state, jax.tree.map(lambda array: array[0], chunk))
        else:
            state, metrics = jax.lax.scan(functools.partial(step, key), state, chunk)
        return sharding.with_sharding(mesh, (state, jax.tree.map(jnp.mean, metrics)))

    return jax.jit(init), jax.jit(run, donate_argnums=1)


@functools.cache
def compile_validation(
    task: Task, mesh: Mesh
) -> Callable[[Key, TrainState, Batch], tuple[TrainState, Array]]:
    """Return the compiled look at held-out rows, (key, state, batch) -> (state, mean loss).

    The averaged parameters are remembered if they are the best so far. Each look draws the same noise, so
    that what differs between two of them is the parameters.
    """

    def look(key, state, batch):
        losses, _ = task.loss(state.ema_params, jax.random.fold_in(key, HELD_OUT_FOLD), batch)
        loss = jnp.mean(losses)
        old, new = state.best, Best(loss, state.step, state.ema_params)
        best = jax.tree.map(lambda a, b: jnp.where(loss < old.loss, b, a), old, new)
        return sharding.with_sharding(mesh, (state._replace(best=best), loss))

    return jax.jit(look, donate_argnums=1)


def make_step(
    task: Task, optimizer: optax.GradientTransformation, ema_decay: float, num_microbatches: int = 1
) -> Callable[[Key, TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return the pure optimiser step `(key, state, batch) -> (state, metrics)`.

    key: of the whole training; step i uses `fold_in(key, i)`.
    """

    def mean_loss(params, loss_key, batch):
        loss, metrics = task.loss(params, loss_key, batch)
        return jnp.mean(loss), jax.tree.map(jnp.mean, metrics)

    differentiate = jax.value_and_grad(mean_loss, has_aux=True)
    if num_microbatches > 1:
        differentiate = averaged(differentiate, num_microbatches)

    def step(key, state, batch):
        step_key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = differentiate(state.params, step_key, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
        ema_params = optax.incremental_update(params, state.ema_params, 1 - decay)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient), **metrics}
        return TrainState(state.step + 1, params, ema_params, opt_state, state.best), metrics

    return step


def averaged(function: Callable[..., Tree], num_parts: int) -> Callable[..., Tree]:
    """Return the function (params, key, batch) whose result is the mean of those of parts of the batch.

    Part i has every `num_parts`-th row from the i-th on, so that each device has as many rows of it.
    """

    def mean(params, key, batch):
        parts = jax.tree.map(
            lambda a: jnp.swapaxes(a.reshape(-1, num_parts, *a.shape[1:]), 0, 1), batch
        )

        def add(total, numbered):
            i, part = numbered
            return jax.tree.map(
                jnp.add, total, function(params, jax.random.fold_in(key, i), part)
            ), None

        like = jax.eval_shape(function, params, key, jax.tree.map(lambda a: a[0], parts))
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        total, _ = jax.lax.scan(add, zero, (jnp.arange(num_parts), parts))
        return jax.tree.map(lambda a: a / num_parts, total)

    return mean
