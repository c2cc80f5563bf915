import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Modality, autoencoder
from sbmae_jax.models.likelihoods import (
    LIKELIHOODS,
    LOG_VARIANCE_SCALE,
    MIN_VARIANCE,
    check_values,
    negative_log_likelihood,
    variance,
)
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder

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
    np.testing.assert_allclose(negative_log_likelihood("gaussian", x, output), [9, 9])
    logits = jnp.zeros((2, 3))
    np.testing.assert_allclose(
        negative_log_likelihood("bernoulli", x, logits), 3 * np.log(2) * np.ones(2), rtol=1e-6
    )
    np.testing.assert_allclose(LIKELIHOODS["bernoulli"].mean(logits), 0.5)


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
        ({"likelihood": "cauchy"}, "picture: likelihood must be one of gaussian, .*, got 'cauchy'"),
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
    with pytest.raises(ValueError, match=r"kind must be one of vae, rae, got 'gan'"):
        make(PICTURE, "gan")


def test_pictures_that_cannot_be_cut_into_patches_are_refused(key):
    with pytest.raises(ValueError, match=r"multiples of patch = 4, got \(6, 8, 3\)"):
        PatchEncoder(1, 2).init(key, jnp.zeros((1, 6, 8, 3)))


VECTOR = Modality("vector", (6,), "normal", "vector", latent_size=2, weight=1.0)


def vectors(seed=0, num=256):
    """Return rows of two directions, and noise of several sizes around them: [num, 6]."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(num, 6)) * np.array([0.3, 0.3, 0.4, 0.4, 0.6, 0.6])
    return (rng.normal(size=(num, 2)) @ rng.normal(size=(2, 6)) + noise).astype(np.float32)


def make_vector(modality, kind="vae"):
    num_heads = 2 if kind == "vae" else 1
    encoder = VectorEncoder(num_heads, modality.latent_size, width=8)
    return autoencoder(modality, kind, encoder, VectorDecoder(modality.shape, width=8))


@functools.cache
def fitted(modality, num_steps=600):
    """Train an autoencoder on fixed data; return it, its parameters at the start and at the end, its data."""
    rng, model = np.random.default_rng(1), make_vector(modality)
    x = {
        "normal": vectors(),
        "categorical": np.eye(6, dtype=np.float32)[rng.integers(0, 6, 256)],
        "poisson": rng.poisson([1.0, 1.0, 9.0, 9.0, 9.0, 100.0], (256, 6)).astype(np.float32),
    }[modality.likelihood]
    optimizer = optax.adam(
        optax.cosine_decay_schedule(5e-3, num_steps)
    )  # it decays in training, too

    @jax.jit
    def run(params):
        def step(carry, i):
            def mean_loss(p):
                loss_key = jax.random.fold_in(jax.random.key(1), i)
                return jnp.mean(model.task.loss(p, loss_key, {"x": x})[0])

            params, opt_state = carry
            updates, opt_state = optimizer.update(jax.grad(mean_loss)(params), opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        start = (params, optimizer.init(params))
        return jax.lax.scan(step, start, jnp.arange(num_steps))[0][0]

    start = model.task.init(jax.random.key(0), {"x": x})
    return model, start, run(start), x


def learned(log_var):
    return MIN_VARIANCE + np.exp(LOG_VARIANCE_SCALE * np.asarray(log_var))


def test_the_learned_noise_is_the_variance_of_what_decoding_the_mean_leaves():
    model, _, params, x = fitted(VECTOR)
    left = np.mean((x - model.decode(params, model.encode(params, x))) ** 2, axis=0)
    assert left.max() > 2 * left.min()  # the entries differ, and so must what is learned
    np.testing.assert_allclose(learned(params["noise"]), left, rtol=0.05)
    # What is left of a code with noise is more: that is the variance of the bound, and not of a draw.
    assert learned(params["log_var"]).shape == (1,)
    assert learned(params["log_var"]) > 1.05 * np.mean(learned(params["noise"]))


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_noise_at_the_variance_of_the_residuals_is_where_the_loss_is_least(kind, key):
    x, model = vectors(), make_vector(VECTOR, kind)
    params = model.task.init(key, {"x": x})
    left = jnp.mean((x - model.decode(params, model.encode(params, x))) ** 2, axis=0)
    best = jnp.log(left - MIN_VARIANCE) / LOG_VARIANCE_SCALE

    @jax.jit
    def slope(noise):
        def mean_loss(noise):
            return jnp.mean(
                model.task.loss({**params, "noise": noise}, jax.random.key(1), {"x": x})[0]
            )

        return jax.grad(mean_loss)(noise)

    np.testing.assert_allclose(slope(best), 0, atol=1e-3)
    assert (slope(best + 0.02) > 0.1).all()
    assert (slope(best - 0.02) < -0.1).all()


def test_the_noise_of_a_draw_does_not_train_the_networks(key):
    # Their gradient is the same whatever that noise is, and so would be without its term.
    x, model = vectors(), make_vector(VECTOR)
    params = model.task.init(key, {"x": x})

    @jax.jit
    def gradient(noise):
        def mean_loss(params):
            return jnp.mean(model.task.loss(params, jax.random.key(1), {"x": x})[0])

        return jax.grad(mean_loss)({**params, "noise": noise})

    small, large = gradient(jnp.full(6, -0.3)), gradient(jnp.full(6, 0.3))
    assert float(jnp.abs(small["noise"] - large["noise"]).min()) > 1
    for part in ("encoder", "decoder", "log_var"):
        jax.tree.map(np.testing.assert_array_equal, small[part], large[part])
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(small[part])) > 0


def test_a_draw_is_the_decoded_mean_and_the_learned_noise():
    model, _, params, x = fitted(VECTOR)
    z = model.encode(params, x)
    noise = jax.random.normal(jax.random.key(3), x.shape)
    wanted = model.decode(params, z) + jnp.sqrt(variance(params["noise"], x)) * noise
    np.testing.assert_allclose(
        model.draw(params, jax.random.key(3), z), wanted, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("likelihood", ["categorical", "poisson"])
def test_categories_and_counts_are_learned_and_drawn(likelihood):
    model, start, params, x = fitted(dataclasses.replace(VECTOR, likelihood=likelihood, weight=0.2))

    def loss(p):
        return float(jnp.mean(model.task.loss(p, jax.random.key(1), {"x": x})[0]))

    z = model.encode(params, x)
    mean, drawn = model.decode(params, z), model.draw(params, jax.random.key(2), z)
    assert "noise" not in params
    assert loss(params) < loss(start) - 0.5
    assert mean.shape == drawn.shape == x.shape
    check_values(likelihood, "x", np.asarray(drawn))
    np.testing.assert_array_equal(drawn, np.round(drawn))
    if likelihood == "categorical":
        np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-5)
        assert float(jnp.mean(mean.argmax(axis=1) == x.argmax(axis=1))) > 0.95
        return
    # Rates of all sizes are learned, those of a hundred too. The mean of n counts of rate r has the standard
    # error sqrt(r / n), and so has that of the draws.
    rate = x.mean(axis=0)
    np.testing.assert_allclose(mean.mean(axis=0), rate, rtol=0.1)
    assert (np.abs(np.mean(drawn - mean, axis=0)) < 4.5 * np.sqrt(rate / len(x))).all()
