"""Data that `fit` is given in memory: kept in files of its workdir, and compared with those of before."""

import contextlib
import filecmp
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sbmae_jax._io import is_remote
from sbmae_jax.app import changes
from sbmae_jax.data.user.arrays import ENTRIES, LEFT_OUT
from sbmae_jax.data.user.spool import named_as_given, write_folder
from sbmae_jax.data.user.survey import forget_files
from sbmae_jax.training.workdir import CONFIG

FOLDER = "data"
"""The folder of a workdir for data that were given in memory."""


def write_data(
    data: Any, folder: Path, groups: Mapping[str, Sequence[str]] | None, leave_out: Sequence[str],
    redo: str,
) -> Path:  # fmt: skip
    """Write data that are in memory into a folder of the workdir, and return that folder.

    Raises:
        ValueError: If the workdir has been trained on other data, and is not to be trained anew.
    """
    if is_remote(folder):
        raise ValueError(
            f"workdir {folder} is in a bucket, where data in memory cannot be kept: write them to files, and "
            "give fit their path"
        )
    kept = folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}-", dir=folder) as written:
        with named_as_given(Path(written)):
            names = (leave_out,) if isinstance(leave_out, str) else leave_out
            write_folder(data, Path(written), groups, names)
        different = _different_files(Path(written), kept) if kept.exists() else []
        if different:
            _require_ours(folder, kept, different, redo)
            shutil.rmtree(kept)
        if not kept.exists():
            Path(written).rename(kept)
            Path(written).mkdir()  # for the context, which removes it
    return kept


@contextlib.contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove data that are new in a workdir if they are refused before the workdir belongs to a config."""
    kept = folder / FOLDER
    existed = is_remote(folder) or kept.exists()
    try:
        yield
    except ValueError:
        if not existed and kept.exists() and not (folder / CONFIG).exists():
            forget_files()
            shutil.rmtree(kept)
        raise


def _different_files(one: Path, other: Path) -> list[str]:
    """Return the names of the arrays, or the arguments, in which new data differ from those of a workdir."""
    files = {path.name for folder in (one, other) for path in folder.iterdir()}
    _, different, missing = filecmp.cmpfiles(one, other, files, shallow=False)
    if LEFT_OUT in missing and not json.loads((one / LEFT_OUT).read_text()):
        missing.remove(LEFT_OUT)  # which versions that left nothing out did not write
    arguments = {ENTRIES: "groups", LEFT_OUT: "leave_out"}
    return sorted(arguments.get(f, f.removesuffix(".npy")) for f in (*different, *missing))


def _require_ours(folder: Path, kept: Path, different: Sequence[str], redo: str) -> None:
    """Raise ValueError if the data in a workdir must not be replaced by others."""
    if not (kept / LEFT_OUT).exists():
        raise ValueError(
            f"workdir {folder} has a folder {FOLDER} of something else: choose another workdir"
        )
    if redo != "autoencoders" and changes.find_done(folder):
        raise ValueError(
            f"workdir {folder} holds a run on other data than these, which differ in "
            f"{', '.join(different)}: choose another workdir, or set redo='autoencoders' to train anew on "
            "these data in this one"
        )
