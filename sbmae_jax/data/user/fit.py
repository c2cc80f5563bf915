"""Scalings from training rows, a piece at a time."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.kinds import Kind
from sbmae_jax.data.user.profile import Profile, pieces
from sbmae_jax.data.user.tables import Table


class RunningMoments(NamedTuple):
    """Of each feature: the number of values, their mean, the sum of squared deviations, and the range."""

    num: int
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """Which features have one value only."""
        return self.low == self.high


def fit(
    table: Table, kinds: Mapping[str, Kind], profiles: Mapping[str, Profile], rows: np.ndarray
) -> tuple[dict[str, Scaling], dict[str, int]]:
    """Return the scaling of each modality, and how many of its features are constant.

    rows: of the training split; of each modality those are used that are measured.

    Raises ValueError for a modality that no training row has.
    """
    for name in kinds:
        if not profiles[name].present[rows].any():
            raise ValueError(
                f"{name}: none of the {len(rows):,} training rows is measured: leave it out, or put "
                "rows that have it into the split 'train'"
            )
    moments = running_moments(table, kinds, profiles, np.sort(rows))
    scalings = {
        name: scaling_of(table, name, kinds[name].name, profiles[name], moments) for name in kinds
    }
    constant = {
        name: int(moments[name].constant.sum() if name in moments else profiles[name].constant)
        for name in kinds
    }
    return scalings, constant


def scaling_of(
    table: Table, name: str, kind: str, seen: Profile, moments: Mapping[str, RunningMoments]
) -> Scaling:
    """Make the scaling of one modality."""
    dtype = table.dtypes[name]
    type_name = "str" if dtype.kind in "US" else dtype.name
    plain = Scaling(kind, table.shapes[name], type_name)
    if kind == "category":
        assert seen.values is not None
        return Scaling(kind, plain.raw_shape, type_name, classes=tuple(seen.values.tolist()))
    if kind == "mask":
        return Scaling(
            kind, plain.raw_shape, type_name, scale=np.array(1.0 if seen.only_01 else 255.0)
        )
    if kind == "image" and dtype == np.uint8:
        return Scaling(kind, plain.raw_shape, type_name, scale=np.array(255.0))
    if kind in ("binary", "counts"):
        return plain
    of = moments[name]
    if kind == "image":
        low, high = picture_range(float(of.low.min()), float(of.high.max()))
        return Scaling(kind, plain.raw_shape, type_name, np.array(low), np.array(high - low))
    std = np.where(of.constant, 1.0, np.sqrt(of.squares / of.num))
    return Scaling(kind, plain.raw_shape, type_name, of.mean, np.where(std > 0, std, 1.0))


def picture_range(low: float, high: float) -> tuple[float, float]:
    """Return what becomes 0 and 1 in float pictures of this range: 0 and 1, 0 and 255, or the range."""
    for top in (1.0, 255.0):
        if low >= 0 and top / 2 < high <= top:
            return 0.0, top
    return low, high if high > low else low + 1


def running_moments(
    table: Table, kinds: Mapping[str, Kind], profiles: Mapping[str, Profile], rows: np.ndarray
) -> dict[str, RunningMoments]:
    """Measure the features of all modalities that are numbers: of signals and float pictures the channels.

    Moments of pieces are merged by the formulas of Chan, Golub and LeVeque (1983), which do not cancel.
    """
    names = [name for name in kinds if has_spread(kinds[name].name, table.dtypes[name])]
    found: dict[str, RunningMoments] = {}
    for part in pieces(table, names, rows) if names else ():
        for name, raw in table.read(part, names).items():
            x = raw[profiles[name].present[part]]
            if len(x):
                this = moments_of(x.reshape(-1, num_features(kinds[name].name, x.shape[1:])))
                found[name] = merged(found[name], this) if name in found else this
    return found


def has_spread(kind: str, dtype: np.dtype) -> bool:
    """Return whether a modality is measured feature by feature."""
    return kind in ("vector", "signal", "binary", "counts") or (
        kind == "image" and dtype != np.uint8
    )


def num_features(kind: str, shape: tuple[int, ...]) -> int:
    """Return how many features share nothing: entries of a vector, channels of a signal or a picture."""
    if kind == "signal":
        return shape[1] if len(shape) == 2 else 1
    if kind == "image":
        return shape[2] if len(shape) == 3 else 1
    return int(np.prod(shape, dtype=np.int64))


def moments_of(x: np.ndarray) -> RunningMoments:
    """Measure values [N, F]."""
    low, high = x.min(axis=0), x.max(axis=0)
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    return RunningMoments(len(x), mean, ((x - mean) ** 2).sum(axis=0), low, high)


def merged(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """Join the measurements of two pieces."""
    num, step = a.num + b.num, b.mean - a.mean
    return RunningMoments(
        num,
        a.mean + step * b.num / num,
        a.squares + b.squares + step**2 * a.num * b.num / num,
        np.minimum(a.low, b.low),
        np.maximum(a.high, b.high),
    )
