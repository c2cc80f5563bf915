import functools

import chex
import numpy as np
import pytest
from networks import check, count, filled, jit, shapes

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
DECODER = {
    "shape": SHAPE, "start": 16, "stages": ((8, 8, 4),), "activation": "gelu", "upsampling": "bilinear",
}  # fmt: skip
INPUTS = {
    "encoder": (
        ResNetEncoder(**ENCODER),
        np.random.default_rng(1).uniform(size=(3, *SHAPE)),
        (3, 10),
    ),
    "decoder": (ResNetDecoder(**DECODER), np.linspace(-2, 2, 15).reshape(3, 5), (3, *SHAPE)),
}


@functools.cache
def compiled(name):
    """Return the compiled function of a network, parameters and inputs."""
    network, x, _ = INPUTS[name]
    return jit(network.apply), filled(network, x), x


def layers(network, *shape):
    """Return the shapes of the parameters of a network by layer."""
    return shapes(network, np.zeros((1, *shape)))["params"]


@pytest.mark.parametrize("name", REFERENCE)
def test_parameters_are_as_many_as_the_reference_has(name):
    shape, size, encoder, decoder, expected = REFERENCE[name]
    encoder_layers = layers(ResNetEncoder(2, size, stem=64, **encoder), *shape)
    decoder_layers = layers(ResNetDecoder(shape, **decoder), size)
    assert count([encoder_layers, decoder_layers]) == expected
    assert encoder_layers["Dense_1"]["kernel"].shape == (FLATTENED[name], size)


def test_padding_is_a_frame_of_zeros_that_is_cut_off_again():
    bare, params, x = compiled("encoder")
    framed = jit(ResNetEncoder(**ENCODER, padding=2).apply)
    x = x[:, :4, :12]
    around = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(framed(params, x), bare(params, around))
    bare, params, z = compiled("decoder")
    framed = jit(ResNetDecoder(**DECODER | {"shape": (4, 12, 3)}, padding=2).apply)
    np.testing.assert_array_equal(framed(params, z), bare(params, z)[:, 2:-2, 2:-2])


def test_one_head_reads_all_channels():
    assert layers(ResNetEncoder(**ENCODER | {"num_heads": 1}), *SHAPE)["Dense_0"]["kernel"].shape == (
        16 * 2 * 4, 5,
    )  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_alone_all_parameters_have_an_effect_and_bfloat16_is_close(name):
    apply, params, x = compiled(name)
    network, _, shape = INPUTS[name]
    assert check(network, apply, params, x).shape == shape


def test_parameters_are_float32_whatever_the_network_computes_in():
    found = layers(ResNetEncoder(**ENCODER, dtype="bfloat16"), *SHAPE)
    chex.assert_trees_all_equal_dtypes(found, layers(ResNetEncoder(**ENCODER), *SHAPE))
    assert found["Conv_0"]["kernel"].dtype == np.float32


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers(ResNetEncoder(**ENCODER), 8, 10, 3), "multiples of 4.*got .8, 10, 3"),
        (lambda: layers(ResNetEncoder(**ENCODER, padding=3), 8, 16, 3), "padding of 3 .* of 4, .*.8, 16"),
        (lambda: layers(ResNetEncoder(**ENCODER), 18), "pictures must be"),
        (lambda: layers(ResNetDecoder(**DECODER | {"shape": (6, 8, 1)}), 5), "multiples of 4"),
        (lambda: layers(ResNetEncoder(**ENCODER | {"num_heads": 3}), *SHAPE), "multiple of 3, .*got 16"),
        (lambda: layers(ResNetEncoder(**ENCODER, activation="relu"), *SHAPE), "activation must be"),
        (lambda: layers(ResNetDecoder(**DECODER | {"upsampling": "cubic"}), 5), "upsampling must be"),
        (lambda: layers(ResNetDecoder(**DECODER, dtype="float16"), 5), "dtype must be"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_bilinear_upsampling_interpolates_between_centres_of_pixels(factor):
    x = np.random.default_rng(1).normal(size=(2, 4, 3, 2)).astype(np.float32)
    expected = x
    for axis in (1, 2):
        size = x.shape[axis]
        centres = (np.arange(size * factor) + 0.5) / factor - 0.5
        line = lambda values, at=centres: np.interp(at, np.arange(len(values)), values)  # noqa: E731
        expected = np.apply_along_axis(line, axis, expected)
    np.testing.assert_allclose(upsample(x, factor, "bilinear"), expected, atol=1e-5)


def test_pooling_undoes_nearest_upsampling():
    x = np.random.default_rng(1).normal(size=(2, 4, 3, 2)).astype(np.float32)
    y = upsample(x, 3, "nearest")
    np.testing.assert_array_equal(y, np.repeat(np.repeat(x, 3, 1), 3, 2))
    np.testing.assert_allclose(avg_pool(y, 3), x, atol=1e-6)


def test_pooling_averages_squares():
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(avg_pool(x, 2)[:, 1, 0], x[:, 2:4, 0:2].mean((1, 2)), atol=1e-6)


def test_groups_have_8_to_16_channels_or_all():
    assert {width: norm_groups(width) for width in (5, 8, 24, 34, 64, 100, 512)} == {
        5: 1, 8: 1, 24: 2, 34: 1, 64: 4, 100: 10, 512: 32,
    }  # fmt: skip
