"""A CSV file: its delimiter and its cells."""

import csv
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from sbmae_jax._io import one_line
from sbmae_jax.data.names import as_name
from sbmae_jax.data.user.csv_numbers import Cells

DELIMITERS = (",", ";", "\t", "|")


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


def _delimiter_of(lines: list[str]) -> str:
    """Return the delimiter that cuts the first lines into the most cells, of the same number if any does."""

    def fitness(delimiter):
        widths = [len(row) for row in csv.reader(filter(str.strip, lines), delimiter=delimiter)]
        return len(set(widths)) == 1 and widths[0] > 1, max(widths, default=0)

    return max(DELIMITERS, key=fitness)


def _are_row_numbers(cells: list[str]) -> bool:
    """Return whether the cells are distinct whole numbers, as a program numbers the rows of a table."""
    return all(cell.isdecimal() for cell in cells) and len(set(cells)) == len(cells)
