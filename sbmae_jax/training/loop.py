"""The training loop: one for every stage."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sbmae_jax.models.task import Batch, Params, Task
from sbmae_jax.training import checkpoint, distributed, sharding
from sbmae_jax.training.batches import BatchFn
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import Log, NoLog
from sbmae_jax.training.preemption import Preempted
from sbmae_jax.training.profiling import traced
from sbmae_jax.training.step import TrainState, compile_training, compile_validation
from sbmae_jax.types import Key


def train(
    task: Task, feed: BatchFn, training: TrainingConfig, key: Key, mesh: Mesh,
    directory: Path, log: Log | NoLog, stage: str, held_out: Batch | None = None,
    should_stop: Callable[[], bool] = lambda: False, profile: Path | None = None,
) -> TrainState:  # fmt: skip
    """Train a task to its end, from its newest checkpoint if there is one.

    directory: of this stage's checkpoints. A stage that is at its end is only loaded.
    stage: its name in the logs. Each row has the seconds since the row before.
    held_out: a batch that is not trained on; needed where `training.patience` is not 0.
    should_stop: asked after each call; if any process says so, the state is saved, and Preempted raised.
    profile: folder for a trace of a few calls.

    The end is the last step, under whose number the last checkpoint stands also where patience ended before.

    Raises FloatingPointError if a loss, that of held-out rows too, or a gradient becomes NaN or infinite;
    the checkpoints stay as they are. Raises OSError if one cannot be written.
    """
    check_parts(training, mesh)
    init, run = compile_training(task, training, mesh)
    look = compile_validation(task, mesh) if training.patience else None
    with checkpoint.opened(directory) as checkpoints:
        first = feed(0, 1)
        state = checkpoints.restore(sharding.shapes(mesh, jax.eval_shape(init, key, first)))
        if state is None:
            state = init(key, first)
        step = int(state.step)
        with log.progress(stage, training.num_steps, step) as bar, traced(profile) as tick:
            while step < training.num_steps:
                tick()
                start = time.perf_counter()
                size = min(training.steps_per_call, training.num_steps - step)
                state, metrics = run(key, state, feed(step, size))
                metrics = {name: float(value) for name, value in metrics.items()}
                _check_finite(metrics, stage, step, size, directory)
                taken, step = step, step + size
                if look and _crosses(taken, size, training.held_out_every, training.num_steps):
                    state, loss = look(key, state, held_out)
                    metrics["held_out_loss"] = float(loss)
                    _check_finite(metrics, stage, taken, size, directory)
                log.scalars(stage, step, metrics | {"seconds": time.perf_counter() - start})
                bar.set_postfix(loss=f"{metrics['loss']:.4g}")
                bar.update(size)
                state, step = end_of_patience(state, step, training)
                stopping = distributed.any_says(should_stop()) and step < training.num_steps
                due = _crosses(taken, step - taken, training.checkpoint_every, training.num_steps)
                if stopping or due:
                    checkpoints.save(step, state)
                if stopping:
                    checkpoints.finish()
                    raise Preempted(f"{stage}: saved after step {step}; the same command goes on")
    return state


def check_parts(training: TrainingConfig, mesh: Mesh) -> None:
    """Raise ValueError if the devices cannot share out a part of a batch evenly."""
    if training.batch_size % (training.num_microbatches * mesh.size):
        raise ValueError(
            f"batch_size must be a multiple of num_microbatches x devices, {training.num_microbatches} x "
            f"{mesh.size}, got {training.batch_size}"
        )


def end_of_patience(
    state: TrainState, step: int, training: TrainingConfig
) -> tuple[TrainState, int]:
    """At the end, which may come early, keep the best parameters; return the state and its step."""
    if state.best is None:
        return state, step
    if step - int(state.best.step) < training.patience and step < training.num_steps:
        return state, step
    last = jnp.full_like(state.step, training.num_steps)
    # A copy: the next call may donate the state, in which no two arrays may share a buffer.
    kept = jax.tree.map(jnp.copy, state.best.params)
    return state._replace(step=last, ema_params=kept), training.num_steps


def is_finished(directory: Path, training: TrainingConfig) -> bool:
    """Return whether a stage has an intact checkpoint of its last step."""
    path = directory / str(training.num_steps)
    return bool(distributed.broadcast_from_first(checkpoint.find_damage(path) is None))


def load_params(
    task: Task, training: TrainingConfig, example: Batch, mesh: Mesh, directory: Path
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
    like = sharding.shapes(mesh, jax.eval_shape(init, jax.random.key(0), chunk))
    skip = jax.tree.map(lambda _: checkpoint.SKIP, like)
    with checkpoint.opened(directory) as checkpoints:
        state = checkpoints.restore(skip._replace(step=like.step, ema_params=like.ema_params))
    assert state is not None  # there is a checkpoint, and it is intact
    return state.ema_params


def _crosses(step: int, size: int, every: int, last: int) -> bool:
    return (step + size) // every > step // every or step + size == last


def _check_finite(
    metrics: Mapping[str, float], stage: str, step: int, size: int, directory: Path
) -> None:
    """Look at what would spoil the parameters: the loss, the gradient, the loss on held-out rows."""
    for name in ("loss", "gradient_norm", "held_out_loss"):
        value = metrics.get(name, 0.0)
        if not jnp.isfinite(value):
            raise FloatingPointError(
                f"{stage}: the {name.replace('_', ' ')} became {value} between steps {step} and "
                f"{step + size}; the last good checkpoint stays in {directory}. Lower this stage's "
                "learning_rate, or look at its data."
            )
