"""Scalings fitted to training rows, a piece of rows at a time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.kinds import KINDS
from sbmae_jax.data.kinds.text import as_strings, fit_text
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import QUANTILES, summarise
from sbmae_jax.data.user.kinds import Kind
from sbmae_jax.data.user.profile import Profile, pieces
from sbmae_jax.data.user.tables import Table

_TYPICAL_ROWS = 1000  # of which quantiles are measured; fewer, but 100, where rows are wide
_TYPICAL_VALUES = 5_000_000


class RunningMoments(NamedTuple):
    """Moments of the features of one modality, from the rows seen so far.

    Attributes:
        num: The number of values of each feature.
        mean: Their means: [F].
        squares: Their sums of squared deviations from the mean: [F].
        low: Their smallest values: [F].
        high: Their largest values: [F].
    """

    num: int
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which features have the same value in all rows: [F] bool."""
        return self.low == self.high

    @property
    def std(self) -> np.ndarray:
        """Their standard deviations [F], 1 where a feature is constant.

        It is half the range where squares of values leave the floats of 64 bits: below 1e-160, above 1e150.
        """
        std, span = np.sqrt(self.squares / self.num), self.high / 2 - self.low / 2
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
            details=_fit_details(kind.name, table, name, rows[profiles[name].present[rows]]),
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
    if kind in ("binary", "counts", "text"):
        return {}
    assert moments is not None
    if kind == "image":
        low, high = _image_range(float(moments.low.min()), float(moments.high.max()))
        return {"shift": np.array(low), "scale": np.array(high - low)}
    shift = np.where(moments.constant, moments.low, moments.mean)
    return {"shift": shift, "scale": moments.std, "constant": moments.constant}


def _fit_details(kind: str, table: Table, name: str, rows: np.ndarray) -> dict[str, Any]:
    """Return what the strings of some rows need to become tokens; nothing for other kinds."""
    if not KINDS[kind].is_text:
        return {}
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
                this = _moments_of(x.reshape(-1, kind.num_features(x.shape[1:])))
                found[name] = _merge(found[name], this) if name in found else this
    return found


def _moments_of(x: np.ndarray) -> RunningMoments:
    """Measure the moments of values [N, F]."""
    x = x.astype(np.float64)
    with np.errstate(over="ignore"):  # see `std`
        mean = (x / len(x)).sum(axis=0)
        squares = ((x - mean) ** 2).sum(axis=0)
    return RunningMoments(len(x), mean, squares, x.min(axis=0), x.max(axis=0))


def _merge(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """Join the moments of two pieces."""
    num = a.num + b.num
    with np.errstate(over="ignore"):
        step = b.mean - a.mean
        squares = a.squares + b.squares + step**2 * a.num * b.num / num
    return RunningMoments(
        num,
        a.mean + step * b.num / num,
        squares,
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
    )
