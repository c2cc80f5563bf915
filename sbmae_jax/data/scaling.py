"""Conversion between the values of a user's arrays and what the networks see.

A value x of a feature with training mean m and standard deviation s is seen as (x - m) / s. An image is seen
as bytes, or as (x - low) / (high - low) in [0, 1]; a category as a one-hot vector; counts as they are, but
large counts as standardised ln(1 + x); text as numbers of tokens. Images with an odd side are padded to a
multiple of 4. What each kind does is in `data.kinds`.

The way back ends in the dtype of the user, and in values that the user's array could hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmae_jax.data.kinds import KINDS
from sbmae_jax.data.kinds.base import Fitted, ValueKind, as_shape
from sbmae_jax.data.kinds.categories import class_codes, class_values
from sbmae_jax.data.kinds.images import Images


@dataclass(frozen=True, eq=False)  # hashed by identity, to be static in compiled functions
class Scaling(Fitted):
    """How one modality is prepared for the networks, and restored to the user's units.

    Scalings are compared and hashed by identity, so that they can be static in compiled functions.

    Attributes:
        kind: One of `KINDS`.
        raw_shape: The shape of one example as the user has it; () where the array is [N].
        dtype: The name of the user's dtype; "str" for strings.
        shift: What is subtracted first, in prepared = (raw - shift) / scale. It broadcasts over prepared
            examples, and is a scalar for images.
        scale: What is divided by then; like `shift`.
        classes: The classes of a category, in the user's values, ascending.
        constant: Which features have one value in all training rows, `shift`. It is what comes back.
        typical: The 1, 50 and 99 % quantiles, over training rows, of what `units.summarise` tells of a row:
            [3, S]. Other units of new rows show in it. Empty if it is not known.
        details: What only some kinds have, as values of JSON.

    Raises:
        ValueError: If the kind is unknown.

    Example:
        >>> scaling = Scaling("vector", (2,), "float64", np.array([1.0, 0.0]), np.array([2.0, 1.0]))
        >>> scaling.prepare(np.array([[3.0, 5.0]]))
        array([[1., 5.]], dtype=float32)
        >>> Scaling("category", (), "str", classes=("cat", "dog")).restore(np.array([[0.2, 0.8]]))
        array(['dog'], dtype='<U3')
    """

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: choose one of {', '.join(KINDS)}")

    @property
    def value_kind(self) -> ValueKind:
        """What its kind does."""
        return KINDS[self.kind]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prepared example: [H, W, C], [T, C] for signals, [T] for text, or [F]."""
        return self.value_kind.shape(self)

    @property
    def prepared_dtype(self) -> np.dtype:
        """The dtype of prepared examples: uint8 for masks and bytes, uint16 for text, otherwise float32."""
        return self.value_kind.prepared_dtype(self)

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
        return self.value_kind.prepare(self, as_shape(np.asarray(raw), self.raw_shape))

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Convert what the networks made to the user's units.

        Args:
            x: Prepared examples, [..., *shape]: floats, or uint8 for images and masks, or tokens.

        Returns:
            Examples in the user's units and dtype, [..., *raw_shape]. A category becomes its most probable
            class, a mask or a binary vector the more probable of its two values. Counts, and all that has an
            integer dtype, are rounded, and what a dtype cannot hold becomes the nearest value that it can.
        """
        return self.value_kind.restore(self, np.asarray(x))

    @property
    def class_values(self) -> np.ndarray:
        """The classes of a category [C], in the user's dtype."""
        return class_values(self)

    def class_codes(self, raw: np.ndarray) -> np.ndarray:
        """Return the index of each value [N] in `classes`, whatever type it has; -1 for unknown classes."""
        return class_codes(self, raw)

    def pad(self, x: np.ndarray) -> np.ndarray:
        """Pad images [B, H, W, C] to the sides of `shape`, by repeating their last row and column."""
        kind = self.value_kind
        assert isinstance(kind, Images)
        return kind.pad(self, x)


def to_json(scaling: Scaling) -> dict[str, Any]:
    """Return a scaling as values that can be written as JSON."""
    values = {
        "kind": scaling.kind,
        "raw_shape": list(scaling.raw_shape),
        "dtype": scaling.dtype,
        "shift": scaling.shift.tolist(),
        "scale": scaling.scale.tolist(),
        "classes": list(scaling.classes),
        "constant": scaling.constant.tolist(),
        "typical": scaling.typical.tolist(),
    }
    return values | ({"details": scaling.details} if scaling.details else {})


def from_json(values: Mapping[str, Any]) -> Scaling:
    """Return the scaling that `to_json` wrote; raises KeyError, TypeError or ValueError for other values."""
    return Scaling(
        values["kind"],
        tuple(values["raw_shape"]),
        values["dtype"],
        np.asarray(values["shift"], np.float64),
        np.asarray(values["scale"], np.float64),
        tuple(values["classes"]),
        np.asarray(values.get("constant", False), bool),
        np.asarray(values.get("typical", [[]] * 3), np.float64),
        dict(values.get("details", {})),
    )
