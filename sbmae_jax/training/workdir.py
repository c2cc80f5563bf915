"""The folder of a run: whose it is, and files that are whole or not there."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sbmae_jax._io import is_remote, write

CONFIG, DATA, MOMENTS = "config.json", "data.json", "moments.npz"
CHOICES = "choices.txt"
LOCK = "lock"
RESULTS, SAMPLES = "results.json", "samples.npz"


def claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Take a workdir for a config, by storing the config there; raises as `check_claim`.

    Raises OSError if it cannot be written.
    """
    check_claim(workdir, config)
    path = workdir / CONFIG
    if path.exists():
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write(path, lambda file: file.write(json.dumps(config, indent=1).encode()))
    except OSError as error:
        raise OSError(
            f"workdir {workdir} cannot be written ({error.strerror}): choose another --workdir, or let it be "
            "written to"
        ) from None


@contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Hold a workdir, so that two processes cannot write there at once; a dead process holds nothing.

    A bucket cannot be held: there, whoever starts runs sees to it.

    Raises ValueError if another process holds it, and OSError if it cannot be written.
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
                f"workdir {workdir} is in use by another process: wait for its end, or choose another "
                "--workdir"
            ) from None
        yield


def check_claim(workdir: Path, config: Mapping[str, Any]) -> None:
    """Raise ValueError if the workdir belongs to a run with another config; nothing is written."""
    path = workdir / CONFIG
    if not path.exists():
        return
    try:
        theirs = json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} cannot be read: mend it, or choose another workdir") from None
    # Tuples become lists, as they are in the file.
    different = sorted(differences(theirs, json.loads(json.dumps(config))))
    if different:
        raise ValueError(
            f"workdir {workdir} belongs to another config; they differ in {', '.join(different)}: choose "
            "another --workdir, or go back to its config"
        )


def differences(a: Any, b: Any, where: str = "config") -> list[str]:
    """Return the places at which two nested dicts differ, as `config.section.key (a, b)`."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = a.keys() | b.keys()
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{where}.{k}")]
    return [] if a == b else [f"{where} ({a!r} there, {b!r} here)"]
