"""Several processes that are one run: how they find each other, and what they must agree on.

All processes run the same program on the same global arrays. What touches the world outside (files, the
screen, a signal) is done or decided by the first process alone, and the others learn of it here. With one
process each function returns at once.
"""

import importlib.util
import os
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

# After how long without a sign of life the other processes end, with JAX's exit code 134.
HEARTBEAT_SECONDS = 100

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

# Launchers whose processes JAX can count by itself, by the variable in which they do.
COUNTED_BY = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


class Settings(NamedTuple):
    """The first arguments of `jax.distributed.initialize`; None is found out there."""

    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None


def initialize(
    address: str | None = None, num_processes: int | None = None, process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:  # fmt: skip
    """Join the processes of this job; to be called before anything else of JAX.

    address: HOST:PORT of the first process. With none of these arguments they are read from the variables
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; without these, processes that were
    started by Slurm or Open MPI, or on a TPU pod slice, find each other. Otherwise this is one process.

    Raises ValueError if only some of the three are given, or if they do not fit together.
    """
    told = settings(os.environ, address, num_processes, process_id)
    if told is None and not finds_others(os.environ):
        return
    given = Settings(None, None, None) if told is None else told
    try:
        jax.distributed.initialize(
            given.coordinator_address, given.num_processes, given.process_id,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )  # fmt: skip
    except ValueError:
        if told is not None or counted(os.environ):
            raise
        # A TPU's library on a machine that is no TPU VM.


def settings(
    environ: Mapping[str, str], address: str | None, num_processes: int | None, process_id: int | None
) -> Settings | None:  # fmt: skip
    """Return where this process stands among others if somebody says so, else None."""
    given = {ADDRESS: address, COUNT: num_processes, INDEX: process_id}
    if all(value is None for value in given.values()):
        given = {name: environ.get(name) for name in given}
    if all(value is None for value in given.values()):
        return None
    missing = ", ".join(name for name, value in given.items() if value is None)
    if missing:
        raise ValueError(
            f"to join several processes {missing} is missing: give --coordinator_address, --num_processes "
            f"and --process_id, or {ADDRESS}, {COUNT} and {INDEX} in the environment"
        )
    count, index = _whole(COUNT, given[COUNT]), _whole(INDEX, given[INDEX])
    if not 0 <= index < count:
        raise ValueError(f"the process id must be in 0..{count - 1}, got {index} of {count}")
    if ":" not in str(given[ADDRESS]):
        raise ValueError(f"the coordinator address must be HOST:PORT, got {given[ADDRESS]!r}")
    return Settings(str(given[ADDRESS]), count, index)


def _whole(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None


def counted(environ: Mapping[str, str]) -> bool:
    """Return whether a launcher says that it started several processes."""
    return any(int(environ.get(name, "1")) > 1 for name in COUNTED_BY)


def finds_others(environ: Mapping[str, str]) -> bool:
    """Return whether JAX may find other processes by itself."""
    on_tpu = importlib.util.find_spec("libtpu") is not None
    return counted(environ) or (on_tpu and environ.get("JAX_PLATFORMS", "tpu").startswith("tpu"))


def is_first() -> bool:
    """Return whether this is the process that writes files and lines."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Return whether there are no other processes."""
    return jax.process_count() == 1


def wait(name: str) -> None:
    """Wait until all processes are here."""
    if not is_alone():
        multihost_utils.sync_global_devices(name)


def broadcast_from_first(value: int) -> int:
    """Return what the first process gives here."""
    return value if is_alone() else int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_says(flag: bool) -> bool:
    """Return whether any process gives True here."""
    return flag if is_alone() else bool(multihost_utils.process_allgather(np.array(flag)).any())
