"""The training loop: one for every stage."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from sbmae_jax import checkpoint, sharding
from sbmae_jax.data.loader import Feed
from sbmae_jax.log import Log
from sbmae_jax.preemption import Preempted
from sbmae_jax.task import Batch, Params, Task
from sbmae_jax.types import Array, Key
from sbmae_jax.values import require_number, require_type, require_whole


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
HELD_OUT = 2**31 - 1

Init = Callable[[Key, Batch], TrainState]
Steps = Callable[[Key, TrainState, Batch], tuple[TrainState, dict[str, Array]]]
"""(key, state, chunk of batches with a leading axis of steps) -> (state, mean metrics)"""


@dataclass(frozen=True)
class Training:
    """How a stage is trained: AdamW with linear warm-up and cosine decay to zero.

    ema_decay: of the exponential moving average of the parameters, which is what is evaluated;
        it is warmed up as min(ema_decay, (1 + step) / (10 + step)).
    steps_per_call: optimiser steps in one compiled call. Take 1 for convolutions on a CPU, whose
        gradient is slow inside `lax.scan` there.
    checkpoint_every: steps between checkpoints, rounded up to whole calls.
    patience: stop after so many steps without a smaller loss on held-out rows, and keep the averaged
        parameters that had the smallest; at least `held_out_every`. 0 trains to the last step and keeps
        the last.
    held_out_every: steps between looks at the held-out rows, rounded up to whole calls.

    Raises ValueError for a value out of its range or of another type.
    """

    num_steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    b2: float = 0.999
    ema_decay: float = 0.999
    steps_per_call: int = 50
    checkpoint_every: int = 500
    patience: int = 0
    held_out_every: int = 100

    def __post_init__(self):
        counts = ("num_steps", "batch_size", "steps_per_call", "checkpoint_every", "held_out_every")
        for name in counts:
            require_whole(name, getattr(self, name), 1, HELD_OUT - 1)
        require_whole("warmup_steps", self.warmup_steps, 0, HELD_OUT - 1)
        require_type("patience", self.patience, int)
        for name in ("learning_rate", "weight_decay"):
            require_number(name, getattr(self, name), low=0, high=1e6)
        require_number("clip_norm", self.clip_norm, high=1e30, above=0)
        require_number("b2", self.b2, low=0, below=1)
        require_number("ema_decay", self.ema_decay, low=0, high=1)
        if self.patience and self.patience < self.held_out_every:
            raise ValueError(
                f"patience must be 0, or at least held_out_every = {self.held_out_every}, got "
                f"{self.patience}"
            )

    def optimizer(self, num_members: int = 0) -> optax.GradientTransformation:
        """Return the optimiser, of one network or of several whose parameters are stacked."""
        warmup = min(self.warmup_steps, self.num_steps // 2)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, warmup, decay_steps=self.num_steps
        )
        clip = optax.clip_by_global_norm(self.clip_norm)
        return optax.chain(
            by_member(clip) if num_members else clip,
            optax.adamw(schedule, b2=self.b2, weight_decay=self.weight_decay),
        )


def by_member(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """Apply a transformation that keeps no state to each of several stacked gradients alone."""

    def update(updates, state, params=None):
        return jax.vmap(lambda member: transform.update(member, state)[0])(updates), state

    return optax.GradientTransformation(transform.init, update)


def train(
    task: Task, feed: Feed, training: Training, key: Key, mesh: Mesh,
    directory: Path, log: Log, stage: str, held_out: Batch | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainState:  # fmt: skip
    """Train a task to its end, from its newest checkpoint if there is one.

    directory: of this stage's checkpoints. A stage that is at its end is only loaded.
    stage: its name in the logs. Each row has the seconds since the row before.
    held_out: a batch that is not trained on; needed where `training.patience` is not 0.
    should_stop: asked after each call; if so, the state is saved, and Preempted raised.

    The end is the last step, under whose number the last checkpoint stands also where patience ended before.

    Raises FloatingPointError if a loss, that of held-out rows too, becomes NaN or infinite; the checkpoints
    stay as they are.
    """
    init, run = compile_training(task, training, mesh)
    look = compile_look(task) if training.patience else None
    with checkpoint.opened(directory) as checkpointer:
        first = feed(0, 1)
        like = checkpoint.placed(jax.eval_shape(init, key, first), sharding.replicated(mesh))
        state = checkpoint.restore(checkpointer, like)
        if state is None:
            state = init(key, first)
        step = int(state.step)
        with log.progress(stage, training.num_steps, step) as bar:
            while step < training.num_steps:
                start = time.perf_counter()
                size = min(training.steps_per_call, training.num_steps - step)
                state, metrics = run(key, state, feed(step, size))
                metrics = {name: float(value) for name, value in metrics.items()}
                _check_finite(metrics["loss"], stage, step, size, directory)
                taken, step = step, step + size
                if look and _crosses(taken, size, training.held_out_every, training.num_steps):
                    state, loss = look(key, state, held_out)
                    metrics["held_out_loss"] = float(loss)
                    rows = f"{stage}, held-out rows"
                    _check_finite(metrics["held_out_loss"], rows, taken, size, directory)
                log.scalars(stage, step, metrics | {"seconds": time.perf_counter() - start})
                bar.set_postfix(loss=f"{metrics['loss']:.4g}")
                bar.update(size)
                state, step = end_of_patience(state, step, training)
                stopping = should_stop() and step < training.num_steps
                due = _crosses(taken, step - taken, training.checkpoint_every, training.num_steps)
                if stopping or due:
                    checkpoint.save(checkpointer, step, state)
                if stopping:
                    raise Preempted(f"{stage}: saved after step {step}; the same command goes on")
    return state


def end_of_patience(state: TrainState, step: int, training: Training) -> tuple[TrainState, int]:
    """At the end, which may come early, keep the best parameters; return the state and its step."""
    if state.best is None:
        return state, step
    if step - int(state.best.step) < training.patience and step < training.num_steps:
        return state, step
    last = jnp.full_like(state.step, training.num_steps)
    # A copy: the next call may donate the state, in which no two arrays may share a buffer.
    kept = jax.tree.map(jnp.copy, state.best.params)
    return state._replace(step=last, ema_params=kept), training.num_steps


def is_finished(directory: Path, training: Training) -> bool:
    """Return whether a stage has an intact checkpoint of its last step."""
    return checkpoint.find_damage(directory / str(training.num_steps)) is None


def load_params(
    task: Task, training: Training, example: Batch, mesh: Mesh, directory: Path
) -> Params:
    """Load the averaged parameters of a finished stage, and nothing else of its checkpoint.

    example: the shapes of a batch of one, a tree of `jax.ShapeDtypeStruct`.

    Raises ValueError if the stage has no intact checkpoint of its last step.
    """
    if not is_finished(directory, training):
        raise ValueError(
            f"{directory} holds no finished training, or it is damaged: run the stage before this one"
        )
    init, _ = compile_training(task, training, mesh)
    chunk = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), example)
    like = checkpoint.placed(
        jax.eval_shape(init, jax.random.key(0), chunk), sharding.replicated(mesh)
    )
    skip = jax.tree.map(lambda _: checkpoint.SKIP, like)
    with checkpoint.opened(directory) as checkpointer:
        state = checkpoint.restore(
            checkpointer, skip._replace(step=like.step, ema_params=like.ema_params)
        )
    assert state is not None  # there is a checkpoint, and it is intact
    return state.ema_params


@functools.cache
def compile_training(task: Task, training: Training, mesh: Mesh) -> tuple[Init, Steps]:
    """Return the compiled functions that begin and that advance the training of a task.

    The state is built inside a compiled function, so that no two of its arrays share a buffer and each
    can be donated. Tasks that are the same object are compiled once.
    """
    optimizer = training.optimizer(task.num_members)
    step = make_step(task, optimizer, training.ema_decay)

    def init(key, chunk):
        params = task.init(key, jax.tree.map(lambda array: array[0], chunk))
        step = jnp.zeros((), jnp.int32)
        best = Best(jnp.full((), jnp.inf), step, params) if training.patience else None
        return TrainState(step, params, params, optimizer.init(params), best)

    def run(key, state, chunk):
        if len(jax.tree.leaves(chunk)[0]) == 1:
            # Not even a scan of one step: XLA's CPU backend is slow at the gradient of a convolution in it.
            return step(key, state, jax.tree.map(lambda array: array[0], chunk))
        state, metrics = jax.lax.scan(functools.partial(step, key), state, chunk)
        return state, jax.tree.map(jnp.mean, metrics)

    whole = sharding.replicated(mesh)
    return (
        jax.jit(init, out_shardings=whole),
        jax.jit(run, donate_argnums=1, out_shardings=whole),
    )


@functools.cache
def compile_look(task: Task) -> Callable[[Key, TrainState, Batch], tuple[TrainState, Array]]:
    """Return the compiled look at held-out rows, (key, state, batch) -> (state, mean loss).

    The averaged parameters are remembered if they are the best so far. Each look draws the same noise, so
    that what differs between two of them is the parameters.
    """

    def look(key, state, batch):
        losses, _ = task.loss(state.ema_params, jax.random.fold_in(key, HELD_OUT), batch)
        loss = jnp.mean(losses)
        old, new = state.best, Best(loss, state.step, state.ema_params)
        best = jax.tree.map(lambda a, b: jnp.where(loss < old.loss, b, a), old, new)
        return state._replace(best=best), loss

    return jax.jit(look, donate_argnums=1)


def make_step(
    task: Task, optimizer: optax.GradientTransformation, ema_decay: float
) -> Callable[[Key, TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return the pure optimiser step `(key, state, batch) -> (state, metrics)`.

    key: of the whole training; step i uses `fold_in(key, i)`.
    """

    def mean_loss(params, loss_key, batch):
        loss, metrics = task.loss(params, loss_key, batch)
        return jnp.mean(loss), jax.tree.map(jnp.mean, metrics)

    def step(key, state, batch):
        step_key = jax.random.fold_in(key, state.step)
        (loss, metrics), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
            state.params, step_key, batch
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
        ema_params = optax.incremental_update(params, state.ema_params, 1 - decay)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient), **metrics}
        return TrainState(state.step + 1, params, ema_params, opt_state, state.best), metrics

    return step


def _crosses(step: int, size: int, every: int, last: int) -> bool:
    return (step + size) // every > step // every or step + size == last


def _check_finite(loss: float, stage: str, step: int, size: int, directory: Path) -> None:
    if not jnp.isfinite(loss):
        raise FloatingPointError(
            f"{stage}: the loss became {loss} between steps {step} and {step + size}; the last good "
            f"checkpoint stays in {directory}. Lower this stage's learning_rate, or look at its data."
        )
