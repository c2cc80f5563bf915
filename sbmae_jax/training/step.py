"""The compiled functions of a training: the first state, the optimiser steps, the loss on held-out rows."""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from sbmae_jax.models.task import Average, Batch, Params, Task
from sbmae_jax.training import sharding
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.types import Array, Key

Tree = TypeVar("Tree")


class Best(NamedTuple):
    """The averaged parameters with the smallest loss on held-out rows so far.

    Attributes:
        loss: Their mean loss on the held-out rows, a scalar; infinite at the start.
        step: Number of steps they had taken, a scalar of int32.
        params: Pytree of the averaged parameters.
    """

    loss: Array
    step: Array
    params: Params


class TrainState(NamedTuple):
    """Everything that changes during a training, and all that a checkpoint stores.

    Attributes:
        step: Number of steps taken, a scalar of int32.
        params: Pytree of the parameters.
        ema_params: Exponential moving average of the parameters.
        opt_state: State of the optimiser.
        best: None for a training without patience.
    """

    step: Array
    params: Params
    ema_params: Params
    opt_state: optax.OptState
    best: Best | None = None


InitFn = Callable[[Key, Batch], TrainState]
"""(key, chunk of batches) -> the state before the first step."""

StepsFn = Callable[[Key, TrainState, Batch], tuple[TrainState, dict[str, Array]]]
"""(key, state, chunk of batches, whose first axis counts the steps) -> (state, mean metrics)."""

ValidateFn = Callable[[Key, TrainState, Batch], tuple[TrainState, Array]]
"""(key, state, held-out batch) -> (state with the best parameters so far, mean loss)."""


@functools.cache
def compile_training(task: Task, training: TrainingConfig, mesh: Mesh) -> tuple[InitFn, StepsFn]:
    """Compile the functions that start and that advance the training of a task.

    The results are cached, so the same task, settings and mesh are compiled once.

    Args:
        task: What to train.
        training: How to train it.
        mesh: Devices that share the work.

    Returns:
        The function that builds the first state, and the function that takes as many steps as its chunk has
        batches. The latter donates the state.
    """
    optimizer = training.optimizer(task.num_members)
    step = make_step(
        task, optimizer, training.ema_decay, training.num_microbatches, training.num_steps
    )

    # Compiled, so that no two arrays of the state share a buffer: a shared one could not be donated.
    def init(key, chunk):
        params = task.init(key, jax.tree.map(lambda array: array[0], chunk))
        step = jnp.zeros((), jnp.int32)
        best = Best(jnp.full((), jnp.inf), step, params) if training.patience else None
        state = TrainState(step, params, params, optimizer.init(params), best)
        return sharding.with_sharding(mesh, state)

    def run(key, state, chunk):
        if len(jax.tree.leaves(chunk)[0]) == 1:
            # XLA's CPU backend is slow at the gradient of a convolution even in a scan of a single step.
            state, metrics = step(key, state, jax.tree.map(lambda array: array[0], chunk))
        else:
            state, metrics = jax.lax.scan(functools.partial(step, key), state, chunk)
        return sharding.with_sharding(mesh, (state, jax.tree.map(jnp.mean, metrics)))

    return jax.jit(init), jax.jit(run, donate_argnums=1)


@functools.cache
def compile_validation(task: Task, mesh: Mesh) -> ValidateFn:
    """Compile the function that measures the held-out loss of the averaged parameters.

    It stores the averaged parameters in `state.best` if they are the best so far, and donates the state.

    Args:
        task: What is trained.
        mesh: Devices that hold the state.
    """

    def validate(key, state, batch):
        # The same noise every time, so that two losses differ only because the parameters do.
        losses, _ = task.loss(state.ema_params, jax.random.clone(key), batch)
        loss = jnp.mean(losses)
        old, new = state.best, Best(loss, state.step, state.ema_params)
        best = jax.tree.map(lambda a, b: jnp.where(loss < old.loss, b, a), old, new)
        return sharding.with_sharding(mesh, (state._replace(best=best), loss))

    return jax.jit(validate, donate_argnums=1)


def make_step(
    task: Task, optimizer: optax.GradientTransformation, ema_decay: float,
    num_microbatches: int = 1, num_steps: int = 1,
) -> StepsFn:  # fmt: skip
    """Build the pure function of one optimiser step, `(key, state, batch) -> (state, metrics)`.

    Its key is the same for the whole training: step i draws its noise from `fold_in(key, i)`.

    Args:
        task: What to train.
        optimizer: From `TrainingConfig.optimizer`.
        ema_decay: As in `TrainingConfig`.
        num_microbatches: As in `TrainingConfig`.
        num_steps: As in `TrainingConfig`, for a `Task.training_loss`, which is told of the progress.
    """

    def step(key, state, batch):
        def mean_loss(params, loss_key, batch):
            if task.training_loss is None:
                loss, metrics = task.loss(params, loss_key, batch)
            else:
                average = Average(state.ema_params, state.step / num_steps)
                loss, metrics = task.training_loss(params, loss_key, batch, average)
            return jnp.mean(loss), jax.tree.map(jnp.mean, metrics)

        value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)
        if num_microbatches > 1:
            value_and_grad = _over_microbatches(value_and_grad, num_microbatches)
        step_key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = value_and_grad(state.params, step_key, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
        ema_params = optax.incremental_update(params, state.ema_params, 1 - decay)
        metrics = {**metrics, "loss": loss, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(state.step + 1, params, ema_params, opt_state, state.best), metrics

    return step


def _over_microbatches(function: Callable[..., Tree], num_parts: int) -> Callable[..., Tree]:
    """Average a function of (params, key, batch) over parts of the batch, computed one after the other.

    Part i consists of every `num_parts`-th row from row i on, so that each device has equally many of them.
    """

    def mean(params, key, batch):
        parts = jax.tree.map(
            lambda a: jnp.swapaxes(a.reshape(-1, num_parts, *a.shape[1:]), 0, 1), batch
        )

        def add(total, numbered):
            i, part = numbered
            result = function(params, jax.random.fold_in(key, i), part)
            return jax.tree.map(jnp.add, total, result), None

        like = jax.eval_shape(function, params, key, jax.tree.map(lambda a: a[0], parts))
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        total, _ = jax.lax.scan(add, zero, (jnp.arange(num_parts), parts))
        return jax.tree.map(lambda a: a / num_parts, total)

    return mean
