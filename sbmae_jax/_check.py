"""Checks of arguments: each refusal is one sentence that names the argument and the fix.

Public functions check what a caller can get wrong, once, where it comes in; the code inside trusts it. Shapes
and dtypes are known while a function is traced, so checking them costs nothing when it runs. Values are not
known then: traced numbers are never compared, and times are compared only if they are concrete.
"""

import dataclasses
import difflib
import operator
import reprlib
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax._placement import placed_like
from sbmae_jax.types import Array, Key, ScoreFn, State

MAX_COUNT = 1_000_000  # of steps, repeats, probes or particles: more is almost certainly a typo
MAX_SEED = 2**32 - 1  # what 32 bits hold, of which NumPy and JAX both make generators
FLOAT32_MAX = float(np.finfo(np.float32).max)
_TYPE_NAMES = {
    int: "an integer",
    float: "a finite number",
    str: "a string",
    bool: "True or False",
    Path: "a path",
    types.NoneType: "None",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a remark on the known words that are most like a mistyped one, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=2)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def short_repr(value: Any) -> str:
    """Return a representation that fits into one line of a message, shortened if need be."""
    return " ".join(reprlib.repr(value).split())


# ---------------------------------------------------------------- single values


def require_int(name: str, value: Any, low: int = 0, high: int | None = None) -> None:
    """Raise ValueError for anything but an integer in low..high."""
    require_type(name, value, int)
    _require_range(name, value, low, high)


def require_number(
    name: str, value: Any, low: float | None = None, high: float | None = None,
    *, above: float | None = None, below: float | None = None,
) -> None:  # fmt: skip
    """Raise ValueError for anything but a finite number within its bounds; traced numbers pass.

    Args:
        name: the argument, as the caller knows it.
        value: a Python, NumPy or JAX number.
        low: the least value that is allowed.
        high: the greatest value that is allowed.
        above: a bound that the value must exceed.
        below: a bound that the value must stay under.

    Example:
        >>> require_number("eta", 1.5, low=0, high=1)
        Traceback (most recent call last):
        ValueError: eta must be in 0..1, got 1.5
    """
    if isinstance(value, jax.core.Tracer):
        return
    require_type(name, value, float)
    if isinstance(value, jax.Array | np.ndarray):
        value = float(value)  # comparing it as a JAX array would trace
    if isinstance(value, int) and abs(value) >= 2**31:
        raise ValueError(f"{name} is too large for an integer: write it as a float, got {value}")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be in {low:g}..{high:g}, got {value}")
    _require_range(name, value, low, high)
    if above is not None and not value > above:
        raise ValueError(f"{name} must be above {above}, got {value}")
    if below is not None and not value < below:
        raise ValueError(f"{name} must be below {below}, got {value}")


def require_seed(name: str, value: Any) -> int:
    """Return a seed as a Python integer.

    Args:
        name: the argument, as the caller knows it.
        value: an integer of Python, NumPy or JAX, in 0..2^32 - 1.

    Raises:
        ValueError: for anything else, True and 3.0 included.

    Example:
        >>> require_seed("seed", np.int64(3))
        3
    """
    seed = _seed_of(value)
    if seed is None:
        raise ValueError(f"{name} must be an integer in 0..{MAX_SEED}, got {short_repr(value)}")
    return seed


def require_fields(instance: Any, prefix: str = "") -> None:
    """Raise ValueError for a field of a dataclass whose value is not of the type it is annotated with."""
    for field in dataclasses.fields(instance):
        require_type(prefix + field.name, getattr(instance, field.name), field.type)


def require_type(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError for a value that is not of a type.

    Args:
        name: the argument, as the caller knows it.
        value: anything.
        kind: int, float, str, bool, Path, or tuples, mappings and unions of these; values of other types all
            pass. True is not a number, 2.0 is not an integer, and 2 is a float.

    Example:
        >>> require_type("sizes", (4, 2.5), tuple[int, ...])
        Traceback (most recent call last):
        ValueError: sizes must be a tuple, each entry an integer, got (4, 2.5)
    """
    if not _fits(value, kind):
        raise ValueError(f"{name} must be {_type_name(kind)}, got {short_repr(value)}")


def require_mapping(name: str, value: Any) -> None:
    """Raise ValueError for anything but None and a dict, or another mapping."""
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a dict, got {short_repr(value)}")


def require_one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise ValueError for a value that is not among the known names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {short_repr(value)}")


def _seed_of(value: Any) -> int | None:
    try:
        seed = -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:  # no integer, or a traced one
        return None
    return seed if 0 <= seed <= MAX_SEED else None


def _require_range(name: str, value: Any, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    if high is not None and value > high:
        raise ValueError(f"{name} must be at most {high}, got {value}")


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in arguments)
    if origin is Sequence:
        origin, arguments = tuple, (*arguments, ...)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(one, arguments[0]) for one in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in value.items()
        )
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind is float:
        return _is_finite(value) or _is_traced_number(value)
    return isinstance(value, kind) if kind in _TYPE_NAMES else True


def _is_finite(value: Any) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        if np.ndim(value) or value.dtype.kind not in "iuf":
            return False
    elif isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return abs(float(value)) <= FLOAT32_MAX
    except (OverflowError, TypeError):  # an integer beyond all floats; a complex number
        return False


def _is_traced_number(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer) and not np.ndim(value) and value.dtype.kind in "iuf"


def _type_name(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_type_name, arguments))
    if origin is Sequence or (origin is tuple and arguments[-1] is Ellipsis):
        return f"a tuple, each entry {_type_name(arguments[0])}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}: {', '.join(map(_type_name, arguments))}"
    if origin is not None:
        return "a section of keys and values"
    return _TYPE_NAMES.get(kind, getattr(kind, "__name__", str(kind)))


# ---------------------------------------------------------------- arrays


def is_key(value: Any) -> TypeGuard[Key]:
    """Return whether a value is a typed key, or an array of them."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def as_key(key: Key | int) -> Key:
    """Return a typed key as it is, and the key of a seed; raise ValueError for anything else."""
    seed = _seed_of(key)
    if seed is not None:
        return jax.random.key(seed)
    if not is_key(key):
        raise ValueError(
            f"key must be a typed key from jax.random.key, or a seed, an integer in 0..{MAX_SEED}, "
            f"got {short_repr(key)}"
        )
    require_key(key)
    return key


def require_key(key: Key) -> None:
    """Raise ValueError for anything but one typed key: functions that split streams take no seeds."""
    if not is_key(key):
        dtype = getattr(key, "dtype", None)
        found = short_repr(key) if dtype is None else f"dtype {dtype}"
        raise ValueError(f"key must be a typed key from jax.random.key(SEED), got {found}")
    if jnp.shape(key):
        raise ValueError(
            f"key must be a single key, got an array of keys of shape {jnp.shape(key)}"
        )


def require_mask(mask: Array) -> None:
    """Raise ValueError for a mask that is not a boolean array."""
    found = getattr(mask, "dtype", None)
    if found != jnp.bool_ and not isinstance(mask, bool):
        got = short_repr(mask) if found is None else f"dtype {found}"
        raise ValueError(f"mask must be a boolean array, True where observed, got {got}")


def require_numbers(name: str, value: Any, floating: bool = False) -> None:
    """Raise ValueError for anything but real numbers, or with `floating` anything but floats."""
    if not isinstance(value, jax.Array | np.ndarray | np.number | int | float):
        raise ValueError(f"{name} must be an array of numbers, got {short_repr(value)}")
    if isinstance(value, int) and abs(value) >= 2**31:
        raise ValueError(f"{name} is too large for an integer: write it as a float, got {value}")
    if isinstance(value, float) and abs(value) > FLOAT32_MAX:
        raise ValueError(f"{name} must be a number that fits into float32, got {short_repr(value)}")
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating) and (
        floating or not jnp.issubdtype(dtype, jnp.integer)
    ):
        kind = "floating-point" if floating else "real"
        raise ValueError(f"{name} must be an array of {kind} numbers, got dtype {dtype}")


def require_alike(**arrays: Array) -> None:
    """Raise ValueError for arrays that are not numbers, or not of the shape of the first one."""
    (first, x), *others = arrays.items()
    require_numbers(first, x)
    for name, other in others:
        require_numbers(name, other)
        if jnp.shape(other) != jnp.shape(x):
            raise ValueError(
                f"{name} must have the shape of {first}, {jnp.shape(x)}, got {jnp.shape(other)}"
            )


def require_shape(shape: Any) -> None:
    """Raise ValueError for anything but a tuple of integers of at least 0."""
    if not isinstance(shape, tuple) or not all(map(_is_size, shape)):
        raise ValueError(
            f"shape must be a tuple of integers of at least 0, got {short_repr(shape)}"
        )


def _is_size(value: Any) -> bool:
    """Return whether a value is an integer of at least 0, or stands for one while a function is exported."""
    if isinstance(value, int | np.integer):
        return bool(value >= 0)
    return "jax.export" in sys.modules and sys.modules["jax.export"].is_symbolic_dim(value)


def require_times(times: Array, falling: bool) -> None:
    """Raise ValueError for times that are no grid `[N + 1]` of finite floats, or run the wrong way."""
    require_numbers("times", times, floating=True)
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(
            f"times must be one-dimensional with at least two entries, got shape {times.shape}"
        )
    if isinstance(times, jax.core.Tracer):
        return
    values = np.asarray(times)
    if not np.isfinite(values).all():
        raise ValueError("times must be finite, got NaN or infinity")
    if falling and (np.diff(values) > 0).any():
        raise ValueError("times must fall from noise at 1 to data near 0; reverse the grid")
    if not falling and (np.diff(values) < 0).any():
        raise ValueError("times must rise from data near 0 to noise at 1; reverse the grid")


def require_state(x: State) -> None:
    """Raise ValueError for a state without arrays, or with one that is not of floats."""
    leaves = jax.tree.leaves(x)
    for leaf in leaves or [x]:
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(f"x must be a floating-point array, got {short_repr(leaf)}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"x must be a floating-point array, got dtype {leaf.dtype}")


def same_state(x: State, moved: State, name: str = "x") -> State:
    """Return the moved state, or raise ValueError if its shapes or dtypes are not those of x."""
    before, after = (jax.tree.map(_kind, v) for v in (x, moved))
    if before != after:
        kind, remark = "a state" if name == "x" else "one", ""
        if jax.tree.structure(before) == jax.tree.structure(after) and not any(
            jax.tree.leaves(jax.tree.map(_differ_in_shape, before, after))
        ):
            remark = ": cast it with .astype; float64 times, or numbers of NumPy, give float64"
        raise ValueError(f"step must return {kind} like {name}, {before}, got {after}{remark}")
    return moved


class _Kind(str):
    """The dtype and shape of an array, as they are written in a message."""


def _kind(x: Any) -> _Kind:
    return _Kind(f"{jnp.result_type(x)}{list(jnp.shape(x))}")


def _differ_in_shape(one: _Kind, other: _Kind) -> bool:
    return one.partition("[")[2] != other.partition("[")[2]


def all_finite(x: State) -> Array:
    """Return whether no array of a state holds a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(x)]))


def checked_score(score: ScoreFn, name: str = "score") -> ScoreFn:
    """Wrap a score so that it raises ValueError for a result that does not have the shape of x."""

    def as_like(x, out):
        require_numbers(name, out)
        if jnp.shape(out) != x.shape:
            raise ValueError(f"{name} must return the shape of x, {x.shape}, got {jnp.shape(out)}")
        return jnp.asarray(out)

    def checked(x, t):
        out = score(x, t)
        if hasattr(x, "shape"):
            return as_like(x, out)
        leaves, shape = jax.tree.flatten(x)
        if jax.tree.structure(out) != shape:
            raise ValueError(
                f"{name} must return a pytree like x, {shape}, got {jax.tree.structure(out)}"
            )
        return shape.unflatten(map(as_like, leaves, jax.tree.leaves(out)))

    return checked


def broadcast_like(value: Array | float, x: Array, name: str) -> Array:
    """Broadcast one row, or one row per sample, to the shape of x, or raise ValueError."""
    try:
        return placed_like(jnp.broadcast_to(value, x.shape), x)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape of x, {x.shape}: pass one row, or one per sample; "
            f"got {jnp.shape(value)}"
        ) from None


def mask_like(mask: Array | None, x: Array) -> Array:
    """Broadcast a mask to the shape of x, where None observes nothing, or raise ValueError."""
    return broadcast_like(False if mask is None else mask, x, "mask")
