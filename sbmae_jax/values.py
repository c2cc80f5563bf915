"""What a single value may be: whole numbers, finite numbers, words, and tuples of these.

A refusal is one sentence with the name of the value. A number that is traced is not compared: it has no
value yet.
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
import numpy as np

WORDS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "True or False",
    Path: "a path",
}


LARGEST = float(np.finfo(np.float32).max)


def shown(value: Any) -> str:
    """Write a value in one line, and not much of it."""
    return " ".join(reprlib.repr(value).split())


def require_whole(name: str, value: Any, low: int = 0, high: int | None = None) -> None:
    """Raise ValueError for anything but a whole number in low..high."""
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
        raise ValueError(f"{name} must be {_said(kind)}, got {shown(value)}")


def require_one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Raise ValueError for a value that is not in a list of names."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {shown(value)}")


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
        return abs(float(value)) <= LARGEST
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
