"""Try a coder of the user on a few rows before it is frozen into a model, and recognise it later.

The rows are made up, within the range of the data. A coder must map each row on its own, and in the same way
each time. Its latents of these rows, and some of what it decodes from them, are kept as its *probe*: another
coder gives other ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_mapping, short_repr
from sbmae_jax._io import one_line
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.models.coder_units import in_units
from sbmae_jax.models.coders import (
    IDENTITY,
    FrozenAutoencoder,
    FrozenCoder,
    as_coder,
    fits,
)
from sbmae_jax.models.likelihoods import LIKELIHOODS

_ROWS = 3
_DECODED = 64  # values of the probe that are decoded ones, at most
_TOLERANCE = 1e-2  # relative to the largest value of a latent: other devices round in other ways
MAX_OFFSET = 1e4
"""How far from 0 values may be, in standard deviations; it leaves three digits of a float of 32 bits."""


def freeze(
    modality: Modality, origin: str, coder: FrozenCoder | None, scaling: Scaling | None
) -> FrozenAutoencoder:
    """Put a coder in the place of an autoencoder, and try it on some rows.

    Args:
        modality: Its `latent_size` is replaced by that of the latents that the coder returns.
        origin: Where the coder is from, see `FrozenAutoencoder`.
        coder: The functions; None for "identity".
        scaling: How the networks see the data; None for data that come prepared.

    Raises:
        ValueError: For text; if a function fails, returns arrays of other shapes, does not map each row on
            its own, or computes in float32 what float32 cannot hold.
    """
    if LIKELIHOODS[modality.likelihood].values == "tokens":
        raise ValueError(
            "text has no frozen coder: leave it out of coders, and its networks are trained"
        )
    if coder is None:
        size = int(np.prod(modality.shape, dtype=np.int64))
        return FrozenAutoencoder(replace(modality, latent_size=size), origin, scaling)
    frozen = FrozenAutoencoder(modality, origin, scaling, coder=coder)
    rows = in_units(np, scaling, _rows(modality))
    z, encode_on_host = _try(frozen, "encode", rows, needs_float64=_has_offset(scaling))
    if z.ndim != 2 or len(z) != _ROWS or not z.shape[1]:
        raise ValueError(f"encode must return latents [B, d], got {z.shape} for {_ROWS} rows")
    frozen = replace(frozen, on_host=(encode_on_host, False))
    _require_rowwise(frozen, rows, z)
    z = z.astype(np.float32)
    decoded, decode_on_host = _try(frozen, "decode", z)
    if not fits(decoded.shape, _ROWS, frozen.shape):
        found = (
            f"{decoded.shape[1:]}" if len(decoded) == _ROWS else f"{len(decoded)} rows for {_ROWS}"
        )
        raise ValueError(
            f"decode must return rows {frozen.shape}, as encode gets them, got {found}"
        )
    first = np.ravel(decoded[0])
    some = first[np.linspace(0, first.size - 1, min(first.size, _DECODED)).astype(int)]
    return replace(
        frozen,
        modality=replace(modality, latent_size=z.shape[1]),
        on_host=(encode_on_host, decode_on_host),
        probe=(*map(_as_tuple, z.T), _as_tuple(some)),
    )


def require_same_coder(name: str, found: FrozenAutoencoder, probe: Any) -> None:
    """Raise ValueError if a coder is another one than that which a model was trained with.

    Args:
        name: The modality.
        found: The coder, as `freeze` returns it.
        probe: The `FrozenAutoencoder.probe` of the one that the model was trained with.
    """
    pairs = list(zip(found.probe, probe, strict=False))
    same = len(found.probe) == len(probe) and all(len(now) == len(then) for now, then in pairs)
    if not same or not all(_alike(np.asarray(now), np.asarray(then)) for now, then in pairs):
        raise ValueError(
            f"the coder of {name} encodes or decodes in another way than the one that the model was trained "
            "with: pass that one, or train again with this one"
        )


def with_coders(model: Any, coders: Mapping[str, Any] | None) -> Any:
    """Return a saved `Model` with the functions of its frozen coders, which files do not hold.

    Args:
        model: The model, as it was read.
        coders: A coder for each modality that needs one, as `as_coder` takes them. Their parameters are
            those of the file.

    Raises:
        ValueError: If a coder is missing, is for no modality that has one, or is another than before.
    """
    require_mapping("coders", coders)
    given, autoencoders = dict(coders or {}), []
    for modality, found in zip(model.modalities, model.autoencoders, strict=True):
        if isinstance(found, FrozenAutoencoder) and found.origin != IDENTITY:
            name = modality.name
            if name not in given:
                raise ValueError(
                    f"{name} was encoded by a coder of your own, and files hold no functions: pass it again, "
                    f"as in load(..., coders={{{name!r}: coder}})"
                )
            params = model.params["autoencoders"][name].get("coder")
            coder = replace(as_coder(name, given.pop(name)), params=params)
            try:
                now = freeze(modality, found.origin, coder, found.scaling)
            except ValueError as error:
                raise ValueError(f"the coder of {name}: {error}") from error
            require_same_coder(name, now, found.probe)
            found = now
        autoencoders.append(found)
    if given:
        raise ValueError(f"coders: {', '.join(given)} has no coder of your own in this model")
    return replace(model, autoencoders=tuple(autoencoders))


def _rows(modality: Modality) -> np.ndarray:
    """Make rows [B, *shape] as the networks could see them."""
    shape = (_ROWS, *modality.shape)
    if LIKELIHOODS[modality.likelihood].values in ("categorical", "pixel_classes"):
        size = shape[-1]
        chosen = np.arange(np.prod(shape[:-1])) % size
        return np.eye(size, dtype=np.float32)[chosen].reshape(shape)
    return np.random.default_rng(0).uniform(size=shape).astype(np.float32)


def _has_offset(scaling: Scaling | None) -> bool:
    """Return whether the data are far from 0 beside their spread."""
    if scaling is None or not (scaling.kind == "vector" or scaling.value_kind.is_signal):
        return False
    return bool((np.abs(scaling.shift) > MAX_OFFSET * scaling.scale)[~scaling.constant].any())


def _try(
    frozen: FrozenAutoencoder, name: str, rows: np.ndarray, needs_float64: bool = False
) -> tuple[np.ndarray, bool]:
    """Call a function of a coder on rows; return what it makes, and whether it runs on the host alone."""
    coder = frozen.coder
    assert coder is not None
    function, args = getattr(coder, name), [] if coder.params is None else [coder.params]
    on_host, made = needs_float64, None
    if not on_host:
        try:
            made = np.asarray(jax.jit(function)(*args, jnp.asarray(rows)))
        except Exception:  # whatever a function of others raises that cannot be traced
            on_host = True
    if on_host:
        made = _call(name, function, *args, rows)
        if needs_float64 and isinstance(made, jax.Array):
            raise ValueError(
                f"{name} computes in float32, which cannot hold values that are so far from 0 beside their "
                "spread: subtract a constant from the data, or write the coder with NumPy"
            )
        made = np.asarray(made)
    if made is None or made.dtype.kind not in "biuf" or not made.ndim:
        raise ValueError(
            f"{name} must return an array of numbers with a row for each row that it gets, got "
            f"{short_repr(made)}"
        )
    return made, on_host


def _call(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function of a user on the host."""
    rows = args[-1]
    try:
        return function(*args)
    except Exception as error:
        raise ValueError(
            f"{name} failed on {len(rows)} rows of shape {rows.shape[1:]} and dtype {rows.dtype} "
            f"({type(error).__name__}: {one_line(error, 300)})"
        ) from error


def _require_rowwise(frozen: FrozenAutoencoder, rows: np.ndarray, z: np.ndarray) -> None:
    """Raise ValueError if the latents of a row depend on what else is encoded, or change."""
    fewer, _ = _try(frozen, "encode", rows[:-1], needs_float64=frozen.on_host[0])
    if fewer.shape != (_ROWS - 1, *z.shape[1:]):
        raise ValueError(
            f"encode must return latents [B, d], got {fewer.shape} for {_ROWS - 1} rows and {z.shape} for "
            f"{_ROWS}"
        )
    if not all(_alike(now, then) for now, then in zip(fewer.T, z[:-1].T, strict=True)):
        raise ValueError(
            "encode gives other latents for a row when it is called again, or with other rows beside it: it "
            "must map each row on its own, and in the same way each time"
        )


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether values are the same but for rounding."""
    one, other = (np.nan_to_num(np.asarray(x, np.float64)) for x in (one, other))
    scale = _TOLERANCE * max(1e-30, float(np.abs(other).max(initial=0.0)))
    return bool(np.allclose(one, other, rtol=0, atol=scale))


def _as_tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.nan_to_num(np.asarray(values, np.float64)))
