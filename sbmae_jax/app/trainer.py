"""Train the networks of a run, and load those that are trained."""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from sbmae_jax.app.folder import RunFolder
from sbmae_jax.app.run_data import MakeBatchFn
from sbmae_jax.models.task import Params, Task
from sbmae_jax.training import distributed
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.endings import describe_ending
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.loop import (
    Callback,
    NotFinishedError,
    Stage,
    is_finished,
    load_params,
    train,
)
from sbmae_jax.training.preemption import Notice, Preempted


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What all trainings of a run share.

    Attributes:
        folder: Where checkpoints and the log are kept.
        key: The root key; each training folds its name into it.
        mesh: The devices.
        notice: A request to stop. A training then saves, and raises `Preempted`.
        callback: Called after each call of a training, see `loop.train`; None for no callback.
        profile: Folder for traces of a few calls of each training; None traces nothing.
    """

    folder: RunFolder
    key: jax.Array
    mesh: Mesh
    notice: Notice
    callback: Callback | None = None
    profile: Path | None = None

    def train(
        self, name: str, task: Task, training: TrainingConfig, make_batches: MakeBatchFn,
        held_out: Callable[[], Mapping[str, Any]],
    ) -> None:  # fmt: skip
        """Train one network, from its last checkpoint if there is one, unless it is finished.

        Args:
            name: The name of the training: of its folder, and in the log.
            task: The network and its loss.
            training: Steps, batch size, learning rate and so on.
            make_batches: Makes the batches from a key and a batch size.
            held_out: Returns the batch for early stopping; called only if `training.patience` is set.
        """
        stage, log = self.stage(name, task, training), self.folder.log
        if is_finished(stage):
            log.line(f"{name}: already done")
            return
        start = time.perf_counter()
        batches_key, train_key = jax.random.split(self.stage_key(name))
        batches = make_batches(batches_key, training.batch_size)
        aside = held_out() if training.patience else None
        before = sum(row["seconds"] for row in read_metrics(self.folder.path).get(name, ()))
        with self.notice.deferred():
            state = train(
                stage, batches, train_key, mesh=self.mesh, log=log, held_out=aside,
                should_stop=lambda: self.notice.given, callback=self.callback,
                profile=self.profile / name if self.profile else None, seconds=before,
            )  # fmt: skip
        log.publish()
        if distributed.is_first():
            rows, seconds = read_metrics(self.folder.path)[name], time.perf_counter() - start
            last, ending = rows[-1], describe_ending(name, training, rows)
            log.line(f"{name}: {last['step']} steps, loss {last['loss']:.4g}, {seconds:.0f} s")
            if ending:
                log.line(f"{name}: {ending}")
            measured = any("held_out_loss" in row for row in rows)
            if measured and state.best is not None and not state.best.step:
                log.line(
                    f"{name}: no step lowered the loss on held-out rows: it stays as it started"
                )

    def advance(
        self, stage: Stage, name: str, steps: int, make_batches: MakeBatchFn, held_out: Any
    ) -> bool:
        """Train a stage as another training, with the same randomness, until it has taken some steps.

        Args:
            stage: What is trained, from its last checkpoint if there is one.
            name: The training whose batches and noise it gets.
            steps: Where it stops, with a checkpoint.
            make_batches: As in `train`.
            held_out: The batch for early stopping.

        Returns:
            False if the callback wants an end.

        Raises:
            Preempted: After a request to stop.
        """
        at, ended = 0, False

        def callback(name, step, metrics):
            nonlocal at, ended
            at = step
            ended = self.callback is not None and bool(self.callback(name, step, metrics))

        batches_key, train_key = jax.random.split(self.stage_key(name))
        batches = make_batches(batches_key, stage.training.batch_size)
        try:
            with self.notice.deferred():
                train(
                    stage, batches, train_key, mesh=self.mesh, log=self.folder.log, held_out=held_out,
                    should_stop=lambda: self.notice.given or ended or at >= steps, callback=callback,
                )  # fmt: skip
        except Preempted:
            if distributed.any_process(self.notice.given):
                raise
        return not distributed.any_process(ended)

    def load(self, name: str, task: Task, training: TrainingConfig, example: Any) -> Params:
        """Load the averaged parameters of a training; raises ValueError if it is not finished."""
        try:
            return load_params(self.stage(name, task, training), example, self.mesh)
        except NotFinishedError as error:
            raise ValueError(
                f"{error}, by the same call or command as before, or by sbmae train "
                f"--workdir={self.folder.path}"
            ) from None

    def stage(self, name: str, task: Task, training: TrainingConfig) -> Stage:
        """Return a stage of this run, with its place in the folder."""
        return Stage(name=name, task=task, training=training, directory=self.folder.path / name)

    def stage_key(self, name: str) -> jax.Array:
        """Return the key of a stage."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))
