"""Batches as a function of the step, so that there is no reader whose state a checkpoint must hold.

A `BatchFn` maps a step to the batches for that step and the steps after it. The same step always gives the
same batches, so a resumed training sees what an uninterrupted one would have seen.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from sbmae_jax.data.source import Source, Subset
from sbmae_jax.training import sharding
from sbmae_jax.types import Array, Key

BatchFn = Callable[[int, int], Any]
"""(step, num_steps) -> a chunk: the batches for these steps, a dict of arrays [num_steps, B, ...]."""

READ_AHEAD = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)  # one thread reads one batch


def resident(
    key: Key, arrays: Mapping[str, np.ndarray | Array], batch_size: int, mesh: Mesh,
    weights: np.ndarray | None = None,
) -> BatchFn:  # fmt: skip
    """Draw batches from arrays that stay in the memory of every device.

    Rows are drawn with replacement. That costs nothing on the device, and a score network sees each row with
    new noise anyway.

    Args:
        key: Decides which rows are drawn.
        arrays: Whole arrays by name, with the rows along the first axis.
        batch_size: Rows in a batch, a multiple of the number of devices.
        mesh: Devices that share the rows of each batch.
        weights: How often to draw each row, relative to the others: `[N]`, at least 0, of few different
            values, as `weigh_rows` makes them. None draws rows uniformly.

    Returns:
        `(step, num_steps) -> batches`, whose arrays are `[num_steps, batch_size, ...]`.

    Raises:
        ValueError: The devices cannot share a batch evenly.

    Example:
        >>> batch_fn = resident(jax.random.key(0), {"x": np.zeros((9, 2))}, 8, sharding.make_mesh(1))
        >>> batch_fn(5, 3)["x"].shape  # the batches of steps 5, 6 and 7
        (3, 8, 2)
    """
    _require_divisible(batch_size, mesh)
    replicated = sharding.replicated(mesh)
    on_device, draw = sharding.put(dict(arrays), replicated), _compile_draw(mesh)
    strata = None
    if weights is not None and np.ptp(weights) > 0:
        strata = sharding.put(_strata(np.asarray(weights))._asdict(), replicated)
    return lambda step, num_steps: draw(key, on_device, strata, step, num_steps, batch_size)


class _Strata(NamedTuple):
    """Rows by their weights. A row is drawn by its stratum first, so that no small number is rounded.

    order: The rows, those of a stratum next to each other, [N].
    start, count: Of each stratum, within `order`, [S].
    log_share: Logarithm of the share of each stratum in what is drawn, [S].
    """

    order: np.ndarray
    start: np.ndarray
    count: np.ndarray
    log_share: np.ndarray


def _strata(weights: np.ndarray) -> _Strata:
    values, stratum, count = np.unique(weights, return_inverse=True, return_counts=True)
    with np.errstate(divide="ignore"):  # a row of weight 0 is never drawn
        log_share = np.log(values * count / np.sum(weights)).astype(np.float32)
    order, start = np.argsort(stratum, kind="stable"), np.cumsum(count) - count
    return _Strata(
        order.astype(np.int32), start.astype(np.int32), count.astype(np.int32), log_share
    )


@functools.cache
def _compile_draw(mesh: Mesh) -> Callable[..., Any]:
    """Compile the drawing of rows once for all trainings whose arrays have the same shapes."""

    def draw(key, arrays, strata, step, num_steps, batch_size):
        num_rows = len(jax.tree.leaves(arrays)[0])

        def draw_rows(key):
            if strata is None:
                return jax.random.randint(key, (batch_size,), 0, num_rows)
            stratum_key, row_key = jax.random.split(key)
            stratum = jax.random.categorical(stratum_key, strata["log_share"], shape=(batch_size,))
            number = jax.random.randint(row_key, (batch_size,), 0, strata["count"][stratum])
            return strata["order"][strata["start"][stratum] + number]

        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(step + np.arange(num_steps))
        rows = jax.vmap(draw_rows)(keys)
        return jax.tree.map(lambda array: array[rows], arrays)

    return jax.jit(draw, static_argnums=(4, 5), out_shardings=sharding.sharded(mesh, axis=1))


def streamed(seed: int, source: Source | Subset, batch_size: int, mesh: Mesh) -> BatchFn:
    """Read batches from a source that need not fit in memory, in shuffled epochs.

    Each process reads only the rows of its own devices. Threads read ahead while steps are requested in
    order; a jump to another step restarts them. The copy to the device does not block the caller.

    Args:
        seed: Decides the order of the rows in every epoch.
        source: Rows with exactly the arrays that a batch shall have (`Source.select`).
        batch_size: Rows in a batch, a multiple of the number of devices.
        mesh: Devices that share the rows of each batch.

    Returns:
        As `resident`, but each process holds only the rows of its own devices.

    Raises:
        ValueError: The devices cannot share a batch evenly.

    Example:
        Rows that a data set reads from its records::

            source = polymnist("train").select(["m00", "m01"])
            batch_fn = streamed(0, source, 64, make_mesh())
            batch_fn(0, 2)["m00"].shape  # (2, 64, 28, 28, 3)
    """
    _require_divisible(batch_size, mesh)
    chunk_sharding = sharding.sharded(mesh, axis=1)
    positions = sharding.local_rows(mesh, batch_size)
    shuffled = grain.MapDataset.source(source).seed(seed).shuffle().repeat()  # pyright: ignore
    batches = take_positions(shuffled, batch_size, positions).batch(len(positions))
    reader: Any = None
    next_step = -1

    def batch_fn(step: int, num_steps: int):
        nonlocal reader, next_step
        if step != next_step:
            if reader is not None:
                reader.close()
            reader = iter(batches[step:].to_iter_dataset(READ_AHEAD))
        next_step = -1  # until the chunk is complete: an error may interrupt it
        chunk = [next(reader) for _ in range(num_steps)]
        next_step = step + num_steps
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *chunk)
        return jax.make_array_from_process_local_data(chunk_sharding, stacked)

    return batch_fn


def take_positions(
    rows: grain.MapDataset, batch_size: int, positions: np.ndarray
) -> grain.MapDataset:
    """Return the rows of an endless data set that stand at given positions of each batch.

    A batch has the same rows in the same order for any number of processes.

    Args:
        rows: The rows of all batches, one batch after the other.
        batch_size: Rows in a whole batch.
        positions: Integers [P] in 0..batch_size - 1, in increasing order.
    """
    num = len(positions)
    if num == batch_size:
        return rows
    taken = grain.MapDataset.range(len(rows) // batch_size * num)
    return taken.map(lambda i: rows[i // num * batch_size + int(positions[i % num])])


def _require_divisible(batch_size: int, mesh: Mesh) -> None:
    if batch_size % mesh.size:
        raise ValueError(
            f"batch_size must be a multiple of the number of devices, {mesh.size}, got {batch_size}"
        )
