"""The workdir of a run: the names of its files, the config that owns it, and a lock."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sbmae_jax._io import is_remote, write_atomically
from sbmae_jax._json import UNDEFINED, to_json

CONFIG, DATA, MOMENTS = "config.json", "data.json", "moments.npz"
CHOICES = "choices.txt"
ROWS = "rows.json"  # checksums of the rows of each modality
LOCK = "lock"
REDO = "redo"  # the stage that is being done again, until all are done
LONGEST_SUFFIX = "_1000000000.png"  # of files that are named after a modality
RACE = "race/result.json"  # beside the checkpoints of a race that is not over
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
        raise ValueError(f"{path} cannot be read: fix it, or choose another workdir") from None


def write_config(workdir: Path, config: Mapping[str, Any]) -> None:
    """Make a workdir belong to a config, by storing the config there.

    Args:
        workdir: Folder of the run, created if it is missing.
        config: Plain values, nested in dicts.

    Raises:
        ValueError: A number in the config is not finite, or the URL of a bucket has characters that would be
            read as patterns.
        OSError: The workdir cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_config(Path(folder), {"seed": 0})
        ...     read_config(Path(folder))
        {'seed': 0}
    """
    if is_remote(workdir) and (patterns := sorted(set("[]*?") & set(str(workdir)))):
        raise ValueError(
            f"workdir {workdir} has the characters {' '.join(patterns)}, with which files in a bucket are "
            "not found again: choose another workdir"
        )
    text = _encode(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir / CONFIG, lambda file: file.write(text.encode()))
    except OSError as error:
        raise OSError(
            f"workdir {workdir} cannot be written ({error.strerror}): make it writable, or choose another "
            "workdir"
        ) from None


def check_names(workdir: Path, names: Iterable[str]) -> None:
    """Check that files and folders can have these names, and lie beside each other in a workdir.

    Args:
        workdir: Folder of a run, with its config.
        names: The modalities.

    Raises:
        ValueError: A name is too long for the files that are named after it, or names differ in case only,
            and the file system does not distinguish case.
    """
    seen: dict[str, str] = {}
    for name in names:
        try:
            (workdir / f"{name}{LONGEST_SUFFIX}").exists()
        except OSError as error:
            raise ValueError(
                f"the name {name} cannot be that of a file ({error.strerror}): rename the modality"
            ) from None
        other = seen.setdefault(name.casefold(), name)
        if other != name and (workdir / CONFIG.upper()).exists():
            raise ValueError(
                f"{other} and {name} differ in case only, which the file system of {workdir} does not "
                "distinguish: rename one, or choose another workdir"
            )


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
                "choose another workdir"
            ) from None
        yield


def _encode(config: Mapping[str, Any]) -> str:
    """Return a config as JSON; raises ValueError for a number that is not finite, which JSON has not."""
    text = to_json(config, indent=1)
    for place in json.loads(text).get(UNDEFINED, ()):
        raise ValueError(f"config.{place} must be a finite number")
    return text
