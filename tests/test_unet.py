import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import count, filled, jit, shapes

from sbmae_jax.nets.unet import UNetScore, unet_features

# The reference's uses: number of latents, their side, dim, mults, and its number of parameters.
REFERENCE = [
    (10, 8, 128, (1, 2, 2, 2), 42_669_450),
    (5, 8, 64, (1, 2, 2, 2), 10_964_947),
    (3, 16, 256, (1, 2, 2, 2, 2), 222_847_613),
    (3, 16, 128, (1, 2, 2, 2, 2), 56_480_631),
]
SIZES = (4, 4, 4)
SMALL = UNetScore(SIZES, dim=12, mults=(1, 2))
LEVELLED = SMALL.clone(per_modality_levels=True)


def abstract(network):
    """Return the shapes of one row of inputs."""
    sizes = sum(network.sizes), len(network.sizes)
    return [jax.ShapeDtypeStruct((1, size), jnp.float32) for size in sizes]


def num_parameters(network):
    return count(shapes(network, *abstract(network)))


def nominal_flops(jaxpr):
    """Return operations of all products, two per weight and position, as papers and profilers count.

    Taps on the padding count. Those of a transposed convolution on the zeros between pixels do not.
    """
    total = 0
    for eqn in jaxpr.eqns:
        size = math.prod(eqn.outvars[0].aval.shape)
        if eqn.primitive.name == "conv_general_dilated":
            kernel, numbers = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"]
            taps = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
            total += 2 * size * taps // math.prod(eqn.params["lhs_dilation"])
        elif eqn.primitive.name == "dot_general":
            contracted = eqn.params["dimension_numbers"][0][0]
            total += 2 * size * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
        inner = [getattr(value, "jaxpr", None) for value in eqn.params.values()]
        total += sum(nominal_flops(part) for part in inner if part is not None)
    return total


@pytest.mark.parametrize(("num", "side", "dim", "mults", "expected"), REFERENCE)
def test_parameters_are_as_many_as_the_reference_has(num, side, dim, mults, expected):
    assert num_parameters(UNetScore((side**2,) * num, dim, mults)) == expected


def test_one_more_level_is_one_more_block_of_the_first_layer():
    assert num_parameters(LEVELLED) - num_parameters(SMALL) == 2 * 12 * 48


def test_flops_of_the_reference_on_celeba():
    network = UNetScore((256,) * 3, 256, (1, 2, 2, 2, 2))
    inputs = abstract(network)
    params = shapes(network, *inputs)
    jaxpr = jax.make_jaxpr(network.apply)(params, *inputs).jaxpr
    assert round(nominal_flops(jaxpr) / 1e9, 2) == 9.35
    # XLA leaves out the padding, which is most of what a kernel of 3 or 7 sees of a picture of 2 or 1.
    cost = jax.jit(network.apply).lower(params, *inputs).cost_analysis()
    assert 7.5 < cost["flops"] / 1e9 < 8.0


def test_without_levels_per_modality_the_noisiest_counts():
    levels = np.asarray([[-1.0, 14, 14], [-1.0, -1, 2], [-1.5, 14, 14]])
    network, x = SMALL.clone(mults=(1,)), np.tile(np.linspace(-1, 1, 12), (3, 1))
    one, same, other = np.asarray(jit(network.apply)(filled(network, x, levels), x, levels))
    np.testing.assert_allclose(one, same, atol=1e-6)
    assert np.all(np.abs(one - other) > 1e-4)


def test_neighbouring_levels_differ_in_their_features():
    levels = np.float32([0.0, 0.1, -12.0, 14.0])
    near, near_2, far, far_2 = np.asarray(jit(lambda: unet_features(levels, 16))())
    assert np.abs(near - near_2).max() > 0.5
    assert (np.abs(far - far_2) > 0.01).sum() > 12


@pytest.mark.parametrize(
    ("sizes", "mults"), [((4, 9), (1, 2)), ((6, 6), (1, 2)), ((4, 4), (1, 2, 2))]
)
def test_sizes_that_are_not_equal_squares_are_refused(sizes, mults):
    with pytest.raises(ValueError, match="needs latents of one size, the square of a multiple"):
        num_parameters(UNetScore(sizes, 12, mults))
