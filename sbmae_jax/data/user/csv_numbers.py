"""The cells of a CSV file, and its columns as numbers, in whatever way they are written."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sbmae_jax.data.numbers import (
    BITS,
    has_decimal_comma,
    is_grouped_by_points,
    parse_formatted,
    parse_number,
)

MAX_ODD_CLASSES = 20  # a column that mixes more different words with numbers is not a category
_POINT_COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?")  # 1.234,50
_NEAR = 5.0  # times the size that numbers mostly had in training, up or down, is still that size


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a CSV file, as strings.

    Attributes:
        file: The file.
        delimiter: What separates its cells.
        columns: The cells of each column, by its name.
        markers: The cells that mark what is missing.
    """

    file: Path
    delimiter: str
    columns: Mapping[str, Sequence[str]]
    markers: Collection[str]

    @cached_property
    def has_decimal_commas(self) -> bool:
        """Whether some number of the file has a comma that cannot separate thousands."""
        return any(has_decimal_comma(cell) for column in self.columns.values() for cell in column)

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    def without(self, *names: str) -> "Cells":
        """Return the cells without some of the columns."""
        columns = {name: cells for name, cells in self.columns.items() if name not in names}
        return Cells(
            file=self.file, delimiter=self.delimiter, columns=columns, markers=self.markers
        )


def plain_numbers(cells: Cells, name: str) -> np.ndarray | None:
    """Return a column as floats, NaN where it is missing; None unless it holds numbers."""
    column = cells.columns[name]
    found = [np.nan if cell in cells.markers else parse_number(cell) for cell in column]
    if None in found or all(cell in cells.markers for cell in column):
        return None
    return np.array(found, np.float64)


def read_numbers(
    cells: Cells, name: str, notices: list[str], size: float = 0.0
) -> np.ndarray | None:
    """Return a column as `plain_numbers`, also where cells have a per cent sign or separators of thousands.

    Args:
        cells: The cells of the file.
        name: The column.
        notices: Gets a sentence for what could be read in another way.
        size: How large numbers mostly were in training, which settles what could be read in two ways; 0 if it
            is not known.

    Raises:
        ValueError: If nothing settles it.
    """
    whole_file = cells
    cells = _with_decimal_points(cells, name, notices)
    cells = replace(cells, columns={name: _without_points(cells, name, notices, size)})
    plain = plain_numbers(cells, name)
    if plain is not None:
        return plain
    column = [cell for cell in cells.columns[name] if cell not in cells.markers]
    odd = [cell for cell in column if parse_number(cell) is None]
    comma = whole_file.has_decimal_commas or _is_decimal(odd, size)
    found = {cell: parse_formatted(cell, decimal_comma=comma) for cell in odd}
    per_cent = {cell.endswith("%") for cell in column}
    if not odd or None in found.values() or len(per_cent) > 1:
        return None
    _check_commas(cells, name, [cell for cell in odd if "," in cell], comma, size)
    notices.append(f"{cells.file.name}, column {name}: {odd[0]!r} is read as {found[odd[0]]:.12g}")
    values = dict.fromkeys(cells.markers, np.nan) | found
    return np.array([values[c] if c in values else parse_number(c) for c in cells.columns[name]])


def _with_decimal_points(cells: Cells, name: str, notices: list[str]) -> Cells:
    """Return the cells with a column such as 1.234,50 as 1234.50, if it is written so; say so."""
    column = [cell for cell in cells.columns[name] if cell not in cells.markers]
    certain = next((c for c in column if "." in c and "," in c and _POINT_COMMA.fullmatch(c)), None)
    if certain is None or not all(map(_POINT_COMMA.fullmatch, column)):
        return cells
    plain = [
        c if c in cells.markers else c.replace(".", "").replace(",", ".")
        for c in cells.columns[name]
    ]
    notices.append(
        f"{cells.file.name}, column {name}: {certain!r} is read as "
        f"{certain.replace('.', '').replace(',', '.')}"
    )
    return replace(cells, columns={name: plain})


def _check_commas(
    cells: Cells, name: str, with_comma: Sequence[str], comma: bool, size: float
) -> None:
    """Raise ValueError if the commas of a column, or its points beside them, have no certain meaning."""
    unclear = all(has_decimal_comma(cell) is None for cell in with_comma) and not comma
    if with_comma and cells.delimiter != "," and unclear and not _is_thousands(with_comma, size):
        raise ValueError(
            f"{cells.file}, column {name}: {with_comma[0]!r} may be {with_comma[0].replace(',', '')} or "
            f"{with_comma[0].replace(',', '.')}: write the numbers without separators of thousands, and with "
            "decimal points"
        )
    points = (cell for cell in cells.columns[name] if cell not in cells.markers and "." in cell)
    point = next(points, None) if comma and with_comma else None
    if point is not None:
        raise ValueError(
            f"{cells.file}, column {name}: {point!r} and {with_comma[0]!r} have a point and a comma: write "
            "all numbers with decimal points, and without separators of thousands"
        )


def _without_points(cells: Cells, name: str, notices: list[str], size: float) -> Sequence[str]:
    """Return the cells of a column without points that separate thousands; say where they may."""
    column = [cell for cell in cells.columns[name] if cell not in cells.markers]
    grouped = [cell for cell in column if is_grouped_by_points(cell)]
    numbers_else = all(parse_number(c) is not None for c in column if c.count(".") < 2)
    if not grouped or not numbers_else or any("." in c for c in set(column) - set(grouped)):
        return cells.columns[name]
    one, where = grouped[0], f"{cells.file.name}, column {name}"
    certain = any(cell.count(".") > 1 for cell in grouped) or _is_thousands(grouped, size)
    if certain or (cells.has_decimal_commas and not _is_near(_median(grouped, "."), size)):
        notices.append(f"{where}: {one!r} is read as {one.replace('.', '')}")
        return [c.replace(".", "") if is_grouped_by_points(c) else c for c in cells.columns[name]]
    if (size or len(grouped) < len(column)) and not _is_near(_median(grouped, "."), size):
        notices.append(
            f"{where}: {one!r} is read as {float(one):g}, not as {one.replace('.', '')}: write the numbers "
            "without separators of thousands"
        )
    return cells.columns[name]


def _is_thousands(words: Sequence[str], size: float) -> bool:
    """Return whether words such as 1,234 or 1.234 are of the size of training as thousands alone."""
    return _is_near(_median(words, ""), size) and not _is_near(_median(words, "."), size)


def _is_decimal(words: Sequence[str], size: float) -> bool:
    """Return whether words such as 1,234 are of the size of training as decimal numbers alone."""
    unclear = bool(words) and all("," in w and has_decimal_comma(w) is None for w in words)
    return (
        unclear and _is_near(_median(words, "."), size) and not _is_near(_median(words, ""), size)
    )


def _median(words: Sequence[str], separator: str) -> float:
    """Return the median size of numbers, whose points or commas are replaced; NaN for other words."""
    numbers = [
        parse_number(w.rstrip("% ").replace(",", ".").replace(".", separator)) for w in words
    ]
    return math.nan if None in numbers else float(np.median(np.abs(np.array(numbers, float))))


def _is_near(value: float, size: float) -> bool:
    """Return whether a value is of a size, which is not 0."""
    return size > 0 and size / _NEAR <= value <= size * _NEAR


def refuse_odd_cells(cells: Cells, name: str) -> None:
    """Raise ValueError for a column of mostly numbers that has some other cells, and many different ones."""
    column = [cell for cell in cells.columns[name] if cell not in cells.markers]
    odd = [cell for cell in column if parse_number(cell) is None]
    few = 2 * len(odd) < len(column) or len(set(odd)) == 1
    if odd and few and len(set(column)) > MAX_ODD_CLASSES:
        raise ValueError(
            f"{cells.file}, column {name}: {odd[0]!r} is not a number, but {len(column) - len(odd):,} of "
            f"{len(column):,} cells are: fix it, or add it to config.data.missing_markers if it marks what "
            "is missing"
        )


def trained_numbers(
    cells: Cells, name: str, notices: list[str], binary: bool = False, size: float = 0.0
) -> np.ndarray:
    """Return a column that held numbers in training; raises ValueError for other cells."""
    if binary:
        bits = [BITS.get(cell.lower(), cell) for cell in cells.columns[name]]
        cells = replace(cells, columns={name: bits})
    if all(cell in cells.markers for cell in cells.columns[name]):
        return np.full(cells.num_rows, np.nan)
    found = read_numbers(cells, name, notices, size)
    if found is not None:
        return found
    odd = next(c for c in cells.columns[name] if c not in cells.markers and parse_number(c) is None)
    raise ValueError(
        f"{cells.file}, column {name}: {odd!r} is not a number, and the training data had numbers: fix it"
    )
