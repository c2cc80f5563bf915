"""What the public entrances refuse, each in a sentence that names the argument and the way out.

Shapes and dtypes are known when a function is traced, so these checks cost nothing when it runs.
Values are not: times are compared only if they are concrete.
"""

import jax
import jax.core
import jax.numpy as jnp

from sbmae_jax.types import Array, Key, ScoreFn, State


def require_key(key: Key) -> None:
    """Raise ValueError for anything but a typed key."""
    dtype = jnp.asarray(key).dtype
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(f"key must be a typed key from jax.random.key, got dtype {dtype}")


def require_bool(mask: Array) -> None:
    """Raise ValueError for a mask that is not an array of bool."""
    if jnp.result_type(mask) != jnp.bool_:
        raise ValueError(
            f"mask must be an array of bool, True where observed, got dtype {jnp.result_type(mask)}"
        )


def require_times(times: Array, falling: bool) -> None:
    """Raise ValueError for times that are not one-dimensional, too few, or run the wrong way."""
    if times.ndim != 1 or times.shape[0] < 2:
        raise ValueError(
            f"times must be one-dimensional with at least two entries, got shape {times.shape}"
        )
    if isinstance(times, jax.core.Tracer):
        return
    with jax.ensure_compile_time_eval():
        steps = -jnp.diff(times) if falling else jnp.diff(times)
        wrong = not bool(jnp.all(steps >= 0))
    if wrong and falling:
        raise ValueError("times must fall from noise at 1 to data near 0; reverse the grid")
    if wrong:
        raise ValueError("times must rise from data near 0 to noise at 1; reverse the grid")


def same_shape(score: ScoreFn) -> ScoreFn:
    """Wrap a score to raise ValueError when its result has not the shape of x."""

    def checked(x, t):
        out = score(x, t)
        if jnp.shape(out) != x.shape:
            raise ValueError(f"score must return the shape of x, {x.shape}, got {jnp.shape(out)}")
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
    """Raise ValueError for a state with an array that is not floating."""
    for dtype in map(jnp.result_type, jax.tree.leaves(x)):
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"x must be a floating array, got dtype {dtype}")


def unchanged(x: State, moved: State) -> State:
    """Return the moved state, or raise ValueError when its shapes or dtypes are not those of x."""
    before, after = (jax.eval_shape(lambda x: x, v) for v in (x, moved))
    if before != after:
        raise ValueError(f"step must return a state like x, {before}, got {after}")
    return moved


def all_finite(x: State) -> Array:
    """Return whether no array of a state holds a NaN or an infinity."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(v)) for v in jax.tree.leaves(x)]))
