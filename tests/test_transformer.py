import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import filled

from sbmae_jax.nets.transformer import TransformerScore, from_pieces, to_pieces

SIZES = (3, 2, 5)
SMALL = TransformerScore(SIZES, width=16, num_blocks=1, num_heads=2, level_width=8)
NETWORKS = {"one token": SMALL, "two tokens": SMALL.clone(tokens_per_modality=2)}

INPUTS = jnp.zeros((1, 10)), jnp.zeros((1, 3))

# Without optimisation, which takes longer than what it saves in a test.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def others_changed(x):
    """Return what differs from x in its first two rows."""
    return np.concatenate([-3 * np.asarray(x[:2]), x[2:]])


def test_output_starts_at_zero(key):
    network = SMALL.clone(tokens_per_modality=2)
    x, log_snr = jnp.ones((2, 10)), jnp.ones((2, 3))
    output, _ = jit(network.init_with_output)(key, x, log_snr)
    np.testing.assert_array_equal(output, np.zeros((2, 10)))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_modality_depends_on_every_other_and_on_its_level(network):
    x, log_snr = np.tile(np.linspace(-1, 1, 10), (7, 1)), np.zeros((7, 3))
    for m, first in enumerate((0, 3, 5)):
        x[1 + m, first] += 1.0
        log_snr[4 + m, m] += 1.0
    # Halved, as sharp attention hides the other tokens.
    params = jax.tree.map(lambda p: p / 2, filled(network, *INPUTS))
    output = np.asarray(jit(network.apply)(params, x, log_snr))
    assert np.all(np.abs(output[1:] - output[0]) > 1e-5)


def test_rows_are_alone_and_bfloat16_is_close():
    params, apply = filled(SMALL, *INPUTS), jit(SMALL.apply)
    x = np.linspace(-1, 1, 40).reshape(4, 10)
    log_snr = np.tile([[0.0, 14.0, -3.0]], (4, 1))  # one of them observed
    whole = apply(params, x, log_snr)
    np.testing.assert_allclose(apply(params, others_changed(x), log_snr)[2:], whole[2:], atol=1e-5)
    half = jit(SMALL.clone(dtype="bfloat16").apply)(params, x, log_snr)
    assert half.dtype == jnp.float32
    assert 0 < np.std(np.subtract(half, whole)) < 0.03 * np.std(whole)


def test_every_parameter_has_a_finite_gradient():
    network = NETWORKS["two tokens"]
    params = filled(network, *INPUTS)
    x, log_snr = jnp.linspace(-1, 1, 20).reshape(2, 10), jnp.zeros((2, 3))
    gradient = jit(jax.grad(lambda p: jnp.sum((network.apply(p, x, log_snr) - 1) ** 2)))(params)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.any(leaf)


def test_modalities_in_another_order_with_their_weights_give_the_same():
    network = TransformerScore((2, 2, 2), width=16, num_blocks=1, num_heads=2, level_width=8)
    params = filled(network, jnp.zeros((1, 6)), jnp.zeros((1, 3)))["params"]
    order = jnp.asarray([2, 0, 1])
    moved = dict(params) | {"kind": params["kind"][order], "name": params["name"][order]}
    for new, old in enumerate(order.tolist()):
        for layer in ("enter", "leave"):
            moved[f"{layer}_{new}"] = params[f"{layer}_{old}"]
    x, log_snr = jnp.linspace(-1, 1, 6).reshape(1, 3, 2), jnp.asarray([[0.0, 1.0, -2.0]])
    apply = jit(network.apply)
    output = apply({"params": params}, x.reshape(1, 6), log_snr).reshape(1, 3, 2)
    other = apply({"params": moved}, x[:, order].reshape(1, 6), log_snr[:, order])
    np.testing.assert_allclose(other.reshape(1, 3, 2), output[:, order], atol=1e-5)


def test_pieces_come_back():
    z = jnp.arange(14.0).reshape(2, 7)
    pieces = to_pieces(z, 3)
    np.testing.assert_array_equal(pieces[:, 0], [[0, 1, 2], [3, 4, 5], [6, 0, 0]])
    np.testing.assert_array_equal(from_pieces(pieces, 7), z)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"num_heads": 3}, "multiple of num_heads = 3, got 16"),
        ({"tokens_per_modality": 3}, "tokens_per_modality must be in 1..2, .* got 3"),
        ({"dtype": "half"}, "dtype must be"),
    ],
)
def test_what_does_not_fit_is_named(fields, match, key):
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(SMALL.clone(**fields).init, key, *INPUTS)
