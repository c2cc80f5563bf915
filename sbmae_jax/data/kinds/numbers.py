"""Kinds of plain numbers: signals, bits and counts. `ValueKind` itself is the kind of vectors."""

from typing import Any

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, require_values


class Signal(ValueKind):
    """Values over time [T] or [T, C], standardised by channel."""

    is_signal = True

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [T, C]."""
        return fitted.raw_shape if len(fitted.raw_shape) == 2 else (*fitted.raw_shape, 1)

    def as_features(self, raw: np.ndarray) -> np.ndarray:
        """Return the values of each channel."""
        return raw.reshape(-1, raw.shape[2] if raw.ndim == 3 else 1)

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell the mean size of each channel."""
        return super().summarise(fitted, raw).mean(axis=1)


class ChannelsFirstSignal(Signal):
    """Values over time [C, T], which the networks see as [T, C]."""

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [T, C]."""
        return fitted.raw_shape[::-1]

    def arrange(self, fitted: Fitted, raw: Any) -> Any:
        """Return rows [B, T, C]."""
        return raw.reshape(raw.shape[0], *fitted.raw_shape).swapaxes(1, 2)

    def arrange_back(self, fitted: Fitted, x: Any) -> Any:
        """Return values [..., C, T]."""
        del fitted
        return x.swapaxes(-1, -2)

    def as_features(self, raw: np.ndarray) -> np.ndarray:
        """Return the values of each channel."""
        return super().as_features(raw.swapaxes(1, 2))


class Binary(ValueKind):
    """Values that are 0 or 1."""

    has_two_values = True

    def check(self, fitted: Fitted, values: np.ndarray) -> None:
        """Raise ValueError for values other than 0 and 1."""
        check_two_values(fitted, values, (values - fitted.shift) / fitted.scale)

    def clean(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the more probable of the two values."""
        return np.where(x.astype(np.float64) > 0.5, 1.0, 0.0)

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))


class Counts(ValueKind):
    """Non-negative integers, which the networks see unscaled."""

    is_integer = True

    def likelihood_of(self, fitted: Fitted) -> str:
        """Return a likelihood with a dispersion of its own where the counts vary more than Poisson ones."""
        return "negative_binomial" if fitted.details.get("overdispersed") else self.likelihood

    def check(self, fitted: Fitted, values: np.ndarray) -> None:
        """Raise ValueError for negative values and fractions."""
        is_count = (values >= 0) & (values == np.floor(values))
        require_values(values, is_count, "a count must be an integer from 0", "vector")


class LargeCounts(Counts):
    """Counts of which ln(1 + x) is standardised."""

    def transform(self, xp: Any, values: Any) -> Any:
        """Return ln(1 + x); means that are negative count as 0."""
        return xp.log1p(xp.clip(values, 0, None))

    def invert(self, xp: Any, values: Any) -> Any:
        """Return exp(x) - 1."""
        return xp.expm1(values)


def check_two_values(fitted: Fitted, raw: np.ndarray, x: np.ndarray) -> None:
    """Raise ValueError if values are not the lower or the upper one, which x has as 0 and 1."""
    high = float(np.ravel(fitted.shift + fitted.scale)[0])
    other = "image" if fitted.kind == "mask" else "vector"
    is_right = (x == 0) | (x == 1)
    require_values(raw, is_right, f"values of kind {fitted.kind!r} must be 0 or {high:g}", other)
