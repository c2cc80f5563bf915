"""The workdir of a run: the names of its files, the config that owns it, and a lock."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sbmae_jax._io import is_remote, write_atomically

CONFIG, DATA, MOMENTS = "config.json", "data.json", "moments.npz"
CHOICES = "choices.txt"
LOCK = "lock"
REDO = "redo"  # the stage that is being done again, until all are done
RESULTS, SAMPLES = "results.json", "samples.npz"


def read_config(workdir: Path) -> dict[str, Any] | None:
    """Read the config in a workdir.

    Args:
        workdir: Folder of a run, which need not exist.

    Returns:
        Plain values, nested in dicts; None if there is no config.

    Raises:
        ValueError: It cannot be read.
    """
    path = workdir / CONFIG
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} cannot be read: fix it, or choose another --workdir") from None


def write_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Make a workdir belong to a config, by storing the config there.

    Args:
        workdir: Folder of the run, created if it is missing.
        config: Plain values, nested in dicts.

    Raises:
        OSError: The workdir cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_config(Path(folder), {"seed": 0})
        ...     read_config(Path(folder))
        {'seed': 0}
    """
    text = json.dumps(config, indent=1)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / CONFIG, lambda file: file.write(text.encode()))
    except OSError as error:
        raise OSError(
            f"workdir {workdir} cannot be written ({error.strerror}): make it writable, or choose another "
            "--workdir"
        ) from None


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Lock a workdir, so that two processes cannot write there at once.

    The lock of a process ends with the process. Object stores have no locks: start only one run.

    Args:
        workdir: Folder of the run, created if it is missing.

    Raises:
        ValueError: Another process has locked it.
        OSError: The workdir cannot be written.
    """
    if is_remote(workdir):
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / LOCK, "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise OSError(f"workdir {workdir} cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"workdir {workdir} is in use by another process: wait until that process ends, or "
                "choose another --workdir"
            ) from None
        yield
