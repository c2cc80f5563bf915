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
RESULTS, SAMPLES = "results.json", "samples.npz"


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Make a workdir belong to a config, by storing the config there.

    Args:
        workdir: Folder of the run, created if it is missing.
        config: Plain values, nested in dicts.

    Raises:
        ValueError: The workdir belongs to another config.
        OSError: The workdir cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     claim(Path(folder), {"seed": 0})
        ...     check_claim(Path(folder), {"seed": 0})
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['config.json']
    """
    check_claim(workdir, config)
    path = workdir / CONFIG
    if path.exists():
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(json.dumps(config, indent=1).encode()))
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
        workdir: An existing folder.

    Raises:
        ValueError: Another process has locked it.
        OSError: The workdir cannot be written.
    """
    if is_remote(workdir):
        yield
        return
    try:
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


def check_claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Check that a workdir belongs to this config, or to none yet, without writing anything.

    Args:
        workdir: Folder of the run, which need not exist.
        config: Plain values, nested in dicts.

    Raises:
        ValueError: The workdir belongs to another config, or its config cannot be read.
    """
    path = workdir / CONFIG
    if not path.exists():
        return
    try:
        stored = json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} cannot be read: fix it, or choose another --workdir") from None
    # JSON turns tuples into lists: compare the config as it would be read back.
    different = sorted(_differences(stored, json.loads(json.dumps(config))))
    if different:
        raise ValueError(
            f"workdir {workdir} belongs to another config, which differs in {', '.join(different)}: "
            "choose another --workdir, or use its config"
        )


def _differences(a: Any, b: Any, where: str = "config") -> list[str]:
    """Return the places at which two nested dicts differ, as `config.section.key (a there, b here)`."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = a.keys() | b.keys()
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{where}.{k}")]
    return [] if a == b else [f"{where} ({a!r} there, {b!r} here)"]
