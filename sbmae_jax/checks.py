"""What the public entrances refuse, each in a sentence that names the argument and the way out.

Shapes and dtypes are known when a function is traced, so these checks cost nothing when it runs.
Values are not: times are compared only if they are concrete.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax.types import Array, Key, ScoreFn, State
from sbmae_jax.values import LARGEST, shown


def require_key(key: Key) -> None:
    """Raise ValueError for anything but one typed key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        found = shown(key) if dtype is None else f"dtype {dtype}"
        raise ValueError(f"key must be a typed key from jax.random.key, got {found}")
    if jnp.shape(key):
        raise ValueError(f"key must be one key, got an array of them of shape {jnp.shape(key)}")


def require_bool(mask: Array) -> None:
    """Raise ValueError for a mask that is not an array of bool."""
    found = getattr(mask, "dtype", None)
    if found != jnp.bool_ and not isinstance(mask, bool):
        got = shown(mask) if found is None else f"dtype {found}"
        raise ValueError(f"mask must be an array of bool, True where observed, got {got}")


def require_numbers(name: str, value: Any, floating: bool = False) -> None:
    """Raise ValueError for anything but a number or an array of numbers, `floating` or any real ones."""
    if not isinstance(value, jax.Array | np.ndarray | np.number | int | float):
        raise ValueError(f"{name} must be an array of numbers, got {shown(value)}")
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError(f"{name} must be a number that float32 has, got {shown(value)}")
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
    """Raise ValueError for anything but a tuple of whole numbers from 0."""
    if not isinstance(shape, tuple) or not all(
        isinstance(size, int | np.integer) and size >= 0 for size in shape
    ):
        raise ValueError(f"shape must be a tuple of whole numbers from 0, got {shown(shape)}")


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


def same_shape(score: ScoreFn, name: str = "score") -> ScoreFn:
    """Wrap a score to raise ValueError when its result has not the shape of x."""

    def checked(x, t):
        out = score(x, t)
        require_numbers(name, out)
        if jnp.shape(out) != x.shape:
            raise ValueError(f"{name} must return the shape of x, {x.shape}, got {jnp.shape(out)}")
        return out

    return checked


def like(value: Array | float, x: Array, name: str) -> Array:
    """Broadcast a mask or a value to the shape of x, or raise ValueError with its name."""
    try:
        return jnp.broadcast_to(value, x.shape)
    except ValueError:
        raise ValueError(
            f"{name} must broadcast to the shape of x, {x.shape}: one row, or one per sample; "
            f"got {jnp.shape(value)}"
        ) from None


def require_floats(x: State) -> None:
    """Raise ValueError for a state with an array that is not floating, or without any."""
    leaves = jax.tree.leaves(x)
    for leaf in leaves or [x]:
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(f"x must be a floating array, got {shown(leaf)}")
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"x must be a floating array, got dtype {leaf.dtype}")


def unchanged(x: State, moved: State) -> State:
    """Return the moved state, or raise ValueError when its shapes or dtypes are not those of x."""
    before, after = (jax.eval_shape(lambda x: x, v) for v in (x, moved))
    if before != after:
        raise ValueError(f"step must return a state like x, {before}, got {after}")
    return moved


def all_finite(x: State) -> Array:
    """Return whether no array of a state holds a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(x)]))
