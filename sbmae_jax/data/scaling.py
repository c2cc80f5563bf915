"""Conversion between the values of a user's arrays and what the networks see.

A value x of a feature with training mean m and standard deviation s is seen as (x - m) / s. An image is seen
as bytes, or as (x - low) / (high - low) in [0, 1]; a category as a one-hot vector; counts as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = ("vector", "signal", "image", "mask", "binary", "category", "counts")
IMAGE_KINDS = ("image", "mask")


@dataclass(frozen=True, eq=False)  # hashed by identity, to be static in compiled functions
class Scaling:
    """How one modality is prepared for the networks, and restored to the user's units.

    Scalings are compared and hashed by identity, so that they can be static in compiled functions.

    Attributes:
        kind: One of "vector", "signal", "image", "mask", "binary", "category" and "counts".
        raw_shape: The shape of one example as the user has it; () where the array is [N].
        dtype: The name of the user's dtype; "str" for strings.
        shift: What is subtracted first, in prepared = (raw - shift) / scale. It broadcasts over prepared
            examples, and is a scalar for images.
        scale: What is divided by then; like `shift`.
        classes: The classes of a category, in the user's values, ascending.

    Raises:
        ValueError: If the kind is unknown.

    Example:
        >>> scaling = Scaling("vector", (2,), "float64", np.array([1.0, 0.0]), np.array([2.0, 1.0]))
        >>> scaling.prepare(np.array([[3.0, 5.0]]))
        array([[1., 5.]], dtype=float32)
        >>> Scaling("category", (), "str", classes=("cat", "dog")).restore(np.array([[0.2, 0.8]]))
        array(['dog'], dtype='<U3')
    """

    kind: str
    raw_shape: tuple[int, ...]
    dtype: str
    shift: np.ndarray = field(default_factory=lambda: np.zeros(()))
    scale: np.ndarray = field(default_factory=lambda: np.ones(()))
    classes: tuple[Any, ...] = ()

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: choose one of {', '.join(KINDS)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prepared example: [H, W, C], [T, C] for signals, or [F]."""
        if self.kind == "category":
            return (len(self.classes),)
        if self.kind in IMAGE_KINDS:
            return self.raw_shape if len(self.raw_shape) == 3 else (*self.raw_shape, 1)
        if self.kind == "signal":
            return self.raw_shape if len(self.raw_shape) == 2 else (*self.raw_shape, 1)
        return (int(np.prod(self.raw_shape, dtype=np.int64)),)

    @property
    def prepared_dtype(self) -> np.dtype:
        """The dtype of prepared examples: uint8 for masks and images of bytes, otherwise float32."""
        as_bytes = self.kind == "mask" or (self.kind == "image" and self.dtype == "uint8")
        return np.dtype(np.uint8 if as_bytes else np.float32)

    @property
    def restores_bytes(self) -> bool:
        """Whether the user's images are bytes in 0..255."""
        return self.kind in IMAGE_KINDS and self.dtype == "uint8" and self.scale == 255

    def prepare(self, raw: np.ndarray) -> np.ndarray:
        """Convert raw examples to what the networks see.

        Args:
            raw: Examples in the user's units, [B, *raw_shape]. Float images are clipped to the range of the
                training rows.

        Returns:
            Prepared examples, [B, *shape], of dtype `prepared_dtype`.

        Raises:
            ValueError: If the shape differs, a value is NaN or infinite, a class is unknown, or a value is
                not one that the kind can have.
        """
        raw = np.asarray(raw)
        if raw.shape[1:] != self.raw_shape:
            raise ValueError(f"examples must have shape {self.raw_shape}, got {raw.shape[1:]}")
        if self.kind == "category":
            return self._one_hot(raw)
        if raw.dtype.kind not in "buif":
            raise ValueError(f"values must be numbers, got {raw.dtype}")
        _check_finite(raw)
        if self.prepared_dtype == np.uint8 and self.kind == "image":
            _check_range(raw, 255)
            return raw.astype(np.uint8).reshape(len(raw), *self.shape)
        x = (raw.reshape(len(raw), *self.shape).astype(np.float64) - self.shift) / self.scale
        if self.kind in ("mask", "binary") and not ((x == 0) | (x == 1)).all():
            high = self.shift + self.scale
            raise ValueError(f"values of kind {self.kind!r} must be 0 or {float(high):g}")
        if self.kind == "counts":
            _check_counts(x)
        if self.kind == "image":
            x = np.clip(x, 0, 1)
        return (255 * x if self.kind == "mask" else x).astype(self.prepared_dtype)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Convert what the networks made to the user's units.

        Args:
            x: Prepared examples, [..., *shape]: floats, or uint8 for images and masks.

        Returns:
            Examples in the user's units, [..., *raw_shape]. A category becomes its most probable class, in
            the user's dtype, and images of bytes are rounded to uint8. All else is float32 and not rounded,
            since x may be a mean of counts, or of zeros and ones.
        """
        x = np.asarray(x)
        lead = x.shape[: x.ndim - len(self.shape)]
        if self.kind == "category":
            return self.class_values[x.argmax(axis=-1)]
        if self.kind in IMAGE_KINDS:
            x = x / 255 if x.dtype == np.uint8 else np.clip(x, 0, 1)
        raw = x.astype(np.float64) * self.scale + self.shift
        raw = np.reshape(raw, (*lead, *self.raw_shape))
        return np.round(raw).astype(np.uint8) if self.restores_bytes else raw.astype(np.float32)

    @property
    def class_values(self) -> np.ndarray:
        """The classes of a category [C], in the user's dtype."""
        return np.asarray(self.classes, None if self.dtype == "str" else self.dtype)

    def _one_hot(self, raw: np.ndarray) -> np.ndarray:
        known = np.asarray(self.classes)
        if (raw.dtype.kind in "US") != (known.dtype.kind in "US"):
            wanted = "strings" if known.dtype.kind in "US" else "numbers"
            raise ValueError(f"classes must be {wanted}, got {raw.dtype}")
        code = np.searchsorted(known, raw).clip(0, len(known) - 1)
        unknown = np.flatnonzero(known[code] != raw)
        if len(unknown):
            raise ValueError(
                f"unknown class {raw[unknown[0]].item()!r} in row {unknown[0]}: choose from "
                f"{abbreviate(self.classes)}"
            )
        return np.eye(len(known), dtype=np.float32)[code]


def to_json(scaling: Scaling) -> dict[str, Any]:
    """Return a scaling as values that can be written as JSON."""
    return {
        "kind": scaling.kind,
        "raw_shape": list(scaling.raw_shape),
        "dtype": scaling.dtype,
        "shift": scaling.shift.tolist(),
        "scale": scaling.scale.tolist(),
        "classes": list(scaling.classes),
    }


def from_json(values: Mapping[str, Any]) -> Scaling:
    """Return the scaling that `to_json` wrote; raises KeyError, TypeError or ValueError for other values."""
    return Scaling(
        values["kind"],
        tuple(values["raw_shape"]),
        values["dtype"],
        np.asarray(values["shift"], np.float64),
        np.asarray(values["scale"], np.float64),
        tuple(values["classes"]),
    )


def abbreviate(values: tuple[Any, ...], most: int = 12) -> str:
    """List the first values, and say how many more there are."""
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"


def _check_finite(raw: np.ndarray) -> None:
    if raw.dtype.kind != "f" or not raw.size:
        return
    bad = np.flatnonzero(~np.isfinite(raw).reshape(len(raw), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"NaN or infinite values in {len(bad):,} of {len(raw):,} rows, the first in row {bad[0]:,}: "
            "fix them, or drop these rows"
        )


def _check_range(raw: np.ndarray, high: int) -> None:
    if raw.dtype != np.uint8 and raw.size and (raw.min() < 0 or raw.max() > high):
        raise ValueError(
            f"values must be in 0..{high}, got {raw.min():.4g} to {raw.max():.4g}: scale them like the "
            "training data"
        )


def _check_counts(x: np.ndarray) -> None:
    if x.size and (x.min() < 0 or (x != np.floor(x)).any()):
        raise ValueError(
            "counts must be non-negative integers: use the kind 'vector' for other values"
        )
