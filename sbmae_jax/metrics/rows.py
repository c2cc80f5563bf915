"""Checks of the arrays that metrics are computed from: shape, dtype, and finite values."""

from typing import Any

import numpy as np

from sbmae_jax._check import short_repr


def as_rows(
    name: str, values: Any, axes: str = "N", min_rows: int = 1, integers: bool = False
) -> np.ndarray:
    """Convert values to an array, or refuse them.

    Args:
        name: What messages call the values.
        values: An array, or a list or a tuple of numbers.
        axes: Names of the axes, such as "N, K, F"; if they end in "...", there may be more.
        min_rows: The least number of rows.
        integers: Whether the values must be integers, as classes are.

    Returns:
        The array. It has the given axes, none of them empty, and no NaN or infinity.

    Raises:
        ValueError: If the values do not make this array.
    """
    if not isinstance(values, list | tuple | np.ndarray) and not hasattr(values, "__array__"):
        raise ValueError(f"{name} must be an array [{axes}], got {short_repr(values)}")
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} must be an array [{axes}], got {short_repr(values)}") from None
    if array.dtype.kind not in ("biu" if integers else "biuf"):
        numbers = "integers" if integers else "real numbers"
        raise ValueError(f"{name} must hold {numbers}, got dtype {array.dtype}")
    num = len(axes.split(", "))
    fits = array.ndim >= num - 1 and num > 1 if axes.endswith("...") else array.ndim == num
    if not fits or len(array) < min_rows or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must be [{axes}] with N at least {min_rows} and no empty axis, got shape {array.shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise ValueError(
            f"{name} must be finite, got NaN or infinity in {len(bad)} rows, first in row {bad[0]}"
        )
    return array


def require_same_shape(**arrays: np.ndarray) -> None:
    """Raise ValueError, naming both arrays, if one does not have the shape of the first."""
    (first, x), *others = arrays.items()
    for name, other in others:
        if other.shape != x.shape:
            raise ValueError(
                f"{first} and {name} must have the same shape, got {x.shape} and {other.shape}"
            )
