"""Tables whose columns have types: Parquet, Feather (Arrow) and Excel files, as data frames of pandas."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sbmae_jax._extras import require_extra
from sbmae_jax._io import one_line
from sbmae_jax.data.names import as_name
from sbmae_jax.data.user.table_columns import FrameColumns

PARQUET, FEATHER, EXCEL = (".parquet", ".pq"), (".feather", ".arrow"), (".xlsx",)
FRAME_FILES = (*PARQUET, *FEATHER, *EXCEL)


def read_frame(file: Path) -> Any:
    """Read a file as a data frame of pandas, whose dtypes have holes of their own.

    Args:
        file: A `.parquet`, `.feather`, `.arrow` or `.xlsx` file; of the last, the first sheet is read.

    Raises:
        ValueError: If it cannot be read.
        ImportError: If the packages that read it are not installed.
    """
    suffix = file.suffix.lower()
    needed = "openpyxl" if suffix in EXCEL else "pyarrow"
    require_extra(f"reading {file.name}", "tables", "pandas", needed)
    import pandas as pd

    read: Any = (
        pd.read_parquet if suffix in PARQUET
        else pd.read_feather if suffix in FEATHER
        else pd.read_excel
    )  # fmt: skip
    try:
        return read(file, dtype_backend="numpy_nullable")
    except Exception as error:  # of whatever type these packages raise
        raise ValueError(
            f"{file} cannot be read ({one_line(error)}): it is damaged or of another format, so write it "
            "again"
        ) from None


def write_frame(frame: Any, file: Any, suffix: str, like: Path | None = None) -> None:
    """Write a data frame of pandas into an open file.

    Args:
        frame: The data frame.
        file: The file, open for bytes.
        suffix: The format: one of `FRAME_FILES`, or ".csv".
        like: A file whose types its columns get, as far as these hold the values; None keeps their own.
    """
    if suffix in (*PARQUET, *FEATHER):
        import pyarrow as pa
        from pyarrow import feather, parquet

        table = pa.Table.from_pandas(frame, preserve_index=False if suffix in FEATHER else None)
        schema = _schema(like) if like is not None else pa.schema([])
        for field in schema:
            place = table.schema.get_field_index(field.name)
            try:
                column = table.column(place).cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # which does not hold the values
                continue
            table = table.set_column(place, field.with_nullable(True), column)
        if schema.names == table.schema.names:  # what pandas notes on its own types
            table = table.replace_schema_metadata(schema.metadata)
        if suffix in PARQUET:
            parquet.write_table(table, file)
        else:
            feather.write_feather(table, file)
    elif suffix in EXCEL:
        frame.to_excel(file, index=False)
    else:
        frame.to_csv(file, index=type(frame.index).__name__ != "RangeIndex")


def is_integer(column: Any) -> bool:
    """Return whether a column of a data frame holds integers, with or without holes."""
    return getattr(column.dtype, "kind", "") in ("i", "u")


def _schema(file: Path) -> Any:
    """Return the names and types of the columns of a Parquet or Feather file; none of others."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    if file.suffix.lower() in PARQUET:
        return parquet.read_schema(file)
    return feather.read_table(file).schema if file.suffix.lower() in FEATHER else pa.schema([])


def read_frame_columns(file: Path, markers: Collection[str]) -> FrameColumns:
    """Read a file as columns.

    Args:
        file: As in `read_frame`.
        markers: The strings that mark what is missing.

    Returns:
        Its columns. An index that is more than the numbers of the rows is a column of its name, or `id`.

    Raises:
        ValueError: As `read_frame`, and if it has no rows, or two columns of one name.
    """
    return as_frame_columns(file, read_frame(file), markers)


def as_frame_columns(where: Path, frame: Any, markers: Collection[str]) -> FrameColumns:
    """Return a data frame as columns; raises ValueError as `read_frame_columns`."""
    if type(frame.index).__name__ != "RangeIndex":
        names = [name or "id" for name in frame.index.names]
        frame = frame.rename_axis(index=names).reset_index()
    frame = frame.rename(columns=lambda name: as_name(str(name).strip()))
    twice = [name for name, count in Counter(frame.columns).items() if count > 1]
    if twice:
        raise ValueError(f"{where} has two columns {twice[0]!r}: give each column its own name")
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{where} has no rows: add at least one")
    return FrameColumns(where=where, frame=frame, markers=markers)
