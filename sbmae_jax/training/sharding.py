"""One mesh over all devices of all processes, and how arrays are sharded over it.

The mesh has two axes. The rows of a batch are sharded over both, so each device works on its own rows. The
state of a training is replicated or, where a network does not fit on one device, sharded over the axis
`state`; each device then gathers what it lacks at the time of use.
"""

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sbmae_jax._batches import padded_batches

Tree = TypeVar("Tree")

MIN_SHARDED_SIZE = 2**14  # entries; gathering a smaller array costs more than storing all of it


def make_mesh(num_devices: int | None = None, num_state_shards: int = 1) -> Mesh:
    """Build the mesh of all devices, or of the first few, with the axes `rows` and `state`.

    Args:
        num_devices: How many devices to use; None means all devices of all processes.
        num_state_shards: How many devices share one copy of the training state. Where the number of devices
            is not a multiple of it, their greatest common divisor is used, so that a run can resume on
            fewer devices.

    Returns:
        A mesh of shape `(number of devices / shards, shards)`.

    Raises:
        ValueError: `num_state_shards` is less than 1.

    Example:
        >>> dict(make_mesh(num_devices=1, num_state_shards=4).shape)
        {'rows': 1, 'state': 1}
    """
    if num_state_shards < 1:
        raise ValueError(f"num_state_shards must be at least 1, got {num_state_shards}")
    devices = jax.devices()[:num_devices]
    shards = math.gcd(num_state_shards, len(devices))
    shape, axes = (len(devices) // shards, shards), ("rows", "state")
    return jax.make_mesh(shape, axes, devices=devices, axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding in which all devices share the given axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names))


def state_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """Return the sharding of an array of the training state.

    A large array is sharded over the mesh axis `state`, along its largest axis that divides evenly. Every
    other array is replicated.

    Args:
        mesh: From `make_mesh`.
        shape: Shape of the array.
    """
    shards = mesh.shape["state"]
    axes = [axis for axis, size in enumerate(shape) if size % shards == 0]
    if shards == 1 or math.prod(shape) < MIN_SHARDED_SIZE or not axes:
        return replicated(mesh)
    axis = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "state"))


def with_sharding(mesh: Mesh, tree: Tree) -> Tree:
    """Constrain every array of a training state to its `state_sharding`, inside a compiled function."""
    return jax.tree.map(
        lambda a: jax.lax.with_sharding_constraint(a, state_sharding(mesh, a.shape)), tree
    )


def abstract_state(mesh: Mesh, tree: Tree) -> Tree:
    """Describe a training state for `Checkpoints.restore`: shapes, dtypes and shardings.

    Args:
        mesh: From `make_mesh`.
        tree: The state, as a pytree of arrays or of `jax.ShapeDtypeStruct`.
    """
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=state_sharding(mesh, a.shape)),
        tree,
    )


def put(tree: Tree, layout: NamedSharding) -> Tree:
    """Copy host arrays, which must be the same in every process, to the devices as global arrays."""

    def one(array):
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, layout, lambda index: array[index])

    return jax.tree.map(one, tree)


def local_rows(mesh: Mesh, num_rows: int) -> np.ndarray:
    """Return the numbers of the rows of a batch that lie on this process's devices, in increasing order."""
    slices = sharded(mesh).addressable_devices_indices_map((num_rows,)).values()
    return np.unique(np.concatenate([np.arange(num_rows)[part] for part in slices if part]))


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
    num_devices = 1 if mesh is None else mesh.size

    def call(*rows, key=None):
        num_rows = len(jax.tree.leaves(rows)[0])
        parts = []
        batches = padded_batches(num_rows, batch_size, multiple=num_devices)
        for i, (index, num) in enumerate(batches):
            batch = jax.tree.map(lambda array, index=index: np.asarray(array[index]), rows)
            if mesh is not None:
                batch = put(batch, sharded(mesh))
            keys = () if key is None else (jax.random.fold_in(key, i),)
            begun = time.perf_counter()
            made = function(*keys, *batch)
            if seconds is not None:
                jax.block_until_ready(made)
                seconds.append(time.perf_counter() - begun)
            kept = jax.tree.map(lambda array, n=num: np.asarray(array)[:n], read(made))
            parts.append(kept)
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    return call
