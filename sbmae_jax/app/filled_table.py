"""Filled rows as the table that they came from: the same columns, in their order, formats and types."""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._extras import require_extra
from sbmae_jax.data.description import Description
from sbmae_jax.data.names import as_name
from sbmae_jax.data.parts import vectors_of
from sbmae_jax.data.user.csv_file import read_cells
from sbmae_jax.data.user.csv_numbers import Cells
from sbmae_jax.data.user.frame_file import EXCEL, FRAME_FILES, is_integer, read_frame, write_frame
from sbmae_jax.data.user.frames import put_into
from sbmae_jax.data.user.omics_writer import FilledMatrix, names_in_h5ad, write_h5ad
from sbmae_jax.data.user.table_files import CSV_FILES
from sbmae_jax.models.rows import Rows

H5AD = ".h5ad"
_BOM = "\ufeff"


FillTable = Callable[[Mapping[str, np.ndarray], Any], None]
"""(what `filled_in` returns of all modalities, an open file) -> writes the filled table"""


def table_writer(
    path: Path, output: Path, markers: Sequence[str], rows: Rows, data: Description
) -> FillTable:
    """Return what writes the filled rows as a table.

    Args:
        path: The file that the rows came from.
        output: The file to write, whose suffix is the format.
        markers: The cells of a CSV file that mark what is missing.
        rows: The rows.
        data: What the model was trained on.

    Raises:
        ValueError: If the rows did not come from a table, or not from one of a format that the output can
            be made of; or if a modality with holes is none of columns.
        ImportError: If packages that write the output are not installed.
    """
    suffix, given = output.suffix, path.suffix.lower()
    if suffix == H5AD and given == H5AD and path.is_file():
        return _h5ad_writer(path, rows, data)
    sources = (*(CSV_FILES if suffix == ".csv" else ()), *FRAME_FILES)
    sources = (H5AD,) if suffix == H5AD else sources
    if not path.is_file() or given not in sources:
        raise ValueError(
            f"a {suffix} output needs a {' or '.join(sources)} input, and {path} is none: choose an .npz "
            "output"
        )
    columns = _columns_of(rows, data)
    if given in CSV_FILES:
        return partial(_write_csv, path, markers, columns)
    if suffix in EXCEL:
        require_extra(f"writing {output.name}", "tables", "openpyxl")
    return partial(_write_frame, path, suffix, columns)


def _h5ad_writer(path: Path, rows: Rows, data: Description) -> FillTable:
    """Return what writes the filled rows as the `.h5ad` file that they came from."""
    there, vectors = names_in_h5ad(path), vectors_of(rows.scalings)
    owner = {part: vector for vector, parts in vectors.items() for part in parts}
    matrices: dict[str, tuple[str, ...]] = {}
    for name, scaling in rows.scalings.items():
        whole, columns = owner.get(name, name), data.entries.get(name, ())
        is_one = name not in owner and (scaling.value_kind.is_one_cell or not scaling.raw_shape)
        of_obs = whole == "obs" or is_one or not there.columns.isdisjoint(columns)
        if whole in there.matrices or not of_obs:
            matrices[whole] = _names_of(whole, vectors.get(whole, {}), data)
    of_matrices = {name for name in rows.names if owner.get(name, name) in matrices}
    columns = _columns_of(rows, data, of_matrices)
    return partial(_write_h5ad, path, matrices, columns)


def _names_of(name: str, parts: Mapping[str, list[int]], data: Description) -> tuple[str, ...]:
    """Return the names of the columns of a vector, which may be learned in parts."""
    if not parts:
        return tuple(data.entries.get(name, ()))
    named = {
        column: entry
        for part, columns in parts.items()
        for column, entry in zip(columns, data.entries.get(part, ()), strict=False)
    }
    return tuple(named[column] for column in sorted(named))


def _write_h5ad(
    path: Path, matrices: Mapping[str, tuple[str, ...]], columns: Mapping[str, tuple[str, ...]],
    arrays: Mapping[str, np.ndarray], file: Any,
) -> None:  # fmt: skip
    """Write an `.h5ad` file with its holes filled."""
    filled = {}
    for name, names in matrices.items():
        if f"{name}_rows" in arrays:
            holes = arrays[f"{name}_rows"]
            filled[name] = FilledMatrix(holes, arrays[name][holes], names)
    write_h5ad(path, filled, partial(_fill_frame, columns, arrays), file)


def _columns_of(
    rows: Rows, data: Description, besides: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Return the columns of each modality that has holes; raises ValueError if one is none of columns."""
    found = {}
    for m, name in enumerate(rows.names):
        if name in besides:
            continue
        scaling = rows.scalings[name]
        shape = () if scaling.value_kind.is_one_cell else scaling.raw_shape
        columns = data.entries.get(name, ()) if shape else (name,)
        if rows.observed[:, m].all():
            continue
        if shape not in ((), (len(columns),)):
            raise ValueError(
                f"{name} has examples of shape {shape}, which a table cannot hold: choose an .npz output"
            )
        found[name] = tuple(columns)
    return found


def _write_csv(
    path: Path, markers: Sequence[str], columns: Mapping[str, Sequence[str]],
    arrays: Mapping[str, np.ndarray], file: Any,
) -> None:  # fmt: skip
    """Write a CSV file with its holes filled."""
    holes = {name: arrays[f"{name}_rows"] for name in columns}
    file.write(filled_csv(path, markers, columns, arrays, holes))


def _write_frame(
    path: Path, suffix: str, columns: Mapping[str, Sequence[str]],
    arrays: Mapping[str, np.ndarray], file: Any,
) -> None:  # fmt: skip
    """Write a table whose columns have types with its holes filled."""
    write_frame(_fill_frame(columns, arrays, read_frame(path)), file, suffix, path)


def _fill_frame(
    columns: Mapping[str, Sequence[str]], arrays: Mapping[str, np.ndarray], frame: Any
) -> Any:
    """Return a data frame with its holes filled; integers stay integers."""
    names = {str(name): as_name(str(name).strip()) for name in frame.columns}
    frame = frame.rename(columns=lambda name: names[str(name)])
    filled = {name: arrays[name].copy() for name in columns}
    for name, members in columns.items():
        each = filled[name].reshape(len(frame), -1) if filled[name].dtype.kind == "f" else None
        for place, column in enumerate(members if each is not None else ()):
            if column in frame and is_integer(frame[column]):
                each[:, place] = np.round(each[:, place])  # pyright: ignore[reportOptionalSubscript]
    holes = {name: arrays[f"{name}_rows"] for name in columns}
    entries = {name: columns[name] for name in columns if columns[name] != (name,)}
    whole = put_into(frame, filled, holes, entries)
    back = {new: old for old, new in names.items()}
    return whole.rename(columns=back)


def filled_csv(
    path: Path, markers: Sequence[str], columns: Mapping[str, Sequence[str]],
    filled: Mapping[str, np.ndarray], holes: Mapping[str, np.ndarray],
) -> bytes:  # fmt: skip
    """Return a CSV file in which the cells of holes are filled; all others stay as they are.

    Args:
        path: The file with holes.
        markers: The cells that mark what is missing.
        columns: The columns of each modality that has holes. Those that the file does not have are added.
        filled: `{name: [N, ...]}`, the modalities that have holes, filled in.
        holes: `{name: [K]}`, the rows that were filled in.
    """
    cells = read_cells(path, markers)
    text = path.read_bytes().decode()
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = list(
        csv.reader(io.StringIO(text.removeprefix(_BOM), newline=""), delimiter=cells.delimiter)
    )
    header, rows = lines[0], [line for line in lines[1:] if line or len(lines[0]) == 1]
    rows = [row or [""] for row in rows[: cells.num_rows]]
    known = [as_name(name.strip()) for name in header]
    for name, names in columns.items():
        for column, values in zip(names, filled[name].reshape(len(rows), -1).T, strict=True):
            if column not in known:
                known.append(column)
                header.append(column)
                for row in rows:
                    row.append("")
            place = known.index(column)
            formatted = _formatted(values[holes[name]], cells, column)
            for row, cell in zip(holes[name], formatted, strict=True):
                if rows[row][place].strip() in (*markers, ""):  # the rest was measured
                    rows[row][place] = cell
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=cells.delimiter, lineterminator=newline).writerows([header, *rows])
    return ((_BOM if text.startswith(_BOM) else "") + out.getvalue()).encode()


def _formatted(values: np.ndarray, cells: Cells, column: str) -> Iterator[str]:
    """Yield values as the cells of a column are written."""
    measured = [cell for cell in cells.columns.get(column, ()) if cell not in cells.markers]
    comma = cells.has_decimal_commas
    point, other = (",", ".") if comma else (".", ",")
    numbers = [cell.rstrip("% ").replace(other, "") for cell in measured]
    decimals = max((len(number.partition(point)[2]) for number in numbers), default=None)
    if any("e" in number.lower() for number in numbers):
        decimals = None
    per_cent = "%" if measured and all(cell.endswith("%") for cell in measured) else ""
    for value in values.tolist():
        if isinstance(value, str | bool):
            yield str(value)
        else:
            number = f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"
            yield (number.replace(".", ",") if comma else number) + per_cent
