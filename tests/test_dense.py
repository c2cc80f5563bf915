import numpy as np
import pytest
from networks import check, count, filled, jit, shapes

from sbmae_jax.nets.dense import DenseDecoder, DenseEncoder


@pytest.mark.parametrize(("num_heads", "expected"), [(2, 1_786_130), (1, 1_654_802)])
def test_parameters_are_as_many_as_the_reference_has(num_heads, expected):
    trees = [
        shapes(DenseEncoder(num_heads, 256), np.zeros((1, 18))),
        shapes(DenseDecoder((18,)), np.zeros((1, 256))),
    ]
    assert count(trees) == expected


@pytest.mark.parametrize(
    ("network", "shape", "output_shape"),
    [
        (DenseEncoder(2, 3, widths=(16, 8)), (3, 2), (6,)),
        (DenseDecoder((3, 2), widths=(8, 16)), (3,), (3, 2)),
    ],
)
def test_rows_are_alone_all_parameters_have_an_effect_and_bfloat16_is_close(
    network, shape, output_shape
):
    x = np.random.default_rng(1).normal(size=(4, *shape))
    params, apply = filled(network, x), jit(network.apply)
    assert check(network, apply, params, x).shape == (4, *output_shape)
