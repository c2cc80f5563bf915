"""One mesh for all devices of all processes, and how arrays lie on it.

The mesh has two axes. The rows of a batch are split over both, so each device works on rows of its own. The
state of a training is whole on every device, or, where a network does not fit one device, split over the
axis `state`; what a device lacks of it is then gathered when it is used.
"""

import functools
import math
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


@functools.cache
def data_parallel(
    mesh: Mesh, function: Callable[..., Any], num_whole: int = 0
) -> Callable[..., Any]:
    """Return a compiled function whose rows are shared out over all devices, and whose result is whole.

    function: (*whole, *rows) -> arrays with one row for each row. The first `num_whole` arguments are
        pytrees that every device needs; the others are arrays of the host, or pytrees of such, with as many
        rows each as the batch has. What a row becomes must not depend on the other rows.

    A batch that cannot be shared out evenly is filled up with its last row. Random numbers drawn inside for a
    whole batch are the same on any number of devices, since JAX's do not depend on how many are drawn.
    """
    compiled = jax.jit(function, out_shardings=replicated(mesh))

    def call(*args):
        whole, rows = args[:num_whole], args[num_whole:]
        num_rows = len(jax.tree.leaves(rows)[0])
        filled = np.minimum(np.arange(-(-num_rows // mesh.size) * mesh.size), num_rows - 1)
        shared = put(jax.tree.map(lambda a: np.asarray(a)[filled], rows), split(mesh))
        made = compiled(*whole, *shared)
        if len(filled) == num_rows:
            return made
        return jax.tree.map(lambda a: a[:num_rows], made)

    return call
