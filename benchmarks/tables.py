"""Tables in Markdown, statistics over seeds, and the places in pages where tables stand.

A row is a mapping of figures. Where several seeds were measured it is a list of them, shown as mean ±
deviation.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims import Target, claim

Row = Mapping[str, Any]
Rows = Sequence[Row]


def mean_std(rows: Rows, figure: str) -> tuple[float, float]:
    """Return mean and standard deviation of a figure over rows; one row alone has a deviation of 0."""
    values = [row[figure] for row in rows]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def mean_of(row: Row, figures: Sequence[str]) -> float:
    """Return the mean of those of some figures that a row has."""
    return float(np.mean([row[figure] for figure in figures if figure in row]))


def cell(rows: Rows, figure: str) -> str:
    """Write a figure of any size: words as they are, counts in full, shares with three digits."""
    values = {row.get(figure, "") for row in rows}
    (value, *more) = values
    if not more and isinstance(value, int | str):
        return value if isinstance(value, str) else f"{value:,}"
    mean, std = mean_std(rows, figure)
    if np.isnan(mean):
        return "undefined"
    digits = 3 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if more else "")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rows_table(rows: Mapping[str, Row | Rows], columns: Sequence[str] = (), title: str = "") -> str:
    """Return a table in which each figure is a column: all figures of the first row, or those named."""
    listed = {name: [row] if isinstance(row, Mapping) else row for name, row in rows.items()}
    columns = columns or list(next(iter(listed.values()))[0])
    lines = ([name, *(cell(some, column) for column in columns)] for name, some in listed.items())
    return table([title, *columns], lines)


def part_table(
    part: str, columns: Sequence[str] = (), title: str = "", rows: str = "rows"
) -> tuple[str, Callable[[Mapping[str, Any]], str]]:
    """Return the entry of a report for the table of the rows of a part."""
    return part, lambda page: rows_table(page[part][rows], columns, title)


def figures_table(columns: Mapping[str, Rows], targets: Mapping[str, Target] | None = None) -> str:
    """Return a table in which each figure is a line, beside its target; a miss is bold."""
    targets, lines = targets or {}, []
    for name in next(iter(columns.values()), [{}])[0]:
        sign, bound = targets.get(name, ("", ""))
        cells = [f"{sign} {bound}".replace(">=", "≥").replace("<=", "≤").strip()] if targets else []
        for rows in columns.values():
            missed = sign and not claim(name, mean_std(rows, name)[0], sign, bound)["holds"]
            cells.append(f"**{cell(rows, name)}**" if missed else cell(rows, name))
        lines.append([name, *cells])
    return table(["", *(["target"] if targets else []), *columns], lines)


def over_seeds(runs: Mapping[str, Row], figures: Any = dict, words: str = "") -> dict[str, Rows]:
    """Return a column of a table of figures: those of runs by their seeds."""
    seeds = ", ".join(runs)
    what = f"seed {seeds}" if len(runs) == 1 else f"seeds {seeds}: mean ± deviation"
    return {f"{words}{what}": list(map(figures, runs.values()))}


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Put tables between their marks, `<!-- NAME -->` and `<!-- end of NAME -->`, where a text has them."""
    for name, made in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        text = pattern.sub(lambda _, block=f"{begin}{made}\n{end}": block, text)
    return text
