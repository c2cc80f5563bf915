"""Checks of arrays that are to be examples of a modality."""

from typing import Any

import numpy as np

from sbmae_jax._check import short_repr
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.likelihoods import check_values


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
