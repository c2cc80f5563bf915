"""A user's files, opened once for all that is asked of them: kinds, missing rows, splits and scalings."""

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_one_of, require_seed, require_type
from sbmae_jax._io import as_path
from sbmae_jax.data.kinds import KINDS
from sbmae_jax.data.parts import part_details
from sbmae_jax.data.scaling import Scaling, to_json
from sbmae_jax.data.user.checks import as_strings
from sbmae_jax.data.user.fit import fit_scalings
from sbmae_jax.data.user.groups import EACH, GroupsGiven, PartsGiven
from sbmae_jax.data.user.kind_rules import Kind
from sbmae_jax.data.user.kinds import infer_kinds
from sbmae_jax.data.user.parts import find_parts, split_vectors
from sbmae_jax.data.user.problems import told_together
from sbmae_jax.data.user.profile import POLICIES_IN_TRAINING, Profile, pieces, profile
from sbmae_jax.data.user.splits import Classes, classes_of, split_rows
from sbmae_jax.data.user.table_files import MISSING_MARKERS, TableOptions
from sbmae_jax.data.user.tables import Table, open_arrays, table_options

BYTES_COMPARED = 2**28  # of raw rows, to tell files from others


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenedFiles:
    """All that is known of the data at a path.

    Attributes:
        table: The raw arrays.
        profiles: What each modality holds.
        kinds: The kind of each modality, sorted by name.
        scalings: The scaling of each modality, fitted to the training rows.
        rows: The row numbers of each split, in an order drawn from the seed.
        label: The classes of the rows, or None where there are no labels.
        num_constant: How many features of each modality have the same value in all training rows.
        ignored: The arrays and columns that are not modelled.
        vectors: The kind of each vector that is learned in parts, where it was inferred.
    """

    table: Table
    profiles: Mapping[str, Profile]
    kinds: Mapping[str, Kind]
    scalings: Mapping[str, Scaling]
    rows: Mapping[str, np.ndarray]
    label: Classes | None
    num_constant: Mapping[str, int]
    ignored: tuple[str, ...]
    vectors: Mapping[str, Kind] = field(default_factory=dict)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A checksum of the splits, the scalings, the labels, and all rows, or some where there are many."""
        sha256 = hashlib.sha256()
        for name, scaling in sorted(self.scalings.items()):
            values = to_json(scaling)
            # Older runs do not have these, and they tell nothing that the rows do not.
            del values["typical"]
            values.pop("details", None)
            sha256.update(json.dumps([name, values]).encode())
            sha256.update(self.profiles[name].present.tobytes())
        for split in sorted(self.rows):
            sha256.update(self.rows[split].astype(np.int64).tobytes())
        if self.label is not None:
            sha256.update(self.label.codes.tobytes() + json.dumps(self.label.values).encode())
        num = min(
            self.table.num_rows, max(64, BYTES_COMPARED // self.table.row_bytes(tuple(self.kinds)))
        )
        some = np.unique(np.linspace(0, self.table.num_rows - 1, num).astype(np.int64))
        for rows in pieces(self.table, tuple(self.kinds), some):
            for _, x in sorted(self.prepare(rows, tuple(self.kinds)).items()):
                sha256.update(np.ascontiguousarray(x).tobytes())
        return sha256.hexdigest()

    def present(self, names: Sequence[str]) -> np.ndarray:
        """Return which of these modalities each row of the files has: [N, M] bool."""
        return np.stack([self.profiles[name].present for name in names], axis=1)

    def prepare(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read rows of modalities as the networks see them; missing ones are 0."""
        prepared = {}
        for name, raw in self.table.read(rows, names).items():
            present, scaling = self.profiles[name].present[rows], self.scalings[name]
            x = np.zeros((len(rows), *scaling.shape), scaling.prepared_dtype)
            x[present] = scaling.prepare(raw[present])
            prepared[name] = x
        return prepared


def open_files(
    path: str | Path,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    partial_rows: str = "refuse",
    names: Sequence[str] = (),
    missing_markers: Sequence[str] = MISSING_MARKERS,
    *,
    groups: GroupsGiven = None,
    key: str = "",
    parts: PartsGiven = None,
) -> OpenedFiles:
    """Open a user's files: profile them, split their rows, and fit the scalings to the training rows.

    The same arguments give the same object within a process, unless the files change.

    Args:
        path: As in `open_table`.
        kinds: Kinds that are set rather than inferred, by modality.
        seed: Decides the order of the rows, and random splits.
        partial_rows: What to do with rows that have NaN in part: "refuse" them, or take them for "missing".
            "split" refuses those that `parts` leaves.
        names: The modalities to open; none for all. Problems with others do not matter.
        missing_markers: The strings that mark a missing cell or category.
        groups: Which columns of a table form which vector, as in `open_table`.
        key: The column of a table that names the rows, as in `open_table`.
        parts: The parts in which vectors are learned, each a modality, as `survey` finds them.

    Returns:
        The opened files.

    Raises:
        ValueError: As `open_table`, `profile`, `infer_kinds`, `split_rows` and `fit_scalings`, and if a name
            is unknown. What is wrong with several modalities is told in one message.
    """
    seed = require_seed("seed", seed)
    require_one_of("partial_rows", partial_rows, POLICIES_IN_TRAINING)
    partial_rows = "refuse" if partial_rows == "split" else partial_rows
    require_type("kinds", kinds, Mapping[str, str] | None)
    path = Path(as_path(path)).resolve()
    options = table_options(missing_markers, groups, key, parts)
    known = whole_table(path, options).all_names
    chosen = tuple(sorted(as_strings("names", names))) or known
    # Kinds of arrays that exist and are not opened do not matter; those of unknown arrays are mistakes.
    given = {n: kind for n, kind in (kinds or {}).items() if n in chosen or n not in known}
    kinds_given = tuple(sorted(given.items()))
    return _open(path, _stamps(path), kinds_given, seed, partial_rows, chosen, options)


def whole_table(path: Path, options: TableOptions) -> Table:
    """Open all arrays of the data at a path, and what cannot be a modality; once, unless the files change."""
    return _table(path, _stamps(path), options)


def groups_without(
    path: Path, leave_out: Collection[str], missing_markers: Sequence[str], groups: GroupsGiven,
    key: str,
) -> GroupsGiven:  # fmt: skip
    """Return groups of columns in which those that are left out belong to no vector; the same if none is.

    Args:
        path: Where the data are, resolved.
        leave_out: Names of arrays and columns.
        missing_markers: As in `open_table`.
        groups: As in `open_table`.
        key: As in `open_table`.
    """
    table = whole_table(path, table_options(missing_markers, groups, key))
    gone = {*leave_out} - {*table.all_names}
    if not gone & {column for columns in table.grouped.values() for column in columns}:
        return groups
    left = {name: [c for c in columns if c not in gone] for name, columns in table.grouped.items()}
    return {name: columns for name, columns in left.items() if columns} or EACH


def forget_opened() -> None:
    """Close the files that were opened, and are kept for another call."""
    _table.cache_clear()
    _parts.cache_clear()
    _open.cache_clear()


@functools.lru_cache(maxsize=4)
def _table(path: Path, stamps: tuple, options: TableOptions) -> Table:
    del stamps  # only part of the cache key
    return split_vectors(open_arrays(path, options), options.parts)


@functools.lru_cache(maxsize=4)
def _open(
    path: Path,
    stamps: tuple,
    given_kinds: tuple[tuple[str, str], ...],
    seed: int,
    partial_rows: str,
    names: tuple[str, ...],
    options: TableOptions,
) -> OpenedFiles:
    whole = _table(path, stamps, options)
    with told_together(whole, names, dict(given_kinds), partial_rows):
        table = whole.only(names)
        profiles = profile(table, partial_rows)
        kinds, vectors = _infer_kinds(
            table, profiles, dict(given_kinds), _table(path, stamps, replace(options, parts=()))
        )
    every_row = np.arange(table.num_rows)
    classes = {
        name: classes_of(table.read(every_row, [name])[name], profiles[name].present)
        for name, kind in kinds.items()
        if kind.name == "category"
    }
    present = np.stack([profiles[name].present for name in kinds], axis=1)
    label = None if table.label is None else classes_of(table.label, np.any(present, axis=1))
    if label is not None:
        classes["label"] = label
    rows = split_rows(table, present, classes, seed)
    scalings, num_constant = fit_scalings(table, kinds, profiles, rows["train"])
    for name, part in table.parts.items():
        if name in scalings:
            details = scalings[name].details | part_details(*part)
            scalings[name] = replace(scalings[name], details=details)
    return OpenedFiles(
        table=table,
        profiles=profiles,
        kinds=kinds,
        scalings=scalings,
        rows=rows,
        label=label,
        num_constant=num_constant,
        ignored=_columns_besides(whole, names),
        vectors=vectors,
    )


def _infer_kinds(
    table: Table, profiles: Mapping[str, Profile], given: Mapping[str, str], whole: Table
) -> tuple[dict[str, Kind], dict[str, Kind]]:
    """Return the kinds of all modalities, and of the vectors in parts, of which the parts have theirs.

    Args:
        table: The modalities.
        profiles: What they hold.
        given: Kinds that the user sets, of modalities or of vectors in parts.
        whole: The table before its vectors were split.

    Raises:
        ValueError: As `infer_kinds`, and for a kind that cannot have cells missing on their own.
    """
    of = {name: part[0] for name, part in table.parts.items() if name in table.shapes}
    asked = sorted({vector for name, vector in of.items() if name not in given})
    vectors: dict[str, Kind] = {}
    if asked:
        some = whole.only(asked)
        of_vectors = {vector: kind for vector, kind in given.items() if vector in asked}
        vectors = infer_kinds(some, profile(some, "split"), of_vectors)
    for vector, kind in vectors.items():
        if kind.name == "composition" or KINDS[kind.name].is_angle:
            raise ValueError(
                f"{vector} cannot be of the kind {kind.name} where cells are missing on their own: fill them "
                "in, or set config.data.partial_rows to 'missing' to take these rows for missing"
            )
    parts = {name: vectors[vector].name for name, vector in of.items() if vector in vectors}
    own = {name: kind for name, kind in given.items() if name not in of.values()}
    kinds = infer_kinds(table, profiles, {**parts, **own})
    reasons = {n: f"part of {of[n]}: {vectors[of[n]].reason}" for n in parts if n not in own}
    return {n: Kind(k.name, reasons[n]) if n in reasons else k for n, k in kinds.items()}, vectors


def found_parts(path: Path, options: TableOptions, names: Sequence[str]) -> dict[str, Any]:
    """Return the parts of vectors whose cells are missing on their own, as `parts.find_parts`."""
    return _parts(path, _stamps(path), options, tuple(names))


@functools.lru_cache(maxsize=4)
def _parts(path: Path, stamps: tuple, options: TableOptions, names: tuple[str, ...]) -> dict:
    return find_parts(_table(path, stamps, options), names)


def _columns_besides(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """Return the arrays and columns that are not modelled: the names of rows, and what was left out."""
    others = [name for name in table.all_names if name not in names]
    columns = [column for name in others for column in table.entries.get(name, ())]
    return tuple(sorted({*table.ignored, *others, *columns}))


def _stamps(path: Path) -> tuple:
    """Return what changes when files change: the names, sizes and times of what lies in a folder."""
    if not path.exists():
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
