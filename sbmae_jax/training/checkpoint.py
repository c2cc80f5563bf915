"""Checkpoints that are either intact or not used, written while the training continues.

Orbax writes a checkpoint under a temporary name and renames it when it is complete. Then a seal, the SHA-256
of each of its files, is stored beside them. A checkpoint without a seal was never finished; one whose files
do not match its seal was damaged later. Neither is read: the previous checkpoint is used instead.

A checkpoint consists of TensorStore arrays and JSON, so loading one never runs code from it.
"""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from absl import logging
from orbax.checkpoint import v1 as ocp

from sbmae_jax._io import files_below, is_remote
from sbmae_jax.training import distributed

Tree = TypeVar("Tree")
NUM_KEPT = 2  # the newest, and one in case it is damaged
SEAL = "sha256.json"
UNFINISHED = "it was never finished"
SKIP = ocp.PLACEHOLDER
"""In `Checkpoints.restore`, stands for an array that shall not be read."""


class Checkpoints:
    """The checkpoints of one stage, each named after its step. See `opened`.

    Every process must call the same methods in the same order.

    Example:
        with checkpoint.opened(directory) as checkpoints:
            state = checkpoints.restore(sharding.abstract_state(mesh, state)) or state
            checkpoints.save(int(state.step), state)
    """

    def __init__(self, checkpointer: ocp.training.Checkpointer, directory: Path):
        self._checkpointer, self._directory = checkpointer, directory
        self._sealer = ThreadPoolExecutor(1)
        self._pending: Future | None = None
        self._step = 0

    def save(self, step: int, state: Any) -> None:
        """Start to save a state; its arrays may change or be donated as soon as this returns.

        Args:
            step: Name of the checkpoint. One of the same name is replaced.
            state: Pytree of arrays.

        Raises:
            OSError: The checkpoint could not be written. `finish` raises it for what fails later.
        """
        self.finish()
        try:
            response = self._checkpointer.save_checkpointables_async(
                step, {"state": state}, force=True, overwrite=True
            )
        except Exception as error:  # Orbax and the storage below it raise errors of many types
            raise _not_written(self._directory / str(step), error) from error
        assert response is not None  # None means skipped, which `force` excludes
        self._step = step
        self._pending = self._sealer.submit(self._seal, self._directory / str(step), response)

    def finish(self) -> None:
        """Wait until the last `save` is complete, or raise OSError if it failed."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except Exception as error:
            raise _not_written(self._directory / str(self._step), error) from error

    def restore(self, like: Tree) -> Tree | None:
        """Load the newest intact checkpoint, and warn about every newer one.

        Args:
            like: Pytree of `jax.ShapeDtypeStruct` with shardings (`sharding.abstract_state`), with `SKIP` in
                place of an array that shall not be read. The devices need not be those that saved it.

        Returns:
            The state, or None if no checkpoint was ever finished.

        Raises:
            ValueError: There are finished checkpoints, but none of them is intact.
        """
        step = distributed.broadcast_from_first(self._newest() if distributed.is_first() else 0)
        if step == _ALL_DAMAGED:
            raise ValueError(
                f"no checkpoint in {self._directory} is intact: delete that folder to train the "
                "stage again"
            )
        if step == _NONE:
            return None
        with warnings.catch_warnings():  # Orbax remarks that skipped leaves have no sharding
            warnings.simplefilter("ignore", UserWarning)
            return self._checkpointer.load_checkpointables(step, {"state": like})["state"]

    def _newest(self) -> int:
        steps = sorted((found.step for found in self._checkpointer.checkpoints), reverse=True)
        finished = False
        for step in steps:
            path = self._directory / str(step)
            damage = find_damage(path)
            if damage is None:
                return step
            finished |= damage != UNFINISHED
            logging.warning("checkpoint %s is damaged (%s) and will not be used", path, damage)
        return _ALL_DAMAGED if finished else _NONE

    def _seal(self, path: Path, response: Any) -> None:
        response.result()
        if distributed.is_first():
            (path / SEAL).write_text(json.dumps(_digests(path), indent=1))


_NONE, _ALL_DAMAGED = -1, -2


@contextmanager
def opened(directory: Path) -> Iterator[Checkpoints]:
    """Open a directory of checkpoints, and remove what an interrupted save has left there.

    Leaving the context waits for the last `save`.

    Args:
        directory: Folder of one stage, created if it is missing.

    Raises:
        OSError: The last checkpoint could not be written.
    """
    directory = directory if is_remote(directory) else directory.absolute()
    policy = ocp.training.preservation_policies.LatestN(NUM_KEPT)
    checkpointer = ocp.training.Checkpointer(
        str(directory),
        preservation_policy=policy,  # pyright: ignore[reportArgumentType] (Orbax's own types differ)
        cleanup_tmp_directories=True,
    )
    checkpoints = Checkpoints(checkpointer, directory)
    try:
        yield checkpoints
        checkpoints.finish()
    except BaseException:
        # Complete the save that is under way, but let no error here hide the first one: when it closes,
        # Orbax raises once more what a save has already raised.
        for end in (checkpoints.finish, checkpointer.close):
            with contextlib.suppress(Exception):
                end()
        raise
    checkpointer.close()


def find_damage(path: Path) -> str | None:
    """Return what is wrong with the checkpoint in a folder, or None if it is intact."""
    try:
        sealed = json.loads((path / SEAL).read_text())
    except FileNotFoundError:
        return UNFINISHED
    except ValueError:
        return f"{SEAL} cannot be read"
    found = _digests(path)
    changed = [name for name, digest in sealed.items() if found.get(name) != digest]
    return f"{changed[0]} is missing or has changed" if changed else None


def _digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder except the seal."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files_below(path)
        if file.name != SEAL
    }


def _not_written(path: Path, error: Exception) -> OSError:
    reason = (str(error).strip() or repr(error)).splitlines()[-1]
    return OSError(
        f"checkpoint {path} could not be written ({reason}): free some space, or make the folder writable; "
        "the previous checkpoint is intact, and the same command resumes from it"
    )
