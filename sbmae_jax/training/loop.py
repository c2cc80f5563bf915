"""The training loop, which is the same for every stage."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from sbmae_jax.training.step import Best, TrainState, compile_training, compile_validation
from sbmae_jax.types import Key

Callback = Callable[[str, int, Mapping[str, float]], bool | None]
"""(name of the training, steps taken, metrics) -> True to end the training with what it has learned."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: what is trained, how, and where its checkpoints are.

    Attributes:
        name: Name in the log and in messages.
        task: What is trained.
        training: How it is trained.
        directory: Folder of its checkpoints.

    The example of `train` makes one.
    """

    name: str
    task: Task
    training: TrainingConfig
    directory: Path


def train(
    stage: Stage, batch_fn: BatchFn, key: Key, *, mesh: Mesh, log: Log | NoLog,
    held_out: Batch | None = None, should_stop: Callable[[], bool] = lambda: False,
    callback: Callback | None = None, profile: Path | None = None, seconds: float = 0.0,
) -> TrainState:  # fmt: skip
    """Train a stage to its end, from its newest intact checkpoint if there is one.

    A resumed training ends with the same bits as an uninterrupted one. A finished stage is only loaded. The
    final checkpoint is named after the last step, `training.num_steps`, even where patience, the callback or
    `training.max_minutes` ended the training earlier.

    Args:
        stage: What to train, how, and where.
        batch_fn: Gives the batches, see `batches.resident` and `batches.streamed`.
        key: Root of all randomness of this training, except for the choice of the batches.
        mesh: Devices that share the work.
        log: Gets the mean metrics of each compiled call, and its duration in seconds.
        held_out: A batch [B, ...] that is not trained on; required if `training.patience` is not 0.
        should_stop: Polled after each call. If it returns True in any process, the state is saved and
            `Preempted` is raised.
        callback: Called after each compiled call. If it returns True in any process, the training ends there.
            If it raises, the state is saved first.
        profile: Folder for a trace of a few calls; None for no trace.
        seconds: Time that this training took before it was interrupted, for `training.max_minutes`.

    Returns:
        The final state, whose `ema_params` are the result.

    Raises:
        Preempted: `should_stop` returned True before the last step.
        FloatingPointError: The loss, on training or held-out rows, or the norm of a gradient became NaN or
            infinite. The checkpoints remain as they were.
        OSError: A checkpoint or the log could not be written.
        ValueError: The devices cannot share a batch evenly, or no finished checkpoint is intact.

    Example:
        Train a score on latents `z [N, D]` that are in memory::

            training = TrainingConfig(num_steps=1000, batch_size=64, learning_rate=1e-3)
            task = score_task(network, sde, layout, ScoreMatchingConfig())
            stage = Stage(name="score", task=task, training=training, directory=Path("score"))
            mesh = make_mesh()
            batch_fn = resident(jax.random.key(0), {"z": z}, training.batch_size, mesh)
            log = Log(Path("log"))
            params = train(stage, batch_fn, jax.random.key(1), mesh=mesh, log=log).ema_params
            log.close()
    """
    training = stage.training
    _require_divisible(training, mesh)
    init, run = compile_training(stage.task, training, mesh)
    validate = compile_validation(stage.task, mesh) if training.patience else None
    init_key, noise_key, held_out_key = jax.random.split(key, 3)
    with checkpoint.opened(stage.directory) as checkpoints:
        first = batch_fn(0, 1)
        like = sharding.abstract_state(mesh, jax.eval_shape(init, init_key, first))
        state = checkpoints.restore(like)
        if state is None:
            state = init(init_key, first)
            # No step may be better than the start, as of a score that knows a Gaussian.
            if validate:
                state, _ = validate(held_out_key, state, held_out)
        step = int(state.step)
        with log.progress(stage.name, training.num_steps, step) as bar, traced(profile) as tick:
            while step < training.num_steps:
                tick()
                start = time.perf_counter()
                size = min(training.steps_per_call, training.num_steps - step)
                state, metrics = run(noise_key, state, batch_fn(step, size))
                step += size
                metrics = {name: float(value) for name, value in metrics.items()}
                _require_finite(metrics, stage, step, size)
                if validate and _is_due(training.held_out_every, step, size, training):
                    state, loss = validate(held_out_key, state, held_out)
                    metrics["held_out_loss"] = float(loss)
                    _require_finite(metrics, stage, step, size)
                took = time.perf_counter() - start
                seconds += took
                log.scalars(stage.name, step, metrics | {"seconds": took})
                bar.set_postfix(loss=f"{metrics['loss']:.4g}")
                bar.update(size)
                save = _is_due(training.checkpoint_every, step, size, training)
                end = _is_at_end(state, step, training)
                if training.max_minutes:
                    end = distributed.any_process(seconds >= 60 * training.max_minutes) or end
                if callback is not None:
                    last = (training.num_steps, _finish(state, training)) if end else (step, state)
                    with _saved_if_raised(checkpoints, *last):
                        wanted = bool(callback(stage.name, step, metrics))
                    end = distributed.any_process(wanted) or end
                if end:
                    state, step, save = _finish(state, training), training.num_steps, True
                stop = distributed.any_process(should_stop()) and step < training.num_steps
                if save or stop:
                    checkpoints.save(step, state)
                if stop:
                    checkpoints.finish()
                    raise Preempted(
                        f"{stage.name}: saved after step {step}; run the same command to resume"
                    )
    return state


@contextmanager
def _saved_if_raised(
    checkpoints: checkpoint.Checkpoints, step: int, state: TrainState
) -> Iterator[None]:
    """Save the state if something in this context raises an exception."""
    try:
        yield
    except BaseException:
        checkpoints.save(step, state)
        checkpoints.finish()
        raise


class NotFinishedError(ValueError):
    """A training has not been finished."""


def is_finished(stage: Stage) -> bool:
    """Return whether a stage has an intact checkpoint of its last step, in the first process's view."""
    path = stage.directory / str(stage.training.num_steps)
    return bool(distributed.broadcast_from_first(checkpoint.find_damage(path) is None))


def save_finished(stage: Stage, params: Params, mesh: Mesh) -> None:
    """Store parameters from elsewhere as the result of a stage, which is then finished.

    Args:
        stage: A stage of one network, without checkpoints.
        params: Its parameters.
        mesh: Devices that hold the state.
    """
    training = stage.training

    def make(params):
        step = jnp.full((), training.num_steps, jnp.int32)
        best = Best(jnp.full((), jnp.inf), step, params) if training.patience else None
        opt_state = training.optimizer().init(params)
        return sharding.with_sharding(mesh, TrainState(step, params, params, opt_state, best))

    with checkpoint.opened(stage.directory) as checkpoints:
        checkpoints.save(training.num_steps, jax.jit(make)(params))


def load_params(stage: Stage, example: Batch, mesh: Mesh) -> Params:
    """Load the averaged parameters of a finished stage, and nothing else of its checkpoint.

    Args:
        stage: Whose parameters to load.
        example: Shapes of a batch of any size, a pytree of `jax.ShapeDtypeStruct`.
        mesh: Devices that shall hold the parameters.

    Raises:
        NotFinishedError: The stage has no intact checkpoint of its last step.
    """
    if not is_finished(stage):
        raise NotFinishedError(
            f"{stage.directory} holds no finished training, or a damaged one: train {stage.name} first"
        )
    return load_averages(stage, example, mesh)


def load_averages(stage: Stage, example: Batch, mesh: Mesh) -> Params:
    """Load the averaged parameters of the newest checkpoint of a stage, which need not be finished.

    Args:
        stage: Whose parameters to load.
        example: As `load_params` takes it.
        mesh: Devices that shall hold the parameters.
    """
    init, _ = compile_training(stage.task, stage.training, mesh)
    chunk = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape), a.dtype), example)
    like = sharding.abstract_state(mesh, jax.eval_shape(init, jax.random.key(0), chunk))
    skip = jax.tree.map(lambda _: checkpoint.SKIP, like)
    with checkpoint.opened(stage.directory) as checkpoints:
        state = checkpoints.restore(skip._replace(step=like.step, ema_params=like.ema_params))
    assert state is not None  # whoever calls this has a checkpoint
    return state.ema_params


def _require_divisible(training: TrainingConfig, mesh: Mesh) -> None:
    if training.batch_size % (training.num_microbatches * mesh.size):
        raise ValueError(
            f"batch_size must be a multiple of num_microbatches x devices, {training.num_microbatches} x "
            f"{mesh.size}, got {training.batch_size}"
        )


def _is_due(every: int, step: int, size: int, training: TrainingConfig) -> bool:
    """Return whether the last call, of `size` steps, has reached a multiple of `every`, or the end."""
    return step // every > (step - size) // every or step == training.num_steps


def _is_at_end(state: TrainState, step: int, training: TrainingConfig) -> bool:
    """Return whether the last step is taken, or patience has run out."""
    if state.best is None or step == training.num_steps:
        return step == training.num_steps
    return step - int(state.best.step) >= training.patience


def _finish(state: TrainState, training: TrainingConfig) -> TrainState:
    """Mark a state as that of the last step; with patience, its averages become the best ones."""
    only_start_is_measured = state.step < min(training.held_out_every, training.num_steps)
    state = state._replace(step=jnp.full_like(state.step, training.num_steps))
    if state.best is None or only_start_is_measured or not jnp.isfinite(state.best.loss):
        return state
    # Copied, because the next call may donate the state, in which no two arrays may share a buffer.
    return state._replace(ema_params=jax.tree.map(jnp.copy, state.best.params))


def _require_finite(metrics: Mapping[str, float], stage: Stage, step: int, size: int) -> None:
    """Raise FloatingPointError if one of the values that would spoil the parameters is not finite."""
    for name in ("loss", "gradient_norm", "held_out_loss"):
        value = metrics.get(name, 0.0)
        if not jnp.isfinite(value):
            raise FloatingPointError(
                f"{stage.name}: the {name.replace('_', ' ')} became {value} between steps {step - size} "
                f"and {step}; the last good checkpoint remains in {stage.directory}. Lower this stage's "
                "learning_rate, or check its data."
            )
