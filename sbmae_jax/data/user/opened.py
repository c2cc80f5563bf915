"""A user's data, looked at once: kinds, missing rows, splits and scalings."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.fit import fit
from sbmae_jax.data.user.kinds import Kind, kinds_of
from sbmae_jax.data.user.profile import Profile, profile
from sbmae_jax.data.user.splits import Classes, classes_of, split_rows
from sbmae_jax.data.user.tables import Table, open_table


@dataclass(frozen=True, eq=False)
class Opened:
    """All that is known of the data at a path, once they have been looked at.

    rows: of each split, in an order drawn from the seed.  label: None where rows have no classes.
    constant: how many features of each modality have one value only.
    """

    table: Table
    profiles: Mapping[str, Profile]
    kinds: Mapping[str, Kind]
    scalings: Mapping[str, Scaling]
    rows: Mapping[str, np.ndarray]
    label: Classes | None
    constant: Mapping[str, int]

    def present(self, names: Sequence[str]) -> np.ndarray:
        """Return which modalities are measured in all rows of the files: [N, M] bool."""
        return np.stack([self.profiles[name].present for name in names], axis=1)

    def prepare(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read rows of modalities as the networks see them; what is not measured is 0."""
        prepared = {}
        for name, raw in self.table.read(rows, names).items():
            measured, scaling = self.profiles[name].present[rows], self.scalings[name]
            x = np.zeros((len(rows), *scaling.shape), scaling.prepared_dtype)
            x[measured] = scaling.prepare(raw[measured])
            prepared[name] = x
        return prepared


def open_files(
    path: str | Path,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    partial_rows: str = "refuse",
    names: Sequence[str] = (),
) -> Opened:
    """Look at the data at a path, and fit the scalings to the training rows.

    names: of modalities; none for all of them. What is wrong with others does not matter.

    It is done once in a process for the same arguments, unless the files change.
    Raises ValueError as `open_table`, `profile`, `kinds_of`, `split_rows` and `fit`, and for a name that is
    not there.
    """
    path = Path(path).expanduser().resolve()
    known = table_of(path).all_names
    chosen = tuple(sorted(names)) or known
    # Those of arrays that are there and not chosen do not matter; unknown ones are mistakes.
    given = {n: kind for n, kind in (kinds or {}).items() if n in chosen or n not in known}
    return _open(path, state_of(path), tuple(sorted(given.items())), seed, partial_rows, chosen)


def table_of(path: Path) -> Table:
    """Open the data at a path once in a process, unless the files change."""
    return _table(path, state_of(path))


@functools.lru_cache(maxsize=4)
def _table(path: Path, state: tuple) -> Table:
    del state  # part of the key alone
    return open_table(path)


@functools.lru_cache(maxsize=4)
def _open(
    path: Path,
    state: tuple,
    kinds: tuple[tuple[str, str], ...],
    seed: int,
    partial_rows: str,
    names: tuple[str, ...],
) -> Opened:
    table = _table(path, state).only(names)
    profiles = profile(table, partial_rows)
    known = kinds_of(table, profiles, dict(kinds))
    every = np.arange(table.num_rows)
    classes = {
        name: classes_of(table.read(every, [name])[name], profiles[name].present)
        for name, kind in known.items()
        if kind.name == "category"
    }
    present = np.stack([profiles[name].present for name in known], axis=1)
    label = None if table.label is None else classes_of(table.label, np.any(present, axis=1))
    if label is not None:
        classes["label"] = label
    rows = split_rows(table, present, classes, seed)
    scalings, constant = fit(table, known, profiles, rows["train"])
    return Opened(table, profiles, known, scalings, rows, label, constant)


def state_of(path: Path) -> tuple:
    """Return what shows that files were changed: sizes and times of what lies in a folder."""
    if not path.exists():
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
