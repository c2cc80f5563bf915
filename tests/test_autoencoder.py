import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import gaussian
from sbmae_jax.autoencoder import Modality, autoencoder
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.observation import output_mean, reconstruction_error

PICTURE = Modality("picture", (8, 8, 3), "gaussian", "patch", latent_size=4, weight=0.5)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 1, 1, 3)).astype(np.uint8)
X = np.broadcast_to(COLOURS, (16, 8, 8, 3)).copy()


def make(modality, kind):
    num_heads = 2 if kind == "vae" else 1
    encoder = PatchEncoder(num_heads, modality.latent_size, patch=4, channels=8, width=32)
    decoder = PatchDecoder(modality.shape, patch=4, channels=8, width=32)
    return encoder, decoder, autoencoder(modality, kind, encoder, decoder)


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_encoding_is_deterministic_and_decoding_is_a_picture(kind, key):
    _, _, model = make(PICTURE, kind)
    params = jax.jit(model.task.init)(key, {"x": X})
    z = model.encode(params, X)
    assert z.shape == (16, 4)
    np.testing.assert_array_equal(z, model.encode(params, X))
    y = model.decode(params, z)
    assert y.shape == X.shape
    assert float(y.min()) >= 0
    assert float(y.max()) <= 1


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_bytes_and_floats_encode_alike(kind, key):
    _, _, model = make(PICTURE, kind)
    params = jax.jit(model.task.init)(key, {"x": X})
    np.testing.assert_allclose(
        model.encode(params, X), model.encode(params, X.astype(np.float32) / 255), atol=1e-5
    )


def test_vae_loss_is_the_weighted_evidence_bound(key):
    encoder, decoder, model = make(PICTURE, "vae")
    init_key, loss_key = jax.random.split(key)
    params = jax.jit(model.task.init)(init_key, {"x": X})
    loss, metrics = model.task.loss(params, loss_key, {"x": X})
    x = X.astype(np.float32) / 255
    mean, log_var = jnp.split(encoder.apply(params["encoder"], x), 2, axis=-1)
    z = gaussian.sample(jax.random.split(jax.random.key(0))[1], mean, log_var)
    error = jnp.sum((x - decoder.apply(params["decoder"], z)) ** 2, axis=(1, 2, 3))
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1, axis=1)
    np.testing.assert_allclose(loss, error + 0.5 * kl, rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty"], kl, rtol=1e-4)


def test_rae_without_noise_is_a_plain_autoencoder_with_a_penalty(key):
    _, _, model = make(dataclasses.replace(PICTURE, code_noise=0.0), "rae")
    init_key, loss_key = jax.random.split(key)
    params = jax.jit(model.task.init)(init_key, {"x": X})
    loss, _ = model.task.loss(params, loss_key, {"x": X})
    z = model.encode(params, X)
    error = jnp.sum((X / np.float32(255) - model.decode(params, z)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss, error + 0.5 * jnp.sum(z**2, axis=1), rtol=1e-4)


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_reconstruction_improves_with_training(kind, key):
    import optax

    _, _, model = make(PICTURE, kind)
    params, optimizer = jax.jit(model.task.init)(key, {"x": X}), optax.adam(1e-2)

    @jax.jit
    def step(i, params, opt_state):
        def mean_loss(p):
            return jnp.mean(model.task.loss(p, jax.random.fold_in(key, i), {"x": X})[0])

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    opt_state, losses = optimizer.init(params), []
    for i in range(60):
        params, opt_state, loss = step(i, params, opt_state)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]


def test_errors_are_summed_over_dimensions_and_kept_per_example():
    x, output = jnp.zeros((2, 3)), jnp.array([[1.0, 2, 2], [0, 0, 3]])
    np.testing.assert_allclose(reconstruction_error("gaussian", x, output), [9, 9])
    logits = jnp.zeros((2, 3))
    np.testing.assert_allclose(
        reconstruction_error("bernoulli", x, logits), 3 * np.log(2) * np.ones(2), rtol=1e-6
    )
    np.testing.assert_allclose(output_mean("bernoulli", logits), 0.5)


def test_a_bernoulli_modality_of_bits_can_be_encoded(key):
    bits = Modality("bits", (18,), "bernoulli", "dense", latent_size=3, weight=0.1)
    model = autoencoder(bits, "vae", nn.Dense(6), nn.Dense(18))
    x = (np.arange(36).reshape(2, 18) % 3 == 0).astype(np.float32)
    params = model.task.init(key, {"x": x})
    y = model.decode(params, model.encode(params, x))
    assert y.shape == x.shape
    assert float(y.min()) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"likelihood": "cauchy"}, "picture: unknown likelihood 'cauchy'"),
        ({"latent_size": 0}, "picture: latent_size must be at least 1, got 0"),
    ],
)
def test_a_modality_that_cannot_be_is_refused(change, message):
    values = {
        "name": "picture", "shape": (8, 8, 3), "likelihood": "gaussian", "network": "patch",
        "latent_size": 4, "weight": 1.0,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Modality(**values)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"autoencoder.kind must be one of vae, rae, got 'gan'"):
        make(PICTURE, "gan")


def test_pictures_that_cannot_be_cut_into_patches_are_refused(key):
    with pytest.raises(ValueError, match=r"multiples of patch = 4, got \(6, 8, 3\)"):
        PatchEncoder(1, 2).init(key, jnp.zeros((1, 6, 8, 3)))
