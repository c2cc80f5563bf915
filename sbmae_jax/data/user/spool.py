"""A user's data in memory, written as a folder of `.npy` files, which `open_table` reads like any other.

So there is one way from data to a model: what was given as a data frame or as batches is trained with the
same bits as the same values in files, and data that do not fit into memory need not.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_mapping, short_repr
from sbmae_jax.data.names import problem_of_name
from sbmae_jax.data.user.arrays import ENTRIES, LEFT_OUT
from sbmae_jax.data.user.checks import all_problems, check_modality
from sbmae_jax.data.user.columns import Column, as_column, join_columns
from sbmae_jax.data.user.frames import frame_package
from sbmae_jax.data.user.left_out import LeftOut
from sbmae_jax.data.user.npy_writer import NpyWriter
from sbmae_jax.data.user.raw import ABOUT_ROWS

ROWS_AT_ONCE = 1000  # of a data set that is read row by row
SPLIT_NAMES = {"validation": "valid"}

Batch = dict[str, Column]


def write_folder(
    data: Any, folder: Path, groups: Mapping[str, Sequence[str]] | None = None,
    leave_out: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write data of any form as a folder of `.npy` files.

    Args:
        data: `{name: [N, ...]}`; a data frame of pandas or polars; a data set of Hugging Face, or a dict of
            its splits; anything with `len` whose `data[i]` is a row, a dict; or an iterable of batches
            `{name: [B, ...]}`, which is read once.
        folder: An empty folder.
        groups: The columns of a data frame that form one vector, by the name of the vector. Every other
            column is a modality of its own.
        leave_out: Names of arrays and columns that are neither read nor written, whatever they hold; a name
            of `groups` stands for its columns.

    Raises:
        ValueError: In one sentence, for data of another form, without rows, with different numbers of rows,
            or whose batches change their names, dtypes or shapes; for a name in `leave_out` that the data do
            not have; and as `as_column`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_folder({"age": [31, None], "town": ["Bonn", "Oslo"]}, Path(folder))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['age.npy', 'age_present.npy', 'left_out.json', 'town.npy']
    """
    require_mapping("groups", groups)
    groups = dict(groups or {})
    for group, members in groups.items():
        if isinstance(members, str) or not isinstance(members, Sequence):
            raise ValueError(
                f"groups: {group} must be a list of columns, got {short_repr(members)}"
            )
    left = LeftOut(leave_out)
    if frame_package(data):
        kept = {name: groups[name] for name in left.without(groups)}
        batches = iter([grouped_columns(data, kept, left.without_columns(data, groups), left)])
    elif groups:
        raise ValueError("groups: only the columns of a data frame can be grouped")
    else:
        batches = _batches(data, left)
    writers: dict[str, NpyWriter] = {}
    try:
        num_rows = _write_batches(batches, writers, folder)
    finally:
        for writer in writers.values():
            writer.close()
    if not num_rows:
        once = "; an iterator is read only once" if isinstance(data, Iterator) else ""
        raise ValueError(f"data have no rows: give at least one{once}")
    # Those of left-out vectors too, so that new rows may have them.
    if frame_package(data) and groups:
        (folder / ENTRIES).write_text(json.dumps(groups))
    # The file also marks what is written here.
    (folder / LEFT_OUT).write_text(json.dumps(sorted(left.names)))


@contextmanager
def named_as_given(folder: Path) -> Iterator[None]:
    """Let messages about a folder that `write_folder` has written name the data and its arrays instead."""
    try:
        yield
    except ValueError as error:
        told = str(error)
        for place in sorted({str(folder), str(folder.resolve())}, key=len, reverse=True):
            told = re.sub(rf"{re.escape(place + os.sep)}(\S+?)\.npy\b", r"\1", told)
            told = told.replace(place, "data")
        if told == str(error):
            raise
        raise ValueError(told) from None


def _write_batches(batches: Iterable[Batch], writers: dict[str, NpyWriter], folder: Path) -> int:
    """Write all batches, and return the number of their rows."""
    num_rows = 0
    for number, batch in enumerate(batches):
        _check_rows(batch)
        if number == 0:
            writers.update((name, NpyWriter(name, folder)) for name in batch)
        elif batch.keys() != writers.keys():
            raise ValueError(
                f"batch {number} has {', '.join(sorted(batch))}, those before have "
                f"{', '.join(sorted(writers))}: give all batches the same arrays"
            )
        for name, column in batch.items():
            writers[name].add(number, column)
        num_rows += _num_rows(batch)
    return num_rows


def grouped_columns(
    frame: Any, groups: Mapping[str, Sequence[str]], kept: Sequence[Any],
    left: LeftOut | None = None,
) -> Batch:  # fmt: skip
    """Return the columns of a data frame that are kept, some of them as the entries of vectors.

    Args:
        frame: A data frame of pandas or polars.
        groups: The columns that form one vector, by the name of the vector.
        kept: The columns to return, as the frame names them.
        left: What is left out already, for messages.

    Raises:
        ValueError: For columns that are named twice, or not there, or cannot be joined; and as `as_column`.
    """
    columns = [str(name) for name in kept]
    by_name = dict(zip(columns, kept, strict=True))
    if len(by_name) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ValueError(f"the data frame has two columns {twice!r}: give each its own name")
    grouped: dict[str, str] = {}
    for group, members in groups.items():
        for member in members:
            if member not in by_name and member in map(str, frame.columns):
                raise ValueError(
                    f"groups: {group} names the column {member!r}, which is in leave_out: remove it from one "
                    "of them"
                )
            if member not in by_name:
                raise ValueError(
                    f"groups: {group} names the column {member!r}, which the data frame does not have"
                )
            if member in grouped:
                raise ValueError(f"groups: {member} is in {grouped[member]} and in {group}")
            grouped[member] = group
        if group in by_name and group not in members:
            raise ValueError(f"groups: {group} is also a column: give the vector another name")
    single = _each_column(
        {name: frame[by_name[name]] for name in columns if name not in grouped},
        left.names if left else (),
    )
    vectors = {
        group: join_columns(group, {m: as_column(m, frame[by_name[m]]) for m in members})
        for group, members in groups.items()
    }
    if not len(frame.columns):
        raise ValueError("the data frame has no columns")
    return single | vectors


def _batches(data: Any, left: LeftOut) -> Iterator[Batch]:
    """Yield the rows of data that are not a data frame, some at a time."""
    if (
        isinstance(data, Mapping)
        and data
        and all(hasattr(part, "features") for part in data.values())
    ):
        for name, part in data.items():
            for batch in _of_hugging_face(part, left):
                split = np.full(_num_rows(batch), SPLIT_NAMES.get(name, name))
                yield batch | {"split": Column(split)}
    elif isinstance(data, Mapping):
        yield _as_columns(data, left)
    elif hasattr(data, "features") and hasattr(data, "with_format"):
        yield from _of_hugging_face(data, left)
    elif (
        hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
        and not isinstance(data, str | bytes)
    ):
        _require_rows(data)
        rows = (data[i] for i in range(len(data)))
        while some := list(islice(rows, ROWS_AT_ONCE)):
            yield _stacked(some, left)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes):
        for number, batch in enumerate(data):
            if not isinstance(batch, Mapping):
                raise ValueError(f"batch {number} must be {{name: array}}, got {short_repr(batch)}")
            yield _as_columns(batch, left)
    else:
        raise ValueError(
            "data must be {name: array}, a data frame, a data set or an iterable of batches, got "
            f"{short_repr(data)}"
        )


def _as_columns(batch: Mapping[Any, Any], left: LeftOut) -> Batch:
    return _each_column({str(name): batch[name] for name in left.kept(batch)}, left.names)


def _each_column(values: Mapping[str, Any], left_out: Collection[str]) -> Batch:
    """Convert each modality; raises ValueError that tells of all that cannot be one."""
    found: Batch = {}
    problems: dict[str, ValueError] = {}
    for name, column in values.items():
        try:
            column = as_column(name, column)
            if name not in ABOUT_ROWS and not name.endswith("_present"):
                check_modality(name, column.values)
            found[name] = column
        except ValueError as error:
            problems[name] = error
    told = {name: str(error) for name, error in problems.items()}
    message = all_problems("the data", told, left_out, found)
    if problems:
        raise ValueError(message) if message else next(iter(problems.values()))
    return found


def _of_hugging_face(data: Any, left: LeftOut) -> Iterator[Batch]:
    """Yield the rows of a data set of Hugging Face; classes are their names."""
    data = data.select_columns(left.kept(data.features))
    for batch in data.with_format("numpy").iter(ROWS_AT_ONCE):
        columns = {}
        for name, values in batch.items():
            classes = getattr(data.features[name], "names", None)
            if classes is not None:
                values = [None if v is None or v < 0 else classes[int(v)] for v in values]
            columns[name] = in_declared_dtype(as_column(name, values), data.features[name])
        yield columns


def in_declared_dtype(column: Column, feature: Any) -> Column:
    """Return integers in the dtype that a data set declares, which reading them has widened."""
    declared = str(getattr(getattr(feature, "feature", feature), "dtype", ""))
    if column.values.dtype.kind in "iu" and declared.lstrip("u").startswith("int"):
        return column._replace(values=column.values.astype(declared))
    return column


def _require_rows(data: Any) -> None:
    """Raise ValueError for a list that may be one of rows, and may be one of batches."""
    first = data[0] if len(data) else None
    if not isinstance(data, list | tuple) or not isinstance(first, Mapping) or not first:
        return
    sizes = {
        len(v) if hasattr(v, "__len__") and not isinstance(v, str) else 0 for v in first.values()
    }
    if sizes != {0} and len(sizes) == 1 and sizes != {1}:
        raise ValueError(
            "data may be a list of rows, or of batches: give iter(data) for batches, or a dict of arrays"
        )


def _stacked(rows: Sequence[Any], left: LeftOut) -> Batch:
    """Return rows, each a dict, as columns."""
    for row in rows:
        if not isinstance(row, Mapping):
            raise ValueError(
                f"each row must be {{name: value}}, got {short_repr(row)}; give an array as {{name: array}}"
            )
        if row.keys() != rows[0].keys():
            raise ValueError(
                f"a row has {', '.join(map(str, row))}, the first has {', '.join(map(str, rows[0]))}: give "
                "all rows the same names, and None where a value is missing"
            )
    names = left.kept(rows[0])
    return _each_column({str(n): [row[n] for row in rows] for n in names}, left.names)


def _num_rows(batch: Batch) -> int:
    return len(next(iter(batch.values())).values)


def _check_rows(batch: Batch) -> None:
    """Raise ValueError if a batch has no arrays, or arrays that differ in their number of rows."""
    if not batch:
        raise ValueError("data have no arrays: give at least one, {name: array}")
    for name, (values, present) in batch.items():
        if not values.ndim:
            raise ValueError(f"{name} is a single value: the first axis must be rows")
        if name in ABOUT_ROWS and present is not None and not present.all():
            row = int(np.flatnonzero(~present)[0])
            raise ValueError(
                f"{name} has no value in row {row}: give one to each row, or leave {name} out"
            )
        if present is not None and f"{name}_present" in batch:
            raise ValueError(f"{name} marks its missing rows already: leave {name}_present out")
        problem = "" if name in ABOUT_ROWS else problem_of_name(name, "the array")
        if problem:
            raise ValueError(f"{name!r} {problem}")
        if name not in ABOUT_ROWS and not name.endswith("_present"):
            check_modality(name, values)
    first, num = next(iter(batch)), _num_rows(batch)
    for name, (values, _) in batch.items():
        if len(values) != num:
            raise ValueError(
                f"{first} has {num:,} rows and {name} has {len(values):,}: all arrays must have the same "
                "rows; where one is missing, put NaN or None"
            )
