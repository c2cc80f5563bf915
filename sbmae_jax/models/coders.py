r"""Frozen coders: encoders and decoders of your own that are not trained, only used.

The score model needs a latent z for each modality, and nothing of how it is made. So any pair of functions,
x -> z and z -> x, takes the place of an autoencoder: a PCA, a network that was trained elsewhere, or none at
all where the data are latents already.

Functions see rows in your units, as you gave them. The conversion from and to what the networks see is done
here. A function that JAX can trace runs inside of compiled code, and has gradients. Any other runs on the
host, as a callback.

An autoencoder learns how far its reconstructions are off, which is the noise of a draw. For a frozen coder it
is measured: the standard deviation of x - decode(encode(x)) over training rows, one for each entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_mapping, short_repr
from sbmae_jax._io import one_line
from sbmae_jax.data.scaling import IMAGE_KINDS, Scaling
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.models.task import Params
from sbmae_jax.types import Array, Key

IDENTITY = "identity"
"""The name of the coder for data that are latents already."""

_PROBE_ROWS = 2
_PROBE_TOLERANCE = 1e-2  # relative to the largest latent: other devices round in other ways


@dataclass(frozen=True, eq=False)  # hashed by identity, to be static in compiled functions
class FrozenCoder:
    """A pair of functions between the rows of a modality and their latents, which is not trained.

    Attributes:
        encode: `x [B, ...] -> z [B, d]`, with x in the units, the shape and the dtype of your data. Classes
            of a category are one-hot, `[B, C]`. With `params` it is called as `encode(params, x)`.
        decode: `z [B, d] -> x [B, ...]`, the mean of x given z in the same units; probabilities of a
            category or of bits. With `params` it is called as `decode(params, z)`.
        params: Arrays in dicts, which are saved with the model. None for functions that need none.

    Raises:
        ValueError: For functions that cannot be called.

    Example:
        A projection on two directions, which JAX can trace:

        >>> axes = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> coder = FrozenCoder(lambda a, x: x @ a.T, lambda a, z: z @ a, params=axes)
        >>> coder.encode(coder.params, jnp.ones((4, 3))).shape
        (4, 2)
    """

    encode: Callable[..., Any]
    decode: Callable[..., Any]
    params: Any = None

    def __post_init__(self):
        for name in ("encode", "decode"):
            if not callable(getattr(self, name)):
                raise ValueError(
                    f"{name} must be a function, got {short_repr(getattr(self, name))}"
                )


def as_coder(name: str, given: Any) -> FrozenCoder:
    """Return what a user gives as the coder of a modality as a `FrozenCoder`.

    Args:
        name: The modality, for messages.
        given: A `FrozenCoder`; a pair `(encode, decode)`; or anything with `transform` and
            `inverse_transform`, as in scikit-learn.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(given, FrozenCoder):
        return given
    if hasattr(given, "transform") and hasattr(given, "inverse_transform"):
        return FrozenCoder(given.transform, given.inverse_transform)
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return FrozenCoder(*given)
    raise ValueError(
        f"the coder of {name} must be a FrozenCoder, a pair (encode, decode), an object with transform and "
        f"inverse_transform, or {IDENTITY!r}, got {short_repr(given)}"
    )


@dataclass(frozen=True)
class FrozenAutoencoder:
    """A frozen coder in the place of an autoencoder: the same methods, and nothing to train.

    Attributes:
        modality: What is encoded, and how long the latent is.
        origin: Where the coder is from: "identity", "given" by a caller from Python, or its import path.
        scaling: How the networks see the data; None for data that come prepared.
        on_host: Whether `encode` and `decode` run on the host, as JAX cannot trace them.
        probe: Latents of some fixed rows, which tell one coder from another.
        coder: The functions. None for "identity"; also for a saved model until they are given again.
    """

    modality: Modality
    origin: str
    scaling: Scaling | None = None
    on_host: tuple[bool, bool] = (False, False)
    probe: tuple[float, ...] = ()
    coder: FrozenCoder | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example as the user has it."""
        if self.scaling is None or self.scaling.kind == "category":
            return self.modality.shape
        return self.scaling.raw_shape

    def encode(self, params: Params, x: Array) -> Array:
        """Return the latents `[B, latent_size]` of x `[B, *shape]`, bytes or floats."""
        x, size = as_float(x), self.modality.latent_size
        if self.coder is None:
            return jnp.reshape(x, (x.shape[0], size))
        return self._call(self.coder.encode, self.on_host[0], params, x, in_units, _same, (size,))

    def decode(self, params: Params, z: Array) -> Array:
        """Return the mean of p(x|z), `[B, *shape]`."""
        if self.coder is None:
            return jnp.reshape(z, (z.shape[0], *self.modality.shape))
        shape = self.modality.shape
        return self._call(self.coder.decode, self.on_host[1], params, z, _same, prepared, shape)

    def draw(self, params: Params, key: Key, z: Array) -> Array:
        """Return a draw from p(x|z), `[B, *shape]`."""
        likelihood, mean = LIKELIHOODS[self.modality.likelihood], self.decode(params, z)
        if likelihood.has_variance:
            noise = jax.random.normal(key, mean.shape)
            return mean + params["residual_std"][None] * noise
        return likelihood.draw(key, likelihood.link(mean), None)

    def make_params(self, residual_std: np.ndarray | None) -> Params:
        """Return its parameters: those of the coder, and the standard deviation of its residuals."""
        given = None if self.coder is None else self.coder.params
        params: dict[str, Any] = (
            {} if given is None else {"coder": jax.tree.map(jnp.asarray, given)}
        )
        if LIKELIHOODS[self.modality.likelihood].has_variance:
            zeros = np.zeros(self.modality.shape, np.float32)
            params["residual_std"] = jnp.asarray(zeros if residual_std is None else residual_std)
        return params

    def _call(
        self, function: Callable[..., Any], on_host: bool, params: Params, x: Array,
        before: Callable[..., Any], after: Callable[..., Any], shape: tuple[int, ...],
    ) -> Array:  # fmt: skip
        """Call a function of the coder, with conversions before and after it."""
        args = [params["coder"]] if "coder" in params else []

        def on_device(x, *args):
            made = function(*args, before(jnp, self.scaling, x))
            return jnp.reshape(after(jnp, self.scaling, jnp.asarray(made)), (x.shape[0], *shape))

        def callback(x, *args):
            x = np.asarray(x, np.float64)
            made = np.asarray(function(*args, before(np, self.scaling, x)))
            return np.asarray(after(np, self.scaling, made), np.float32).reshape(len(x), *shape)

        if not on_host:
            return on_device(x, *args).astype(jnp.float32)
        result = jax.ShapeDtypeStruct((x.shape[0], *shape), jnp.float32)
        return jax.pure_callback(callback, result, x, *args, vmap_method="sequential")


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
        ValueError: Naming the modality, if a function fails, or returns arrays of other shapes.
    """
    if coder is None:
        size = int(np.prod(modality.shape, dtype=np.int64))
        return FrozenAutoencoder(replace(modality, latent_size=size, name=""), origin, scaling)
    frozen = FrozenAutoencoder(modality, origin, scaling, coder=coder)
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(_PROBE_ROWS, *modality.shape)).astype(np.float32)
    z, encode_on_host = _try(frozen, "encode", in_units(np, scaling, x))
    if z.ndim != 2 or len(z) != _PROBE_ROWS or not z.shape[1]:
        raise ValueError(
            f"{modality.name}: encode must return latents [B, d], got {z.shape} for {_PROBE_ROWS} rows"
        )
    decoded, decode_on_host = _try(frozen, "decode", z)
    wanted = (_PROBE_ROWS, *frozen.shape)
    if decoded.size != np.prod(wanted) or len(decoded) != _PROBE_ROWS:
        raise ValueError(
            f"{modality.name}: decode must return rows {wanted[1:]}, as encode gets them, got "
            f"{decoded.shape[1:]}"
        )
    return replace(
        frozen,
        modality=replace(modality, latent_size=z.shape[1], name=""),
        on_host=(encode_on_host, decode_on_host),
        probe=tuple(float(value) for value in np.ravel(np.nan_to_num(z))),
    )


def require_same_coder(name: str, found: FrozenAutoencoder, probe: tuple[float, ...]) -> None:
    """Raise ValueError if a coder gives other latents than the one that a model was trained with.

    Args:
        name: The modality.
        found: The coder, as `freeze` returns it.
        probe: The `FrozenAutoencoder.probe` of the one that the model was trained with.
    """
    now, then = np.asarray(found.probe), np.asarray(probe)
    scale = _PROBE_TOLERANCE * max(1e-30, float(np.abs(then).max(initial=0.0)))
    if now.shape != then.shape or not np.allclose(now, then, rtol=0, atol=scale):
        raise ValueError(
            f"the coder of {name} gives other latents than the one that the model was trained with: pass "
            "that one, or train again with this one"
        )


def with_coders(model: Any, coders: Mapping[str, Any] | None) -> Any:
    """Return a saved `Model` with the functions of its frozen coders, which files do not hold.

    Args:
        model: The model, as it was read.
        coders: A coder for each modality that needs one, as `as_coder` takes them.

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
            now = freeze(modality, found.origin, coder, found.scaling)
            require_same_coder(name, now, found.probe)
            found = now
        autoencoders.append(found)
    if given:
        raise ValueError(f"coders: {', '.join(given)} has no coder of your own in this model")
    return replace(model, autoencoders=tuple(autoencoders))


def in_units(xp: Any, scaling: Scaling | None, x: Any) -> Any:
    """Return what the networks see in the units of the user, by NumPy or by `jax.numpy`.

    It is `Scaling.restore` for both, but a category stays one-hot.

    Args:
        xp: The module, `numpy` or `jax.numpy`.
        scaling: How the networks see the data; None for data that come prepared.
        x: Prepared rows `[B, *shape]`, floats.
    """
    if scaling is None or scaling.kind == "category":
        return x
    if scaling.kind in IMAGE_KINDS:
        height, width = scaling.raw_shape[:2]
        x = xp.clip(x[:, :height, :width], 0, 1)
    if scaling.kind in ("mask", "binary"):
        x = xp.where(x > 0.5, 1.0, 0.0)
    scale, shift, constant = _for_rows(x, scaling.scale, scaling.shift, scaling.constant)
    raw = xp.where(constant, shift, x * scale + shift)
    raw = xp.expm1(raw) if scaling.kind == "large_counts" else raw
    raw = xp.reshape(raw, (x.shape[0], *scaling.raw_shape))
    dtype = np.dtype(scaling.dtype)
    if dtype.kind == "b":
        return raw > 0.5
    if dtype.kind in "iu" or scaling.kind in ("counts", "large_counts"):
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
    if scaling is None or scaling.kind == "category":
        return raw
    if scaling.kind in IMAGE_KINDS:
        height, width, channels = scaling.shape
        raw = xp.reshape(raw, (raw.shape[0], *scaling.raw_shape[:2], channels))
        scale, shift = _for_rows(raw, scaling.scale, scaling.shift)
        x = xp.clip((raw - shift) / scale, 0, 1)
        sides = ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0))
        return xp.pad(x, sides, mode="edge")
    raw = xp.reshape(raw, (raw.shape[0], *scaling.shape))
    if scaling.kind == "large_counts":
        raw = xp.log1p(xp.clip(raw, 0, None))
    scale, shift = _for_rows(raw, scaling.scale, scaling.shift)
    return (raw - shift) / scale


def _for_rows(x: Any, *values: np.ndarray) -> list[np.ndarray]:
    """Return values of features with all axes of rows [B, ...]."""
    return [np.broadcast_to(value, x.shape[1:])[None] for value in values]


def _same(xp: Any, scaling: Scaling | None, x: Any) -> Any:
    del xp, scaling
    return x


def _try(frozen: FrozenAutoencoder, name: str, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """Call a function of a coder on rows; return what it makes, and whether it runs on the host alone."""
    coder = frozen.coder
    assert coder is not None
    function, args = getattr(coder, name), [] if coder.params is None else [coder.params]
    try:
        made = jax.jit(function)(*args, jnp.asarray(rows))
        on_host = False
    except Exception:  # whatever a function of others raises that cannot be traced
        on_host = True
    try:
        made = np.asarray(function(*args, rows) if on_host else made)
    except Exception as error:
        raise ValueError(
            f"{frozen.modality.name}: {name} failed on rows of shape {rows.shape[1:]} and dtype {rows.dtype} "
            f"({type(error).__name__}: {one_line(error, 300)})"
        ) from error
    if made.dtype.kind not in "biuf" or not made.ndim:
        raise ValueError(
            f"{frozen.modality.name}: {name} must return an array of numbers with a row for each row that it "
            f"gets, got {short_repr(made)}"
        )
    return made, on_host
