"""The columns of tables as arrays: grouped into modalities, or found by the names that a model knows."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sbmae_jax.data.description import Description
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.columns import Column, join_columns
from sbmae_jax.data.user.groups import HOW_TO_GROUP, Groups, form_vectors, name_problems
from sbmae_jax.data.user.raw import ABOUT_ROWS, RawArrays, read_each
from sbmae_jax.data.user.table_columns import TableColumns


def infer_arrays(table: TableColumns, groups: Groups = "") -> RawArrays:
    """Return the columns of a table as arrays, whose types are inferred.

    Args:
        table: The columns, without those of the key.
        groups: Which columns of numbers form which vector.

    Returns:
        The vectors of numbers, an array for each column of words, and `label` and `split` if there are
        such columns. In a CSV file, a column that mixes many numbers with words, or has a number that can be
        read in two ways, is unreadable; so is a vector that has one.

    Raises:
        ValueError: As `form_vectors`.
    """
    notices: list[str] = []
    arrays: dict[str, Any] = {n: table.about_rows(n) for n in ABOUT_ROWS if n in table.files}
    table = table.without(*arrays)
    found, unreadable = read_each(
        {name: name for name in table.files}, lambda name: table.infer(name, notices)
    )
    numbers = [n for n, (x, _) in found.items() if x.ndim == 1 and x.dtype.kind in "buif"]
    vectors = form_vectors(groups, table.files, numbers, unreadable)
    for name, columns in vectors.items():
        bad = [column for column in columns if column in unreadable]
        if bad:
            unreadable[name] = unreadable.pop(bad[0])
    together = {column for columns in vectors.values() for column in columns}
    single = [name for name in found if name not in together]
    modalities = {name: found[name] for name in single} | {
        name: join_columns(name, {c: found[c] for c in columns})
        for name, columns in vectors.items()
        if name not in unreadable
    }
    return RawArrays(
        arrays | {name: values for name, (values, _) in modalities.items()},
        present={n: present for n, (_, present) in modalities.items() if present is not None},
        entries=vectors,
        grouped=vectors,
        notices=(*_grouping(table.files, vectors, found, single), *notices),
        unusable=name_problems(groups, table.files, vectors, single),
        unreadable=unreadable,
    )


def _grouping(
    files: Mapping[str, Path], vectors: Mapping[str, Sequence[str]], found: Mapping[str, Column],
    single: Sequence[str],
) -> list[str]:  # fmt: skip
    """Say which columns form which modality, and how to choose others."""
    notices = []
    for file in dict.fromkeys(files.values()):
        own = [name for name in single if files[name] == file]
        read = [
            f"numbers, together the vector {name}: {', '.join(columns)}"
            for name, columns in vectors.items()
            if files[columns[0]] == file
        ]
        for kinds, what in (("buif", "numbers"), ("US", "words")):
            of = [
                n for n in own if found[n].values.dtype.kind in kinds and found[n].values.ndim == 1
            ]
            each = "a category or text" if what == "words" else "a modality"
            read += [f"{what}, each {each}: {', '.join(of)}"] * bool(of)
        if read:
            notices.append(f"{file.name} has columns of {'; '.join(read)}")
    grouped = any(len(columns) > 1 for columns in vectors.values())
    return notices + [HOW_TO_GROUP] * grouped


def as_trained(table: TableColumns, data: Description, folders: Collection[str]) -> RawArrays:
    """Return the columns of a table as the arrays of a trained model, found by the names of the columns.

    Args:
        table: The columns, without those of the key.
        data: What the model was trained on.
        folders: The modalities that image folders hold.

    Returns:
        The modalities of which there are columns, in the order and with the types of the training data.

    Raises:
        ValueError: If a vector lacks some of its columns, if there is a column that training did not have,
            or if a cell that must be a number is none.
    """
    modalities: dict[str, Column] = {}
    entries: dict[str, tuple[str, ...]] = {}
    notices: list[str] = []
    files = table.files
    unknown = set(files) - set(ABOUT_ROWS) - set(data.ignored)
    for name, scaling in data.scalings.items():
        wanted = _columns_of(name, scaling, data)
        found = [column for column in wanted if column in files]
        lacking = [column for column in wanted if column not in files]
        if not found or name in folders:
            continue
        if lacking:
            raise ValueError(
                f"{table.where} lacks {', '.join(lacking)}, which the training data had in {name}: add the "
                "column, with empty cells where it was not measured"
            )
        unknown -= set(found)
        columns = {
            column: table.trained(column, scaling, size, notices)
            for column, size in zip(found, _sizes(scaling, len(found)), strict=True)
        }
        alone = columns[found[0]]
        if scaling.value_kind.is_one_cell or not scaling.raw_shape or alone.values.ndim > 1:
            modalities[name] = alone
        else:
            modalities[name] = join_columns(name, columns)
        if not scaling.value_kind.is_one_cell:
            entries[name] = tuple(found)
    if unknown:
        known = [column for n, s in data.scalings.items() for column in _columns_of(n, s, data)]
        raise ValueError(
            f"{table.where} has a column {sorted(unknown)[0]!r} that the training data did not have: rename "
            f"or remove it; they had {', '.join(known)}"
        )
    return RawArrays(
        {name: values for name, (values, _) in modalities.items()},
        present={n: present for n, (_, present) in modalities.items() if present is not None},
        entries=entries,
        notices=tuple(notices),
    )


def _sizes(scaling: Scaling, num: int) -> list[float]:
    """Return how large the numbers of each column mostly were in training; 0 where that is not known."""
    known = scaling.kind in ("vector", "counts", "large_counts") and scaling.typical.shape == (
        3,
        num,
    )
    return scaling.typical[1].tolist() if known else [0.0] * num


def _columns_of(name: str, scaling: Scaling, data: Description) -> tuple[str, ...]:
    """Return the columns that hold a modality; of one without axes, the entries are names of classes."""
    return (data.entries.get(name, ()) if scaling.raw_shape else ()) or (name,)
