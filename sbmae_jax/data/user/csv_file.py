"""A CSV file: its delimiter, its cells, the column that names its rows, and its columns as arrays.

All columns of numbers form one vector, named after the file, and each column of words is a category. New rows
for a trained model are read by the names and types of its columns instead: see `as_trained`.
"""

import csv
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._io import one_line
from sbmae_jax.data.description import Description
from sbmae_jax.data.names import RESERVED, as_name, problem_of_name
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.csv_numbers import (
    Cells,
    plain_numbers,
    read_numbers,
    refuse_odd_cells,
    trained_numbers,
)
from sbmae_jax.data.user.raw import RawArrays, read_each, unusable_names

DELIMITERS = (",", ";", "\t", "|")
KEYS = ("id", "file")
NOT_MODELLED = ("label", "split")


def read_cells(file: Path, markers: Collection[str]) -> Cells:
    """Read a CSV file, whose cells may be separated by commas, semicolons, tabs or bars.

    Args:
        file: The file, in UTF-8.
        markers: The cells that mark what is missing.

    Returns:
        Its cells, stripped. A first column without a name that numbers the rows is left out.

    Raises:
        ValueError: If it cannot be read, has no rows, or has lines of different lengths, or if two columns
            have the same name or one has none.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            delimiter = _delimiter_of([opened.readline() for _ in range(5)])
            opened.seek(0)
            lines = csv.reader(map(as_name, opened), delimiter=delimiter)
            rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{file} cannot be read ({one_line(error)}): save it as UTF-8 with commas"
        ) from None
    while rows and not rows[-1][1]:
        rows.pop()
    # In a column alone, an empty line is an empty cell.
    alone = bool(rows) and len(rows[0][1]) == 1
    rows = [(number, row or [""]) for number, row in rows if row or alone]
    if len(rows) < 2:
        raise ValueError(f"{file} has no rows below its header: add at least one")
    names = rows[0][1]
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(
                f"{file}, line {number} has {len(row)} cells for {len(names)} columns: add or remove cells"
            )
    if names[0] in ("", "Unnamed: 0") and _are_row_numbers([row[0] for _, row in rows[1:]]):
        names, rows = names[1:], [(number, row[1:]) for number, row in rows]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or "" in names:
        what = f"two columns {twice[0]!r}" if twice and twice[0] else "a column without a name"
        raise ValueError(f"{file} has {what}: give each column its own name")
    columns = {name: [row[c] for _, row in rows[1:]] for c, name in enumerate(names)}
    return Cells(file=file, delimiter=delimiter, columns=columns, markers=markers)


def key_of(cells: Cells, stems: Collection[str]) -> str | None:
    """Return the column that names the rows, or None if there is none.

    Args:
        cells: The cells of the file.
        stems: The names of image files without suffix. Where there are any, and no column is called `id` or
            `file`, the key is the first column that holds one of them.
    """
    for name in cells.columns:
        if name.lower() in KEYS:
            return name
    if not stems:
        return None
    naming = (
        n for n, column in cells.columns.items() if any(Path(c).stem in stems for c in column)
    )
    return next(naming, next(iter(cells.columns)))


def infer_arrays(cells: Cells) -> RawArrays:
    """Return the columns of a CSV file as arrays, whose types are inferred from their cells.

    Args:
        cells: The cells, without those of the key.

    Returns:
        The vector of numbers, named after the file, a category for each column of words, and `label` and
        `split` if there are such columns. A column that mixes many numbers with words, or has a number that
        can be read in two ways, is unreadable.

    Raises:
        ValueError: If a column has the name of the vector.
    """
    stem, notices = as_name(cells.file.stem), []
    arrays: dict[str, Any] = {
        n: np.asarray(cells.columns[n]) for n in NOT_MODELLED if n in cells.columns
    }
    if "label" in arrays and (label := plain_numbers(cells, "label")) is not None:
        arrays["label"] = label
    cells = cells.without(*arrays)

    def read_column(name):
        found = read_numbers(cells, name, notices)
        if found is None:
            refuse_odd_cells(cells, name)
        return found

    found, unreadable = read_each({name: name for name in cells.columns}, read_column)
    numbers = {name: column for name, column in found.items() if column is not None}
    words = [name for name, column in found.items() if column is None]
    arrays |= {name: np.asarray(cells.columns[name]) for name in words}
    if numbers and stem in RESERVED:  # before it is taken for the label of the rows
        problem = problem_of_name(stem, f"the file {cells.file.name}", cells.file.suffix)
        raise ValueError(
            f"{stem} is the name of the vector of numbers in {cells.file}, and {problem}"
        )
    if numbers and stem in arrays:
        raise ValueError(
            f"{cells.file} has a column {stem}, which is also the name of its vector: rename one of them"
        )
    if numbers:
        arrays[stem] = np.stack(list(numbers.values()), axis=1)
    read = [f"numbers, together the vector {stem}: {', '.join(numbers)}"] * bool(numbers)
    read += [f"words, each a category: {', '.join(words)}"] * bool(words)
    if read:
        notices.insert(0, f"{cells.file.name} has columns of {'; '.join(read)}")
    entries = {stem: tuple(numbers)} if numbers else {}
    unusable = unusable_names(dict.fromkeys(words, f"that column of {cells.file.name}"))
    if numbers:
        unusable |= unusable_names({stem: f"the file {cells.file.name}"}, cells.file.suffix)
    return RawArrays(
        arrays, entries=entries, notices=tuple(notices), unusable=unusable, unreadable=unreadable
    )


def as_trained(cells: Cells, data: Description, folders: Collection[str]) -> RawArrays:
    """Return the columns of a CSV file as the arrays of a trained model, found by the names of the columns.

    Args:
        cells: The cells, without those of the key.
        data: What the model was trained on.
        folders: The modalities that image folders hold.

    Returns:
        The modalities of which there are columns, in the order and with the types of the training data.

    Raises:
        ValueError: If a vector lacks some of its columns, if there is a column that training did not have,
            or if a cell that must be a number is none.
    """
    arrays: dict[str, Any] = {}
    entries: dict[str, tuple[str, ...]] = {}
    notices: list[str] = []
    unknown = set(cells.columns) - set(NOT_MODELLED) - set(data.ignored)
    for name, scaling in data.scalings.items():
        wanted = data.entries.get(name, ())
        if scaling.value_kind.is_category or not wanted:
            wanted = (name,)
        found = [column for column in wanted if column in cells.columns]
        lacking = [column for column in wanted if column not in cells.columns]
        if not found or name in folders:
            continue
        if lacking:
            raise ValueError(
                f"{cells.file} lacks {', '.join(lacking)}, which the training data had in {name}: add the "
                "column, with empty cells where it was not measured"
            )
        unknown -= set(found)
        if scaling.value_kind.is_category:
            arrays[name] = np.asarray(cells.columns[name])
            continue
        numbers = [
            trained_numbers(cells, column, notices, scaling.kind == "binary", size)
            for column, size in zip(found, _sizes(scaling, len(found)), strict=True)
        ]
        arrays[name] = np.stack(numbers, axis=1) if scaling.raw_shape else numbers[0]
        entries[name] = tuple(found)
    if unknown:
        known = [column for n, s in data.scalings.items() for column in _columns_of(n, s, data)]
        raise ValueError(
            f"{cells.file} has a column {sorted(unknown)[0]!r} that the training data did not have: rename "
            f"or remove it; they had {', '.join(known)}"
        )
    return RawArrays(arrays, entries=entries, notices=tuple(notices))


def _sizes(scaling: Scaling, num: int) -> list[float]:
    """Return how large the numbers of each column mostly were in training; 0 where that is not known."""
    known = scaling.kind in ("vector", "counts", "large_counts") and scaling.typical.shape == (
        3,
        num,
    )
    return scaling.typical[1].tolist() if known else [0.0] * num


def _columns_of(name: str, scaling: Any, data: Description) -> tuple[str, ...]:
    return (name,) if scaling.value_kind.is_category else data.entries.get(name, (name,))


def _delimiter_of(lines: list[str]) -> str:
    """Return the delimiter that cuts the first lines into the most cells, of the same number if any does."""

    def fitness(delimiter):
        widths = [len(row) for row in csv.reader(filter(str.strip, lines), delimiter=delimiter)]
        return len(set(widths)) == 1 and widths[0] > 1, max(widths, default=0)

    return max(DELIMITERS, key=fitness)


def _are_row_numbers(cells: list[str]) -> bool:
    """Return whether the cells are distinct whole numbers, as a program numbers the rows of a table."""
    return all(cell.isdecimal() for cell in cells) and len(set(cells)) == len(cells)
