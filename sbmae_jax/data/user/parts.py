"""Vectors whose columns are missing in different rows, learned in parts that are missing together.

Each part is a modality of its own, so that every cell is known or not, and nothing that was not measured is
taken for measured. `data.parts` puts the parts together again for the user.
"""

import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sbmae_jax.data.names import problem_of_name
from sbmae_jax.data.parts import vectors_of
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.groups import EACH, Parts
from sbmae_jax.data.user.kind_rules import Kind
from sbmae_jax.data.user.profile import pieces
from sbmae_jax.data.user.tables import Table

MAX_PARTS = 128  # of one vector; each is a modality
MAX_EACH = 16  # columns of a vector of which each is a part

_OF_OUTPUTS = ("rows", "samples", "mean", "std", "present")  # after NAME_ in the files of results


def split_vectors(table: Table, parts: Parts) -> Table:
    """Return a table whose vectors are replaced by their parts.

    Args:
        table: The user's arrays.
        parts: Which columns form a part; each column of a vector must be in one of them.

    Raises:
        ValueError: For a vector that the table does not have, and for columns that are no parts of it.
    """
    found: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for vector, lists in parts:
        if vector in table.unreadable or vector in table.unusable:
            continue  # which is told when it is opened
        shape = table.shapes.get(vector, ())
        if len(shape) != 1 or table.dtypes[vector].kind not in "buif":
            raise ValueError(
                f"parts: {vector} is no vector of {table.path}: name an array [N, F] of numbers"
            )
        entries = table.entries.get(vector, ())
        columns = _columns(vector, lists, entries, shape[0])
        taken = {*table.all_names, *found}
        for part, name in zip(columns, _names(vector, columns, entries, taken), strict=True):
            found[name] = (vector, part, shape[0])
    return _split(table, found)


def split_like(table: Table, scalings: Mapping[str, Scaling]) -> Table:
    """Return new rows whose vectors are replaced by the parts that a model knows.

    Raises:
        ValueError: For a vector of another width.
    """
    found: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for vector, parts in vectors_of(scalings).items():
        if vector not in table.shapes:
            continue
        width = sum(map(len, parts.values()))
        if table.shapes[vector] != (width,):
            raise ValueError(
                f"{vector}: examples must have shape {(width,)}, got {table.shapes[vector]}"
            )
        found |= {part: (vector, tuple(columns), width) for part, columns in parts.items()}
    return _split(table, found)


def _split(table: Table, parts: Mapping[str, tuple[str, tuple[int, ...], int]]) -> Table:
    """Return a table with parts {name: (vector, columns, width)} in the place of their vectors."""
    if not parts:
        return table
    vectors = {vector for vector, _, _ in parts.values()}

    def read(rows, names):
        wanted = dict.fromkeys(parts[name][0] if name in parts else name for name in names)
        whole = table.read(rows, list(wanted))
        return {
            n: whole[parts[n][0]][:, list(parts[n][1])] if n in parts else whole[n] for n in names
        }

    def with_parts(values: Mapping[str, Any], of: Any = lambda value, columns: value) -> dict:
        kept = {name: value for name, value in values.items() if name not in vectors}
        return kept | {
            n: of(values[v], columns) for n, (v, columns, _) in parts.items() if v in values
        }

    return dataclasses.replace(
        table,
        sizes=with_parts(table.sizes),
        shapes=with_parts(table.shapes, lambda _, columns: (len(columns),)),
        dtypes=with_parts(table.dtypes),
        read=read,
        present=with_parts(table.present),
        entries=with_parts(table.entries, lambda names, columns: tuple(names[c] for c in columns)),
        parts=parts,
    )


def find_parts(table: Table, names: Collection[str]) -> dict[str, Any]:
    """Return the columns of vectors that are missing together, for those that are NaN in part of some rows.

    Of vectors with few columns each column is a part.

    Args:
        table: The user's arrays.
        names: The modalities to look at.

    Raises:
        ValueError: For a vector with more than `MAX_PARTS` parts.
    """
    vectors = [
        name for name in table.names
        if name in names and len(table.shapes[name]) == 1 and table.shapes[name][0] > 1
        and table.dtypes[name].kind == "f"
    ]  # fmt: skip
    partial = dict.fromkeys(vectors, 0)
    digests = {n: [hashlib.blake2b() for _ in range(table.shapes[n][0])] for n in vectors}
    for rows in pieces(table, vectors, np.arange(table.num_rows)) if vectors else ():
        for name, raw in table.read(rows, vectors).items():
            missing = np.isnan(raw)
            if name in table.present:
                missing |= ~table.present[name][rows][:, None]
            partial[name] += int(np.count_nonzero(missing.any(axis=1) & ~missing.all(axis=1)))
            for digest, column in zip(digests[name], missing.T, strict=True):
                digest.update(np.packbits(column).tobytes())
    found = {}
    for name in vectors:
        if partial[name]:
            together: dict[bytes, list[Any]] = {}
            for column, digest in enumerate(digests[name]):
                shown = table.entries[name][column] if name in table.entries else column
                together.setdefault(digest.digest(), []).append(shown)
            _require_few(name, partial[name], table.num_rows, len(together))
            columns = list(together.values())
            # Single ones also know new rows that lack what no row in training lacked.
            narrow = sum(map(len, columns)) <= MAX_EACH
            found[name] = EACH if narrow else columns
    return found


def _require_few(name: str, num_partial: int, num_rows: int, num_parts: int) -> None:
    """Raise ValueError if a vector has too many parts to be learned."""
    if num_parts > MAX_PARTS:
        raise ValueError(
            f"{name}: NaN in part of {num_partial:,} of {num_rows:,} rows, in {num_parts:,} columns or "
            f"groups of columns that are missing on their own; at most {MAX_PARTS} can be learned: fill them "
            "in, leave columns out, or set config.data.partial_rows to 'missing' to take these rows for "
            "missing"
        )


def part_notices(
    parts: Mapping[str, tuple[str, tuple[int, ...], int]], kinds: Mapping[str, Kind]
) -> Iterator[str]:
    """Yield what a user may not expect of vectors that are learned in parts.

    Args:
        parts: As in `Table`.
        kinds: The kinds of the vectors, where they were inferred.
    """
    for vector in dict.fromkeys(vector for vector, _, _ in parts.values()):
        num = sum(vector == owner for owner, _, _ in parts.values())
        yield (
            f"{vector} is learned in {num} parts, as its cells are missing on their own; what is filled in "
            f"or generated is the whole {vector}"
        )
        if vector in kinds and kinds[vector].doubt:
            yield f"{vector} is taken for {kinds[vector].name}: {kinds[vector].doubt}"


def _columns(vector: str, lists: Any, entries: Sequence[str], width: int) -> list[tuple[int, ...]]:
    """Return the numbers of the columns of each part; raises ValueError if they are not all columns, once."""
    if lists == EACH:
        return [(column,) for column in range(width)]
    place = {name: number for number, name in enumerate(entries)}
    columns = []
    for part in lists:
        for column in part:
            known = column in place if isinstance(column, str) else 0 <= column < width
            if not known:
                names = (
                    f"choose from {', '.join(entries)}" if entries else f"it has 0 to {width - 1}"
                )
                raise ValueError(f"parts: {vector} has no column {column!r}: {names}")
        columns.append(tuple(place[c] if isinstance(c, str) else c for c in part))
    given = [column for part in columns for column in part]
    if sorted(given) != list(range(width)):
        odd = next((c for c in range(width) if given.count(c) != 1), None)
        how = "in no part" if odd not in given else "in several parts"
        shown = entries[odd] if entries and odd is not None else odd
        raise ValueError(f"parts: the column {shown} of {vector} is {how}: name each column once")
    return columns


def _names(
    vector: str, parts: Sequence[tuple[int, ...]], entries: Sequence[str], taken: Collection[str]
) -> list[str]:
    """Return the names of parts: the vector with the name of the first column, or its number."""
    found: list[str] = []
    for columns in parts:
        first = entries[columns[0]] if entries else str(columns[0])
        name = f"{vector}_{first}"
        is_odd = problem_of_name(name, "") or first.rpartition("_")[2] in _OF_OUTPUTS
        if is_odd or name in taken or name in found:
            name = f"{vector}_{columns[0]}"
        while name in taken or name in found:
            name += "_"
        found.append(name)
    return found
