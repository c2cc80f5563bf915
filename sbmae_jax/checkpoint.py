"""Checkpoints that are either whole or not used.

Orbax writes a checkpoint under another name and renames it when it is complete. Then the SHA-256 of each
of its files is stored beside them, as a seal. A checkpoint without a seal was not finished; one whose
files do not match it was damaged later. Neither is read: the checkpoint before it is used instead.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

Tree = TypeVar("Tree")
NUM_KEPT = 2  # the newest, and one to fall back on
SEAL = "sha256.json"
SKIP = ocp.PLACEHOLDER
"""A leaf of `like` that is not to be read."""


@contextmanager
def opened(directory: Path) -> Iterator[ocp.training.Checkpointer]:
    """Open a directory of checkpoints; what an interrupted save has left there is removed."""
    policy = ocp.training.preservation_policies.LatestN(NUM_KEPT)
    with ocp.training.Checkpointer(
        str(directory.absolute()),
        preservation_policy=policy,  # pyright: ignore[reportArgumentType] (Orbax's own types differ)
        cleanup_tmp_directories=True,
    ) as checkpointer:
        yield checkpointer


def save(checkpointer: ocp.training.Checkpointer, step: int, state: Any) -> None:
    """Save a pytree of arrays under the number of its step."""
    checkpointer.save_checkpointables(step, {"state": state}, force=True, overwrite=True)
    path = Path(checkpointer.directory) / str(step)
    (path / SEAL).write_text(json.dumps(digests(path), indent=1))


def restore(checkpointer: ocp.training.Checkpointer, like: Tree) -> Tree | None:
    """Load the newest checkpoint that is intact, with the structure and layout of `like`.

    like: pytree of `jax.ShapeDtypeStruct`, or `SKIP` where an array is not wanted.
    Returns None where there is no checkpoint. Damaged ones are named in a warning.

    Raises ValueError if there are checkpoints, but none of them is intact.
    """
    steps = sorted((found.step for found in checkpointer.checkpoints), reverse=True)
    for step in steps:
        path = Path(checkpointer.directory) / str(step)
        damage = find_damage(path)
        if damage is None:
            with warnings.catch_warnings():  # Orbax's remark that skipped leaves have no sharding
                warnings.simplefilter("ignore", UserWarning)
                return checkpointer.load_checkpointables(step, {"state": like})["state"]
        logging.warning("checkpoint %s is damaged (%s) and is not used", path, damage)
    if steps:
        raise ValueError(
            f"no checkpoint in {checkpointer.directory} is intact: delete that folder, and the stage "
            "is trained again"
        )
    return None


def find_damage(path: Path) -> str | None:
    """Return what is wrong with the files of a checkpoint, or None if they are as they were written."""
    try:
        sealed = json.loads((path / SEAL).read_text())
    except FileNotFoundError:
        return "it was not finished"
    except ValueError:
        return f"{SEAL} cannot be read"
    found = digests(path)
    changed = [name for name, digest in sealed.items() if found.get(name) != digest]
    return f"{changed[0]} is missing or has changed" if changed else None


def digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, but for the seal."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != SEAL
    }


def placed(tree: Tree, layout: jax.sharding.Sharding) -> Tree:
    """Return the shapes of a tree of arrays or shapes, with a layout, as `restore` wants them."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=layout), tree)
