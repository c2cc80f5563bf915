"""The kind of ordered levels, such as answers from 1 to 5: for each value, which levels it exceeds."""

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, abbreviate, as_dtype, check_numbers


class Ordinal(ValueKind):
    """Values [F] that are one of some ordered levels each.

    The networks see, for each value, whether it exceeds the first level, the second, and so on: [F, L - 1]
    of 0 and 1 for L levels.
    """

    is_coded = True

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [F, L - 1]."""
        return (*super().shape(fitted), max(len(fitted.classes) - 1, 1))

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare rows [B, *raw_shape]; raises ValueError for a value that is none of the levels."""
        check_numbers(raw)
        levels = np.asarray(fitted.classes, np.float64)
        values = raw.reshape(len(raw), -1).astype(np.float64)
        wrong = np.argwhere(~np.isin(values, levels))
        if len(wrong):
            raise ValueError(
                f"{values[tuple(wrong[0])]:g} in row {wrong[0][0]:,} is none of the levels "
                f"{abbreviate(fitted.classes)}: correct it, or train a model with the kind 'vector'"
            )
        below = levels[:-1] if len(levels) > 1 else levels
        return (values[..., None] > below).astype(np.float32)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the levels: the highest that is exceeded with all below it, or of means their median."""
        lead = x.shape[: x.ndim - len(self.shape(fitted))]
        exceeded = np.cumprod(x > 0.5, axis=-1).sum(axis=-1).astype(np.int64)
        levels = np.asarray(fitted.classes, np.float64)[exceeded.clip(max=len(fitted.classes) - 1)]
        return as_dtype(np.reshape(levels, (*lead, *fitted.raw_shape)), np.dtype(fitted.dtype))

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the median of samples [K, S, ...], the lower one of two."""
        del fitted
        return np.sort(samples, axis=1)[:, (samples.shape[1] - 1) // 2]

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))
