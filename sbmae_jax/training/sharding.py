"""One mesh for all devices of all processes, and how arrays lie on it.

The mesh has two axes. The rows of a batch are split over both, so each device works on rows of its own. The
state of a training is whole on every device, or, where a network does not fit one device, split over the
axis `state`; what a device lacks of it is then gathered when it is used.
"""

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

SMALLEST_SPLIT = 2**14  # entries; to gather less costs more than to hold it


def make_mesh(num_devices: int | None = None, num_state_shards: int = 1) -> Mesh:
    """Return the mesh of all devices, or of the first few, with the axes `rows` and `state`.

    num_state_shards: over so many devices the state is split, or over the largest divisor of it that
        divides the number of devices, so that a run goes on where there are fewer.

    Raises ValueError if it is less than 1.
    """
    if num_state_shards < 1:
        raise ValueError(f"config.num_state_shards must be at least 1, got {num_state_shards}")
    devices = jax.devices()[:num_devices]
    shards = math.gcd(num_state_shards, len(devices))
    shape, axes = (len(devices) // shards, shards), ("rows", "state")
    return jax.make_mesh(shape, axes, devices=devices, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the layout in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the layout in which devices share the given axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names))


def state_layout(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Return the layout of an array of the state: its largest axis that can be is split over `state`."""
    shards = mesh.shape["state"]
    axes = [axis for axis, size in enumerate(shape) if size % shards == 0]
    if shards == 1 or math.prod(shape) < SMALLEST_SPLIT or not axes:
        return replicated(mesh)
    axis = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "state"))


def with_sharding(mesh: Mesh, tree: Tree) -> Tree:
    """Return a state, inside a compiled function, with the layout of each array made sure."""
    return jax.tree.map(
        lambda a: jax.lax.with_sharding_constraint(a, state_layout(mesh, a.shape)), tree
    )


def shapes(mesh: Mesh, tree: Tree) -> Tree:
    """Return the shapes of a state of arrays or shapes, with their layouts, as a checkpoint is read."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=state_layout(mesh, a.shape)), tree
    )


def put(tree: Tree, layout: NamedSharding) -> Tree:
    """Turn arrays of the host, the same in every process, into global arrays with a layout."""

    def one(array):
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, layout, lambda index: array[index])

    return jax.tree.map(one, tree)


def local_rows(mesh: Mesh, num_rows: int) -> np.ndarray:
    """Return which rows of a batch lie on the devices of this process, in order."""
    parts = split(mesh).addressable_devices_indices_map((num_rows,)).values()
    return np.unique(np.concatenate([np.arange(num_rows)[part] for part in parts if part]))


def join(tree: Tree, layout: NamedSharding, axis: int, size: int, mine: np.ndarray) -> Tree:
    """Turn the parts that the processes have into global arrays.

    tree: arrays of the host with the rows `mine`, along `axis`, of the `size` that there are in all.
    layout: splits that axis.
    """

    def one(array):
        whole = (*array.shape[:axis], size, *array.shape[axis + 1 :])

        def part(index):
            rows = np.searchsorted(mine, np.arange(size)[index[axis]])
            return array[(*index[:axis], slice(rows[0], rows[-1] + 1))]

        return jax.make_array_from_callback(whole, layout, part)

    return jax.tree.map(one, tree)


def batched(
    function: Callable[..., Any],
    batch_size: int,
    mesh: Mesh | None = None,
    *,
    read: Callable[[Any], Any] = lambda made: made,
    seconds: list[float] | None = None,
) -> Callable[..., Any]:
    """Let a function of one batch work on any number of rows.

    All batches have the same size, so that one executable serves them all. A short batch repeats its last
    row, and what is made of the repetitions is dropped.

    Args:
        function: `(*rows) -> tree`, or `(key, *rows) -> tree` where a key is given. Each argument and the
            result is an array, or a pytree of arrays, with one row for each example. What a row becomes
            must not depend on the other rows.
        batch_size: Rows in a call of `function`.
        mesh: Devices that share the rows of a batch, whose size is then rounded up to a multiple of their
            number. The function must be compiled with `out_shardings=replicated(mesh)`. Without a mesh it
            gets NumPy arrays. Random numbers drawn for a whole batch are the same on any number of devices,
            since JAX's do not depend on how many are drawn.
        read: What to keep of each result: `tree -> tree`, by default all of it. Keep less where the results
            of all rows do not fit into memory.
        seconds: A list to which the duration of each call of `function` is appended; the first one compiles.

    Returns:
        A function `(*rows, key=None) -> tree` of NumPy arrays. Batch `i` gets the key `fold_in(key, i)`.

    Example:
        >>> double = batched(lambda batch: {"y": 2 * batch["x"]}, batch_size=2)
        >>> double({"x": np.arange(3)})["y"]
        array([0, 2, 4])
    """
    size = batch_size if mesh is None else -(-batch_size // mesh.size) * mesh.size

    def call(*rows, key=None):
        num_rows = len(jax.tree.leaves(rows)[0])
        parts = []
        for i, start in enumerate(range(0, num_rows, batch_size)):
            stop = min(start + batch_size, num_rows)
            index = np.minimum(np.arange(start, start + size), stop - 1)
            batch = jax.tree.map(lambda array, index=index: np.asarray(array[index]), rows)
            if mesh is not None:
                batch = put(batch, split(mesh))
            keys = () if key is None else (jax.random.fold_in(key, i),)
            begun = time.perf_counter()
            made = function(*keys, *batch)
            if seconds is not None:
                jax.block_until_ready(made)
                seconds.append(time.perf_counter() - begun)
            kept = jax.tree.map(lambda array, n=stop - start: np.asarray(array)[:n], read(made))
            parts.append(kept)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    return call
