"""What the readers of a user's files return: raw arrays that need not be in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

ReadRows = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
"""(row numbers, names) -> the raw rows of these arrays"""


@dataclass(frozen=True, eq=False)
class RawArrays:
    """A user's arrays before anything is checked; their first axis is rows.

    Attributes:
        arrays: Each has `len`, `shape` and `dtype`, and is indexed by slices and integer arrays.
        present: [N] bool masks, for arrays whose missing rows the files themselves mark.
        entries: The names of the entries of vectors that have names.
        notices: Sentences on what was found and not used.
        unusable: By name, why something cannot be a modality; the user must leave it out.
        ignored: Columns that are known but not modelled: the names of the rows.
        read: Reads several arrays at once, where that is cheaper than one at a time.
    """

    arrays: Mapping[str, Any]
    _: KW_ONLY
    present: Mapping[str, np.ndarray] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    read: ReadRows | None = None


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
