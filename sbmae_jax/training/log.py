"""What a run says: lines for a person, JSON lines and TensorBoard scalars for later."""

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm

from sbmae_jax._io import copy, is_remote

Event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue] (made when it is imported)
FILE = "metrics.jsonl"
PUBLISH_SECONDS = 60


class Log:
    """Writes the scalars of one run to `metrics.jsonl` and to TensorBoard, and lines to the screen.

    The log of a workdir in a bucket is kept on this machine, and copied there every minute and at the end.
    """

    def __init__(self, directory: Path):
        self._remote = directory if is_remote(directory) else None
        self._published = time.monotonic()
        if self._remote is not None:
            directory = Path(tempfile.mkdtemp())
            if (self._remote / FILE).exists():
                (directory / FILE).write_bytes((self._remote / FILE).read_bytes())
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._file = open(directory / FILE, "a", buffering=1)  # noqa: SIM115 (closed with the log)

    @cached_property
    def _board(self) -> EventsWriter:
        # Made at the first scalar, since each writer leaves a file. Not tensorboardX's SummaryWriter: its
        # thread dies of a full disk or a clock that is set back, and then whoever writes waits forever.
        folder = self._directory / "tensorboard"
        folder.mkdir(exist_ok=True)
        return EventsWriter(str(folder / "events"))

    def scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Record scalars of a stage at a step. Raises OSError if they cannot be written."""
        parts = [summary.scalar(f"{stage}/{name}", value) for name, value in values.items()]
        try:
            self._file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
            for part in parts:
                self._board.write_event(Event(wall_time=time.time(), step=step, summary=part))
            self._board.flush()
        except OSError as error:
            raise OSError(
                f"the log in {self._directory} cannot be written ({error.strerror}): make room there; the "
                "same command goes on from the last checkpoint"
            ) from None
        if time.monotonic() - self._published > PUBLISH_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Copy a log that is kept elsewhere to its workdir."""
        if self._remote is not None:
            copy(self._directory, self._remote)
            self._published = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line; a progress bar that is on the screen stays below it."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def progress(self, title: str, total: int, initial: int = 0) -> tqdm:
        """Return a progress bar; it is silent where the output is not a terminal."""
        return tqdm(
            total=total, initial=initial, desc=title, leave=False, disable=None, unit="step"
        )

    def close(self) -> None:
        """Finish the files."""
        with contextlib.suppress(OSError):  # what could not be written was said when it was written
            self._file.close()
        if "_board" in self.__dict__:
            with contextlib.suppress(OSError):
                self._board.close()
        self.publish()
        if self._remote is not None:
            shutil.rmtree(self._directory)


class NoLog:
    """What processes other than the first have for a log: it writes nothing."""

    def scalars(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Record nothing."""

    def publish(self) -> None:
        """Copy nothing."""

    def line(self, text: str) -> None:
        """Print nothing."""

    def progress(self, title: str, total: int, initial: int = 0) -> tqdm:
        """Return a progress bar that is not shown."""
        return tqdm(total=total, initial=initial, desc=title, disable=True)

    def close(self) -> None:
        """Do nothing."""


def read(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Return {stage: rows by step} of a run.

    A run that was interrupted repeats the steps since its last checkpoint: of two rows of the same
    step the later one counts. A line that was cut off in the middle is left out.
    """
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    path = directory / FILE
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows.setdefault(row["stage"], {})[row["step"]] = row
    return {stage: [by_step[step] for step in sorted(by_step)] for stage, by_step in rows.items()}
