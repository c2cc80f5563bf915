"""The tables of a user, one file or several that a key joins, as the keys of the rows and their arrays.

The column `id` or `file` names the rows, or the one that `config.data.key` names. With image folders and
without such a column, it is the first one that names an image.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sbmae_jax._check import did_you_mean
from sbmae_jax.data.description import Description
from sbmae_jax.data.user.column_arrays import as_trained, infer_arrays
from sbmae_jax.data.user.csv_file import read_cells
from sbmae_jax.data.user.frame_file import FEATHER, FRAME_FILES, PARQUET, read_frame_columns
from sbmae_jax.data.user.groups import Groups
from sbmae_jax.data.user.raw import RawArrays
from sbmae_jax.data.user.table_columns import CsvColumns, SingleTable, find_key, join_tables

KEYS = ("id", "file")
CSV_FILES = (".csv", ".tsv")
# What people and programs write where there is no value; those of pandas, and a few more.
MISSING_MARKERS = (
    "", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "-nan", "-NaN", "None", "none", "null", "NULL", "Null",
    "<NA>", "#N/A", "#NA", "NaT",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How tables are read.

    Attributes:
        markers: The strings that mark what is missing.
        groups: Which columns of numbers form which vector, see `groups.as_groups`.
        key: The column that names the rows; "" for one that is called so.
        parts: The parts in which vectors are learned, see `parts.as_parts`.
    """

    markers: tuple[str, ...] = MISSING_MARKERS
    groups: Groups = ""
    key: str = ""
    parts: tuple[Any, ...] = ()


def is_table(file: Path) -> bool:
    """Return whether a file of a folder is a table, by its name; an Excel file is one only by itself."""
    return file.suffix.lower() in (*CSV_FILES, *PARQUET, *FEATHER) and file.name[0] != "."


def read_tables(
    where: Path, files: Sequence[Path], options: TableOptions, like: Description | None,
    folders: Collection[str], images: Collection[str], stem_of: Callable[[str], str],
) -> tuple[list[str], RawArrays]:  # fmt: skip
    """Return the keys of the rows of tables, and the columns as arrays.

    Args:
        where: The file, or the folder of the files.
        files: At least one table.
        options: How they are read.
        like: What a model was trained on, for new rows; None infers types.
        folders: The modalities that image folders hold.
        images: The names of all images, without suffix.
        stem_of: Returns the name of an image file without suffix.

    Raises:
        ValueError: If a table cannot be read, if several have no key in common, or if a key that names images
            comes twice; and as `join_tables`, `infer_arrays` and `as_trained`.
    """
    tables = [_open(file, options.markers) for file in files]
    key = _choose_key(where, tables, options.key, images)
    notices: tuple[str, ...] = ()
    if key is None:
        keys, table = [str(row) for row in range(tables[0].num_rows)], tables[0]
    elif len(tables) > 1:
        keys, table = join_tables(where, tables, key)
        names = ", ".join(file.name for file in files)
        notices = (f"{names}: the column {key} joins their rows",)
    else:
        keys, table = tables[0].keys(key), tables[0].without(key)
        notices = (f"{files[0].name}: the column {key} names the rows",)
    twice = [name for name, count in Counter(map(stem_of, keys)).items() if count > 1]
    # Without images, a key may come back, as a patient does.
    if twice and folders and key is not None:
        raise ValueError(
            f"{files[0]} has {twice[0]!r} twice in the column {key}: keep one row of each"
        )
    ignored = (
        () if key is None else tuple(sorted({n for t in tables for n in t.files} - {*table.files}))
    )
    if not table.files:
        return keys, RawArrays({}, ignored=ignored)
    found = (
        infer_arrays(table, options.groups) if like is None else as_trained(table, like, folders)
    )
    return keys, replace(found, notices=(*notices, *found.notices), ignored=ignored)


def _open(file: Path, markers: Collection[str]) -> SingleTable:
    """Read one table."""
    if file.suffix.lower() in FRAME_FILES:
        return read_frame_columns(file, markers)
    return CsvColumns(cells=read_cells(file, markers))


def _choose_key(
    where: Path, tables: Sequence[SingleTable], given: str, images: Collection[str]
) -> str | None:
    """Return the column that names the rows of tables, or None if one table alone has none."""
    if given:
        for table in tables:
            if given not in table.files:
                raise ValueError(
                    f"config.data.key: {table.where} has no column {given!r}"
                    f"{did_you_mean(given, table.files)}, only {', '.join(table.files)}"
                )
        return given
    if len(tables) == 1:
        return _key_of(tables[0], images)
    key = find_key(tables, KEYS)
    if key is None:
        names = [table.where.name for table in tables]
        common = [n for n in tables[0].files if all(n in table.files for table in tables)]
        hint = f", such as {common[0]!r}" if common else ""
        raise ValueError(
            f"{where} has several tables, {', '.join(names)}, and no column {' or '.join(KEYS)} in all of "
            f"them that names their rows: give each one, name a common one in config.data.key{hint}, or keep "
            "one table"
        )
    return key


def _key_of(table: SingleTable, images: Collection[str]) -> str | None:
    """Return the column that names the rows of one table, or None if there is none."""
    for name in table.files:
        if name.lower() in KEYS:
            return name
    if not images:
        return None
    for name in table.files:
        try:
            if any(Path(cell).stem in images for cell in table.keys(name)):
                return name
        except ValueError:  # a column that names nothing
            continue
    return next(iter(table.files))
