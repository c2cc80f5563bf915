"""A user's values of a modality: checked, in the units of the training data, and as the networks see them."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.core import Tracer

from sbmae_jax._check import require_int, short_repr
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import as_training_units
from sbmae_jax.data.user.columns import as_column, is_missing
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.likelihoods import check_values

MAX_SAMPLES = 10**9
"""More samples in one call are almost certainly a typo."""


def is_number(value: Any, number: float) -> bool:
    """Return whether a setting is known to be a number; a traced one may be any.

    Example:
        >>> is_number(1, 1.0), is_number(0.5, 1.0)
        (True, False)
    """
    return not isinstance(value, Tracer) and bool(value == number)


def as_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array.

    Raises:
        ValueError: Naming the modality, for rows of different shapes.
    """
    try:
        array = np.asarray(values)
        # Words of a data frame, for example.
        return as_column(name, values).values if array.dtype.kind in "OM" and array.ndim else array
    except (ValueError, TypeError):
        raise ValueError(
            f"{name}: all rows must have the same shape, got {short_repr(values)}"
        ) from None


def require_whole(name: str, values: Any, can_impute: bool) -> None:
    """Raise ValueError if rows have holes: None, NaN, masked values, or those of data frames.

    Args:
        name: The modality.
        values: Rows in whatever form a user has them.
        can_impute: Whether the model fills holes.
    """
    holes = _rows_with_holes(values)
    if not len(holes):
        return
    others = f" and {len(holes) - 1:,} others" if len(holes) > 1 else ""
    advice = "use impute, which fills them, or leave these rows out"
    raise ValueError(
        f"{name} has a hole in row {holes[0]:,}{others}: "
        + (advice if can_impute else "leave these rows out")
    )


def _rows_with_holes(values: Any) -> np.ndarray:
    """Return the numbers of the rows in which something is missing."""
    if isinstance(values, np.ma.MaskedArray):
        missing = np.ma.getmaskarray(values)
        values = values.filled() if values.dtype.kind != "f" else values.filled(0)
    else:
        missing = False
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # rows of different shapes, of which some may be None
        array = np.empty(len(values), object)
        array[:] = list(values)
    if array.dtype.kind == "f":
        missing = missing | np.isnan(array)
    elif array.dtype.kind == "O":
        found = np.array([_has_hole(value) for value in array.ravel()], bool)
        missing = missing | found.reshape(array.shape)
    if not array.ndim:
        return np.zeros(0)
    missing = np.broadcast_to(missing, array.shape)
    return np.flatnonzero(missing.any(axis=tuple(range(1, array.ndim))))


def _has_hole(value: Any) -> bool:
    if isinstance(value, list | tuple | np.ndarray):
        return any(map(_has_hole, value))
    return is_missing(value)


def check_shape(modality: Modality, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a shape is not that of a modality's examples."""
    if shape != modality.shape:
        raise ValueError(f"{modality.name}: examples must have shape {modality.shape}, got {shape}")


def check_array(modality: Modality, array: np.ndarray) -> None:
    """Raise ValueError if an array `[B, ...]` does not hold examples of a modality."""
    check_shape(modality, array.shape[1:])
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{modality.name}: use uint8 in 0..255 or floats in 0..1, got {array.dtype}"
        )
    check_values(modality.likelihood, modality.name, array)


def count_rows(
    given: Mapping[str, Any], num_samples: int | None = None, *, can_impute: bool = False
) -> int:
    """Return the number of rows that are given, or of samples from nothing; raises as `require_whole`."""
    if num_samples is not None:
        require_int("num_samples", num_samples, 1, MAX_SAMPLES)
    for name, array in given.items():
        require_whole(name, array, can_impute)
    sizes = {name: np.shape(as_array(name, array))[:1] for name, array in given.items()}
    for name, size in sizes.items():
        if size == ():
            raise ValueError(f"given: {name} is a single value: the first axis must be rows")
        if size == (0,):
            raise ValueError(f"given has no rows: {name} is empty")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"given: arrays must have the same number of rows, got {sizes}")
    if not sizes and num_samples is None:
        raise ValueError("num_samples must say how many samples to draw if nothing is given")
    return next(iter(sizes.values()))[0] if sizes else int(num_samples or 0)


def as_trained_on(
    modality: Modality, scaling: Scaling | None, values: Any, stacklevel: int = 3
) -> np.ndarray:
    """Return a user's values as an array in the units of the training data.

    Args:
        modality: The modality.
        scaling: How it is scaled, or None.
        values: `[B, ...]`.
        stacklevel: Which caller a warning of a conversion shows.

    Raises:
        ValueError: Naming the modality, for values with the wrong shape or type.
    """
    values = as_array(modality.name, values)
    if scaling is None:
        check_array(modality, values)
        return values
    try:
        values, notice = as_training_units(scaling, values)
    except ValueError as error:
        raise ValueError(f"{modality.name}: {error}") from None
    if notice:
        warnings.warn(f"{modality.name}: {notice}", stacklevel=stacklevel)
    return values


def as_prepared(modality: Modality, scaling: Scaling | None, values: np.ndarray) -> np.ndarray:
    """Convert values in the units of the training data to what the networks see.

    Raises:
        ValueError: Naming the modality, for values out of range.
    """
    try:
        return values if scaling is None else scaling.prepare(values)
    except ValueError as error:
        raise ValueError(f"{modality.name}: {error}") from None
