"""What the readers of a user's files return: raw arrays that need not be in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from sbmae_jax.data.names import as_name, problem_of_name

ReadRows = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
"""(row numbers, names) -> the raw rows of these arrays"""

ABOUT_ROWS = ("label", "split")


@dataclass(frozen=True, eq=False)
class RawArrays:
    """A user's arrays before anything is checked; their first axis is rows.

    Attributes:
        arrays: Each has `len`, `shape` and `dtype`, and is indexed by slices and integer arrays.
        present: [N] bool masks, for arrays whose missing rows the files themselves mark.
        entries: The names of the entries of vectors that have names.
        grouped: The columns of the vectors that columns of tables were grouped into.
        notices: Sentences on what was found and not used.
        unusable: By name, why something cannot be a modality; the user must leave it out.
        unreadable: By name, in one sentence, why something cannot be read. It matters if it is to be a
            modality.
        ignored: Columns that are known but not modelled: the names of the rows.
        read: Reads several arrays at once, where that is cheaper than one at a time.
    """

    arrays: Mapping[str, Any]
    _: KW_ONLY
    present: Mapping[str, np.ndarray] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grouped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    read: ReadRows | None = None


def unusable_names(things: Mapping[str, str], suffix: str = "") -> dict[str, str]:
    """Return why names cannot be those of modalities, for those that cannot: {name: end of a sentence}.

    Args:
        things: What has each name, in words. Names of what describes the rows are left out.
        suffix: What the names of files have after them.
    """
    modalities = {n: of for n, of in things.items() if n not in ABOUT_ROWS and n[-8:] != "_present"}
    problems = {name: problem_of_name(name, of, suffix) for name, of in modalities.items()}
    return {name: problem for name, problem in problems.items() if problem}


def read_each(
    things: Mapping[str, Any], read: Callable[[Any], Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Read things by their names: what can be read, and for what cannot be why, in one sentence.

    Raises:
        ValueError: If it is no modality that cannot be read, but what describes the rows.
    """
    found: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for name, thing in things.items():
        try:
            found[name] = read(thing)
        except ValueError as error:
            if name in ABOUT_ROWS or name.endswith("_present"):
                raise
            unreadable[name] = str(error)
    return found, unreadable


def by_name(where: Any, things: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return things by their names as `as_name` writes them; raises ValueError if two have one name."""
    found: dict[str, Any] = {}
    for name, thing in things:
        if as_name(name) in found:
            raise ValueError(
                f"{where} has two arrays {as_name(name)!r}: give each array its own name"
            )
        found[as_name(name)] = thing
    return found


def row_numbers(rows: Any, num_rows: int) -> np.ndarray:
    """Convert an index to the row numbers that it picks.

    Args:
        rows: A slice, an integer, a sequence of integers, or a mask [num_rows] bool.
        num_rows: The number of rows to pick from; negative integers count from the end.

    Returns:
        The row numbers, in 0..num_rows-1; a scalar for an integer.

    Raises:
        IndexError: If a row is out of range.

    Example:
        >>> row_numbers(slice(1, None, 2), 6), row_numbers([-1, 0], 6)
        (array([1, 3, 5]), array([5, 0]))
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(num_rows))
    numbers = np.asarray(rows)
    if numbers.dtype == bool:
        return np.flatnonzero(numbers)
    if numbers.size and not -num_rows <= numbers.min() <= numbers.max() < num_rows:
        raise IndexError(
            f"rows must be in 0..{num_rows - 1}, got {numbers.min()} to {numbers.max()}"
        )
    return np.where(numbers < 0, numbers + num_rows, numbers).astype(np.int64)
