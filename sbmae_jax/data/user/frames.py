"""Filled rows as the type that a user gave: a dict of arrays, or a data frame of pandas or polars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def frame_package(data: Any) -> str:
    """Return "pandas" or "polars" if data are one of their data frames, else ""."""
    package = type(data).__module__.split(".")[0]
    if package == "polars" and type(data).__name__ == "LazyFrame":
        raise ValueError("a LazyFrame has no values yet: give data.collect()")
    return package if package in ("pandas", "polars") and hasattr(data, "columns") else ""


def put_into(
    data: Any,
    filled: Mapping[str, np.ndarray],
    holes: Mapping[str, np.ndarray],
    entries: Mapping[str, Sequence[str]],
) -> Any:
    """Return a copy of data with holes filled in; what was there stays as it was.

    Args:
        data: `{name: [N, ...]}`, or a data frame.
        filled: `{name: [N, ...]}`, all modalities, filled in.
        holes: `{name: [K]}`, the rows of each modality that were filled in.
        entries: The names of the columns that form a vector.

    Returns:
        An object of the same type. Modalities that were absent are added. Columns keep their dtype where it
        can hold what was filled in.
    """
    package = frame_package(data)
    if not package:
        known = {str(name): name for name in data}
        new_ones = {name: values for name, values in filled.items() if name not in known}
        return {
            name: _as_given(filled[text], data[name]) if text in filled else data[name]
            for text, name in known.items()
        } | new_ones
    new: dict[str, Any] = {}
    known = {str(column): column for column in data.columns}
    for name, values in filled.items():
        columns = entries.get(name, (name,)) if name not in known else (name,)
        parts = [values] if columns == (name,) else list(values.T)
        for column, part in zip(columns, parts, strict=True):
            column = known.get(column, column)
            old = data[column] if column in data.columns else None
            if old is None or len(holes[name]):
                fill = _pandas_column if package == "pandas" else _polars_column
                new[column] = fill(data, column, old, part, holes[name])
    if package == "polars":
        return data.with_columns(*new.values())
    whole = data.copy()
    for column, values in new.items():  # whose name need not be a string
        whole[column] = values
    return whole


def _as_given(values: np.ndarray, given: Any) -> np.ndarray:
    """Return dates as those of NumPy if they were given so."""
    dtype = getattr(given, "dtype", None)
    return values.astype(dtype) if getattr(dtype, "kind", "") == "M" else values


def _pandas_column(frame: Any, name: Any, old: Any, values: np.ndarray, holes: np.ndarray) -> Any:
    """Return a column of pandas with its holes filled in."""
    del name
    if old is None:
        make = frame._constructor_sliced
        return make(_cells(values), index=frame.index)
    cells = old.to_numpy(object).copy()
    cells[holes] = _cells(values[holes])
    dtype = old.dtype
    if hasattr(old, "cat"):
        dtype = old.cat.add_categories(sorted(set(cells) - set(old.cat.categories))).dtype
    column = type(old)(cells, index=old.index, name=old.name, dtype=object)
    try:
        return column.astype(dtype)
    except (TypeError, ValueError):  # a dtype that cannot hold what was filled in
        return column.infer_objects()


def _polars_column(frame: Any, name: Any, old: Any, values: np.ndarray, holes: np.ndarray) -> Any:
    """Return a column of polars with its holes filled in."""
    if old is None:
        return type(frame.to_series(0))(name, _cells(values))
    cells = old.to_list()
    if str(old.dtype).startswith("Date"):  # Date and Datetime
        values = values.astype("datetime64[D]" if str(old.dtype) == "Date" else "datetime64[us]")
    for row, cell in zip(holes, _cells(values[holes]), strict=True):
        cells[row] = cell
    try:
        if str(old.dtype) != "Null":
            return type(old)(name, cells, dtype=old.dtype)
    except (TypeError, ValueError):  # a dtype that cannot hold what was filled in
        pass
    return type(old)(name, cells, strict=False)


def _cells(values: np.ndarray) -> list[Any]:
    """Return one Python value for each row, or one array where an example has axes."""
    return values.tolist() if values.ndim == 1 else list(values)
