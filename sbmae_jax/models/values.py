"""Checks of arrays that are to be examples of a modality."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmae_jax._check import require_int, short_repr
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.likelihoods import check_values

MAX_SAMPLES = 10**9
"""More samples in one call are almost certainly a typo."""


def as_array(name: str, values: Any) -> np.ndarray:
    """Return values as an array.

    Raises:
        ValueError: Naming the modality, for rows of different shapes.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError):
        raise ValueError(
            f"{name}: all rows must have the same shape, got {short_repr(values)}"
        ) from None


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


def count_rows(given: Mapping[str, Any], num_samples: int | None = None) -> int:
    """Return the number of rows that are given, or of samples from nothing."""
    if num_samples is not None:
        require_int("num_samples", num_samples, 1, MAX_SAMPLES)
    sizes = {name: np.shape(as_array(name, array))[:1] for name, array in given.items()}
    if () in sizes.values() or (0,) in sizes.values():
        raise ValueError(f"given: arrays must be [B, ...] with B at least 1, got {sizes}")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"given: arrays must have the same number of rows, got {sizes}")
    if not sizes and num_samples is None:
        raise ValueError("num_samples must say how many samples to draw if nothing is given")
    return next(iter(sizes.values()))[0] if sizes else int(num_samples or 0)
