"""A task is a network bound to a loss: all that the training loop knows of a stage."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.types import Array, Key

Params = Any
Batch = Any


class Task(NamedTuple):
    """What the training loop trains.

    init: (key, batch) -> parameters, a pytree of arrays.
    loss: (params, key, batch) -> (loss [B], metrics), one value for each example of the batch; the
        metrics are a dict of such arrays. The caller reduces.
    num_members: 0 for one network; otherwise of how many networks the parameters are, stacked along a
        first axis. Each member is trained as if it were alone.
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Key, Batch], tuple[Array, dict[str, Array]]]
    num_members: int = 0


@functools.cache
def stacked(task: Task, names: tuple[str, ...]) -> Task:
    """Return the task of training alike networks at once, one for each array that a batch has under `names`.

    task: of one member, on {"x": [B, ...]}.  The loss is the sum over the members, so that each gets its
    own gradient; the metrics are the losses of the members.
    """

    def members(batch):
        return {"x": jnp.stack([batch[name] for name in names])}

    def init(key, batch):
        return jax.vmap(task.init)(jax.random.split(key, len(names)), members(batch))

    def loss(params, key, batch):
        keys = jax.random.split(key, len(names))
        losses, _ = jax.vmap(task.loss)(params, keys, members(batch))
        return jnp.sum(losses, axis=0), dict(zip(names, losses, strict=True))

    return Task(init, loss, len(names))
