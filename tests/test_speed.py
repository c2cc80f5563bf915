"""What benchmarks/speed.py counts."""

import jax
import pytest


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_operations_are_counted_on_the_cpu_whatever_the_backend(script, monkeypatch, backend):
    speed = script("speed")
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    shape, meshes = jax.ShapeDtypeStruct((64, 64), "float32"), []

    def lower(mesh):
        meshes.append(mesh)
        return jax.jit(lambda a: a @ a).lower(shape)

    cost = speed.cost_of(lower)
    assert cost["flops"] == pytest.approx(2 * 64**3, rel=0.01)
    assert cost["bytes"] >= 2 * 64 * 64 * 4
    # Elsewhere the program is lowered once more, for one device of the host.
    assert [mesh.size for mesh in meshes] == [jax.device_count(), 1][: 1 + (backend == "gpu")]
