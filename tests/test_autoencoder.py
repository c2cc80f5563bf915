import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from minimise import minimise
from networks import filled, jit, shapes

from sbmae_jax.models import gaussian
from sbmae_jax.models.autoencoder import Autoencoder, Modality
from sbmae_jax.models.likelihoods import (
    LOG_VARIANCE_SCALE,
    MIN_VARIANCE,
    check_values,
    variance,
)
from sbmae_jax.nets.patch import PatchDecoder, PatchEncoder
from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder

PICTURE = Modality("picture", (8, 8, 3), "gaussian", "patch", latent_size=4, weight=0.5)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 1, 1, 3)).astype(np.uint8)
X = np.broadcast_to(COLOURS, (16, 8, 8, 3)).copy()
UNITS = X / np.float32(255)


@functools.cache
def make(kind):
    """Return the networks of a picture, their autoencoder without noise on the code, and parameters."""
    encoder = PatchEncoder(2 if kind == "vae" else 1, latent_size=4, patch=4, channels=8, width=32)
    decoder = PatchDecoder((8, 8, 3), patch=4, channels=8, width=32)
    model = Autoencoder(dataclasses.replace(PICTURE, code_noise=0.0), kind, encoder, decoder)
    return encoder, decoder, model, filled(model.task, {"x": X})


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_encoding_is_deterministic_takes_bytes_and_floats_and_decoding_is_a_picture(kind):
    _, _, model, params = make(kind)
    encode, decode = jit(model.encode), jit(model.decode)
    z = encode(params, X)
    assert z.shape == (16, 4)
    np.testing.assert_array_equal(z, encode(params, X))
    np.testing.assert_allclose(z, encode(params, UNITS), atol=1e-5)
    y = np.asarray(decode(params, z))
    assert y.shape == X.shape
    assert 0 <= y.min() < y.max() <= 1


def test_vae_loss_is_the_weighted_evidence_bound(key):
    encoder, decoder, model, params = make("vae")

    @jit
    def both(key):
        loss, metrics = model.task.loss(params, key, {"x": X})
        mean, log_var = jnp.split(encoder.apply(params["encoder"], UNITS), 2, axis=-1)
        z = gaussian.sample(jax.random.clone(key), mean, log_var)
        error = jnp.sum((UNITS - decoder.apply(params["decoder"], z)) ** 2, axis=(1, 2, 3))
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1, axis=1)
        return loss, metrics, error, kl

    loss, metrics, error, kl = both(key)
    np.testing.assert_allclose(loss, error + 0.5 * kl, rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty"], kl, rtol=1e-4)


def test_rae_without_noise_is_a_plain_autoencoder_with_a_penalty(key):
    _, _, model, params = make("rae")

    @jit
    def both(key):
        loss, _ = model.task.loss(params, key, {"x": UNITS})
        z = model.encode(params, UNITS)
        return loss, z, model.decode(params, z)

    loss, z, y = both(key)
    error = np.sum((UNITS - y) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(loss, error + 0.5 * np.sum(z**2, axis=1), rtol=1e-4)


def test_reconstruction_improves_with_training():
    _, _, model, start = make("rae")

    def mean_loss(params, key):
        return jnp.mean(model.task.loss(params, key, {"x": X})[0])

    before, after = start, minimise(mean_loss, start, 60, 1e-2)
    loss = jit(mean_loss)
    assert loss(after, jax.random.key(0)) < 0.8 * loss(before, jax.random.key(0))


def test_a_bernoulli_modality_of_bits_can_be_encoded():
    bits = Modality("bits", (18,), "bernoulli", "dense", latent_size=3, weight=0.1)
    model = Autoencoder(bits, "vae", nn.Dense(6), nn.Dense(18))
    x = (np.arange(36).reshape(2, 18) % 3 == 0).astype(np.float32)
    y = np.asarray(jit(lambda p: model.decode(p, model.encode(p, x)))(filled(model.task, {"x": x})))
    assert y.shape == x.shape
    assert 0 < y.min() < y.max() < 1


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
        Autoencoder(PICTURE, "gan", None, None)


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
    return Autoencoder(modality, kind, encoder, VectorDecoder(modality.shape, width=8))


@functools.cache
def initial():
    """Return initial parameters, which suit every likelihood of vectors of one size."""
    return jit(make_vector(VECTOR).task.init)(jax.random.key(0), {"x": vectors()})


@functools.cache
def fitted(likelihood, weight):
    """Train an autoencoder on fixed data; return it, its parameters at the start and at the end, its data."""
    model = make_vector(dataclasses.replace(VECTOR, likelihood=likelihood, weight=weight))
    rng = np.random.default_rng(1)
    x = {
        "normal": vectors(),
        "categorical": np.eye(6, dtype=np.float32)[rng.integers(0, 6, 256)],
        "poisson": rng.poisson([1.0, 1.0, 9.0, 9.0, 9.0, 100.0], (256, 6)).astype(np.float32),
    }[likelihood]

    def mean_loss(params, key):
        return jnp.mean(model.task.loss(params, key, {"x": x})[0])

    names = shapes(model.task, {"x": x})
    start = {name: initial()[name] for name in names}
    return model, start, minimise(mean_loss, start, 600, 5e-3), x


def learned(log_var):
    return MIN_VARIANCE + np.exp(LOG_VARIANCE_SCALE * np.asarray(log_var))


def test_the_learned_noise_is_the_variance_of_what_decoding_the_mean_leaves():
    model, _, params, x = fitted("normal", 1.0)
    left = np.mean((x - model.decode(params, model.encode(params, x))) ** 2, axis=0)
    assert left.max() > 2 * left.min()  # the entries differ, and so must what is learned
    np.testing.assert_allclose(learned(params["noise"]), left, rtol=0.05)
    # What is left of a code with noise is more: that is the variance of the bound, and not of a draw.
    assert learned(params["log_var"]).shape == (1,)
    assert learned(params["log_var"]) > 1.05 * np.mean(learned(params["noise"]))


@pytest.mark.parametrize("kind", ["vae", "rae"])
def test_noise_at_the_variance_of_the_residuals_is_where_the_loss_is_least(kind):
    x, model = vectors(), make_vector(VECTOR, kind)
    params = filled(model.task, {"x": x}) | {"log_var": jnp.zeros(1)}
    y = jit(lambda p: model.decode(p, model.encode(p, x)))(params)
    best = np.log(np.mean((x - y) ** 2, axis=0) - MIN_VARIANCE) / LOG_VARIANCE_SCALE

    @jit
    def slope(noise):
        def mean_loss(noise):
            return jnp.mean(
                model.task.loss({**params, "noise": noise}, jax.random.key(1), {"x": x})[0]
            )

        return jax.grad(mean_loss)(noise)

    np.testing.assert_allclose(slope(best), 0, atol=1e-3)
    assert (slope(best + 0.02) > 0.1).all()
    assert (slope(best - 0.02) < -0.1).all()


def test_the_noise_of_a_draw_does_not_train_the_networks():
    # Their gradient is the same whatever that noise is, as it would be without its term.
    x, model, params = vectors(), make_vector(VECTOR), initial()

    @jit
    def gradient(noise):
        def mean_loss(params):
            return jnp.mean(model.task.loss(params, jax.random.key(1), {"x": x})[0])

        return jax.grad(mean_loss)({**params, "noise": noise})

    small, large = gradient(jnp.full(6, -0.3)), gradient(jnp.full(6, 0.3))
    assert float(jnp.abs(small["noise"] - large["noise"]).min()) > 1
    del small["noise"], large["noise"]
    chex.assert_trees_all_equal(small, large)
    for part in small.values():
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(part)) > 0


def test_a_draw_is_the_decoded_mean_and_the_learned_noise():
    model, _, params, x = fitted("normal", 1.0)

    @jit
    def both(key):
        z = model.encode(params, x)
        noise = jax.random.normal(jax.random.clone(key), x.shape)
        wanted = model.decode(params, z) + jnp.sqrt(variance(params["noise"], x)) * noise
        return model.draw(params, key, z), wanted

    np.testing.assert_allclose(*both(jax.random.key(3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["categorical", "poisson"])
def test_categories_and_counts_are_learned_and_drawn(likelihood):
    model, start, params, x = fitted(likelihood, 0.2)

    @jit
    def measured(params):
        z, loss = model.encode(params, x), model.task.loss(params, jax.random.key(1), {"x": x})[0]
        return jnp.mean(loss), model.decode(params, z), model.draw(params, jax.random.key(2), z)

    before, *_ = measured(start)
    after, mean, drawn = measured(params)
    assert "noise" not in params
    assert after < before - 0.5
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
