import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import filled

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

# Without optimisation, which takes longer than what it saves in a test.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def abstract(network, batch=1):
    """Return the shapes of a network's parameters and inputs; nothing is computed."""
    x = jax.ShapeDtypeStruct((batch, sum(network.sizes)), jnp.float32)
    log_snr = jax.ShapeDtypeStruct((batch, len(network.sizes)), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x, log_snr), x, log_snr


def count(network):
    return sum(leaf.size for leaf in jax.tree.leaves(abstract(network)[0]))


def xla_flops(network, shapes):
    """Return XLA's number of floating-point operations of one row; it leaves out taps on the padding."""
    return jax.jit(network.apply).lower(*shapes).cost_analysis()["flops"]


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


def others_changed(x):
    """Return what differs from x in its first two rows."""
    return np.concatenate([-3 * np.asarray(x[:2]), x[2:]])


@pytest.fixture(scope="module")
def params():
    """Return parameters of the small network that knows all levels."""
    return filled(LEVELLED, *abstract(LEVELLED)[1:])


apply = jit(LEVELLED.apply)
X = np.linspace(-1, 1, 84).reshape(7, 12)
LOG_SNR = np.linspace(-4, 3, 21).reshape(7, 3)


@pytest.mark.parametrize(("num", "side", "dim", "mults", "expected"), REFERENCE)
def test_parameters_are_as_many_as_the_reference_has(num, side, dim, mults, expected):
    assert count(UNetScore((side**2,) * num, dim, mults)) == expected


def test_one_more_level_is_one_more_block_of_the_first_layer():
    assert count(LEVELLED) - count(SMALL) == 2 * 12 * 48


def test_flops_of_the_reference_on_celeba():
    network = UNetScore((256,) * 3, 256, (1, 2, 2, 2, 2))
    shapes = abstract(network)
    jaxpr = jax.make_jaxpr(network.apply)(*shapes).jaxpr
    assert round(nominal_flops(jaxpr) / 1e9, 2) == 9.35
    # Without the padding, which is most of what a kernel of 3 or 7 sees of a picture of 2 or 1.
    assert 7.5 < xla_flops(network, shapes) / 1e9 < 8.0


def test_output_layer_starts_at_zero_and_gives_each_latent_a_channel(params, key):
    def output_layer(key):  # XLA drops the others, with which this would take long to compile.
        return LEVELLED.init(key, jnp.asarray(X), jnp.asarray(LOG_SNR))["params"]["Conv_2"]

    assert not any(map(np.any, jax.tree.leaves(jax.jit(output_layer)(key))))
    layer = {"kernel": np.zeros((1, 1, 12, 3)), "bias": np.asarray([1.0, 2, 3])}
    output = apply({"params": params["params"] | {"Conv_2": layer}}, X, LOG_SNR)
    np.testing.assert_array_equal(output, np.repeat([[1.0, 2, 3]], 4, axis=1).repeat(7, axis=0))


def test_every_modality_depends_on_every_other_and_on_its_level(params):
    x, log_snr = np.tile(X[3], (7, 1)), np.tile(LOG_SNR[3], (7, 1))
    for m in range(3):
        x[1 + m, 4 * m] += 1.0
        log_snr[4 + m, m] += 1.0
    output = np.asarray(apply(params, x, log_snr))
    assert np.all(np.abs(output[1:] - output[0]) > 1e-4)


def test_every_parameter_has_a_finite_gradient(params):
    loss = lambda params: jnp.sum((LEVELLED.apply(params, X, LOG_SNR) - 1) ** 2)  # noqa: E731
    for leaf in jax.tree.leaves(jit(jax.grad(loss))(params)):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def test_without_levels_per_modality_the_noisiest_counts():
    levels = np.asarray([[-1.0, 14, 14], [-1.0, -1, 2], [-1.5, 14, 14]])
    params = filled(SMALL, *abstract(SMALL)[1:])
    one, same, other = np.asarray(jit(SMALL.apply)(params, np.tile(X[3], (3, 1)), levels))
    np.testing.assert_allclose(one, same, atol=1e-6)
    assert np.all(np.abs(one - other) > 1e-4)


def test_rows_are_alone_and_bfloat16_is_close(params):
    whole = apply(params, X, LOG_SNR)
    other = apply(params, others_changed(X), others_changed(LOG_SNR))
    np.testing.assert_allclose(other[2:], whole[2:], atol=1e-5)
    half = jit(LEVELLED.clone(dtype="bfloat16").apply)(params, X, LOG_SNR)
    assert half.dtype == jnp.float32
    assert 0 < np.std(np.subtract(half, whole)) < 0.03 * np.std(whole)


def test_neighbouring_levels_differ_in_their_features():
    near, far = (
        unet_features(jnp.asarray([0.0, 0.1]), 16),
        unet_features(jnp.asarray([-12.0, 14.0]), 16),
    )
    assert jnp.abs(near[0] - near[1]).max() > 0.5
    assert (jnp.abs(far[0] - far[1]) > 0.01).sum() > 12


@pytest.mark.parametrize(
    ("sizes", "mults"), [((4, 9), (1, 2)), ((6, 6), (1, 2)), ((4, 4), (1, 2, 2))]
)
def test_sizes_that_are_not_equal_squares_are_refused(sizes, mults):
    with pytest.raises(ValueError, match="needs latents of one size, the square of a multiple"):
        abstract(UNetScore(sizes, 12, mults))
