"""The kind of angles and of times of the day: numbers on a circle, as sine and cosine."""

import math

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, as_dtype, check_numbers

PERIODS = (2 * math.pi, 24.0, 360.0)
"""The known lengths of a circle: radians, hours and degrees."""


class Angle(ValueKind):
    """Numbers [F] on a circle of the length `details["period"]`, which the networks see as [F, 2].

    What is generated lies in [start, start + period), where `details["start"]` is 0, or minus half a period
    if training has negative values.

    Args:
        name: Its name.
        likelihood: As for `ValueKind`.
        period: The length of the circle; 0 for the shortest known one that holds all values.
    """

    is_coded = True
    is_angle = True

    def __init__(self, name: str, likelihood: str, period: float = 0.0):
        super().__init__(name, likelihood)
        self.period = period

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [F, 2]."""
        return (*super().shape(fitted), 2)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare rows [B, *raw_shape], of any number of turns."""
        check_numbers(raw)
        values = raw.reshape(len(raw), -1).astype(np.float64)
        turned = 2 * math.pi * values / fitted.details["period"]
        return np.stack([np.sin(turned), np.cos(turned)], axis=-1).astype(np.float32)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the directions of pairs (sine, cosine)."""
        lead, x = x.shape[: x.ndim - 2], x.astype(np.float64)
        return _on_circle(fitted, np.arctan2(x[..., 0], x[..., 1]), (*lead, *fitted.raw_shape))

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the direction of the mean of samples [K, S, ...]."""
        turned = 2 * math.pi * samples.astype(np.float64) / fitted.details["period"]
        mean = np.arctan2(np.sin(turned).mean(axis=1), np.cos(turned).mean(axis=1))
        return _on_circle(fitted, mean, mean.shape)

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False, as sine and cosine are not scaled."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as any number of turns is the same."""
        return np.zeros((len(raw), 0))


def period_of(low: float, high: float) -> float:
    """Return the shortest known circle on which values lie; 0 if there is none."""
    for period in PERIODS:
        slack = 1e-6 * period
        lies_on_it = low >= 0 and high <= period + slack
        if lies_on_it or (-period / 2 - slack <= low and high <= period / 2 + slack):
            return period
    return 0.0


def _on_circle(fitted: Fitted, radians: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return directions in the user's units and dtype."""
    period, start, dtype = fitted.details["period"], fitted.details["start"], np.dtype(fitted.dtype)
    values = np.mod(radians * period / (2 * math.pi) - start, period) + start
    values = np.round(values) if dtype.kind != "f" else values.astype(dtype).astype(np.float64)
    values = np.where(values >= start + period, start, values)  # what was rounded up to a full turn
    return as_dtype(np.reshape(values, shape), dtype)
