"""What a user's arrays hold, found in one pass, a piece of rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sbmae_jax._check import require_one_of
from sbmae_jax.data.kinds.date import format_of
from sbmae_jax.data.user.tables import Table

PIECE_BYTES = 32 * 2**20  # of raw arrays that are in memory at a time
MAX_CLASSES = 1000
POLICIES = ("refuse", "missing")
POLICIES_IN_TRAINING = ("split", *POLICIES)


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """What is known of one modality from the rows that have it.

    Attributes:
        low: The smallest number; NaN for strings.
        high: The largest number; NaN for strings.
        only_01: Whether all values are 0 or 1.
        only_0_255: Whether all values are 0 or 255.
        only_integers: Whether all values are integers, of whatever dtype.
        values: The distinct values of an array [N], ascending; None for other arrays, and if there are
            more than MAX_CLASSES.
        present: The rows that have the modality: [N] bool.
        infinite: The rows with infinite values: [N] bool.
        partial: The rows with NaN in part: [N] bool.
        markers: The strings that were found to mark what is missing, but the empty one.
        date_format: The format that all strings have, as `kinds.date.format_of` finds it; "" for others, and
            None if there are no strings.
    """

    low: float
    high: float
    only_01: bool
    only_0_255: bool
    only_integers: bool
    values: np.ndarray | None
    present: np.ndarray
    infinite: np.ndarray
    partial: np.ndarray
    markers: tuple[str, ...] = ()
    date_format: str | None = None

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return self.low == self.high or (self.values is not None and len(self.values) == 1)


def profile(table: Table, partial_rows: str = "refuse") -> dict[str, Profile]:
    """Profile all modalities of a table.

    Args:
        table: The user's arrays.
        partial_rows: What to do with rows that have NaN in part: "refuse" them, or take them for "missing".
            "split" takes them as they are.

    Returns:
        The profile of each modality.

    Raises:
        ValueError: If a value is infinite, if a row has NaN in part and `partial_rows` is "refuse", or if a
            modality is missing in every row.
    """
    require_one_of("partial_rows", partial_rows, POLICIES_IN_TRAINING)
    names = table.names
    found: dict[str, Profile] = {}
    for rows in pieces(table, names, np.arange(table.num_rows)):
        for name, raw in table.read(rows, names).items():
            marked = table.present[name][rows] if name in table.present else None
            this = profile_rows(raw, marked, partial_rows, table.missing_markers)
            found[name] = _merge(found[name], this) if name in found else this
    for name in names:
        if name not in found or not found[name].present.any():
            raise ValueError(f"{name} is missing in every row: leave this array out")
        require_usable(name, found[name], partial_rows)
    return found


def pieces(table: Table, names: Sequence[str], rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into pieces whose raw arrays fit into memory."""
    size = max(1, PIECE_BYTES // table.row_bytes(names))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def profile_rows(
    raw: np.ndarray, marked: np.ndarray | None, partial_rows: str, missing_markers: Sequence[str]
) -> Profile:
    """Profile some rows of one array.

    Args:
        raw: The rows, [B, ...].
        marked: Which rows have the modality, as the files say: [B] bool, or None where they do not say.
            Values of other rows are ignored.
        partial_rows: As in `profile`.
        missing_markers: The strings that mark a missing category.

    Returns:
        The profile of these rows.
    """
    present, partial = _present_rows(raw, marked, partial_rows, missing_markers)
    x = raw if present.all() else raw[present]
    infinite = np.zeros(len(raw), bool)
    if raw.dtype.kind == "f":
        infinite[present] = np.isinf(x).any(axis=tuple(range(1, x.ndim)))
    values = np.unique(x) if x.ndim == 1 else None
    markers = np.unique(raw[np.isin(raw, missing_markers)]) if raw.dtype.kind in "US" else ()
    low, high, only_integers, only_0_255 = np.nan, np.nan, False, False
    if raw.dtype.kind not in "US":
        # The range of no values is neutral where profiles are merged.
        low, high = (np.nanmin(x), np.nanmax(x)) if len(x) else (np.inf, -np.inf)
        known = x if raw.dtype.kind != "f" else x[x == x]  # without NaN
        only_integers = raw.dtype.kind != "f" or bool((known == np.floor(known)).all())
        only_0_255 = only_integers and bool(((known == 0) | (known == 255)).all())
    return Profile(
        low=float(low),
        high=float(high),
        only_01=bool(only_integers and low >= 0 and high <= 1),
        only_0_255=only_0_255,
        only_integers=only_integers,
        values=None if values is None or len(values) > MAX_CLASSES else values,
        present=present,
        infinite=infinite,
        partial=partial,
        markers=tuple(str(marker) for marker in markers if marker),
        date_format=format_of(x) if raw.dtype.kind in "US" and x.ndim == 1 and len(x) else None,
    )


def _present_rows(
    raw: np.ndarray, marked: np.ndarray | None, partial_rows: str, missing_markers: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that have a modality, and those that have NaN in part: two arrays [B] bool.

    A row lacks the modality if it is marked so, or is all NaN, or a string that marks what is missing.
    """
    present = np.ones(len(raw), bool) if marked is None else marked.copy()
    partial = np.zeros(len(raw), bool)
    if raw.dtype.kind in "US":
        present &= ~np.isin(raw, missing_markers).reshape(len(raw), -1).any(axis=1)
    elif raw.dtype.kind == "f":
        missing = np.isnan(raw).reshape(len(raw), -1)
        if missing.any():
            partial = present & missing.any(axis=1) & ~missing.all(axis=1)
            present &= ~missing.any(axis=1) if partial_rows == "missing" else ~missing.all(axis=1)
    return present, partial


def _merge(a: Profile, b: Profile) -> Profile:
    """Join the profiles of two pieces, which follow each other."""
    values = None
    if a.values is not None and b.values is not None:
        values = np.union1d(a.values, b.values)
    formats = {a.date_format, b.date_format} - {None}
    return Profile(
        low=float(np.fmin(a.low, b.low)),
        high=float(np.fmax(a.high, b.high)),
        only_01=a.only_01 and b.only_01,
        only_0_255=a.only_0_255 and b.only_0_255,
        only_integers=a.only_integers and b.only_integers,
        values=None if values is None or len(values) > MAX_CLASSES else values,
        present=np.concatenate([a.present, b.present]),
        infinite=np.concatenate([a.infinite, b.infinite]),
        partial=np.concatenate([a.partial, b.partial]),
        markers=tuple(sorted({*a.markers, *b.markers})),
        date_format=formats.pop() if len(formats) == 1 else "" if formats else None,
    )


def require_usable(name: str, profile: Profile, partial_rows: str, advice: str = "") -> None:
    """Raise ValueError for infinite values, and for NaN in part of a row where that is refused.

    Args:
        name: The name of the array.
        profile: What it holds.
        partial_rows: As in `profile`.
        advice: What can be done about NaN in part of a row; by default, what can be done before training.
    """
    infinite, partial = np.flatnonzero(profile.infinite), np.flatnonzero(profile.partial)
    num_rows = len(profile.present)
    if len(infinite):
        raise ValueError(
            f"{name}: infinite values in {len(infinite):,} of {num_rows:,} rows, the first in row "
            f"{infinite[0]:,}: fix them, or set the whole row to NaN to mark it as missing"
        )
    if len(partial) and partial_rows == "refuse":
        raise ValueError(
            f"{name}: NaN in part of {len(partial):,} of {num_rows:,} rows, the first in row "
            f"{partial[0]:,}: "
            + (
                advice
                or f"fill them in, split {name} into arrays that are missing together, or set "
                "config.data.partial_rows to 'missing' to take these rows for missing"
            )
        )
