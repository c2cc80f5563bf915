"""Conversion between the values of a user's arrays and what the networks see.

A value x of a feature with training mean m and standard deviation s is seen as (x - m) / s. An image is seen
as bytes, or as (x - low) / (high - low) in [0, 1]; a category as a one-hot vector; counts as they are, but
large counts as standardised ln(1 + x). Images with an odd side are padded to a multiple of 4.

The way back ends in the dtype of the user, and in values that the user's array could hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sbmae_jax.data.names import as_name
from sbmae_jax.data.numbers import parse_bit, parse_number

KINDS = ("vector", "signal", "image", "mask", "binary", "category", "counts", "large_counts")
IMAGE_KINDS = ("image", "mask")


@dataclass(frozen=True, eq=False)  # hashed by identity, to be static in compiled functions
class Scaling:
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
    constant: np.ndarray = field(default_factory=lambda: np.zeros((), bool))
    typical: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: choose one of {', '.join(KINDS)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one prepared example: [H, W, C], [T, C] for signals, or [F]."""
        if self.kind == "category":
            return (len(self.classes),)
        if self.kind in IMAGE_KINDS:
            height, width, *channels = self.raw_shape
            return (_even(height), _even(width), *(channels or [1]))
        if self.kind == "signal":
            return self.raw_shape if len(self.raw_shape) == 2 else (*self.raw_shape, 1)
        return (int(np.prod(self.raw_shape, dtype=np.int64)),)

    @property
    def prepared_dtype(self) -> np.dtype:
        """The dtype of prepared examples: uint8 for masks and images of bytes, otherwise float32."""
        as_bytes = self.kind == "mask" or (self.kind == "image" and self.dtype == "uint8")
        return np.dtype(np.uint8 if as_bytes else np.float32)

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
        raw = as_shape(np.asarray(raw), self.raw_shape)
        if self.kind == "category":
            return self._one_hot(raw)
        if raw.dtype.kind not in "buif":
            raise ValueError(f"values must be numbers, got {raw.dtype}")
        _check_finite(raw)
        if self.kind in IMAGE_KINDS:
            return self.pad(self._scaled_image(raw))
        raw = raw.reshape(len(raw), *self.shape).astype(np.float64)
        if self.kind in ("counts", "large_counts"):
            _require(
                raw,
                (raw >= 0) & (raw == np.floor(raw)),
                "a count must be an integer from 0",
                "vector",
            )
        if self.kind == "large_counts":
            raw = np.log1p(raw)
        x = (raw - self.shift) / self.scale
        if self.kind == "binary":
            self._check_two_values(raw, x)
        return x.astype(np.float32)

    def restore(self, x: np.ndarray) -> np.ndarray:
        """Convert what the networks made to the user's units.

        Args:
            x: Prepared examples, [..., *shape]: floats, or uint8 for images and masks.

        Returns:
            Examples in the user's units and dtype, [..., *raw_shape]. A category becomes its most probable
            class, a mask or a binary vector the more probable of its two values. Counts, and all that has an
            integer dtype, are rounded, and what a dtype cannot hold becomes the nearest value that it can.
        """
        x = np.asarray(x)
        lead = x.shape[: x.ndim - len(self.shape)]
        if self.kind == "category":
            return self.class_values[x.argmax(axis=-1)]
        if self.kind in IMAGE_KINDS:
            height, width = self.raw_shape[:2]
            x = x[..., :height, :width, :]
            x = x / 255 if x.dtype == np.uint8 else np.clip(x, 0, 1)
        x = x.astype(np.float64)
        if self.kind in ("mask", "binary"):
            x = np.where(x > 0.5, 1.0, 0.0)
        raw = np.where(self.constant, self.shift, x * self.scale + self.shift)
        if self.kind == "large_counts":
            raw = np.expm1(raw)
        if self.kind in ("counts", "large_counts"):
            raw = np.round(raw).clip(0)
        return _as_dtype(np.reshape(raw, (*lead, *self.raw_shape)), np.dtype(self.dtype))

    @property
    def class_values(self) -> np.ndarray:
        """The classes of a category [C], in the user's dtype."""
        return np.asarray(self.classes, None if self.dtype == "str" else self.dtype)

    def class_codes(self, raw: np.ndarray) -> np.ndarray:
        """Return the index of each value [N] in `classes`, whatever type it has; -1 for unknown classes."""
        known = np.asarray(self.classes)
        found = _like_classes(raw, known)
        code = np.searchsorted(known, found).clip(0, len(known) - 1)
        return np.where(known[code] == found, code, -1)

    def _one_hot(self, raw: np.ndarray) -> np.ndarray:
        code = self.class_codes(raw)
        unknown = np.flatnonzero(code < 0)
        if len(unknown):
            raise ValueError(
                f"unknown class {raw[unknown[0]].item()!r} in row {unknown[0]}: choose from "
                f"{abbreviate(self.classes)}"
            )
        return np.eye(len(self.classes), dtype=np.float32)[code]

    def _scaled_image(self, raw: np.ndarray) -> np.ndarray:
        """Return images or masks [B, H, W, C], not yet padded."""
        raw = raw.reshape(len(raw), *self.raw_shape[:2], self.shape[2])
        if self.kind == "image" and self.prepared_dtype == np.uint8:
            _check_range(raw, 255)
            return raw if raw.dtype == np.uint8 else np.round(raw).astype(np.uint8)
        x = (raw.astype(np.float64) - self.shift) / self.scale
        if self.kind == "mask":
            self._check_two_values(raw, x)
            return (255 * x).astype(np.uint8)
        return np.clip(x, 0, 1).astype(np.float32)

    def pad(self, x: np.ndarray) -> np.ndarray:
        """Pad images [B, H, W, C] to the sides of `shape`, by repeating their last row and column."""
        below, right = (
            size - have for size, have in zip(self.shape[:2], x.shape[1:3], strict=True)
        )
        return np.pad(x, ((0, 0), (0, below), (0, right), (0, 0)), "edge") if below or right else x

    def _check_two_values(self, raw: np.ndarray, x: np.ndarray) -> None:
        high = float(np.ravel(self.shift + self.scale)[0])
        other = "image" if self.kind == "mask" else "vector"
        _require(
            raw, (x == 0) | (x == 1), f"values of kind {self.kind!r} must be 0 or {high:g}", other
        )


def to_json(scaling: Scaling) -> dict[str, Any]:
    """Return a scaling as values that can be written as JSON."""
    return {
        "kind": scaling.kind,
        "raw_shape": list(scaling.raw_shape),
        "dtype": scaling.dtype,
        "shift": scaling.shift.tolist(),
        "scale": scaling.scale.tolist(),
        "classes": list(scaling.classes),
        "constant": scaling.constant.tolist(),
        "typical": scaling.typical.tolist(),
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
        np.asarray(values.get("constant", False), bool),
        np.asarray(values.get("typical", [[]] * 3), np.float64),
    )


def abbreviate(values: tuple[Any, ...], most: int = 12) -> str:
    """List the first values, and say how many more there are."""
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"


def _even(side: int) -> int:
    """Return the length to which a side of an image is padded: networks halve it, twice if they can."""
    return side + (-side % 4 if side % 2 else 0)


def as_shape(raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return rows [B, ...] whose examples have a shape, from which theirs may differ by axes of length 1.

    Raises:
        ValueError: If it differs by more.
    """
    if [n for n in raw.shape[1:] if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"examples must have shape {shape}, got {raw.shape[1:]}")
    return raw.reshape(len(raw), *shape)


def _as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert floats of 64 bits to a dtype: rounded for integers, and within its range."""
    if dtype.kind == "b":
        return values > 0.5
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.clip(values, float(limits.min), float(limits.max)).astype(dtype)
    limits = np.iinfo(dtype)
    # The largest float below the first integer that does not fit: the largest of 64 bits is no float.
    highest = np.nextafter(float(limits.max) + 1, 0)
    return np.clip(np.round(values), float(limits.min), highest).astype(dtype)


def _as_word(value: float) -> str:
    """Return a number as people write a class: 2.0 is 2."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _like_classes(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return class values as strings or numbers, whichever the known classes are."""
    if raw.dtype.kind not in "buifUS":
        raise ValueError(f"classes must be numbers or strings, got {raw.dtype}")
    words = np.char.decode(raw, "utf-8") if raw.dtype.kind == "S" else raw
    if known.dtype.kind == "U":
        words = (
            words if words.dtype.kind == "U" else np.array(list(map(_as_word, raw.tolist())), str)
        )
        others = np.setdiff1d(words, known).tolist()
        named = {word: _find_class(word, known.tolist()) for word in others}
        return np.array([named.get(word, word) for word in words.tolist()], str)
    if words.dtype.kind == "U":
        parse = parse_bit if np.isin(known, (0, 1)).all() else parse_number
        numbers = [parse(word) for word in words.tolist()]
        return np.array([np.nan if number is None else number for number in numbers])
    return raw


def _find_class(word: str, known: list[str]) -> str:
    """Return the one class that is the same name, number or truth value as a word; the word if none is."""
    keys = [as_name, parse_number]
    if all(parse_bit(name) is not None for name in known):
        keys.append(parse_bit)
    for key in keys:
        same = [name for name in known if key(name) == key(word)]
        if len(same) == 1 and key(word) is not None:
            return same[0]
    return word


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


def _require(raw: np.ndarray, is_right: np.ndarray, what: str, other_kind: str) -> None:
    """Raise ValueError, with the first wrong value and its row, if some value of rows [B, ...] is wrong."""
    wrong = np.argwhere(~is_right)
    if len(wrong):
        value, row = float(raw[tuple(wrong[0])]), wrong[0][0]
        raise ValueError(
            f"{what}, got {value:g} in row {row:,}: correct it, or train a model with the kind {other_kind!r}"
        )
