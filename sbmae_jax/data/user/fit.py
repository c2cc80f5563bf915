"""Scalings fitted to training rows, a piece of rows at a time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.kinds import KINDS
from sbmae_jax.data.kinds.angle import Angle, period_of
from sbmae_jax.data.kinds.date import fit_dates
from sbmae_jax.data.kinds.text import as_strings, fit_text
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import QUANTILES, summarise
from sbmae_jax.data.user.kind_rules import Kind
from sbmae_jax.data.user.profile import Profile, pieces
from sbmae_jax.data.user.tables import Table

_TYPICAL_ROWS = 1000  # of which quantiles are measured; fewer, but 100, where rows are wide
_TYPICAL_VALUES = 5_000_000
MAX_LEVELS = 64  # of ordinal values or classes of pixels, each of which is a bit for each of them
OVERDISPERSED = 1.5  # variance over mean of counts, from which on they are no Poisson counts
SAME_SUM = 0.01  # by which the sums of compositions may differ, as they do where parts are rounded
SHARED_END = 0.3  # of features that end at one largest value, which is then the end of a scale


class RunningMoments(NamedTuple):
    """Moments of the features of one modality, from the rows seen so far.

    Attributes:
        num_rows: The number of rows.
        num: The number of values of each feature that are finite: [F]. Others do not count.
        mean: Their means: [F].
        squares: Their sums of squared deviations from the mean: [F].
        low: Their smallest values: [F].
        high: Their largest values: [F].
        integers: Which of them are integers in all rows: [F] bool.
    """

    num_rows: int
    num: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    integers: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which features have the same value in all rows, or none: [F] bool."""
        return self.low >= self.high

    @property
    def std(self) -> np.ndarray:
        """Their standard deviations [F], 1 where a feature is constant.

        It is half the range where squares of values leave the floats of 64 bits: below 1e-160, above 1e150.
        """
        std, span = np.sqrt(self.squares / self.num.clip(1)), self.high / 2 - self.low / 2
        return np.where(self.constant, 1.0, np.where((std > 0) & np.isfinite(std), std, span))


def fit_scalings(
    table: Table, kinds: Mapping[str, Kind], profiles: Mapping[str, Profile], rows: np.ndarray
) -> tuple[dict[str, Scaling], dict[str, int]]:
    """Fit the scaling of each modality to the training rows that have it.

    Args:
        table: The user's arrays.
        kinds: The kind of each modality.
        profiles: The profile of each modality.
        rows: The row numbers of the training split.

    Returns:
        The scalings, and how many features of each modality are constant.

    Raises:
        ValueError: If a modality is missing in every training row.
    """
    for name in kinds:
        if not profiles[name].present[rows].any():
            raise ValueError(
                f"{name} is missing in all {len(rows):,} training rows: leave it out, or put rows that have "
                "it into the split 'train'"
            )
    moments = _measure_moments(table, kinds, profiles, np.sort(rows))
    scalings = {
        name: Scaling(
            kind.name,
            table.shapes[name],
            "str" if table.dtypes[name].kind in "US" else table.dtypes[name].name,
            **_fit_one(kind.name, table.dtypes[name], profiles[name], moments.get(name)),
            **_fit_by_pass(kind.name, table, name, profiles[name], rows),
        )
        for name, kind in kinds.items()
    }
    scalings = {
        name: replace(
            s, typical=_measure_typical(table, name, s, rows[profiles[name].present[rows]])
        )
        for name, s in scalings.items()
    }
    constant = {
        name: int(moments[name].constant.sum() if name in moments else profiles[name].constant)
        for name in kinds
    }
    return scalings, constant


def _measure_typical(table: Table, name: str, scaling: Scaling, rows: np.ndarray) -> np.ndarray:
    """Return the quantiles of what some rows, of an order drawn at random, are like: [3, S]."""
    width = int(np.prod(scaling.raw_shape, dtype=np.int64))
    rows = np.sort(rows[: min(_TYPICAL_ROWS, max(100, _TYPICAL_VALUES // width))])
    found = [
        summarise(scaling, table.read(part, [name])[name]) for part in pieces(table, [name], rows)
    ]
    return np.quantile(np.concatenate(found), QUANTILES, axis=0)


def _fit_one(
    kind: str, dtype: np.dtype, profile: Profile, moments: RunningMoments | None
) -> dict[str, Any]:
    """Return the shift, the scale or the classes of one modality."""
    if kind == "category":
        assert profile.values is not None
        values = profile.values.astype(np.int64) if dtype.kind == "f" else profile.values
        return {"classes": tuple(values.tolist())}
    if kind == "mask":
        return {"scale": np.array(1.0 if profile.only_01 else 255.0)}
    if kind == "image" and dtype == np.uint8:
        return {"scale": np.array(255.0)}
    if kind in ("binary", "ordinal", "text", "date", "segmentation"):
        return {}
    if isinstance(of_kind := KINDS[kind], Angle):
        period = of_kind.period or period_of(profile.low, profile.high)
        return {"details": {"period": period, "start": 0.0 if profile.low >= 0 else -period / 2}}
    assert moments is not None
    if kind == "counts":
        return {"details": {"overdispersed": True}} if _is_overdispersed(moments) else {}
    if kind == "positive":
        return _fit_positive(profile, moments)
    if kind == "image":
        low, high = _image_range(float(moments.low.min()), float(moments.high.max()))
        return {"shift": np.array(low), "scale": np.array(high - low)}
    shift = np.where(moments.constant, moments.low, moments.mean)
    fitted = {"shift": shift, "scale": moments.std, "constant": moments.constant}
    return fitted | ({"details": _limits(dtype, moments)} if kind == "vector" else {})


def _levels(kind: str, table: Table, name: str, profile: Profile) -> dict[str, Any]:
    """Return the distinct values of all rows, as levels or classes; raises ValueError for too many."""
    levels, other = np.zeros(0), "image" if kind == "segmentation" else "vector or counts"
    for rows in pieces(table, [name], np.flatnonzero(profile.present)):
        found = table.read(rows, [name])[name]
        levels = np.union1d(levels, found[np.isfinite(found)].astype(np.float64))
        if len(levels) > MAX_LEVELS:
            raise ValueError(
                f"{name} cannot be of the kind {kind}: it has more than {MAX_LEVELS} distinct values: use "
                f"the kind {other}"
            )
    levels = levels.astype(np.int64) if kind == "segmentation" else levels
    return {"classes": tuple(levels.tolist())}


def _total(table: Table, name: str, profile: Profile) -> dict[str, Any]:
    """Return what compositions sum to; raises ValueError if rows differ."""
    sums = [
        table.read(rows, [name])[name].sum(axis=-1, dtype=np.float64)
        for rows in pieces(table, [name], np.flatnonzero(profile.present))
    ]
    low, total, high = np.quantile(np.concatenate(sums), (0, 0.5, 1))
    if low < (1 - SAME_SUM) * total or high > (1 + SAME_SUM) * total or total <= 0:
        raise ValueError(
            f"{name} cannot be of the kind composition: its rows sum to {low:.4g} to {high:.4g}, and must "
            "all have one sum: divide each row by its sum, or use the kind positive"
        )
    rounded = float(f"{total:.4g}")  # 100 for percentages that are rounded
    return {"details": {"total": rounded if abs(rounded - total) < 1e-3 * total else float(total)}}


def _fit_positive(profile: Profile, moments: RunningMoments) -> dict[str, Any]:
    """Return what is fitted to logarithms of non-negative numbers, and the share of zeros of each feature."""
    shares = 1 - moments.num / moments.num_rows
    if profile.low == 0 and not shares.any():  # only rows of other splits have zeros
        shares = np.full(shares.shape, 1 / (moments.num_rows + 1))
    constant = moments.constant & ((shares == 0) | (shares == 1))
    shift = np.where(moments.constant, np.where(moments.num > 0, moments.low, 0), moments.mean)
    zeros = {"details": {"zeros": shares.tolist()}} if shares.any() else {}
    return {"shift": shift, "scale": moments.std, "constant": constant, **zeros}


def _is_overdispersed(moments: RunningMoments) -> bool:
    """Return whether counts vary clearly more than Poisson counts of these means do, in most features."""
    varying = moments.mean > 0
    ratio = moments.squares[varying] / moments.num[varying] / moments.mean[varying]
    return bool(len(ratio) and np.median(ratio) > OVERDISPERSED)


def _limits(dtype: np.dtype, moments: RunningMoments) -> dict[str, Any]:
    """Return which features of a vector are integers, which are never negative, and where a scale ends."""
    found: dict[str, Any] = {}
    if dtype.kind == "f" and moments.integers.any():
        found["integers"] = moments.integers.tolist()
    if (moments.low >= 0).any():
        found["non_negative"] = (moments.low >= 0).tolist()
    highest = float(moments.high.max())
    if len(moments.high) >= 4 and np.mean(moments.high == highest) >= SHARED_END:
        found["highest"] = highest
    return found


def _fit_by_pass(
    kind: str, table: Table, name: str, profile: Profile, rows: np.ndarray
) -> dict[str, Any]:
    """Return what only another pass over the rows can tell; nothing for most kinds."""
    if kind in ("ordinal", "segmentation"):
        return _levels(kind, table, name, profile)
    if kind == "composition":
        return _total(table, name, profile)
    if KINDS[kind].is_date:
        having = np.sort(rows[profile.present[rows]])
        words = [table.read(some, [name])[name] for some in pieces(table, [name], having)]
        return fit_dates(np.concatenate(words), profile.date_format or "")
    if KINDS[kind].is_text:
        return {"details": _fit_tokens(table, name, rows[profile.present[rows]])}
    return {}


def _fit_tokens(table: Table, name: str, rows: np.ndarray) -> dict[str, Any]:
    """Return what the strings of some rows need to become tokens."""
    strings: list[str] = []
    for part in pieces(table, [name], np.sort(rows)):
        strings += as_strings(table.read(part, [name])[name])
    try:
        return fit_text(strings)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _image_range(low: float, high: float) -> tuple[float, float]:
    """Return what becomes 0 and 1 in float images of a range: 0 and 1, 0 and 255, or its ends."""
    for top in (1.0, 255.0):
        if low >= 0 and top / 2 < high <= top:
            return 0.0, top
    return low, high if high > low else low + 1


def _measure_moments(
    table: Table, kinds: Mapping[str, Kind], profiles: Mapping[str, Profile], rows: np.ndarray
) -> dict[str, RunningMoments]:
    """Measure the moments of the modalities that need them, by feature, or by channel.

    Moments of pieces are merged by the formulas of Chan, Golub and LeVeque (1983), which do not cancel.
    """
    names = [name for name in kinds if KINDS[kinds[name].name].needs_moments(table.dtypes[name])]
    found: dict[str, RunningMoments] = {}
    for part in pieces(table, names, rows) if names else ():
        for name, raw in table.read(part, names).items():
            x = raw[profiles[name].present[part]]
            if len(x):
                kind = KINDS[kinds[name].name]
                x = kind.transform(np, x.astype(np.float64))
                this = _moments_of(kind.as_features(x))
                found[name] = _merge(found[name], this) if name in found else this
    return found


def _moments_of(x: np.ndarray) -> RunningMoments:
    """Measure the moments of values [N, F]."""
    x = x.astype(np.float64)
    known = np.isfinite(x)
    num = known.sum(axis=0)
    with np.errstate(over="ignore"):  # see `std`
        mean = np.where(known, x / num.clip(1), 0).sum(axis=0)
        squares = np.where(known, (x - mean) ** 2, 0).sum(axis=0)
    low, high = np.where(known, x, np.inf).min(axis=0), np.where(known, x, -np.inf).max(axis=0)
    integers = (~known | (x == np.floor(x))).all(axis=0)
    return RunningMoments(len(x), num, mean, squares, low, high, integers)


def _merge(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """Join the moments of two pieces."""
    num = a.num + b.num
    share = num.clip(1)
    with np.errstate(over="ignore"):
        step = b.mean - a.mean
        squares = a.squares + b.squares + step**2 * a.num * b.num / share
    return RunningMoments(
        a.num_rows + b.num_rows,
        num,
        a.mean + step * b.num / share,
        squares,
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
        a.integers & b.integers,
    )
