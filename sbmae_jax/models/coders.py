r"""Frozen coders: encoders and decoders of your own that are not trained, only used.

The score model needs a latent z for each modality, and nothing of how it is made. So any pair of functions,
x -> z and z -> x, takes the place of an autoencoder: a PCA, a network that was trained elsewhere, or none at
all where the data are latents already.

Functions see rows in your units, as you gave them; `coder_units` converts from and to what the networks see.
A function that JAX can trace runs inside of compiled code, and has gradients. Any other runs on the
host, as a callback.

An autoencoder learns how far its reconstructions are off, which is the noise of a draw. For a frozen coder it
is measured: the standard deviation of x - decode(encode(x)) over training rows, one for each entry.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import short_repr
from sbmae_jax._io import one_line
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.models.autoencoder import Modality, as_float
from sbmae_jax.models.coder_units import in_units, prepared
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.models.task import Params
from sbmae_jax.models.tensors import flatten
from sbmae_jax.types import Array, Key

Convert = Callable[[Any, Scaling | None, Any], Any]
"""`(module, scaling, rows) -> rows`, where the module is `numpy` or `jax.numpy`."""

IDENTITY = "identity"
"""The name of the coder for data that are latents already."""


@dataclass(frozen=True, eq=False)  # hashed by identity, to be static in compiled functions
class FrozenCoder:
    """A pair of functions between the rows of a modality and their latents, which is not trained.

    Attributes:
        encode: `x [B, ...] -> z [B, d]`, with x in the units, the shape and the dtype of your data. Classes
            of a category are one-hot, `[B, C]`. With `params` it is called as `encode(params, x)`.
        decode: `z [B, d] -> x [B, ...]`, the mean of x given z in the same units; probabilities of a
            category or of bits. With `params` it is called as `decode(params, z)`.
        params: An array, or arrays in dicts whose keys are strings, which are saved with the model. None for
            functions that need none.

    Raises:
        ValueError: For functions that cannot be called, and for parameters that a saved model cannot hold.

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
        for leaf in jax.tree.leaves(self.params):
            if not isinstance(leaf, np.ndarray | jax.Array | np.generic | int | float):
                raise ValueError(f"params must be arrays in dicts, got {short_repr(leaf)}")
        if self.params is None:
            return
        arrays = jax.tree.map(lambda x: x if hasattr(x, "dtype") else np.asarray(x), self.params)
        try:
            list(flatten(arrays, "params"))
        except ValueError as error:
            raise ValueError(
                f"{error}; name what is in a list or a tuple, as in {{'0': first, '1': second}}"
            ) from None


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
        f"inverse_transform, {IDENTITY!r}, or an import path, got {short_repr(given)}"
    )


@dataclass(frozen=True)
class FrozenAutoencoder:
    """A frozen coder in the place of an autoencoder: the same methods, and nothing to train.

    Attributes:
        modality: What is encoded, and how long the latent is.
        origin: Where the coder is from: "identity", "given" by a caller from Python, or its import path.
        scaling: How the networks see the data; None for data that come prepared.
        on_host: Whether `encode` and `decode` run on the host, as JAX cannot trace them.
        probe: The latents of some rows, and some values decoded from them, which tell one coder from another.
        coder: The functions. None for "identity"; also for a saved model until they are given again.
    """

    modality: Modality
    origin: str
    scaling: Scaling | None = None
    on_host: tuple[bool, bool] = (False, False)
    probe: tuple[tuple[float, ...], ...] = ()
    coder: FrozenCoder | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example as the user has it."""
        if self.scaling is None or self.scaling.value_kind.is_coded:
            return self.modality.shape
        return self.scaling.raw_shape

    def encode(self, params: Params, x: Array) -> Array:
        """Return the latents `[B, latent_size]` of x `[B, *shape]`, bytes or floats."""
        x, size = as_float(x), self.modality.latent_size
        if self.coder is None:
            return jnp.reshape(x, (x.shape[0], size))
        return self._call("encode", params, x, in_units, _same, (size,), (size,))

    def decode(self, params: Params, z: Array) -> Array:
        """Return the mean of p(x|z), `[B, *shape]`."""
        if self.coder is None:
            return jnp.reshape(z, (z.shape[0], *self.modality.shape))
        shape = self.modality.shape
        return self._call("decode", params, z, _same, prepared, self.shape, shape)

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
        self, name: str, params: Params, x: Array, before: Convert, after: Convert,
        given: tuple[int, ...], shape: tuple[int, ...],
    ) -> Array:  # fmt: skip
        """Call a function of the coder, which must return rows of the shape `given`.

        The conversions before and after it are those of `coder_units`; `shape` is that of converted rows.
        """
        function, on_host = getattr(self.coder, name), self.on_host[name == "decode"]
        args = [params["coder"]] if "coder" in params else []

        def convert(xp, x, made):
            if not fits(made.shape, x.shape[0], given):
                raise ValueError(
                    f"{self.modality.name}: {name} returned shape {made.shape} for {x.shape[0]} rows, and "
                    f"must return {(x.shape[0], *given)}"
                )
            return xp.reshape(after(xp, self.scaling, made), (x.shape[0], *shape))

        def callback(x, *args):
            # An exception in a callback may end the whole process, so it is noted instead of raised.
            try:
                made = np.asarray(function(*args, before(np, self.scaling, np.asarray(x))))
            except Exception as error:
                _note(
                    f"{self.modality.name}: {name} failed on {len(x)} rows ({type(error).__name__}: "
                    f"{one_line(error, 300)})"
                )
                return np.full((len(x), *shape), np.nan, np.float32)
            try:
                return np.asarray(convert(np, np.asarray(x), made), np.float32)
            except Exception as error:
                _note(str(error))
                return np.full((len(x), *shape), np.nan, np.float32)

        if not on_host:
            made = jnp.asarray(function(*args, before(jnp, self.scaling, x)))
            return convert(jnp, x, made).astype(jnp.float32)
        result = jax.ShapeDtypeStruct((x.shape[0], *shape), jnp.float32)
        return jax.pure_callback(callback, result, x, *args, vmap_method="sequential")


_failures: list[str] = []
_watches: list[None] = []  # one for each `coder_errors` that is open


@contextlib.contextmanager
def coder_errors() -> Iterator[None]:
    """Raise ValueError at the end if a coder that runs on the host has failed meanwhile.

    Such a coder returns NaN where it fails. What it has computed must be read before the end. Outside of this
    context the failure is logged.
    """
    if not _watches:
        _failures.clear()
    _watches.append(None)
    try:
        yield
    except ValueError as error:  # of what found the NaN
        if _failures:
            raise ValueError(_failures[0]) from error
        raise
    finally:
        _watches.pop()
    if _failures:
        raise ValueError(_failures[0])


def _note(failure: str) -> None:
    """Note in a sentence that a coder has failed."""
    _failures.append(failure)
    if not _watches:
        logging.getLogger("sbmae_jax").error("%s: NaN is returned", failure)


def fits(found: tuple[int, ...], num_rows: int, shape: tuple[int, ...]) -> bool:
    """Return whether an array holds rows of a shape, or the same rows flattened.

    Example:
        >>> fits((5, 3), 5, (3,)), fits((5, 12), 5, (3, 4)), fits((5, 4, 3), 5, (3, 4))
        (True, True, False)
    """
    flat = int(np.prod(shape, dtype=np.int64))
    return found in ((num_rows, *shape), (num_rows, flat))


def _same(xp: Any, scaling: Scaling | None, x: Any) -> Any:
    del xp, scaling
    return x
