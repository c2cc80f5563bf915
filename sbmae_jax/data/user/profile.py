"""What is in the arrays of a user, found in one pass, a piece at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sbmae_jax.data.user.tables import Table

PIECE_BYTES = 32 * 2**20  # of raw arrays that are in memory at a time
MAX_CLASSES = 1000
POLICIES = ("refuse", "missing")


class Profile(NamedTuple):
    """What is known of the measured rows of one modality.

    low, high: of numbers.  only_01, only_0_255: no other values.  whole: all values are whole numbers.
    values: the different ones of an array [N], ascending, or None where they are more than MAX_CLASSES.
    present: [N] bool, the rows that are measured.
    infinite, partial: rows with infinite values, and with NaN in part.
    """

    low: float
    high: float
    only_01: bool
    only_0_255: bool
    whole: bool
    values: np.ndarray | None
    present: np.ndarray
    infinite: np.ndarray
    partial: np.ndarray

    @property
    def constant(self) -> bool:
        """Whether there is one value only."""
        return self.low == self.high or (self.values is not None and len(self.values) == 1)


def profile(table: Table, partial_rows: str = "refuse") -> dict[str, Profile]:
    """Look at all arrays of a table.

    partial_rows: "refuse" rows that have NaN in part, or take them for "missing".

    Raises ValueError for infinite values, for NaN in part where that is refused, and for a modality of
    which no row is measured.
    """
    if partial_rows not in POLICIES:
        raise ValueError(f"partial_rows must be one of {', '.join(POLICIES)}, got {partial_rows!r}")
    names = table.names
    found: dict[str, Profile] = {}
    for rows in pieces(table, names, np.arange(table.num_rows)):
        for name, raw in table.read(rows, names).items():
            stated = table.present[name][rows] if name in table.present else None
            this = profile_piece(raw, stated, partial_rows)
            found[name] = merged(found[name], this) if name in found else this
    for name in names:
        if name not in found or not found[name].present.any():
            raise ValueError(f"{name}: no row is measured: leave this array out")
        check(name, found[name], partial_rows)
    return found


def pieces(table: Table, names: Sequence[str], rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into pieces that fit into memory."""
    size = max(1, PIECE_BYTES // table.row_bytes(names))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def measured_rows(
    raw: np.ndarray, stated: np.ndarray | None, partial_rows: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are measured, and which have NaN in part: two [B] bool.

    raw: [B, ...]; NaN throughout, and an empty word, are not measured. stated: [B] bool, what the files
    say; where it is False the values do not count.
    """
    present = np.ones(len(raw), bool) if stated is None else stated.copy()
    partial = np.zeros(len(raw), bool)
    if raw.dtype.kind in "US":
        present &= (raw != raw.dtype.type()).reshape(len(raw), -1).all(axis=1)
    elif raw.dtype.kind == "f":
        missing = np.isnan(raw).reshape(len(raw), -1)
        if missing.any():
            partial = present & missing.any(axis=1) & ~missing.all(axis=1)
            present &= ~missing.any(axis=1) if partial_rows == "missing" else ~missing.all(axis=1)
    return present, partial


def profile_piece(raw: np.ndarray, stated: np.ndarray | None, partial_rows: str) -> Profile:
    """Look at one piece of an array; arguments as `measured_rows`."""
    present, partial = measured_rows(raw, stated, partial_rows)
    x = raw if present.all() else raw[present]
    infinite = np.zeros(len(raw), bool)
    if raw.dtype.kind == "f":
        infinite[present] = np.isinf(x).any(axis=tuple(range(1, x.ndim)))
    values = np.unique(x) if x.ndim == 1 else None
    if values is not None and len(values) > MAX_CLASSES:
        values = None
    return Profile(*profile_values(x), values, present, infinite, partial)


def profile_values(x: np.ndarray) -> tuple[float, float, bool, bool, bool]:
    """Return of values the first five entries of a Look; of none, what all others can be joined to."""
    if x.dtype.kind in "US":
        return np.nan, np.nan, False, False, False
    if not len(x):
        return np.inf, -np.inf, True, True, True
    low, high = float(np.nanmin(x)), float(np.nanmax(x))
    whole = x.dtype.kind != "f" or bool((x == np.floor(x)).all())
    only_01 = whole and low >= 0 and high <= 1
    only_0_255 = whole and low in (0, 255) and high in (0, 255) and extremes(x)
    return low, high, only_01, only_0_255, whole


def extremes(x: np.ndarray) -> bool:
    """Return whether there are no values but 0 and 255."""
    return bool(((x == 0) | (x == 255)).all())


def merged(a: Profile, b: Profile) -> Profile:
    """Join what was seen in two pieces."""
    values = None
    if a.values is not None and b.values is not None:
        values = np.union1d(a.values, b.values)
    return Profile(
        float(np.fmin(a.low, b.low)),
        float(np.fmax(a.high, b.high)),
        a.only_01 and b.only_01,
        a.only_0_255 and b.only_0_255,
        a.whole and b.whole,
        None if values is None or len(values) > MAX_CLASSES else values,
        *(np.concatenate(pair) for pair in zip(a[6:], b[6:], strict=True)),
    )


def check(name: str, seen: Profile, partial_rows: str) -> None:
    """Raise ValueError for infinite values, and for NaN in part where that is refused."""
    infinite, partial = np.flatnonzero(seen.infinite), np.flatnonzero(seen.partial)
    if len(infinite):
        raise ValueError(
            f"{name}: infinite values in {len(infinite):,} of {len(seen.present):,} rows, the first in row "
            f"{infinite[0]:,}: mend them, or put NaN in the whole row to say that it was not measured"
        )
    if len(partial) and partial_rows == "refuse":
        raise ValueError(
            f"{name}: NaN in a part of {len(partial):,} of {len(seen.present):,} rows, the first in row "
            f"{partial[0]:,}: fill them, split {name} into arrays that are measured together, or set "
            "config.data.partial_rows to 'missing' to take these rows for not measured"
        )
