"""Arrays that meet are placed alike: JAX wants that under `shard_map` and on meshes of explicit axes.

There the type of an array says over which axes of the mesh it is split, or differs. A fresh array, such as
zeros, is the same everywhere, so it must be placed like those that it joins, and a loop must begin with what
it goes on with. Elsewhere, and in versions of JAX that have no such types, these functions return what they
are given.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.types import Array, Key

_TYPES_SAY_WHERE = hasattr(jax, "typeof") and hasattr(jax.lax, "pcast")


def placed_like(value: Array, x: Array) -> Array:
    """Return an array with the sharding and the varying axes of x, whose shape it has."""
    return _placed(value, jax.typeof(x)) if _TYPES_SAY_WHERE else value


def normal_like(key: Key, x: Array) -> Array:
    """Return standard normal noise of the shape of x, in float32 at least: bfloat16 would cut its tails."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return placed_like(jax.random.normal(key, x.shape, dtype), x)


def settled(body: Callable[[Any], Any], carry: Any) -> Any:
    """Return the carry of a loop, placed like what its body makes of it.

    Args:
        body: `carry -> carry`, as the loop calls it. It is traced, where there is a mesh.
        carry: what the loop begins with.

    Returns:
        The carry, with arrays of the same values.
    """
    if not _TYPES_SAY_WHERE:
        return carry
    if jax.sharding.get_abstract_mesh().empty and not any(map(_is_split, jax.tree.leaves(carry))):
        return carry
    kinds: list[Any] = []

    def watched(carry):
        made = body(carry)
        kinds[:] = map(jax.typeof, jax.tree.leaves(made))
        return made

    # What one array gains may reach another in the next round.
    for _ in range(len(jax.tree.leaves(carry)) + 1):
        jax.eval_shape(watched, carry)
        leaves, shape = jax.tree.flatten(carry)
        placed = [_placed(leaf, kind) for leaf, kind in zip(leaves, kinds, strict=True)]
        if all(new is old for new, old in zip(placed, leaves, strict=True)):
            break
        carry = shape.unflatten(placed)
    return carry


def _is_split(x: Any) -> bool:
    return not jax.typeof(x).sharding.mesh.empty


def _placed(value: Array, kind: Any) -> Array:
    mesh = kind.sharding.mesh
    if mesh.empty:
        return value
    axes = _varying(kind) - _varying(jax.typeof(value))
    if axes:
        value = jax.lax.pcast(value, tuple(axes), to="varying")
    if mesh.explicit_axes and jax.typeof(value).sharding.spec != kind.sharding.spec:
        value = jax.sharding.reshard(value, kind.sharding)
    return value


def _varying(kind: Any) -> frozenset[str]:
    # The attribute has had two names.
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
