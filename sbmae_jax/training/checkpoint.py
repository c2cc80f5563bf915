"""Checkpoints that are either whole or not used, written while the training goes on.

Orbax writes a checkpoint under another name and renames it when it is complete. Then the SHA-256 of each
of its files is stored beside them, as a seal. A checkpoint without a seal was not finished; one whose
files do not match it was damaged later. Neither is read: the checkpoint before it is used instead.

A checkpoint holds arrays, as TensorStore has them, and JSON: nothing of it is run when it is loaded.
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
NUM_KEPT = 2  # the newest, and one to fall back on
SEAL = "sha256.json"
UNFINISHED = "it was not finished"
SKIP = ocp.PLACEHOLDER
"""A leaf of `like` that is not to be read."""


class Checkpoints:
    """The checkpoints of one stage, each under the number of its step. All processes call the same."""

    def __init__(self, checkpointer: ocp.training.Checkpointer, directory: Path):
        self._checkpointer, self._directory = checkpointer, directory
        self._sealer = ThreadPoolExecutor(1)
        self._pending: Future | None = None
        self._step = 0

    def save(self, step: int, state: Any) -> None:
        """Begin to save a pytree of arrays; they may change as soon as this returns.

        Raises OSError, here or in `finish`, if it could not be written.
        """
        self.finish()
        try:
            response = self._checkpointer.save_checkpointables_async(
                step, {"state": state}, force=True, overwrite=True
            )
        except Exception as error:  # whatever lies below Orbax has errors of its own
            raise _not_written(self._directory / str(step), error) from error
        assert response is not None  # it is forced
        self._step = step
        self._pending = self._sealer.submit(self._seal, self._directory / str(step), response)

    def finish(self) -> None:
        """Wait until what was begun is written. Raises OSError if it could not be."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except Exception as error:
            raise _not_written(self._directory / str(self._step), error) from error

    def restore(self, like: Tree) -> Tree | None:
        """Load the newest checkpoint that is intact, with the structure and layout of `like`.

        like: pytree of `jax.ShapeDtypeStruct`, or `SKIP` where an array is not wanted.
        Returns None where there is no finished checkpoint. What is not used is named in a warning.

        Raises ValueError if there are finished checkpoints, but none of them is intact.
        """
        step = distributed.broadcast_from_first(self._newest() if distributed.is_first() else 0)
        if step == _ALL_DAMAGED:
            raise ValueError(
                f"no checkpoint in {self._directory} is intact: delete that folder, and the stage "
                "is trained again"
            )
        if step == _NONE:
            return None
        with warnings.catch_warnings():  # Orbax's remark that skipped leaves have no sharding
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
            logging.warning("checkpoint %s is damaged (%s) and is not used", path, damage)
        return _ALL_DAMAGED if finished else _NONE

    def _seal(self, path: Path, response: Any) -> None:
        response.result()
        if distributed.is_first():
            (path / SEAL).write_text(json.dumps(digests(path), indent=1))


_NONE, _ALL_DAMAGED = -1, -2


@contextmanager
def opened(directory: Path) -> Iterator[Checkpoints]:
    """Open a directory of checkpoints; what an interrupted save has left there is removed."""
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
        # What was begun is still finished, but nothing that fails now may hide what failed first; Orbax
        # raises again at its end what a save has raised.
        for end in (checkpoints.finish, checkpointer.close):
            with contextlib.suppress(Exception):
                end()
        raise
    checkpointer.close()


def find_damage(path: Path) -> str | None:
    """Return what is wrong with the files of a checkpoint, or None if they are as they were written."""
    try:
        sealed = json.loads((path / SEAL).read_text())
    except FileNotFoundError:
        return UNFINISHED
    except ValueError:
        return f"{SEAL} cannot be read"
    found = digests(path)
    changed = [name for name, digest in sealed.items() if found.get(name) != digest]
    return f"{changed[0]} is missing or has changed" if changed else None


def digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, but for the seal."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files_below(path)
        if file.name != SEAL
    }


def _not_written(path: Path, error: Exception) -> OSError:
    reason = (str(error).strip() or repr(error)).splitlines()[-1]
    return OSError(
        f"checkpoint {path} could not be written ({reason}): make room there, "
        "or let it be written to; the checkpoint before it is whole, and the same command goes on from it"
    )
