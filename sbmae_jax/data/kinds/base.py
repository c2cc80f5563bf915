"""What all kinds of modalities share: what is fitted to training rows, and the class of a kind."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Fitted:
    """What is fitted to the training rows of one modality; `Scaling` documents the attributes."""

    kind: str
    raw_shape: tuple[int, ...]
    dtype: str
    shift: np.ndarray = field(default_factory=lambda: np.zeros(()))
    scale: np.ndarray = field(default_factory=lambda: np.ones(()))
    classes: tuple[Any, ...] = ()
    constant: np.ndarray = field(default_factory=lambda: np.zeros((), bool))
    typical: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))
    details: dict[str, Any] = field(default_factory=dict)


class ValueKind:
    """A kind of modality: how its values are prepared and restored.

    This class is the kind of vectors; other kinds change what differs. A kind has no state: what was fitted
    to the data is an argument of its methods.

    Args:
        name: Its name, as in `config.modalities.NAME.kind`.
        likelihood: The likelihood of its values, a name in `models.likelihoods.LIKELIHOODS`.
    """

    is_image = False  # [H, W, C] for the networks
    is_category = False  # each value is one of `classes`
    is_text = False
    is_date = False
    is_angle = False
    is_signal = False  # [T, C] for the networks
    is_coded = False  # the networks see a code, not one number for each value
    has_two_values = False
    is_integer = False  # whatever the dtype
    has_mean = True  # samples have a mean and a deviation, in the user's units

    def __init__(self, name: str, likelihood: str):
        self.name, self.likelihood = name, likelihood

    @property
    def is_one_cell(self) -> bool:
        """Whether an example is one cell of a table: a class, a string, or a date."""
        return self.is_category or self.is_text or self.is_date

    def likelihood_of(self, fitted: Fitted) -> str:
        """Return the likelihood, which may depend on what was fitted."""
        del fitted
        return self.likelihood

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return the shape of one prepared example."""
        return (int(np.prod(fitted.raw_shape, dtype=np.int64)),)

    def prepared_dtype(self, fitted: Fitted) -> np.dtype:
        """Return the dtype of prepared examples."""
        del fitted
        return np.dtype(np.float32)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare rows [B, *raw_shape]; raises ValueError as `Scaling.prepare`."""
        check_numbers(raw)
        values = self.arrange(fitted, raw).astype(np.float64)
        self.check(fitted, values)
        return ((self.transform(np, values) - fitted.shift) / fitted.scale).astype(np.float32)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Restore examples [..., *shape] to the user's units and dtype."""
        x = self.clean(fitted, x).astype(np.float64)
        raw = np.where(fitted.constant, fitted.shift, x * fitted.scale + fitted.shift)
        raw = self.invert(np, raw)
        raw = np.round(raw).clip(0) if self.is_integer else _within(fitted, raw)
        return as_dtype(self.arrange_back(fitted, raw), np.dtype(fitted.dtype))

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the best single guess [K, ...] of samples [K, S, ...] in the user's units: their mean."""
        del fitted
        return samples.mean(axis=1, dtype=np.float64)

    def check(self, fitted: Fitted, values: np.ndarray) -> None:
        """Raise ValueError for values [B, *shape], in the user's units, that the kind cannot have."""

    def clean(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return what the networks made, [..., *shape], as values that the kind can have."""
        del fitted
        return x

    def transform(self, xp: Any, values: Any) -> Any:
        """Return what is standardised, by `numpy` or `jax.numpy`, of values in the user's units."""
        del xp
        return values

    def invert(self, xp: Any, values: Any) -> Any:
        """Return what `transform` took."""
        del xp
        return values

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return whether features are measured: to scale them, or to count constant ones."""
        del dtype
        return True

    def arrange(self, fitted: Fitted, raw: Any) -> Any:
        """Return rows [B, *raw_shape], of `numpy` or `jax.numpy`, with the axes of prepared ones."""
        return raw.reshape((raw.shape[0], *self.shape(fitted)))

    def arrange_back(self, fitted: Fitted, x: Any) -> Any:
        """Return values [..., *shape], without padding, with the axes of raw ones."""
        lead = x.shape[: x.ndim - len(self.shape(fitted))]
        return x.reshape((*lead, *fitted.raw_shape))

    def as_features(self, raw: np.ndarray) -> np.ndarray:
        """Return rows [N, *raw_shape] as values [.., F] of the features that are scaled separately."""
        return raw.reshape(len(raw), int(np.prod(raw.shape[1:], dtype=np.int64)))

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell of rows [B, *raw_shape] what depends on their units, [B, S]; see `units.summarise`."""
        return np.abs(self.arrange(fitted, raw).astype(np.float64))


def _within(fitted: Fitted, raw: np.ndarray) -> np.ndarray:
    """Round features that are integers in training, and clip to the limits that the training rows respect."""
    details = fitted.details
    if "integers" in details:
        raw = np.where(np.asarray(details["integers"]), np.round(raw), raw)
    if "non_negative" in details:
        raw = np.where(np.asarray(details["non_negative"]), raw.clip(0), raw)
    return raw.clip(max=details["highest"]) if "highest" in details else raw


def abbreviate(values: tuple[Any, ...], most: int = 12) -> str:
    """List the first values, and say how many more there are."""
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most:,} more"


def as_shape(raw: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return rows [B, ...] whose examples have a shape, from which theirs may differ by axes of length 1.

    Raises:
        ValueError: If it differs by more.
    """
    if [n for n in raw.shape[1:] if n != 1] != [n for n in shape if n != 1]:
        raise ValueError(f"examples must have shape {shape}, got {raw.shape[1:]}")
    return raw.reshape(len(raw), *shape)


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
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


def check_numbers(raw: np.ndarray) -> None:
    """Raise ValueError for rows [B, ...] that are not numbers, or not finite."""
    if raw.dtype.kind not in "buif":
        raise ValueError(f"values must be numbers, got {raw.dtype}")
    if raw.dtype.kind != "f" or not raw.size:
        return
    bad = np.flatnonzero(~np.isfinite(raw).reshape(len(raw), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"NaN or infinite values in {len(bad):,} of {len(raw):,} rows, the first in row {bad[0]:,}: "
            "fix them, or drop these rows"
        )


def require_values(raw: np.ndarray, is_right: np.ndarray, what: str, other_kind: str) -> None:
    """Raise ValueError, with the first wrong value and its row, if some value of rows [B, ...] is wrong."""
    wrong = np.argwhere(~is_right)
    if len(wrong):
        value, row = float(raw[tuple(wrong[0])]), wrong[0][0]
        raise ValueError(
            f"{what}, got {value:g} in row {row:,}: correct it, or train a model with the kind {other_kind!r}"
        )
