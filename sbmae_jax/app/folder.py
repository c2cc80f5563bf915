"""The folder of a run: files that one process writes and all may read, and the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sbmae_jax._io import Fill, write_atomically, write_results
from sbmae_jax.training import distributed
from sbmae_jax.training.log import Log, NoLog


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, on this machine or in a bucket.

    Attributes:
        path: The folder, which need not exist yet.
        quiet: Whether the log prints nothing.
    """

    path: Path
    quiet: bool = False

    @cached_property
    def log(self) -> Log | NoLog:
        """The log of the run; processes other than the first write nothing."""
        return Log(self.path, self.quiet) if distributed.is_first() else NoLog()

    def has(self, name: str) -> bool:
        """Return whether a file exists. All processes get the answer of the first."""
        return bool(distributed.broadcast_from_first((self.path / name).exists()))

    def write(self, name: str, fill: Fill) -> None:
        """Write a file atomically: the first process writes, and all processes wait for it.

        Args:
            name: The name of the file in the folder.
            fill: Writes the contents into the open binary file that it is given.
        """
        if distributed.is_first():
            write_atomically(self.path / name, fill)
        distributed.barrier(name)

    def write_results(self, fills: Mapping[str, Fill]) -> None:
        """Write what took long to compute, as `_io.write_results`; the first process writes it."""
        if distributed.is_first():
            write_results(self.path, fills)
        distributed.barrier("results")
