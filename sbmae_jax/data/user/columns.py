"""A user's values in memory, as arrays and masks: NumPy and JAX arrays, lists, columns of data frames."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax._check import short_repr

_WORDS = (str, bytes)


class Column(NamedTuple):
    """The values of one modality.

    Attributes:
        values: [N, ...] numbers or strings, in a dtype that a file may have.
        present: [N] bool, False in rows that have no value; None if that is left to NaNs and to missing
            markers.
    """

    values: np.ndarray
    present: np.ndarray | None = None


def as_column(name: str, values: Any) -> Column:
    """Convert a user's values to an array, and note which rows have none.

    Args:
        name: The name of the modality, for messages.
        values: `[N, ...]`: an array of NumPy, JAX or PyTorch, masked or not; a series of pandas or polars; or
            a list of values, of which None are missing.

    Returns:
        The array. Missing floats are NaN in it, other missing values are marked.

    Raises:
        ValueError: Naming the modality, and where it applies the row, for values without a common type or
            shape.

    Example:
        >>> as_column("age", [31, None, 47])
        Column(values=array([31,  0, 47]), present=array([ True, False,  True]))
        >>> as_column("lab", np.ma.masked_equal([[1.0, 2.0], [3.0, 0.0]], 0)).values
        array([[ 1.,  2.],
               [ 3., nan]])
    """
    return _dates_as_strings(_as_column(name, values))


def _dates_as_strings(column: Column) -> Column:
    """Return dates of NumPy as ISO strings, which are marked where there is none."""
    values, present = column
    if values.dtype.kind != "M":
        return column
    here = np.ones(len(values), bool) if present is None else present.copy()
    here[np.reshape(np.isnat(values), (len(values), -1)).any(axis=1)] = False
    return Column(np.datetime_as_string(values), None if here.all() else here)


def _as_column(name: str, values: Any) -> Column:
    """Convert a user's values to an array, and note which rows have none."""
    if isinstance(values, np.ma.MaskedArray):
        return _from_masked(values)
    package = type(values).__module__.split(".")[0]
    if package == "pandas":
        return _from_series(name, values, values.isna().to_numpy())
    if package == "polars":
        return _from_series(name, values, values.is_null().to_numpy())
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OT":
        return Column(values)
    if not hasattr(values, "__array__") and (
        isinstance(values, str | bytes | dict) or not isinstance(values, Iterable)
    ):
        raise ValueError(f"{name} must be an array of rows, got {short_repr(values)}")
    if isinstance(values, np.ndarray) or not hasattr(values, "__array__"):
        return _from_objects(name, list(values))
    return Column(_in_numpy(name, values))


def _in_numpy(name: str, values: Any) -> np.ndarray:
    """Convert an array of another library, whose dtypes NumPy may not have."""
    values = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as a NumPy array ({error})") from None
    # Floats that only JAX and PyTorch have, such as bfloat16.
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def _from_masked(values: np.ma.MaskedArray) -> Column:
    """Return a masked array with NaN where it is masked in part, and a mask where whole rows are."""
    mask = np.ma.getmaskarray(values).reshape(len(values), -1)
    data = np.array(values.data)
    if data.dtype.kind == "f":
        data[np.ma.getmaskarray(values)] = np.nan
        return Column(data)
    present = np.logical_not(mask.all(axis=1))
    if (mask.any(axis=1) & present).any() and data.dtype.kind in "bui":
        data = data.astype(np.float64)
        data[np.ma.getmaskarray(values)] = np.nan
    return Column(data, present)


def _from_series(name: str, series: Any, missing: np.ndarray) -> Column:
    """Convert a column of a data frame."""
    kept = series.drop_nulls() if hasattr(series, "drop_nulls") else series[~missing]
    values = kept.to_numpy()  # in the dtype of the column, which holes would change
    present = _from_objects(name, list(values)).values if values.dtype.kind in "OT" else values
    return _spread(present, missing)


def _from_objects(name: str, values: Sequence[Any]) -> Column:
    """Convert a list, of which some values may be None."""
    missing = np.array([is_missing(v) for v in values], bool)
    present = [v for v, gone in zip(values, missing, strict=True) if not gone]
    if not present:
        return Column(np.full(len(values), np.nan), ~missing)
    if all(isinstance(v, str) for v in present) or all(isinstance(v, bytes) for v in present):
        return _spread(np.asarray(present), missing)
    if all(isinstance(v, datetime.date) for v in present):
        return _spread(_from_dates(name, present), missing)
    arrays = [_in_numpy(name, v) for v in present]
    rows = np.flatnonzero(~missing)
    for row, array in zip(rows, arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"{name} is ragged: row {row} has shape {array.shape}, row {rows[0]} has {arrays[0].shape}; "
                "give all rows one shape"
            )
        if array.dtype.kind not in "buifU" or (array.dtype.kind == "U") != (
            arrays[0].dtype.kind == "U"
        ):
            raise ValueError(
                f"{name} has values of no common type, such as {short_repr(values[int(row)])} in row {row}: "
                "give numbers alone, or strings alone"
            )
    return _spread(np.stack(arrays), missing)


def _from_dates(name: str, values: Sequence[datetime.date]) -> np.ndarray:
    """Return dates of Python as those of NumPy; raises ValueError for time zones, which these lack."""
    if any(getattr(value, "tzinfo", None) is not None for value in values):
        raise ValueError(
            f"{name} has times with a time zone: convert them to one zone and remove it, as "
            "dt.tz_convert('UTC').dt.tz_localize(None) of pandas does, or write them as ISO strings"
        )
    return np.array(values, "datetime64")


def is_missing(value: Any) -> bool:
    """Return whether a value is None, pandas' NA or NaT, or a NaN."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _spread(present: np.ndarray, missing: np.ndarray) -> Column:
    """Put the values of the rows that have one into an array of all rows."""
    if not missing.any():
        return Column(present)
    shape = (len(missing), *present.shape[1:])
    is_float = present.dtype.kind == "f"
    whole = np.zeros(shape, present.dtype)
    if is_float:
        whole[missing] = np.nan
    whole[~missing] = present
    return Column(whole, None if is_float else ~missing)


def join_columns(group: str, columns: Mapping[str, Column]) -> Column:
    """Join columns as the entries of one vector; holes are NaN."""
    if not columns:
        raise ValueError(f"groups: {group} names no column")
    for name, column in columns.items():
        if column.values.ndim > 1 or column.values.dtype.kind not in "buif":
            raise ValueError(
                f"groups: {name} in {group} has no numbers: make it a modality of its own"
            )
    present = [
        np.ones(len(c.values), bool) if c.present is None else c.present for c in columns.values()
    ]
    values = np.stack([c.values for c in columns.values()], axis=1)
    present = np.stack(present, axis=1)
    if present.all():
        return Column(values)
    if values.dtype.kind != "f" and (present.any(axis=1) == present.all(axis=1)).all():
        return Column(values, present[:, 0])
    values = values.astype(np.result_type(values.dtype, np.float32))
    values[~present] = np.nan
    return Column(values)
