"""A task is a network bound to a loss: all that the training loop knows about a stage."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax.types import Array, Key

Params = Any
Batch = Any


class Average(NamedTuple):
    """What the averaged network of a training is when a step is taken.

    Attributes:
        params: The averaged parameters.
        progress: Share of the steps of the training that were taken before, a scalar in 0..1.
    """

    params: Params
    progress: Array


class Task(NamedTuple):
    """What the training loop trains.

    Attributes:
        init: `(key, batch) -> params`, a pytree of arrays.
        loss: `(params, key, batch) -> (loss [B], metrics)`, one value for each example of the batch; the
            metrics are a dict of such arrays. The caller reduces them.
        num_members: 0 for one network. Otherwise the number of networks whose parameters are stacked along
            a first axis; each of them is trained as if it were alone.
        training_loss: `(params, key, batch, average) -> (loss [B], metrics)`, for a loss that learns from the
            `Average` of the same training; no gradient may go through it. None trains on `loss`, which is
            what held-out rows are measured by in any case.

    Example:
        >>> def loss(params, key, batch):
        ...     return (params["w"] - batch["x"]) ** 2, {}
        >>> task = Task(lambda key, batch: {"w": 0.0}, loss)
        >>> task.loss({"w": 1.0}, None, {"x": jnp.array([1.0, 3.0])})[0].tolist()
        [0.0, 4.0]
    """

    init: Callable[[Key, Batch], Params]
    loss: Callable[[Params, Key, Batch], tuple[Array, dict[str, Array]]]
    num_members: int = 0
    training_loss: Callable[..., tuple[Array, dict[str, Array]]] | None = None


@functools.cache
def stacked(task: Task, names: tuple[str, ...]) -> Task:
    """Return the task of training several networks of one architecture at once.

    Args:
        task: Of one member, on batches `{"x": [B, ...]}`.
        names: Of the members; member i is trained on the array of the batch under `names[i]`.

    Returns:
        A task whose loss is the sum over the members, so that each gets its own gradient. The metrics are
        the losses of the members.
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
