"""What the numbers of an array are like, which tells counts from intensities, and prices from lengths."""

from dataclasses import dataclass

import numpy as np

from sbmae_jax.data.user.profile import Profile, pieces
from sbmae_jax.data.user.tables import Table

_MAX_ROWS, _MAX_VALUES = 2000, 500_000  # that are looked at, at equal distances
_MAX_LEVELS = 64
_RARE = 0.05  # of the most frequent value: the largest of counts is rarer
_PILE, _MIN_PILE = (
    0.02,
    5,
)  # the share and the number of values at the largest one: more are no tail
_MIN_SIDE = 4  # of an axis along which neighbours are compared


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the numbers [N, F] of one modality are like, in some of its rows.

    Attributes:
        zeros: The share of zeros.
        dispersion: The variance over the mean, which is 1 for Poisson counts: the median over features that
            vary. NaN without any.
        skewness: The median of their skewness.
        log_skewness: The same of ln x of the values above 0.
        levels: The distinct values, ascending; none if there are more than 64.
        is_capped: Whether many values of many features lie at one largest value, as on a scale that ends.
        has_tail: Whether eight or more integers from 0 or 1 are the rarer the farther from the most frequent
            one, and the largest is very rare, as in counts.
        total: The sum of all rows, if it is nearly the same and no value is negative; 0 otherwise.
        roughness: For each of the axes of examples [A, B, ..], the squared differences of neighbours over
            those of values far apart: near 0 along time or in photographs, about 1 where the order says
            nothing. NaN for a short axis.
        differences: The squared differences of neighbours along these axes; 0 for an axis of length 1.
        left_in_means: For each of these axes, the share of the variance that the means along it have: near 0
            along time where there are rhythms.
        equal_neighbours: The share of neighbours along both axes of examples [A, B, ..] that are equal.
    """

    zeros: float
    dispersion: float
    skewness: float
    log_skewness: float
    levels: tuple[float, ...]
    is_capped: bool
    has_tail: bool
    total: float
    roughness: tuple[float, float]
    differences: tuple[float, float]
    left_in_means: tuple[float, float]
    equal_neighbours: float


def look_at(table: Table, name: str, profile: Profile) -> Statistics:
    """Measure the statistics of a modality of numbers.

    Args:
        table: The user's arrays.
        name: The modality.
        profile: What is known of it.
    """
    rows = np.flatnonzero(profile.present)
    size = max(1, int(np.prod(table.shapes[name], dtype=np.int64)))
    num = max(2, min(_MAX_ROWS, _MAX_VALUES // size))
    if len(rows) > num:
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, num).astype(np.int64))]
    parts = [table.read(part, [name])[name] for part in pieces(table, [name], rows)]
    return measure(np.concatenate(parts))


def measure(raw: np.ndarray) -> Statistics:
    """Measure the statistics of rows [N, ...] of numbers; NaN is skipped."""
    raw = raw.astype(np.float64)
    x = raw.reshape(len(raw), -1)
    known = x[np.isfinite(x)]
    levels = np.unique(known)
    varying = x[:, np.nanmin(x, axis=0) < np.nanmax(x, axis=0)] if x.size else x[:, :0]
    mean, variance = np.nanmean(varying, axis=0), np.nanvar(varying, axis=0)
    logs = np.log(np.where(varying > 0, varying, np.nan))
    return Statistics(
        zeros=float(np.mean(known == 0)),
        dispersion=_median(variance[mean > 0] / mean[mean > 0]),
        skewness=_median(_skewness(varying)),
        log_skewness=_median(_skewness(logs)),
        levels=tuple(levels.tolist()) if len(levels) <= _MAX_LEVELS else (),
        is_capped=_is_capped(x, known),
        has_tail=_has_tail(known),
        total=_total(x),
        roughness=_roughness(raw),
        differences=_differences(raw),
        left_in_means=_left_in_means(raw),
        equal_neighbours=_equal_neighbours(raw),
    )


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _skewness(x: np.ndarray) -> np.ndarray:
    """Return the skewness of each feature [F]; NaN for those with fewer than three values or no spread."""
    having = (np.isfinite(x).sum(axis=0) >= 3) & (np.nan_to_num(x).std(axis=0) > 0)
    x = x[:, having]
    x = x - np.nanmean(x, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmean(x**3, axis=0) / np.nanmean(x**2, axis=0) ** 1.5


def _is_capped(x: np.ndarray, known: np.ndarray) -> bool:
    highest = np.nanmax(x, axis=0) if x.size else np.zeros(0)
    shared = np.mean(highest == known.max()) if known.size else 0
    num = np.count_nonzero(known == known.max()) if known.size else 0
    return bool(shared >= 0.3 and num >= max(_MIN_PILE, _PILE * known.size))


def _has_tail(known: np.ndarray) -> bool:
    levels, numbers = np.unique(known, return_counts=True)
    if not 8 <= len(levels) <= _MAX_LEVELS or levels[0] not in (0, 1):
        return False
    peak = int(numbers.argmax())
    noise = 2 * np.sqrt(numbers.astype(float))
    rises = np.diff(numbers[peak:]) > noise[peak + 1 :]
    falls = np.diff(numbers[: peak + 1]) < -noise[:peak]
    return bool(numbers[-1] <= _RARE * numbers[peak] and not rises.any() and not falls.any())


def _total(x: np.ndarray) -> float:
    if x.shape[1] < 3 or not x.size or np.isnan(x).any() or x.min() < 0:
        return 0.0
    sums = x.sum(axis=1)
    middle = float(np.median(sums))
    return middle if middle > 0 and np.abs(sums - middle).max() <= 0.01 * middle else 0.0


def _equal_neighbours(raw: np.ndarray) -> float:
    shares = [
        np.mean(np.diff(raw, axis=axis) == 0)
        for axis in ((1, 2) if raw.ndim in (3, 4) else ())
        if raw.shape[axis] > 1
    ]
    return float(np.mean(shares)) if shares else 0.0


def _left_in_means(raw: np.ndarray) -> tuple[float, float]:
    if raw.ndim not in (3, 4):
        return float("nan"), float("nan")
    x = raw - np.nanmean(raw, axis=0)
    total = float(np.nanvar(x)) or float("nan")
    first, second = (float(np.nanvar(np.nanmean(x, axis=axis))) / total for axis in (1, 2))
    return first, second


def _differences(raw: np.ndarray) -> tuple[float, float]:
    found = [0.0, 0.0]
    for axis in (1, 2) if raw.ndim in (3, 4) else ():
        if raw.shape[axis] > 1:
            found[axis - 1] = float(np.nanmean(np.diff(raw, axis=axis) ** 2))
    return found[0], found[1]


def _roughness(raw: np.ndarray) -> tuple[float, float]:
    found = [float("nan"), float("nan")]
    for axis in (1, 2) if raw.ndim in (3, 4) else ():
        x = np.moveaxis(raw, axis, 1)
        if x.shape[1] < _MIN_SIDE:
            continue
        half = x.shape[1] // 2
        far = np.nanmean((x[:, half:] - x[:, : x.shape[1] - half]) ** 2)
        if far > 0:
            found[axis - 1] = float(np.nanmean((x[:, 1:] - x[:, :-1]) ** 2) / far)
    return found[0], found[1]
