"""The networks of vectors: linear at the start, with room for more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import filled

from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder

X = np.random.default_rng(0).normal(size=(7, 5, 2)).astype(np.float32)
Z = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
NETWORKS = {
    "encoder": (VectorEncoder(num_heads=2, latent_size=3, width=16), X, (7, 6)),
    "decoder": (VectorDecoder(shape=(5, 2), width=16), Z, (7, 5, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_starts_as_a_linear_map(name, key):
    network, x, shape = NETWORKS[name]
    params = network.init(key, x)
    y = network.apply(params, x)
    assert y.shape == shape
    assert float(jnp.abs(y).max()) > 0.1
    # The linear map starts without a constant, so scaling the input scales the output, and sums go to sums.
    np.testing.assert_allclose(network.apply(params, 3 * x), 3 * y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        network.apply(params, x + x[::-1]), y + y[::-1], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_added_to_the_linear_map_can_be_learned(name, key):
    # It starts at zero by its last layer alone: that layer's gradient is not zero.
    network, x, _ = NETWORKS[name]
    params = network.init(key, x)
    gradient = jax.grad(lambda p: jnp.mean((network.apply(p, x) - 1) ** 2))(params)["params"]
    zero = [n for n, layer in params["params"].items() if not layer["kernel"].any()]
    assert len(zero) == 1
    assert float(jnp.abs(gradient[zero[0]]["kernel"]).max()) > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_the_length_of_a_vector_is_not_normalised_away(name):
    # With all parameters at work, a vector a hundred times as long is seen about a hundred times as large:
    # no layer brings it back to one scale.
    network, x, _ = NETWORKS[name]
    params = filled(network, x)
    near, far, farther = (network.apply(params, scale * x) for scale in (0, 100, 10_000))
    growth = jnp.linalg.norm(farther - near) / jnp.linalg.norm(far - near)
    assert float(growth) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_network_is_not_linear(name):
    network, x, _ = NETWORKS[name]
    params = filled(network, x)
    curve = network.apply(params, x) + network.apply(params, -x) - 2 * network.apply(params, 0 * x)
    assert float(jnp.abs(curve).max()) > 0.1


def test_a_row_does_not_depend_on_its_batch_mates():
    for network, x, _ in NETWORKS.values():
        params = filled(network, x)
        np.testing.assert_allclose(
            network.apply(params, x)[2:3], network.apply(params, x[2:3]), rtol=1e-5, atol=1e-5
        )
