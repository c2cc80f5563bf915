"""One mesh, two layouts: parameters are replicated, batches are split over all devices."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(num_devices: int | None = None) -> Mesh:
    """Return the mesh of all devices, or of the first few, with the single axis `data`."""
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((len(devices),), ("data",), devices=devices, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the layout in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the layout in which devices share the given axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))
