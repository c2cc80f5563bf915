"""A task is a network bound to a loss: all that the training loop knows of a stage."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sbmae_jax.types import Array, Key

Params = Any
Batch = Any


class Task(NamedTuple):
    """What the training loop trains.

    init: (key, batch) -> parameters, a pytree of arrays.
    loss: (params, key, batch) -> (loss [B], metrics), one value for each example of the batch; the
        metrics are a dict of such arrays. The caller reduces.
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Key, Batch], tuple[Array, dict[str, Array]]]
