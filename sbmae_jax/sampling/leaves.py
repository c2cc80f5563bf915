"""Kernels act on the arrays of a state one by one, each with its own process, temperature and mask.

A state is one array, or a pytree of them, e.g. a dict with an array for each modality. An option, such as the
process or the mask, is one for the whole state, or a pytree with one for each array or group of arrays, as
`jax.vmap` takes its axes. Only the score sees all arrays together.
"""

from collections.abc import Callable
from typing import Any

import jax

from sbmae_jax._check import require_mask, short_repr
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Key, State

SDETree = SDE | Any
"""A process, or a pytree with one for each array of a state."""


def leafwise(fn: Callable[..., Any], x: State, *others: State, **options: Any) -> Any:
    """Apply a function to each array of a state.

    Args:
        fn: `(x, *others, **options) -> array`, or a tuple of arrays.
        x: the state.
        *others: pytrees of the structure of x, such as its score.
        **options: one for all arrays, or a pytree of them, of which each serves the arrays below it.

    Returns:
        A pytree of the structure of x, or a tuple of them.

    Raises:
        ValueError: for an option whose structure does not fit that of x.
    """
    leaves, shape = jax.tree.flatten(x)
    columns = [leaves, *map(shape.flatten_up_to, others)]
    spread = {name: spread_over(name, option, x) for name, option in options.items()}
    made = [
        fn(*(column[j] for column in columns), **{name: v[j] for name, v in spread.items()})
        for j in range(len(leaves))
    ]
    if made and isinstance(made[0], tuple):
        return tuple(shape.unflatten(column) for column in zip(*made, strict=True))
    return shape.unflatten(made)


def leaf_keys(key: Key, x: State) -> State:
    """Return a key for each array of a state: the key itself for a lone array, else `fold_in(key, j)`."""
    leaves, shape = jax.tree.flatten(x)
    if jax.tree_util.treedef_is_leaf(shape):
        return key
    return shape.unflatten([jax.random.fold_in(key, j) for j in range(len(leaves))])


def require_each(require: Callable[..., None], name: str, option: Any, **bounds: Any) -> None:
    """Check an option, or each of a pytree of them."""
    for leaf in jax.tree.leaves(option, is_leaf=_is_option):
        require(name, leaf, **bounds)


def require_masks(mask: Any) -> None:
    """Raise ValueError for a mask that is not a boolean array, or a pytree of these and of None."""

    def require(_, mask):
        if mask is not None:
            require_mask(mask)

    require_each(require, "mask", mask)


def _is_option(value: Any) -> bool:
    return value is None or isinstance(value, SDE)


def spread_over(name: str, option: Any, x: State) -> list[Any]:
    """Return an option for each array of x, in the order of its leaves."""
    found: list[Any] = []

    def serve(one: Any, below: State) -> None:
        found.extend([one] * len(jax.tree.leaves(below)))

    try:
        jax.tree.map(serve, option, x, is_leaf=_is_option)
    except ValueError:
        raise ValueError(
            f"{name} must be one for the whole state, or one for each of its arrays, "
            f"got {short_repr(option)}"
        ) from None
    return found
