"""Which columns of a table form which modality.

Without a choice, all columns of numbers of a file form one vector, named after the file. Each column of words
is a category or text, and each column of arrays a modality of its own, in any case.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sbmae_jax._check import did_you_mean, short_repr
from sbmae_jax.data.names import RESERVED, as_name, problem_of_name
from sbmae_jax.data.user.raw import unusable_names

EACH, PREFIX = "each", "prefix"
HOW_TO_GROUP = (
    "choose other vectors by config.data.groups: 'each' column its own, by 'prefix', or "
    "{'NAME': ['COLUMN', 'PREFIX_*']}"
)

GroupsGiven = Mapping[str, Any] | str | None
"""What a user says: a name and its columns or patterns, "each", "prefix", or nothing."""
Groups = str | tuple[tuple[str, tuple[str, ...]], ...]
"""The same, hashable; "" for nothing."""
PartsGiven = Mapping[str, Any] | None
"""`{vector: lists of columns}`, each by its name or its number, or `{vector: "each"}`; or nothing."""
Parts = tuple[tuple[str, tuple[tuple[Any, ...], ...] | str], ...]
"""The same, hashable."""


def as_groups(given: GroupsGiven) -> Groups:
    """Return the groups of columns that a user has given, checked, in a form that is hashable.

    Args:
        given: `{name: columns}` of vectors, where a column may be a pattern such as "lab_*"; "each" for one
            modality per column; "prefix" for vectors of the columns that have the same letters before their
            first underscore or point; or None.

    Raises:
        ValueError: For anything else.

    Example:
        >>> as_groups({"labs": ["hb", "crp"], "vitals": "vital_*"})
        (('labs', ('hb', 'crp')), ('vitals', ('vital_*',)))
    """
    if given is None or given in ("", EACH, PREFIX):
        return given or ""
    if not isinstance(given, Mapping):
        raise ValueError(
            f"groups must be {{name: columns}}, 'each' or 'prefix', got {short_repr(given)}"
        )
    found = []
    for name, columns in given.items():
        columns = (columns,) if isinstance(columns, str) else columns
        listed = isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)
        if not listed or not columns or not isinstance(name, str):
            raise ValueError(f"groups: {name} must be a list of columns, got {short_repr(columns)}")
        found.append((as_name(name), tuple(map(as_name, columns))))
    return tuple(found)


def as_parts(given: PartsGiven) -> Parts:
    """Return parts of vectors that a user has given, checked, in a form that is hashable.

    Raises:
        ValueError: For anything but `{vector: lists of columns}` or `{vector: "each"}`.

    Example:
        >>> as_parts({"lab": [["hb", "wbc"], ["crp"]], "scan": "each"})
        (('lab', (('hb', 'wbc'), ('crp',))), ('scan', 'each'))
    """
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise ValueError(f"parts must be {{vector: lists of columns}}, got {short_repr(given)}")
    found = []
    for vector, lists in given.items():
        if lists == EACH:
            found.append((as_name(str(vector)), EACH))
            continue
        is_listed = isinstance(lists, list | tuple) and lists and all(map(_is_part, lists))
        if not is_listed:
            raise ValueError(
                f"parts: {vector} must be a list of lists of columns, or 'each', got {short_repr(lists)}"
            )
        found.append((as_name(str(vector)), tuple(tuple(part) for part in lists)))
    return tuple(found)


def _is_part(part: Any) -> bool:
    return isinstance(part, list | tuple) and bool(part) and all(
        isinstance(c, str | int) and not isinstance(c, bool) for c in part
    )  # fmt: skip


def form_vectors(
    groups: Groups, files: Mapping[str, Path], numbers: Collection[str], unreadable: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return the columns of each vector.

    Args:
        groups: What the user has chosen.
        files: The file of each column.
        numbers: The columns of numbers.
        unreadable: The columns that cannot be read; a vector that names one is returned all the same.

    Raises:
        ValueError: If a group names a column that is not there or has no numbers, or one that another group
            has; and for a name of a vector that is a column or reserved.
    """
    if groups == EACH:
        return {}
    if groups == PREFIX:
        vectors = _by_prefix(numbers)
    elif isinstance(groups, str):
        vectors = _by_file(files, numbers)
    else:
        vectors = _by_mapping(dict(groups), files, numbers, unreadable)
    by_file = groups == ""
    for name, columns in vectors.items():
        if by_file and name in RESERVED:  # before it is taken for the label of the rows
            file = files[columns[0]]
            raise ValueError(
                f"{name} is the name of the vector of numbers in {file}, and "
                f"{problem_of_name(name, f'the file {file.name}', file.suffix)}"
            )
        if by_file and name in set(files) - set(numbers):
            raise ValueError(
                f"{files[name]} has a column {name}, which is also the name of its vector: rename one of them"
            )
        if not by_file and name in set(files) - set(columns):
            raise ValueError(f"groups: {name} is also a column: give the vector another name")
    return vectors


def name_problems(
    groups: Groups, files: Mapping[str, Path], vectors: Mapping[str, Sequence[str]],
    single: Collection[str],
) -> dict[str, str]:  # fmt: skip
    """Return why names of vectors or single columns cannot be those of modalities, as `unusable_names`."""
    problems = {}
    for name in single:
        problems |= unusable_names({name: f"that column of {files[name].name}"})
    for name, columns in vectors.items():
        file = files[columns[0]]
        of, suffix = (f"the file {file.name}", file.suffix) if groups == "" else ("the group", "")
        problems |= unusable_names({name: of}, suffix)
    return problems


def _by_file(files: Mapping[str, Path], numbers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Group columns of numbers by their file."""
    vectors: dict[Path, list[str]] = {}
    for name in numbers:
        vectors.setdefault(files[name], []).append(name)
    stems = [as_name(file.stem) for file in vectors]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        both = [file.name for file in vectors if as_name(file.stem) == twice]
        raise ValueError(
            f"{both[0]} and {both[1]} both give a vector {twice}, as it is named after its file: rename one "
            "of them"
        )
    return {stem: tuple(names) for stem, names in zip(stems, vectors.values(), strict=True)}


def _by_prefix(numbers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Group columns of numbers by what they have before their first underscore or point."""
    vectors: dict[str, list[str]] = {}
    for name in numbers:
        prefix = re.split(r"[_.]", name, maxsplit=1)[0]
        if prefix and prefix != name:
            vectors.setdefault(prefix, []).append(name)
    return {prefix: tuple(names) for prefix, names in vectors.items() if len(names) > 1}


def _by_mapping(
    groups: Mapping[str, Sequence[str]], files: Mapping[str, Path], numbers: Collection[str],
    unreadable: Collection[str],
) -> dict[str, tuple[str, ...]]:  # fmt: skip
    """Group columns as a user says; a column that is named belongs to no pattern."""
    owner: dict[str, str] = {}
    for group, members in groups.items():
        for member in members:
            if member in files and owner.setdefault(member, group) != group:
                raise ValueError(f"groups: {member} is in {owner[member]} and in {group}")
    vectors = {}
    for group, members in groups.items():
        columns: dict[str, Any] = {}
        for member in members:
            if member in files:
                if member not in numbers and member not in unreadable:
                    raise ValueError(
                        f"groups: {member} in {group} has no numbers: make it a modality of its own"
                    )
                columns[member] = None
                continue
            matching = [
                n for n in numbers if fnmatchcase(n, member) and owner.get(n, group) == group
            ]
            if not matching:
                what = (
                    "that no column of numbers matches" if "*" in member else "which is not there"
                )
                raise ValueError(
                    f"groups: {group} names the column {member!r}, {what}{did_you_mean(member, files)}: "
                    f"choose from {', '.join(files)}"
                )
            for name in matching:
                owner[name] = group
            columns |= dict.fromkeys(matching)
        vectors[group] = tuple(columns)
    return vectors
