"""Batches for training, as a function of the step: there is no state to save or to lose.

A `BatchFn` maps the number of the next optimiser step to a chunk of batches for the steps from there
on. Asking again for the same step gives the same chunk, so a resumed run sees what an uninterrupted
one would have seen.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from sbmae_jax.data.source import Source, Subset
from sbmae_jax.training import sharding
from sbmae_jax.types import Array, Key

BatchFn = Callable[[int, int], Any]
"""(step, num_steps) -> batches for these steps, a dict of [num_steps, B, ...]."""

AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)  # batches, each read by one thread


def resident(
    key: Key, arrays: Mapping[str, np.ndarray | Array], batch_size: int, mesh: Mesh
) -> BatchFn:
    """Feed from arrays that live on the device; each row of a batch is drawn uniformly.

    Drawing with replacement costs nothing on the device, and a score model sees each example with
    new noise anyway.
    """
    _check_divides(batch_size, mesh)
    num_rows = len(next(iter(arrays.values())))
    on_device = sharding.put(dict(arrays), sharding.replicated(mesh))

    def draw(arrays, step, num_steps):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(step + np.arange(num_steps))
        rows = jax.vmap(lambda k: jax.random.randint(k, (batch_size,), 0, num_rows))(keys)
        return jax.tree.map(lambda array: array[rows], arrays)

    compiled = jax.jit(draw, static_argnums=2, out_shardings=sharding.split(mesh, axis=1))
    return lambda step, num_steps: compiled(on_device, step, num_steps)


def streamed(seed: int, source: Source | Subset, batch_size: int, mesh: Mesh) -> BatchFn:
    """Feed from a random-access source that need not fit into memory, in shuffled epochs.

    source: of the modalities that a batch is to have, and no others (`select`). Each process reads the rows
    of its own devices. Threads read ahead of the step, as long as steps are asked for in order; any other
    step may be asked for, at the cost of starting them anew. What goes to the device does so while the
    caller goes on.
    """
    _check_divides(batch_size, mesh)
    layout = sharding.split(mesh, axis=1)
    mine = sharding.local_rows(mesh, batch_size)
    shuffled = grain.MapDataset.source(source).seed(seed).shuffle().repeat()  # pyright: ignore
    batches = share(shuffled, batch_size, mine).batch(len(mine))
    reader: Any = None
    next_step = -1

    def feed(step: int, num_steps: int):
        nonlocal reader, next_step
        if step != next_step:
            if reader is not None:
                reader.close()
            reader = iter(batches[step:].to_iter_dataset(AHEAD))
        next_step = -1  # until the chunk is whole, should it be interrupted
        chunk = [next(reader) for _ in range(num_steps)]
        next_step = step + num_steps
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *chunk)
        return sharding.join(stacked, layout, axis=1, size=batch_size, mine=mine)

    return feed


def share(rows: grain.MapDataset, batch_size: int, mine: np.ndarray) -> grain.MapDataset:
    """Return the rows of an endless data set that stand at some places of each batch.

    mine: these places. A batch has the same rows in the same places for any number of processes.
    """
    if len(mine) == batch_size:
        return rows
    num = len(mine)
    places = grain.MapDataset.range(len(rows) // batch_size * num)
    return places.map(lambda i: rows[i // num * batch_size + int(mine[i % num])])


def _check_divides(batch_size: int, mesh: Mesh) -> None:
    if batch_size % mesh.size:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, {mesh.size}, got {batch_size}"
        )
