"""Checkpoints that are either intact or not used, written while the training continues.

Orbax writes a checkpoint under a temporary name and renames it when it is complete. Then it is read back and
compared with what was saved, and a seal, the SHA-256 of each of its files, is stored beside them. A
checkpoint without a seal was never finished; one whose files do not match its seal was damaged later. Neither
is read: the previous checkpoint is used instead.

A checkpoint consists of TensorStore arrays and JSON, so loading one never runs code from it.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint.multihost import get_barrier_sync_fn

from sbmae_jax._io import files_below, is_remote, one_line
from sbmae_jax.training import distributed

Tree = TypeVar("Tree")
NUM_KEPT = 2  # the newest, and one in case it is damaged
SEAL = "sha256.json"
UNFINISHED = "it was never finished"
MAX_WAIT = 600  # seconds in which the other processes must have read back what they saved
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

    def __init__(self, checkpointer: ocp.training.Checkpointer, directory: Path, path: Path):
        self._checkpointer, self._directory = checkpointer, directory
        self._path = path  # the name of the directory that Orbax knows
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
        saved = jax.tree.map(_Saved.copy_of, state)  # before the arrays change
        self._pending = self._sealer.submit(self._seal, self._path / str(step), response, saved)

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
            try:
                return self._checkpointer.load_checkpointables(step, {"state": like})["state"]
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(
                    f"checkpoint {self._directory / str(step)} cannot be restored ({one_line(error, 300)}): "
                    f"delete {self._directory} to train the stage again"
                ) from error

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

    def _seal(self, path: Path, response: Any, saved: Any) -> None:
        response.result()
        _read_back(path, saved)
        all_agree = f"checkpoint read back {next(_save_numbers)}"
        get_barrier_sync_fn()(key=all_agree, timeout_ms=1000 * MAX_WAIT)
        if distributed.is_first():
            (path / SEAL).write_text(json.dumps(_digests(path), indent=1))


@dataclass(frozen=True)
class _Saved:
    """What this process holds of an array that is saved.

    Attributes:
        shape: Shape of the whole array.
        dtype: Its dtype.
        shards: Copies of the parts that this process can address, and their places.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    shards: list[tuple[Any, np.ndarray]]

    @classmethod
    def copy_of(cls, array: Any) -> "_Saved":
        """Copy an array, each part once."""
        if not isinstance(array, jax.Array):
            array = np.array(array)
            return cls(array.shape, array.dtype, [(..., array)])
        shards = {repr(shard.index): shard for shard in array.addressable_shards}
        copies = [(shard.index, np.array(shard.data)) for shard in shards.values()]
        return cls(array.shape, np.dtype(array.dtype), copies)

    def equals(self, found: np.ndarray) -> bool:
        """Return whether an array that was read back is the one that was saved, bit by bit."""
        return (found.shape, found.dtype) == (self.shape, self.dtype) and all(
            np.ascontiguousarray(found[place]).tobytes() == part.tobytes()
            for place, part in self.shards
        )


def _read_back(path: Path, saved: Any) -> None:
    """Raise ValueError if the files of a checkpoint do not give back what was saved."""
    is_leaf = lambda leaf: isinstance(leaf, _Saved)  # noqa: E731
    like = jax.tree.map(lambda leaf: np.empty(0, leaf.dtype), saved, is_leaf=is_leaf)
    context = ocp.Context()
    if not distributed.is_alone():  # each process reads for itself
        context.multiprocessing.primary_host = jax.process_index()
        context.multiprocessing.active_processes = {jax.process_index()}
        context.multiprocessing.barrier_sync_key_prefix = f"read_back_{jax.process_index()}"
    with context:
        found = ocp.load_checkpointables(str(path), {"state": like})["state"]
    wanted = jax.tree_util.tree_leaves_with_path(saved, is_leaf=is_leaf)
    for (place, leaf), array in zip(wanted, jax.tree.leaves(found), strict=True):
        if not leaf.equals(np.asarray(array)):
            raise ValueError(f"{jax.tree_util.keystr(place)} is read back with other values")


_NONE, _ALL_DAMAGED = -1, -2
_save_numbers = itertools.count()  # the same in all processes, as they save in the same order


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
    context = ocp.Context()
    # Otherwise, where a folder cannot be made, other threads wait five minutes for it, and Python for them.
    context.asynchronous.create_directories_asynchronously = False
    with _plain_name(directory) as path:
        checkpointer = ocp.training.Checkpointer(
            str(path),
            preservation_policy=policy,  # pyright: ignore[reportArgumentType] (Orbax's own types differ)
            cleanup_tmp_directories=True,
            context=context,
        )
        checkpoints = Checkpoints(checkpointer, directory, path)
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


@contextmanager
def _plain_name(directory: Path) -> Iterator[Path]:
    """Yield a name of a folder without characters that Orbax and TensorStore take for something else.

    Orbax finds its own files by patterns, in which brackets of the folder's name would count; it may also
    find those of another run. A symbolic link has a plain name.
    """
    if is_remote(directory) or _is_plain(directory):
        yield directory
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sbmae-", dir=_plain_folder(directory)) as folder:
        link = Path(folder) / "checkpoints"
        link.symlink_to(directory, target_is_directory=True)
        yield link


def _is_plain(path: Path) -> bool:
    return re.fullmatch(r"[\w./=,@+-]*", str(path)) is not None


def _plain_folder(directory: Path) -> Path:
    """Return a folder with a plain name for temporary files, or raise OSError if none can be written."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path.home()):
        if _is_plain(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise OSError(
        f"checkpoints cannot be written in {directory}, which has unusual characters: choose another "
        "workdir, or set TMPDIR to a folder whose name has none"
    )


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
