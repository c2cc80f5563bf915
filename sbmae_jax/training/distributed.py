"""Several processes that form one run: how they find each other, and what they must agree on.

All processes run the same program on the same global arrays. Only the first process touches the outside
world (files, the screen) and decides what depends on it; the others learn the outcome here. With a single
process, each function returns at once.
"""

import importlib.util
import os
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

# When a process has been silent for this long, JAX ends the others with exit code 134.
HEARTBEAT_SECONDS = 100

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

# Launchers that JAX recognises, by the variable in which they store the number of processes.
LAUNCHER_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


class Settings(NamedTuple):
    """The first arguments of `jax.distributed.initialize`, which finds out whatever is None.

    Attributes:
        coordinator_address: HOST:PORT of the first process.
        num_processes: Number of processes in the run.
        process_id: Number of this process, from 0.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def initialize(
    address: str | None = None, num_processes: int | None = None, process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:  # fmt: skip
    """Join the processes of this run. Call it before anything else in JAX.

    Without the first three arguments, they are read from the variables JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES and JAX_PROCESS_ID. Without these, processes started by Slurm or Open MPI, or on a TPU
    pod slice, find each other. Otherwise this process is the whole run.

    Args:
        address: HOST:PORT of the first process.
        num_processes: Number of processes in the run.
        process_id: Number of this process, from 0.
        heartbeat_seconds: How long another process may stay silent before it counts as lost.

    Raises:
        ValueError: Only some of the first three are given, or they contradict each other.
    """
    given = find_settings(os.environ, address, num_processes, process_id)
    if given is None and not can_autodetect(os.environ):
        return
    try:
        jax.distributed.initialize(
            *(given or Settings()), heartbeat_timeout_seconds=heartbeat_seconds
        )
    except ValueError:
        if given is not None or started_by_launcher(os.environ):
            raise
        # libtpu is installed, but this machine is not a TPU VM.


def find_settings(
    environ: Mapping[str, str], address: str | None, num_processes: int | None, process_id: int | None
) -> Settings | None:  # fmt: skip
    """Return the settings from the arguments or the environment, or None where neither has any.

    Args:
        environ: Environment variables.
        address: HOST:PORT of the first process.
        num_processes: Number of processes in the run.
        process_id: Number of this process, from 0.

    Raises:
        ValueError: Only some are given, or they contradict each other.
    """
    given = {ADDRESS: address, COUNT: num_processes, INDEX: process_id}
    if all(value is None for value in given.values()):
        given = {name: environ.get(name) for name in given}
    if all(value is None for value in given.values()):
        return None
    missing = ", ".join(name for name, value in given.items() if value is None)
    if missing:
        raise ValueError(
            f"{missing} is missing: to join several processes, set --coordinator_address, "
            f"--num_processes and --process_id, or {ADDRESS}, {COUNT} and {INDEX} in the environment"
        )
    count, index = _integer(COUNT, given[COUNT]), _integer(INDEX, given[INDEX])
    if not 0 <= index < count:
        raise ValueError(f"the process id must be in 0..{count - 1}, got {index} of {count}")
    if ":" not in str(given[ADDRESS]):
        raise ValueError(f"the coordinator address must be HOST:PORT, got {given[ADDRESS]!r}")
    return Settings(str(given[ADDRESS]), count, index)


def _integer(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None


def started_by_launcher(environ: Mapping[str, str]) -> bool:
    """Return whether Slurm or Open MPI says that it started several processes."""
    return any(int(environ.get(name, "1")) > 1 for name in LAUNCHER_COUNTS)


def can_autodetect(environ: Mapping[str, str]) -> bool:
    """Return whether JAX may be able to find other processes without any settings."""
    on_tpu = importlib.util.find_spec("libtpu") is not None
    return started_by_launcher(environ) or (
        on_tpu and environ.get("JAX_PLATFORMS", "tpu").startswith("tpu")
    )


def is_first() -> bool:
    """Return whether this is the process that writes files and prints lines."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Return whether this process is the whole run."""
    return jax.process_count() == 1


def barrier(name: str) -> None:
    """Wait until all processes have reached the barrier of this name."""
    if not is_alone():
        multihost_utils.sync_global_devices(name)


def broadcast_from_first(value: int) -> int:
    """Return the first process's value in every process."""
    return value if is_alone() else int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def any_process(flag: bool) -> bool:
    """Return whether the flag is True in any process."""
    return flag if is_alone() else bool(multihost_utils.process_allgather(np.array(flag)).any())
