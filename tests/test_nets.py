"""What all score networks, all blocks and all classifiers have in common."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import check, count, filled, jit, shapes

from sbmae_jax.nets.blocks import from_patches, neighbourhoods, recomputed, to_patches
from sbmae_jax.nets.conv import ConvClassifier
from sbmae_jax.nets.hub import HubBlock, HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.nets.resnet import ResidualBlock, ResNetDecoder, ResNetEncoder
from sbmae_jax.nets.transformer import TransformerBlock, TransformerScore
from sbmae_jax.nets.unet import ConvNeXt, LinearAttention, UNetScore

SIZES, SQUARES = (3, 2, 4), (4, 4, 4)
# Each network with its output layers.
NETWORKS = {
    "hub": (
        HubScore(SIZES, width=16, hub_width=24, num_blocks=2, level_width=8),
        ("leave_0", "leave_1", "leave_2"),
    ),
    "mlp": (MLPScore(SIZES, width=32, num_blocks=2, level_width=8), ("Dense_8",)),
    "transformer": (
        TransformerScore(
            SIZES, width=16, num_blocks=1, num_heads=2, level_width=8, tokens_per_modality=2
        ),
        ("leave_0", "leave_1", "leave_2"),
    ),
    "unet": (UNetScore(SQUARES, dim=12, mults=(1, 2), per_modality_levels=True), ("Conv_2",)),
}
LOG_SNR = np.concatenate([np.linspace(-4, 3, 18), [0, 14, -3]]).reshape(7, 3)  # one is observed


@functools.cache
def compiled(name):
    """Return a network, its compiled function, parameters and inputs."""
    network, _ = NETWORKS[name]
    x = np.linspace(-1, 1, 7 * sum(network.sizes)).reshape(7, -1)
    params = filled(network, x, LOG_SNR)
    if name == "transformer":  # sharp attention would hide the other tokens
        params = jax.tree.map(lambda p: p / 2, params)
    return network, jit(network.apply), params, x


@pytest.mark.parametrize("name", NETWORKS)
def test_output_starts_at_zero(name, key):
    network, apply, params, x = compiled(name)

    def output_layers(key):  # XLA drops the others, which would take long to compile.
        start = network.init(key, x, LOG_SNR)["params"]
        return {layer: start[layer] for layer in NETWORKS[name][1]}

    start = {"params": params["params"] | jax.jit(output_layers)(key)}
    np.testing.assert_array_equal(apply(start, x, LOG_SNR), np.zeros_like(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_alone_all_parameters_have_an_effect_and_bfloat16_is_close(name):
    network, apply, params, x = compiled(name)
    assert check(network, apply, params, x, LOG_SNR).shape == x.shape


@pytest.mark.parametrize("name", NETWORKS)
def test_every_modality_depends_on_every_other_and_on_its_level(name):
    network, apply, params, x = compiled(name)
    x, log_snr = np.tile(x[3], (7, 1)), np.tile(LOG_SNR[3], (7, 1))
    for m, first in enumerate(np.cumsum((0, *network.sizes[:-1]))):
        x[1 + m, first] += 1.0
        log_snr[4 + m, m] += 1.0
    output = np.asarray(apply(params, x, log_snr))
    assert np.all(np.abs(output[1:] - output[0]) > 1e-5)


def test_the_unet_gives_each_latent_a_channel():
    _, apply, params, x = compiled("unet")
    layer = {"kernel": np.zeros((1, 1, 12, 3)), "bias": np.asarray([1.0, 2, 3])}
    output = apply({"params": params["params"] | {"Conv_2": layer}}, x, LOG_SNR)
    np.testing.assert_array_equal(output, np.repeat([[1.0, 2, 3]], 4, axis=1).repeat(7, axis=0))


def test_cost_of_the_hub_is_linear_in_the_number_of_modalities():
    def size(num):
        network = HubScore((4,) * num, width=16, hub_width=24, num_blocks=2)
        return count(shapes(network, np.zeros((1, 4 * num)), np.zeros((1, num))))

    assert size(6) - size(4) == size(4) - size(2) > 0


PICTURES = (2, 4, 4, 8)
BLOCKS = {
    "hub": (HubBlock, (8, 8), [(3, 2, 8), (2, 8), (3, 2, 4)]),
    "transformer": (TransformerBlock, (2, jnp.float32), [(2, 5, 8), (2, 5, 4)]),
    "unet": (ConvNeXt, (8, jnp.float32), [PICTURES, (2, 8)]),
    "attention": (LinearAttention, (jnp.float32,), [PICTURES]),
    "resnet": (ResidualBlock, (8, 8, nn.gelu, jnp.float32), [PICTURES]),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_recomputed_activations_do_not_change_the_gradient_which_is_finite(name):
    block, fields, sizes = BLOCKS[name]
    inputs = [np.linspace(-1, 1, np.prod(size)).reshape(size) for size in sizes]
    params = filled(block(*fields), *inputs)

    @jit
    def gradient(params):
        loss = lambda p, block: sum(  # noqa: E731
            jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(block(*fields).apply(p, *inputs))
        )
        return [jax.grad(loss)(params, recomputed(block, remat)) for remat in (False, True)]

    kept, again = gradient(params)
    chex.assert_tree_all_finite(kept)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(kept))
    chex.assert_trees_all_close(kept, again, rtol=1e-3, atol=1e-4)


LATENTS = np.zeros((1, 8)), np.zeros((1, 2))


@pytest.mark.parametrize(
    ("network", "inputs", "num"),
    [
        (HubScore((4, 4), width=8, hub_width=8, num_blocks=2), LATENTS, 2),
        (TransformerScore((4, 4), width=8, num_blocks=2, num_heads=2), LATENTS, 2),
        (UNetScore((4, 4), dim=8, mults=(1,)), LATENTS, 6),
        (ResNetEncoder(2, 3, 8, stages=((8, 8, 2), (8, 8, 1))), [np.zeros((1, 4, 4, 3))], 2),
        (ResNetDecoder((4, 4, 3), 8, stages=((8, 8, 2), (8, 8, 1))), [np.zeros((1, 3))], 2),
    ],
)
def test_networks_recompute_their_blocks_whose_parameters_keep_their_names(network, inputs, num):
    again = network.clone(remat=True)
    params = shapes(network, *inputs)
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes(again, *inputs), params)

    def num_recomputed(network):
        jaxpr = jax.make_jaxpr(network.apply)(params, *inputs)
        return sum(eqn.primitive.name in ("checkpoint", "remat2") for eqn in jaxpr.eqns)

    assert num_recomputed(network) == 0
    assert num_recomputed(again) == num


CLASSIFIERS = {
    "patch": PatchClassifier(10, channels=(4, 4), width=8),
    "conv": ConvClassifier(10, channels=(4, 4), width=8, dropout=0.5),
}


@pytest.mark.parametrize("network", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_classifier_drops_out_in_training_only(network):
    x = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    params = filled(network, x, train=False)
    jax.eval_shape(functools.partial(network.apply, train=False), params, x)  # needs no key
    train = jit(lambda key: network.apply(params, x, True, rngs={"dropout": key})[0])
    assert (train(jax.random.key(0)) != train(jax.random.key(1))).any()


def test_convolutional_classifier_has_the_layers_of_the_reference(key):
    network, picture = ConvClassifier(10), jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32)
    (logits, features), variables = jax.eval_shape(
        lambda x: network.init_with_output(key, x, False), picture
    )
    assert (logits.shape, features.shape) == ((2, 10), (2, 512))
    kernels = {name: layer["kernel"].shape for name, layer in variables["params"].items()}
    assert kernels == {
        "Conv_0": (3, 3, 3, 32), "Conv_1": (3, 3, 32, 64), "Conv_2": (3, 3, 64, 128),
        "Dense_0": (2048, 512), "Dense_1": (512, 10),
    }  # fmt: skip
    assert count(variables) == 1_147_466


def test_convolutional_classifier_needs_pictures(key):
    with pytest.raises(ValueError, match=r"pictures must be .* got \(3,\)"):
        ConvClassifier(10).init(key, jnp.zeros((2, 3)), False)


def test_patches_come_back():
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 3))
    patches = to_patches(x, 4)
    assert patches.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(from_patches(patches, 4), x)
    np.testing.assert_array_equal(patches[0, 1, 2].reshape(4, 4, 3), x[0, 4:8, 8:12])


def test_a_dense_layer_on_neighbourhoods_is_a_convolution():
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=size).astype(np.float32) for size in ((2, 5, 6, 3), (3, 3, 3, 4)))
    convolve = functools.partial(
        jax.lax.conv_general_dilated, window_strides=(1, 1), padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    found, expected = jit(
        lambda: (neighbourhoods(x) @ kernel.reshape(27, 4), convolve(x, kernel))
    )()
    np.testing.assert_allclose(found, expected, atol=1e-4)
