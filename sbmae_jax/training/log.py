"""The log of a run: lines on the screen, JSON lines in `metrics.jsonl`, and scalars for TensorBoard."""

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm

from sbmae_jax._io import copy_folder, is_remote, write_atomically
from sbmae_jax._json import from_json, to_json

Event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue] (created at import)
METRICS = "metrics.jsonl"
PUBLISH_SECONDS = 60


class Log:
    """Writes the scalars of one run to `metrics.jsonl` and to TensorBoard, and prints lines.

    Where the run's workdir is in an object store, the log is kept on the local disk, and copied to the
    workdir every minute and when it is closed.

    Args:
        directory: Workdir of the run. Rows of an earlier, interrupted process are kept.
        quiet: Print neither lines nor progress bars.

    Example:
        Write a loss, and read it back::

            log = Log(workdir)
            log.scalars("score", 50, {"loss": 0.9})
            log.close()
            read_metrics(workdir)["score"]  # [{"stage": "score", "step": 50, "loss": 0.9}]
    """

    def __init__(self, directory: Path, quiet: bool = False):
        self._quiet = quiet
        self._remote = directory if is_remote(directory) else None
        self._published = time.monotonic()
        if self._remote is not None:
            directory = Path(tempfile.mkdtemp())
            if (self._remote / METRICS).exists():
                (directory / METRICS).write_bytes((self._remote / METRICS).read_bytes())
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file = open(directory / METRICS, "a", buffering=1)  # noqa: SIM115 (see close)

    @cached_property
    def _board(self) -> EventsWriter:
        # Opened at the first scalar, because each writer creates a file. SummaryWriter will not do: its
        # thread dies when the disk is full or the clock is set back, and its callers then block forever.
        folder = self._directory / "tensorboard"
        folder.mkdir(exist_ok=True)
        return EventsWriter(str(folder / "events"))

    def scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Record scalars.

        Args:
            stage: Name of the stage that they belong to.
            step: Number of optimiser steps taken so far.
            values: The scalars by name.

        Raises:
            OSError: They could not be written.
        """
        parts = [summary.scalar(f"{stage}/{name}", value) for name, value in values.items()]
        of_row = {"stage": stage, "step": step}  # whatever the names of the values
        try:
            self._file.write(to_json({**of_row, **values, **of_row}) + "\n")
            for part in parts:
                self._board.write_event(Event(wall_time=time.time(), step=step, summary=part))
            self._board.flush()
        except OSError as error:
            raise OSError(
                f"cannot write the log in {self._directory} ({error.strerror}): free some space and run "
                "the same command to resume from the last checkpoint"
            ) from None
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Copy a log that is kept on the local disk to its workdir in the object store."""
        if self._remote is not None:
            copy_folder(self._directory, self._remote)
            self._published = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line, above the progress bar if there is one."""
        if not self._quiet:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()

    def progress(self, title: str, total: int, initial: int = 0) -> tqdm:
        """Return a progress bar, which stays hidden if the output is neither a terminal nor a notebook.

        Args:
            title: Shown to the left of the bar.
            total: Number of steps in all.
            initial: Number of steps already taken.
        """
        # A notebook is no terminal, but shows what a bar prints.
        hidden = True if self._quiet else False if "ipykernel" in sys.modules else None
        return tqdm(
            total=total, initial=initial, desc=title, leave=False, disable=hidden, unit="step"
        )

    def close(self) -> None:
        """Close the files, and publish them."""
        with contextlib.suppress(OSError):  # `scalars` has already raised it
            self._file.close()
        if "_board" in self.__dict__:
            with contextlib.suppress(OSError):
                self._board.close()
        self.publish()
        if self._remote is not None:
            shutil.rmtree(self._directory)


class NoLog:
    """The log of every process but the first: it writes nothing."""

    def scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Record nothing."""

    def publish(self) -> None:
        """Copy nothing."""

    def line(self, text: str) -> None:
        """Print nothing."""

    def progress(self, title: str, total: int, initial: int = 0) -> tqdm:
        """Return a progress bar that is never shown."""
        return tqdm(total=total, initial=initial, desc=title, disable=True)

    def close(self) -> None:
        """Do nothing."""


def forget_metrics(directory: Path, names: Collection[str]) -> None:
    """Remove the rows of stages from `metrics.jsonl`.

    Args:
        directory: Workdir of the run.
        names: Names of stages, or their beginnings before a slash.
    """
    path, kept = directory / METRICS, []
    for stage, rows in read_metrics(directory).items():
        if stage.split("/")[0] not in names:
            kept += [to_json(row) for row in rows]
    if path.exists():
        write_atomically(path, lambda file: file.write("".join(f"{r}\n" for r in kept).encode()))


def read_metrics(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the scalars of a run back from `metrics.jsonl`.

    A resumed run repeats the steps since its last checkpoint: of two rows with the same step, the later one
    counts. A line that an interruption cut off is left out.

    Args:
        directory: Workdir of the run.

    Returns:
        The rows of each stage, in the order of their steps; empty if the run has no log.
    """
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    path = directory / METRICS
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = from_json(line)
        except ValueError:
            continue
        rows.setdefault(row["stage"], {})[row["step"]] = row
    return {stage: [by_step[step] for step in sorted(by_step)] for stage, by_step in rows.items()}
