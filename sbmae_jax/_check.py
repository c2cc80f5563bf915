"""Checks of arguments at the public entrances, each refusal one sentence that names the argument and the fix.

First single values, then arrays. Shapes and dtypes are known when a function is traced, so checking them
costs nothing when it runs. Values are not: a traced number is never compared, and times are compared only
if they are concrete.
"""

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax.types import Array, Key, ScoreFn, State

WORDS = {
    int: "an integer",
    float: "a finite number",
    str: "a string",
    bool: "True or False",
    Path: "a path",
}

FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_COUNT = (
    1_000_000  # of steps, repeats, probes or particles: a larger one is almost certainly a typo
)


def short_repr(value: Any) -> str:
    """Write a value in one line, and not much of it."""
    return " ".join(reprlib.repr(value).split())


def require_int(name: str, value: Any, low: int = 0, high: int | None = None) -> None:
    """Raise ValueError for anything but an integer in low..high."""
    require_type(name, value, int)
    _require_range(name, value, low, high)


def require_number(
    name: str, value: Any, low: float | None = None, high: float | None = None,
    *, above: float | None = None, below: float | None = None,
) -> None:  # fmt: skip
    """Raise ValueError for anything but a finite number in low..high, and between `above` and `below`."""
    if isinstance(value, jax.core.Tracer):
        return
    require_type(name, value, float)
    if isinstance(value, jax.Array | np.ndarray):
        value = float(value)  # compared as an array, it would be traced
    if isinstance(value, int) and abs(value) >= 2**31:
        raise ValueError(f"{name} must be written as a float where it is so large, got {value}")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be in {low:g}..{high:g}, got {value}")
    _require_range(name, value, low, high)
    if above is not None and not value > above:
        raise ValueError(f"{name} must be above {above}, got {value}")
    if below is not None and not value < below:
        raise ValueError(f"{name} must be below {below}, got {value}")


def require_fields(instance: Any, prefix: str = "") -> None:
    """Raise ValueError for a field of a dataclass whose value is not of its type."""
    for field in dataclasses.fields(instance):
        require_type(prefix + field.name, getattr(instance, field.name), field.type)


def require_type(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError for a value that is not of a type; of types that are not known all are.

    kind: int, float, str, bool, tuples, mappings and unions of these. True is no number, 2.0 no whole one.
    """
    if not _fits(value, kind):
        raise ValueError(f"{name} must be {_said(kind)}, got {short_repr(value)}")


def require_one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise ValueError for a value that is not in a list of names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {short_repr(value)}")


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
        return _is_finite(value)
    return isinstance(value, kind) if kind in (str, bool, Path, types.NoneType) else True


def _is_finite(value: Any) -> bool:
    if isinstance(value, jax.Array | np.ndarray):
        if np.ndim(value) or value.dtype.kind not in "iuf":
            return False
    elif isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return abs(float(value)) <= FLOAT32_MAX
    except (OverflowError, TypeError):  # a whole number beyond all floats, and complex numbers
        return False


def _said(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_said(one) for one in arguments)
    if origin is Sequence or (origin is tuple and arguments[-1] is Ellipsis):
        return f"a tuple, each entry {_said(arguments[0])}"
    if origin is tuple:
        return f"a tuple of {len(arguments)}: {', '.join(_said(one) for one in arguments)}"
    if origin is not None:
        return "a section of keys and values"
    return WORDS.get(
        kind, "None" if kind is types.NoneType else getattr(kind, "__name__", str(kind))
    )


def require_key(key: Key) -> None:
    """Raise ValueError for anything but one typed key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        found = short_repr(key) if dtype is None else f"dtype {dtype}"
        raise ValueError(f"key must be a typed key from jax.random.key, got {found}")
    if jnp.shape(key):
        raise ValueError(f"key must be one key, got an array of them of shape {jnp.shape(key)}")


def require_mask(mask: Array) -> None:
    """Raise ValueError for a mask that is not an array of bool."""
    found = getattr(mask, "dtype", None)
    if found != jnp.bool_ and not isinstance(mask, bool):
        got = short_repr(mask) if found is None else f"dtype {found}"
        raise ValueError(f"mask must be an array of bool, True where observed, got {got}")


def require_numbers(name: str, value: Any, floating: bool = False) -> None:
    """Raise ValueError for anything but a number or an array of numbers, `floating` or any real ones."""
    if not isinstance(value, jax.Array | np.ndarray | np.number | int | float):
        raise ValueError(f"{name} must be an array of numbers, got {short_repr(value)}")
    if isinstance(value, int | float) and abs(value) > FLOAT32_MAX:
        raise ValueError(f"{name} must be a number that float32 has, got {short_repr(value)}")
    dtype = jnp.result_type(value)
    fits = jnp.issubdtype(dtype, jnp.floating) or (
        jnp.issubdtype(dtype, jnp.integer) and not floating
    )
    if not fits:
        kind = "floating" if floating else "real"
        raise ValueError(f"{name} must be an array of {kind} numbers, got dtype {dtype}")


def require_alike(**arrays: Array) -> None:
    """Raise ValueError for arrays that are not numbers, or not of the shape of the first."""
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
    if not isinstance(shape, tuple) or not all(
        isinstance(size, int | np.integer) and size >= 0 for size in shape
    ):
        raise ValueError(
            f"shape must be a tuple of integers of at least 0, got {short_repr(shape)}"
        )


def require_times(times: Array, falling: bool) -> None:
    """Raise ValueError for times not one-dimensional, too few, not finite floats, or running backwards."""
    require_numbers("times", times, floating=True)
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(
            f"times must be one-dimensional with at least two entries, got shape {times.shape}"
        )
    if isinstance(times, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():
        finite = bool(jnp.all(jnp.isfinite(times)))
        steps = -jnp.diff(times) if falling else jnp.diff(times)
        wrong = not bool(jnp.all(steps >= 0))
    if not finite:
        raise ValueError("times must be finite, got NaN or infinity")
    if wrong and falling:
        raise ValueError("times must fall from noise at 1 to data near 0; reverse the grid")
    if wrong:
        raise ValueError("times must rise from data near 0 to noise at 1; reverse the grid")


def checked_score(score: ScoreFn, name: str = "score") -> ScoreFn:
    """Wrap a score to raise ValueError when its result has not the shape of x."""

    def checked(x, t):
        out = score(x, t)
        require_numbers(name, out)
        if jnp.shape(out) != x.shape:
            raise ValueError(f"{name} must return the shape of x, {x.shape}, got {jnp.shape(out)}")
        return out

    return checked


def broadcast_like(value: Array | float, x: Array, name: str) -> Array:
    """Broadcast a mask or a value to the shape of x, or raise ValueError with its name."""
    try:
        return jnp.broadcast_to(value, x.shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape of x, {x.shape}: one row, or one per sample; "
            f"got {jnp.shape(value)}"
        ) from None


def require_state(x: State) -> None:
    """Raise ValueError for a state with an array that is not floating, or without any."""
    leaves = jax.tree.leaves(x)
    for leaf in leaves or [x]:
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(f"x must be a floating array, got {short_repr(leaf)}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"x must be a floating array, got dtype {leaf.dtype}")


def same_state(x: State, moved: State) -> State:
    """Return the moved state, or raise ValueError if its shapes or dtypes are not those of x."""
    before, after = (jax.eval_shape(lambda x: x, v) for v in (x, moved))
    if before != after:
        raise ValueError(f"step must return a state like x, {before}, got {after}")
    return moved


def all_finite(x: State) -> Array:
    """Return whether no array of a state holds a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(x)]))
