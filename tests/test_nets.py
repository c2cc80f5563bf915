import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.nets.blocks import from_patches, neighbourhoods, to_patches
from sbmae_jax.nets.conv import ConvClassifier
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.mlp import MLPScore
from sbmae_jax.nets.patch import PatchClassifier
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.nets.unet import UNetScore

SIZES = (3, 2, 4)
NETWORKS = {
    "hub": HubScore(SIZES, width=16, hub_width=24, num_blocks=2, level_width=8),
    "mlp": MLPScore(SIZES, width=32, num_blocks=2, level_width=8),
}


def scrambled(network, key):
    """Return parameters without the zeros with which output layers start."""

    def make(key):
        params = network.init(key, jnp.zeros((1, 9)), jnp.zeros((1, 3)))
        return jax.tree.map(
            lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size)).reshape(a.shape), params
        )

    return jax.jit(make)(key)


def test_patches_come_back(key):
    x = jax.random.normal(key, (2, 8, 12, 3))
    patches = to_patches(x, 4)
    assert patches.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(from_patches(patches, 4), x)
    np.testing.assert_array_equal(patches[0, 1, 2].reshape(4, 4, 3), x[0, 4:8, 8:12])


def test_a_dense_layer_on_neighbourhoods_is_a_convolution(key):
    x_key, kernel_key = jax.random.split(key)
    x, kernel = jax.random.normal(x_key, (2, 5, 6, 3)), jax.random.normal(kernel_key, (3, 3, 3, 4))
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(neighbourhoods(x) @ kernel.reshape(27, 4), expected, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_output_starts_at_zero(network, key):
    x, log_snr = jnp.ones((2, 9)), jnp.ones((2, 3))
    params = jax.jit(network.init)(key, x, log_snr)
    np.testing.assert_array_equal(jax.jit(network.apply)(params, x, log_snr), jnp.zeros((2, 9)))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_row_alone_equals_it_in_a_batch(network, key):
    params = scrambled(network, key)
    x = jax.random.normal(jax.random.key(1), (4, 9))
    log_snr = jax.random.normal(jax.random.key(2), (4, 3))
    apply = jax.jit(network.apply)
    whole = apply(params, x, log_snr)
    np.testing.assert_allclose(apply(params, x[2:3], log_snr[2:3])[0], whole[2], atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_modality_depends_on_every_other_and_on_its_level(network, key):
    params = scrambled(network, key)
    x, log_snr = jnp.linspace(-1, 1, 9)[None], jnp.zeros((1, 3))
    jacobian = jax.jit(jax.jacobian(network.apply, argnums=(1, 2)))
    by_x, by_level = jacobian(params, x, log_snr)
    assert (jnp.abs(by_x) > 0).all()
    assert (jnp.abs(by_level) > 0).all()


def test_cost_of_the_hub_is_linear_in_the_number_of_modalities(key):
    def count(num):
        network = HubScore((4,) * num, width=16, hub_width=24, num_blocks=2)
        shapes = jax.eval_shape(network.init, key, jnp.zeros((1, 4 * num)), jnp.zeros((1, num)))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(6) - count(4) == count(4) - count(2) > 0


CLASSIFIERS = {
    "patch": PatchClassifier(10, channels=(4, 4), width=8),
    "conv": ConvClassifier(10, channels=(4, 4), width=8, dropout=0.5),
}


@pytest.mark.parametrize("network", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_classifier_drops_out_in_training_only(network, key):
    init_key, one, two = jax.random.split(key, 3)
    x = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    params = network.init(init_key, x, False)
    np.testing.assert_array_equal(
        network.apply(params, x, False)[0], network.apply(params, x, False)[0]
    )
    noisy = [network.apply(params, x, True, rngs={"dropout": k})[0] for k in (one, two)]
    assert (noisy[0] != noisy[1]).any()


def test_convolutional_classifier_has_the_layers_of_the_reference(key):
    network, picture = ConvClassifier(10), jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32)
    (logits, features), variables = jax.eval_shape(
        lambda x: network.init_with_output(key, x, False), picture
    )
    assert (logits.shape, features.shape) == ((2, 10), (2, 512))
    shapes = {name: layer["kernel"].shape for name, layer in variables["params"].items()}
    assert shapes == {
        "Conv_0": (3, 3, 3, 32), "Conv_1": (3, 3, 32, 64), "Conv_2": (3, 3, 64, 128),
        "Dense_0": (2048, 512), "Dense_1": (512, 10),
    }  # fmt: skip
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 1_147_466


def test_convolutional_classifier_needs_pictures(key):
    with pytest.raises(ValueError, match=r"pictures must be .* got \(3,\)"):
        ConvClassifier(10).init(key, jnp.zeros((2, 3)), False)


@pytest.mark.parametrize("make", [
    lambda remat: HubScore((4, 4), width=8, hub_width=8, num_blocks=2, remat=remat),
    lambda remat: TransformerScore((4, 4), width=8, num_blocks=2, num_heads=2, remat=remat),
    lambda remat: UNetScore((4, 4), dim=8, mults=(1,), remat=remat),
])  # fmt: skip
def test_recomputed_activations_change_memory_alone(make, key):
    kept, again = make(False), make(True)
    size = sum(kept.sizes)
    x, log_snr = jax.random.normal(key, (3, size)), jnp.zeros((3, 2))
    params = jax.jit(kept.init)(jax.random.key(1), x, log_snr)
    # Layers that start at zero would hide what is before them.
    params = jax.tree.map(
        lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), params
    )
    again_params = jax.eval_shape(again.init, jax.random.key(1), x, log_snr)
    assert jax.tree.structure(again_params) == jax.tree.structure(params)

    def gradient(network):
        return jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(network.apply(p, x, log_snr)))))(params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        gradient(kept),
        gradient(again),
    )
    text = str(
        jax.make_jaxpr(lambda p: jax.grad(lambda q: again.apply(q, x, log_snr).sum())(p))(params)
    )
    assert "remat" in text or "checkpoint" in text
