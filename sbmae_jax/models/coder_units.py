"""Rows in the units of a user and as the networks see them, in NumPy and in compiled code.

`Scaling.prepare` and `Scaling.restore` convert data, on the host. What a frozen coder gets and returns is
converted here, where arrays may be traced, and where means need not be values that the data could have.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax.data.scaling import Scaling


def in_units(xp: Any, scaling: Scaling | None, x: Any) -> Any:
    """Return what the networks see in the units of the user, by NumPy or by `jax.numpy`.

    It is `Scaling.restore` for both, but codes, such as one-hot categories, stay as they are.

    Args:
        xp: The module, `numpy` or `jax.numpy`.
        scaling: How the networks see the data; None for data that come prepared.
        x: Prepared rows `[B, *shape]`, floats.
    """
    if scaling is None or scaling.value_kind.is_coded:
        return x
    x = x.astype(np.float64) if xp is np else x
    if scaling.value_kind.is_image:
        height, width = scaling.raw_shape[:2]
        x = xp.clip(x[:, :height, :width], 0, 1)
    if scaling.value_kind.has_two_values:
        x = xp.where(x > 0.5, 1.0, 0.0)
    scale, shift, constant = _for_rows(x, scaling.scale, scaling.shift, scaling.constant)
    raw = xp.where(constant, shift, x * scale + shift)
    raw = scaling.value_kind.arrange_back(scaling, scaling.value_kind.invert(xp, raw))
    dtype = np.dtype(scaling.dtype)
    if dtype.kind == "b":
        return raw > 0.5
    if dtype.kind in "iu" or scaling.value_kind.is_integer:
        raw = xp.round(raw)
    return raw.astype(dtype if xp is np else jax.dtypes.canonicalize_dtype(dtype))


def prepared(xp: Any, scaling: Scaling | None, raw: Any) -> Any:
    """Return what a coder has decoded as the networks see it, by NumPy or by `jax.numpy`.

    It is `Scaling.prepare` for means, which need not be values that the data could have.

    Args:
        xp: The module, `numpy` or `jax.numpy`.
        scaling: How the networks see the data; None for data that come prepared.
        raw: Decoded rows `[B, ...]` in the user's units.
    """
    raw = raw.astype(np.float64 if xp is np else jnp.float32)
    if scaling is None or scaling.value_kind.is_coded:
        return raw
    if scaling.value_kind.is_image:
        height, width, channels = scaling.shape
        raw = xp.reshape(raw, (raw.shape[0], *scaling.raw_shape[:2], channels))
        scale, shift = _for_rows(raw, scaling.scale, scaling.shift)
        x = xp.clip((raw - shift) / scale, 0, 1)
        sides = ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0))
        return xp.pad(x, sides, mode="edge")
    raw = scaling.value_kind.arrange(scaling, raw)
    raw = scaling.value_kind.transform(xp, raw)
    scale, shift = _for_rows(raw, scaling.scale, scaling.shift)
    return (raw - shift) / scale


def _for_rows(x: Any, *values: np.ndarray) -> list[np.ndarray]:
    """Return values of features with all axes of rows [B, ...]."""
    return [np.broadcast_to(value, x.shape[1:])[None] for value in values]
