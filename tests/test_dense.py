import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import filled

from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder


def others_changed(x):
    """Return what differs from x in its first two rows."""
    return np.concatenate([-3 * np.asarray(x[:2]), x[2:]])


@pytest.mark.parametrize(("num_heads", "expected"), [(2, 1_786_130), (1, 1_654_802)])
def test_parameters_are_as_many_as_the_reference_has(num_heads, expected, key):
    x, z = (jax.ShapeDtypeStruct((1, size), jnp.float32) for size in (18, 256))
    trees = [
        jax.eval_shape(DenseEncoder(num_heads, 256).init, key, x),
        jax.eval_shape(DenseDecoder((18,)).init, key, z),
    ]
    assert sum(leaf.size for leaf in jax.tree.leaves(trees)) == expected


@pytest.mark.parametrize(
    ("network", "shape", "output_shape"),
    [
        (DenseEncoder(2, 3, widths=(16, 8)), (6,), (6,)),
        (DenseEncoder(1, 3, widths=(16, 8)), (3, 2), (3,)),
        (DenseDecoder((6,), widths=(8, 16)), (3,), (6,)),
        (DenseDecoder((3, 2), widths=(8, 16)), (3,), (3, 2)),
    ],
)
def test_rows_are_alone_and_bfloat16_is_close(network, shape, output_shape):
    x = jax.random.normal(jax.random.key(1), (4, *shape))
    params, apply = filled(network, x), jax.jit(network.apply)
    whole = apply(params, x)
    assert whole.shape == (4, *output_shape)
    np.testing.assert_allclose(apply(params, others_changed(x))[2], whole[2], atol=1e-5)
    half = jax.jit(network.clone(dtype="bfloat16").apply)(params, x)
    assert half.dtype == jnp.float32
    assert 0 < np.std(np.subtract(half, whole)) < 0.03 * np.std(whole)


def test_every_parameter_has_a_finite_gradient():
    network = DenseEncoder(2, 3, widths=(16, 8))
    x = jax.random.normal(jax.random.key(1), (4, 6))
    loss = lambda p: jnp.sum((network.apply(p, x) - 1) ** 2)  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(filled(network, x))
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)
