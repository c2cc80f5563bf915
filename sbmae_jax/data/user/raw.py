"""What the readers of a user's files give: raw arrays that need not be in memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Read = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
"""(numbers of rows, names) -> the raw rows of these arrays"""


class RawArrays(NamedTuple):
    """Arrays of a user, whose first axis is rows, before anything is checked.

    arrays: each has `len`, `shape`, `dtype` and can be indexed with slices and integer arrays.
    present: [N] bool for those of which the files themselves say which rows are measured.
    entries: names of the entries of vectors that have names.
    notices: sentences on what was found and not used.
    unusable: sentences on what cannot be a modality, by name; to be left out by the user.
    read: reads several arrays at once, where that is cheaper than one after the other.
    """

    arrays: Mapping[str, Any]
    present: Mapping[str, np.ndarray] = {}
    entries: Mapping[str, tuple[str, ...]] = {}
    notices: tuple[str, ...] = ()
    unusable: Mapping[str, str] = {}
    read: Read | None = None


def row_numbers(rows: Any, num_rows: int) -> np.ndarray:
    """Return the numbers of the rows that an index picks: a slice, an integer or an array of them, a mask."""
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
