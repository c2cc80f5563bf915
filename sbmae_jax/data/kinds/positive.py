"""The kind of non-negative numbers, such as prices: their logarithms, and which are exactly zero."""

from typing import Any

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, as_dtype, check_numbers, require_values


class Positive(ValueKind):
    """Non-negative numbers [F], of which ln x is standardised.

    Where training has exact zeros, the networks see [F, 2]: whether a value is above 0, and its standardised
    logarithm, or 0 for zeros. Otherwise they see the logarithms, [F]. `details["zeros"]` has the share of
    zeros of each feature.
    """

    is_coded = True

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return [F, 2], or [F] without zeros."""
        flat = super().shape(fitted)
        return (*flat, 2) if _has_zeros(fitted) else flat

    def likelihood_of(self, fitted: Fitted) -> str:
        """Return a likelihood with a part for zeros if there are any."""
        return "zero_inflated" if _has_zeros(fitted) else self.likelihood

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare rows [B, *raw_shape]; raises ValueError for negative values."""
        check_numbers(raw)
        values = raw.reshape(len(raw), -1).astype(np.float64)
        if _has_zeros(fitted):
            require_values(values, values >= 0, "a value must be at least 0", "vector")
        else:
            what = "a value must be above 0, as all were in training"
            require_values(values, values > 0, what, "vector")
        above = values > 0
        logs = (np.log(np.where(above, values, 1)) - fitted.shift) / fitted.scale
        if not _has_zeros(fitted):
            return logs.astype(np.float32)
        return np.stack([above, np.where(above, logs, 0)], axis=-1).astype(np.float32)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return exp of the logarithms, and 0 where that is more probable."""
        lead = x.shape[: x.ndim - len(self.shape(fitted))]
        logs, above = x.astype(np.float64), np.array(True)
        if _has_zeros(fitted):
            zeros = np.asarray(fitted.details["zeros"])
            above = ((logs[..., 0] > 0.5) | (zeros == 0)) & (zeros < 1)
            # The mean of what is 0 with some probability is too near to 0 by that probability.
            logs = logs[..., 1] / logs[..., 0].clip(0.5, 1)
        logs = np.where(fitted.constant, fitted.shift, logs * fitted.scale + fitted.shift)
        dtype = np.dtype(fitted.dtype)
        raw = np.where(above, np.exp(logs.clip(-700, 700)), 0)
        if dtype.kind == "f":  # what is above 0 stays above 0
            raw = np.where(above, raw.clip(float(np.finfo(dtype).tiny)), raw)
        return as_dtype(np.reshape(raw, (*lead, *fitted.raw_shape)), dtype)

    def transform(self, xp: Any, values: Any) -> Any:
        """Return ln x, NaN for what is not above 0."""
        return xp.where(values > 0, xp.log(xp.where(values > 0, values, 1)), xp.nan)

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell the size of each value."""
        del fitted
        return np.abs(raw.reshape(len(raw), -1).astype(np.float64))


def _has_zeros(fitted: Fitted) -> bool:
    return any(fitted.details.get("zeros", ()))
