"""The kind of compositions: non-negative parts of a whole, such as percentages that sum to 100."""

from typing import Any

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, as_dtype, require_values

FLOOR = 1e-4
"""The smallest share of the whole that is not zero; zeros count as this, so that they have a logarithm."""
_TOLERANCE = 0.05  # of the whole, by which the sum of a new row may differ


class Composition(ValueKind):
    """Rows [F] of non-negative parts with one sum, `details["total"]`.

    The networks see standardised centred log-ratios, ln p_i - mean_j ln p_j of the shares p, so that any
    numbers they make are a composition again (Aitchison 1986).
    """

    is_coded = True

    def check(self, fitted: Fitted, values: np.ndarray) -> None:
        """Raise ValueError for negative parts, and for rows with another sum."""
        require_values(values, values >= 0, "a part must be at least 0", "vector")
        total, sums = fitted.details["total"], values.sum(axis=-1)
        what = f"the parts of a row must sum to {total:g}"
        require_values(sums, np.abs(sums - total) <= _TOLERANCE * total, what, "vector")

    def transform(self, xp: Any, values: Any) -> Any:
        """Return centred log-ratios of parts [B, F]."""
        logs = xp.log(xp.clip(values / values.sum(axis=-1, keepdims=True), FLOOR, None))
        return logs - logs.mean(axis=-1, keepdims=True)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return parts that sum to the whole; what is not above the floor is exactly zero."""
        lead = x.shape[:-1]
        ratios = x.astype(np.float64) * fitted.scale + fitted.shift
        ratios = np.where(fitted.constant, fitted.shift, ratios)
        shares = np.exp(ratios - ratios.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        shares = np.where(shares > FLOOR * (1 + 1e-4), shares, 0)
        raw = fitted.details["total"] * shares / shares.sum(axis=-1, keepdims=True)
        return as_dtype(np.reshape(raw, (*lead, *fitted.raw_shape)), np.dtype(fitted.dtype))
