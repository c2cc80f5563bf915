"""The columns of tables: of CSV files, of data frames, and of several tables joined by a key."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sbmae_jax._check import short_repr
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.columns import Column, as_column, is_missing
from sbmae_jax.data.user.csv_numbers import (
    Cells,
    plain_numbers,
    read_numbers,
    refuse_odd_cells,
    trained_numbers,
)


class TableColumns(Protocol):
    """The columns of a table, whatever its format."""

    @property
    def where(self) -> Path:
        """The file, or the folder of several."""
        ...

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each column, in their order."""
        ...

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        ...

    def infer(self, name: str, notices: list[str]) -> Column:
        """Return a column as numbers or words; raises ValueError for one that is neither."""
        ...

    def trained(self, name: str, scaling: Scaling, size: float, notices: list[str]) -> Column:
        """Return a column as what it was in training: classes, or numbers."""
        ...

    def about_rows(self, name: str) -> np.ndarray:
        """Return the column `label` or `split`."""
        ...

    def without(self, *names: str) -> "TableColumns":
        """Return the table without some of its columns."""
        ...


@dataclass(frozen=True, kw_only=True)
class CsvColumns:
    """The columns of a CSV file, whose types are inferred from their cells."""

    cells: Cells

    @property
    def where(self) -> Path:
        """The file."""
        return self.cells.file

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each column."""
        return dict.fromkeys(self.cells.columns, self.cells.file)

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self.cells.num_rows

    def infer(self, name: str, notices: list[str]) -> Column:
        """Return a column as numbers or words."""
        found = read_numbers(self.cells, name, notices)
        if found is not None:
            return Column(found)
        refuse_odd_cells(self.cells, name)
        return Column(np.asarray(self.cells.columns[name]))

    def trained(self, name: str, scaling: Scaling, size: float, notices: list[str]) -> Column:
        """Return a column as what it was in training."""
        if scaling.value_kind.is_one_cell:
            return Column(np.asarray(self.cells.columns[name]))
        return Column(trained_numbers(self.cells, name, notices, scaling.kind == "binary", size))

    def about_rows(self, name: str) -> np.ndarray:
        """Return `label`, as numbers if it has only these, or `split`."""
        numbers = plain_numbers(self.cells, name) if name == "label" else None
        return np.asarray(self.cells.columns[name]) if numbers is None else numbers

    def keys(self, name: str) -> list[str]:
        """Return the cells of the column that names the rows."""
        return list(self.cells.columns[name])

    def without(self, *names: str) -> "CsvColumns":
        """Return the table without some of its columns."""
        return CsvColumns(cells=self.cells.without(*names))


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameColumns:
    """The columns of a data frame of pandas, in their own types.

    Attributes:
        where: The file that it was read from.
        frame: The data frame, whose columns have different strings as names.
        markers: The strings that mark what is missing.
    """

    where: Path
    frame: Any
    markers: Collection[str]

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each column."""
        return dict.fromkeys(self.frame.columns, self.where)

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(self.frame)

    def infer(self, name: str, notices: list[str]) -> Column:
        """Return a column in its own type."""
        del notices
        column = as_column(f"{self.where}, column {name}", self.frame[name])
        if self.frame[name].isna().all():  # of no type
            return Column(np.full(self.num_rows, ""), np.zeros(self.num_rows, bool))
        return column

    def trained(self, name: str, scaling: Scaling, size: float, notices: list[str]) -> Column:
        """Return a column as what it was in training; words that are numbers are read as these."""
        column = self.infer(name, notices)
        if scaling.value_kind.is_one_cell or column.values.dtype.kind not in "US":
            return column
        words = (
            column.values if column.present is None else np.where(column.present, column.values, "")
        )
        cells = Cells(
            file=self.where, delimiter=",", columns={name: words.tolist()}, markers={*self.markers, ""}
        )  # fmt: skip
        return Column(trained_numbers(cells, name, notices, scaling.kind == "binary", size))

    def about_rows(self, name: str) -> np.ndarray:
        """Return `label` or `split`; numbers that are missing are NaN, and words are empty."""
        values, present = self.infer(name, [])
        if present is None or values.dtype.kind == "U":
            return values if present is None else np.where(present, values, "")
        return np.where(present, values, np.nan)

    def keys(self, name: str) -> list[str]:
        """Return the names of the rows; integers are written as such, whatever dtype they have."""
        cells = self.frame[name].tolist()
        for row, cell in enumerate(cells):
            whole = isinstance(cell, float) and cell.is_integer()
            if isinstance(cell, bool) or not (isinstance(cell, str | int) or whole):
                what = "is empty" if is_missing(cell) else f"has {short_repr(cell)}"
                raise ValueError(
                    f"{self.where}: the column {name}, which names the rows, {what} in row {row}: give each "
                    "row an integer or a string"
                )
        return [str(int(cell)) if isinstance(cell, float) else str(cell) for cell in cells]

    def without(self, *names: str) -> "FrameColumns":
        """Return the table without some of its columns."""
        return replace(self, frame=self.frame.drop(columns=list(names)))


SingleTable = CsvColumns | FrameColumns


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedColumns:
    """The columns of several tables, with one row for each key that any of them has.

    Attributes:
        where: The folder of the tables.
        tables: The tables.
        rows: For each table, the number of the joined row of each of its rows.
        num_rows: The number of keys.
    """

    where: Path
    tables: Sequence[SingleTable]
    rows: Sequence[np.ndarray]
    num_rows: int

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each column."""
        return {name: file for table in self.tables for name, file in table.files.items()}

    def _of(self, name: str) -> tuple[TableColumns, np.ndarray]:
        return next(
            (table, rows)
            for table, rows in zip(self.tables, self.rows, strict=True)
            if name in table.files
        )

    def infer(self, name: str, notices: list[str]) -> Column:
        """Return a column as its table does, missing in rows that its table lacks."""
        table, rows = self._of(name)
        return _spread(table.infer(name, notices), rows, self.num_rows)

    def trained(self, name: str, scaling: Scaling, size: float, notices: list[str]) -> Column:
        """Return a column as its table does, missing in rows that its table lacks."""
        table, rows = self._of(name)
        return _spread(table.trained(name, scaling, size, notices), rows, self.num_rows)

    def about_rows(self, name: str) -> np.ndarray:
        """Return `label` or `split`, which every row must have."""
        table, rows = self._of(name)
        values, present = _spread(Column(table.about_rows(name)), rows, self.num_rows)
        if values.dtype.kind == "U" or present is None:
            return values
        return np.where(present, values, np.nan)

    def without(self, *names: str) -> "JoinedColumns":
        """Return the tables without some of their columns."""
        tables = [t.without(*(n for n in names if n in t.files)) for t in self.tables]
        return replace(self, tables=tables)


def _spread(column: Column, rows: np.ndarray, num_rows: int) -> Column:
    """Put the rows of a table into those of a join."""
    values, present = column
    there = np.zeros(num_rows, bool)
    there[rows] = True if present is None else present
    whole = np.zeros((num_rows, *values.shape[1:]), values.dtype)
    if values.dtype.kind == "f":
        whole[:] = np.nan
    whole[rows] = values
    return Column(whole, None if there.all() else there)


def join_tables(
    folder: Path, tables: Sequence[SingleTable], key: str
) -> tuple[list[str], JoinedColumns]:
    """Join tables by their key: each row of any of them is kept, and what a table lacks is missing.

    Args:
        folder: Where the tables are, for messages.
        tables: At least two tables, each with the key.
        key: The name of the key, with or without capitals.

    Returns:
        The keys of all rows, in the order in which they come, and the columns without the keys.

    Raises:
        ValueError: If a table has a key twice or shares none with the first table, or if two have the same
            column.
    """
    found = [_key_named(table, key) for table in tables]
    keys = [table.keys(name) for table, name in zip(tables, found, strict=True)]
    for table, name, names in zip(tables, found, keys, strict=True):
        twice = [k for k, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(
                f"{table.where} has {twice[0]!r} twice in the column {name}, by which the tables of {folder} "
                "are joined: keep one row of each"
            )
    for table, names in list(zip(tables, keys, strict=True))[1:]:
        if not set(names) & set(keys[0]):
            raise ValueError(
                f"{tables[0].where.name} and {table.where.name} in {folder} share no {key}, which is "
                f"{keys[0][0]!r} in one and {names[0]!r} in the other: write the keys in the same way"
            )
    tables = [table.without(name) for table, name in zip(tables, found, strict=True)]
    _require_different(folder, tables)
    everything = list(dict.fromkeys(chain.from_iterable(keys)))
    place = {name: row for row, name in enumerate(everything)}
    rows = [np.array([place[name] for name in names]) for names in keys]
    return everything, JoinedColumns(
        where=folder, tables=tables, rows=rows, num_rows=len(everything)
    )


def _require_different(folder: Path, tables: Sequence[TableColumns]) -> None:
    """Raise ValueError if two tables have a column of the same name."""
    owners: dict[str, TableColumns] = {}
    for table in tables:
        for name in table.files:
            other = owners.setdefault(name, table)
            if other is table:
                continue
            pieces = set(other.files) == set(table.files)
            raise ValueError(
                f"{other.where.name} and {table.where.name} in {folder} both have a column {name!r}: "
                + ("put the rows of one table into one file" if pieces else "rename one of them")
            )


def find_key(tables: Iterable[TableColumns], names: Sequence[str]) -> str | None:
    """Return the first of some names, with or without capitals, that all tables have a column of."""
    columns = [{column.lower() for column in table.files} for table in tables]
    return next((name for name in names if all(name.lower() in each for each in columns)), None)


def _key_named(table: TableColumns, key: str) -> str:
    """Return a key as a table writes it."""
    exact = [name for name in table.files if name == key]
    return (exact or [name for name in table.files if name.lower() == key.lower()])[0]
