import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import filled

from sbmae_jax.nets.blocks import avg_pool, norm_groups, upsample
from sbmae_jax.nets.resnet import ResNetDecoder, ResNetEncoder

CELEBA = {"activation": "gelu"}
# By name: shape, latent size, encoder, decoder, and the reference's number of parameters without the 1x1
# shortcuts that it makes and does not use.
REFERENCE = {
    "polymnist": (
        (28, 28, 3), 64,
        {"stages": ((64, 64, 2), (128, 128, 2), (256, 256, 2)), "padding": 2},
        {"start": 256, "stages": ((128, 128, 2), (128, 64, 2), (64, 64, 2)), "padding": 2},
        2_417_475,
    ),
    "celeba_image": (
        (128, 128, 3), 256,
        {"stages": ((128, 128, 2), (256, 256, 2), (512, 512, 2)), "negative_slope": 0.1, **CELEBA},
        {
            "start": 512, "stages": ((512, 256, 2), (256, 128, 2), (128, 64, 2)),
            "upsampling": "bilinear", **CELEBA,
        },
        51_798_467,
    ),
    "celeba_mask": (
        (128, 128, 1), 256,
        {"stages": ((128, 128, 4), (256, 256, 4)), "negative_slope": 0.1, **CELEBA},
        {
            "start": 256, "stages": ((256, 128, 4), (128, 64, 4)),
            "upsampling": "bilinear", **CELEBA,
        },
        7_633_601,
    ),
}  # fmt: skip
FLATTENED = {"polymnist": 512, "celeba_image": 16_384, "celeba_mask": 2_048}
SHAPE = (8, 16, 3)
ENCODER = {"num_heads": 2, "latent_size": 5, "stem": 8, "stages": ((8, 16, 2),)}
DECODER = {"shape": SHAPE, "start": 16, "stages": ((8, 8, 4),)}

# Without optimisation, which takes longer than what it saves in a test.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shapes(network, *shape):
    """Return the shapes of a network's parameters, without making them."""
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x)["params"]


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def others_changed(x):
    """Return what differs from x in its first two rows."""
    return np.concatenate([-3 * np.asarray(x[:2]), x[2:]])


def pictures(num=3):
    return jax.random.uniform(jax.random.key(1), (num, *SHAPE))


@pytest.mark.parametrize("name", REFERENCE)
def test_parameters_are_as_many_as_the_reference_has(name):
    shape, size, encoder, decoder, expected = REFERENCE[name]
    encoder_shapes = shapes(ResNetEncoder(2, size, stem=64, **encoder), *shape)
    decoder_shapes = shapes(ResNetDecoder(shape, **decoder), size)
    assert count(encoder_shapes) + count(decoder_shapes) == expected
    assert encoder_shapes["Dense_1"]["kernel"].shape == (FLATTENED[name], size)


def test_padding_is_a_frame_of_zeros_that_is_cut_off_again():
    bare, framed = ResNetEncoder(**ENCODER), ResNetEncoder(**ENCODER, padding=2)
    x = pictures()[:, :4, :12]
    params = filled(framed, x)
    around = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(framed.apply(params, x), bare.apply(params, around))
    bare = ResNetDecoder(**DECODER)
    framed = ResNetDecoder(**DECODER | {"shape": (4, 12, 3)}, padding=2)
    z = jnp.ones((2, 5))
    params = filled(bare, z)
    np.testing.assert_array_equal(framed.apply(params, z), bare.apply(params, z)[:, 2:-2, 2:-2])


def test_one_head_reads_all_channels():
    assert shapes(ResNetEncoder(**ENCODER | {"num_heads": 1}), *SHAPE)["Dense_0"]["kernel"].shape == (
        16 * 2 * 4, 5,
    )  # fmt: skip


def test_every_parameter_has_a_finite_gradient():
    encoder = ResNetEncoder(**ENCODER)
    decoder = ResNetDecoder(**DECODER, activation="gelu", upsampling="bilinear")
    x, z = pictures(), jnp.ones((1, 10))

    def loss(encoder_params, decoder_params):
        z = encoder.apply(encoder_params, x)
        return jnp.sum((decoder.apply(decoder_params, z) - x) ** 2)

    gradient = jit(jax.grad(loss, argnums=(0, 1)))(filled(encoder, x), filled(decoder, z))
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


@pytest.mark.parametrize(
    ("network", "x", "shape"),
    [
        (ResNetEncoder(**ENCODER), pictures(), (3, 10)),
        (ResNetDecoder(**DECODER), jnp.linspace(-2, 2, 15).reshape(3, 5), (3, *SHAPE)),
    ],
    ids=["encoder", "decoder"],
)
def test_rows_are_alone_and_bfloat16_is_close(network, x, shape):
    params, apply = filled(network, x), jit(network.apply)
    whole = apply(params, x)
    assert whole.shape == shape
    np.testing.assert_allclose(apply(params, others_changed(x))[2], whole[2], atol=1e-5)
    half = jit(network.clone(dtype="bfloat16").apply)(params, x)
    assert half.dtype == jnp.float32
    assert 0 < np.std(np.subtract(half, whole)) < 0.03 * np.std(whole)


def test_parameters_are_float32_whatever_the_network_computes_in():
    leaves = jax.tree.leaves(shapes(ResNetEncoder(**ENCODER, dtype="bfloat16"), *SHAPE))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: shapes(ResNetEncoder(**ENCODER), 8, 10, 3), "multiples of 4.*got .8, 10, 3"),
        (lambda: shapes(ResNetEncoder(**ENCODER, padding=3), 8, 16, 3), "padding of 3 .* of 4, .*.8, 16"),
        (lambda: shapes(ResNetEncoder(**ENCODER), 18), "pictures must be"),
        (lambda: shapes(ResNetDecoder(**DECODER | {"shape": (6, 8, 1)}), 5), "multiples of 4"),
        (lambda: shapes(ResNetEncoder(**ENCODER | {"num_heads": 3}), *SHAPE), "multiple of 3, .*got 16"),
        (lambda: shapes(ResNetEncoder(**ENCODER, activation="relu"), *SHAPE), "activation must be"),
        (lambda: shapes(ResNetDecoder(**DECODER, upsampling="cubic"), 5), "upsampling must be"),
        (lambda: shapes(ResNetDecoder(**DECODER, dtype="float16"), 5), "dtype must be"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_bilinear_upsampling_interpolates_between_centres_of_pixels(factor):
    x = np.asarray(jax.random.normal(jax.random.key(1), (2, 4, 3, 2)))
    expected = x
    for axis in (1, 2):
        size = x.shape[axis]
        centres = (np.arange(size * factor) + 0.5) / factor - 0.5
        line = lambda values, at=centres: np.interp(at, np.arange(len(values)), values)  # noqa: E731
        expected = np.apply_along_axis(line, axis, expected)
    np.testing.assert_allclose(upsample(jnp.asarray(x), factor, "bilinear"), expected, atol=1e-5)


def test_pooling_undoes_nearest_upsampling():
    x = jax.random.normal(jax.random.key(1), (2, 4, 3, 2))
    y = upsample(x, 3, "nearest")
    np.testing.assert_array_equal(y, np.repeat(np.repeat(x, 3, 1), 3, 2))
    np.testing.assert_allclose(avg_pool(y, 3), x, atol=1e-6)


def test_pooling_averages_squares():
    x = jax.random.normal(jax.random.key(1), (2, 4, 6, 2))
    np.testing.assert_allclose(avg_pool(x, 2)[:, 1, 0], x[:, 2:4, 0:2].mean((1, 2)), atol=1e-6)


def test_groups_have_8_to_16_channels_or_all():
    assert {width: norm_groups(width) for width in (5, 8, 24, 34, 64, 100, 512)} == {
        5: 1, 8: 1, 24: 2, 34: 1, 64: 4, 100: 10, 512: 32,
    }  # fmt: skip
