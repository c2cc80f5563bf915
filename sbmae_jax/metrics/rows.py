"""What metrics refuse: arrays of other shapes than they need, without rows, or with NaN or infinity."""

from typing import Any

import numpy as np

from sbmae_jax._check import short_repr


def rows(
    name: str, values: Any, axes: str = "N", least: int = 1, whole: bool = False
) -> np.ndarray:
    """Return values as an array, or raise ValueError for one that no metric could be of.

    axes: what the axes are called, "N, K, F"; where they end in "...", there may be more.
    least: rows.  whole: whether the values are to be whole numbers, as classes are.
    """
    if not isinstance(values, list | tuple | np.ndarray) and not hasattr(values, "__array__"):
        raise ValueError(f"{name} must be an array [{axes}], got {short_repr(values)}")
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} must be an array [{axes}], got {short_repr(values)}") from None
    kinds = "biu" if whole else "biuf"
    if array.dtype.kind not in kinds:
        kind = "whole" if whole else "real"
        raise ValueError(f"{name} must hold {kind} numbers, got dtype {array.dtype}")
    num = len(axes.split(", "))
    fits = array.ndim >= num - 1 and num > 1 if axes.endswith("...") else array.ndim == num
    if not fits or len(array) < least or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must be [{axes}] with N at least {least} and nothing empty, got shape {array.shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise ValueError(f"{name} has NaN or infinite values, the first in row {bad[0]}: mend them")
    return array


def same_shape(**arrays: np.ndarray) -> None:
    """Raise ValueError, naming both, for an array that has not the shape of the first."""
    (first, x), *others = arrays.items()
    for name, other in others:
        if other.shape != x.shape:
            raise ValueError(
                f"{first} and {name} must have one shape, got {x.shape} and {other.shape}"
            )
