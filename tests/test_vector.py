"""The networks of vectors: linear at the start, with room for more."""

import functools

import numpy as np
import pytest
from networks import assert_rows_are_alone, filled, jit

from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder

X = np.random.default_rng(0).normal(size=(7, 5, 2)).astype(np.float32)
Z = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
NETWORKS = {
    "encoder": (VectorEncoder(num_heads=2, latent_size=3, width=16), X, (7, 6)),
    "decoder": (VectorDecoder(shape=(5, 2), width=16), Z, (7, 5, 2)),
}


@functools.cache
def compiled(name):
    """Return the compiled function of a network, parameters none of which is zero, and inputs."""
    network, x, _ = NETWORKS[name]
    return jit(network.apply), filled(network, x), x


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_starts_as_a_linear_map_to_which_more_can_be_added(name, key):
    network, x, shape = NETWORKS[name]
    apply, _, _ = compiled(name)
    params = jit(network.init)(key, x)
    y = np.asarray(apply(params, x))
    assert y.shape == shape
    assert np.abs(y).max() > 0.1
    # The linear map starts without a constant, so scaling the input scales the output, and sums go to sums.
    np.testing.assert_allclose(apply(params, 3 * x), 3 * y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(apply(params, x + x[::-1]), y + y[::-1], rtol=1e-5, atol=1e-5)
    # The rest starts at zero by its last layer alone: what enters that layer is not zero.
    layers = params["params"]
    zero = [name for name, layer in layers.items() if not layer["kernel"].any()]
    assert len(zero) == 1
    ones = layers[zero[0]] | {"kernel": np.ones(layers[zero[0]]["kernel"].shape)}
    assert np.abs(apply({"params": layers | {zero[0]: ones}}, x) - y).max() > 1e-2


@pytest.mark.parametrize("name", NETWORKS)
def test_the_length_of_a_vector_is_not_normalised_away(name):
    # With all parameters at work, a vector a hundred times as long is seen about a hundred times as large:
    # no layer brings it back to one scale.
    apply, params, x = compiled(name)
    near, far, farther = (np.asarray(apply(params, scale * x)) for scale in (0, 100, 10_000))
    growth = np.linalg.norm(farther - near) / np.linalg.norm(far - near)
    assert growth == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_network_is_not_linear_and_rows_are_alone(name):
    apply, params, x = compiled(name)
    output = assert_rows_are_alone(apply, params, x)
    curve = output + apply(params, -x) - 2 * apply(params, 0 * x)
    assert np.abs(curve).max() > 0.1
