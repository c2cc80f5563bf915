import numpy as np
import pytest
from networks import filled, jit, shapes

from sbmae_jax.nets.transformer import TransformerScore, from_pieces, to_pieces


def test_modalities_in_another_order_with_their_weights_give_the_same():
    network = TransformerScore((2, 2, 2), width=16, num_blocks=1, num_heads=2, level_width=8)
    params = filled(network, np.zeros((1, 6)), np.zeros((1, 3)))["params"]
    order = np.asarray([2, 0, 1])
    moved = params | {name: np.asarray(params[name])[order] for name in ("kind", "name")}
    for new, old in enumerate(order.tolist()):
        for layer in ("enter", "leave"):
            moved[f"{layer}_{new}"] = params[f"{layer}_{old}"]
    x, log_snr = np.linspace(-1, 1, 6).reshape(1, 3, 2), np.asarray([[0.0, 1.0, -2.0]])
    apply = jit(network.apply)
    output = np.reshape(apply({"params": params}, x.reshape(1, 6), log_snr), (3, 2))
    other = np.reshape(
        apply({"params": moved}, x[:, order].reshape(1, 6), log_snr[:, order]), (3, 2)
    )
    np.testing.assert_allclose(other, output[order], atol=1e-5)
    assert np.std(output, axis=0).min() > 0.01


def test_pieces_come_back():
    z = np.arange(14.0).reshape(2, 7)
    pieces, back = jit(lambda z: (to_pieces(z, 3), from_pieces(to_pieces(z, 3), 7)))(z)
    np.testing.assert_array_equal(np.asarray(pieces)[:, 0], [[0, 1, 2], [3, 4, 5], [6, 0, 0]])
    np.testing.assert_array_equal(back, z)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"num_heads": 3}, "multiple of num_heads = 3, got 16"),
        ({"tokens_per_modality": 3}, "tokens_per_modality must be in 1..2, .* got 3"),
        ({"dtype": "half"}, "dtype must be"),
    ],
)
def test_what_does_not_fit_is_named(fields, match):
    network = TransformerScore((3, 2, 5), width=16, num_heads=2)
    with pytest.raises(ValueError, match=match):
        shapes(network.clone(**fields), np.zeros((1, 10)), np.zeros((1, 3)))
