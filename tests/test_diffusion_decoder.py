import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from minimise import minimise
from networks import assert_rows_are_alone, filled, jit, unused

from sbmae_jax.models.diffusion_decoder import (
    DecodingConfig,
    DiffusionDecoder,
    Spreads,
    as_values,
    no_spreads,
    require_decodable,
)
from sbmae_jax.models.likelihoods import LIKELIHOODS
from sbmae_jax.nets.conv_denoiser import ConvDenoiser
from sbmae_jax.nets.mixer import MixerDenoiser

SHAPE = (4, 4, 1)
SPREADS = Spreads(jnp.zeros(2), jnp.ones(2), *map(jnp.asarray, (0.3, 0.5, 0.3)))
NETWORKS = {
    "mixer": MixerDenoiser(patch=2, width=8, num_blocks=1, level_width=8),
    "conv": ConvDenoiser(widths=(8, 16), level_width=8),
}


class Zero:
    """A network that adds nothing: what is left is exact for a Gaussian around the base."""

    @staticmethod
    def init(key, *inputs):
        return {}

    @staticmethod
    def apply(params, x, base, z, log_snr, spread):
        return jnp.zeros_like(x)


class Linear:
    """An autoencoder whose picture has the first latent in its upper half and the second below."""

    @staticmethod
    def encode(params, x):
        return jnp.stack([x[:, 0, 0, 0], x[:, -1, 0, 0]], axis=-1)

    @staticmethod
    def decode(params, z):
        return jnp.repeat(z, 8, axis=1).reshape(-1, *SHAPE)


def draws(decoder, params, z, **options):
    """Return draws for latents z [B, 2]."""
    config = DecodingConfig(**options)
    decode = functools.partial(Linear.decode, None)
    return np.asarray(jit(lambda z: decoder.draw(params, jax.random.key(0), decode, z, config))(z))


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("latent_noise", "spread"), [(0.0, 0.3), (1.0, 0.5)])
def test_a_network_of_zero_draws_a_gaussian_around_the_decoded_mean(eta, latent_noise, spread):
    params = {"network": {}, "spreads": SPREADS._asdict()}
    z = jnp.tile(jnp.array([[0.2, 0.9]]), (3000, 1))
    decoder = DiffusionDecoder(Zero(), latent_noise=1.0)
    levels = {"num_steps": 24, "start": 5.0, "stop": 0.05}
    x = draws(decoder, params, z, eta=eta, latent_noise=latent_noise, **levels)
    np.testing.assert_allclose(x.mean(axis=0), Linear.decode(None, z[:1])[0], atol=0.04)
    # The noise that is left at the lowest level, a twentieth of the spread, is denoised.
    np.testing.assert_allclose(x.std(axis=0), spread, rtol=0.08)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_guidance_moves_gaussians_of_one_spread_along_the_line_between_their_means(weight):
    params = {"network": {}, "spreads": SPREADS._asdict()}
    z = jnp.tile(jnp.array([[0.2, 0.9]]), (3000, 1))
    # From so much noise the base, around which sampling starts, is forgotten.
    options = {"weight": weight, "latent_noise": 0.0, "num_steps": 48, "start": 200.0, "stop": 0.05}
    x = draws(DiffusionDecoder(Zero()), params, z, **options)
    wanted = weight * np.asarray(Linear.decode(None, z[:1])[0])  # without a latent the mean is 0
    np.testing.assert_allclose(x.mean(axis=0), wanted, atol=0.04)
    np.testing.assert_allclose(x.std(axis=0), 0.3, rtol=0.08)


@pytest.mark.parametrize("drop_latent", [0.0, 0.5])
def test_the_target_has_mean_square_one(drop_latent):
    rng, decoder = np.random.default_rng(0), DiffusionDecoder(Zero(), 1.0, drop_latent)
    z = rng.normal(size=(4000, 2)).astype(np.float32)
    clean = np.asarray(Linear.decode(None, jnp.asarray(z)))
    x = jnp.asarray(clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32))
    spreads = decoder.measure(Linear(), None, jax.random.key(0), x)
    task = decoder.task(Linear(), None, spreads)
    params = task.init(jax.random.key(0), {"x": x})
    loss, _ = jit(task.loss)(params, jax.random.key(1), {"x": x})
    assert loss.shape == (4000,)
    np.testing.assert_allclose(loss.mean(), 1, atol=5 * loss.std() / math.sqrt(4000))


def test_spreads_are_those_of_the_rows():
    rng, decoder = np.random.default_rng(0), DiffusionDecoder(Zero(), 0.5)
    z = rng.normal(1.0, 2.0, size=(5000, 2)).astype(np.float32)
    found = decoder.measure(Linear(), None, jax.random.key(0), Linear.decode(None, jnp.asarray(z)))
    np.testing.assert_allclose(found.mean, z.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.std, z.std(axis=0), rtol=1e-4)
    assert float(found.exact) == pytest.approx(1e-3)  # the smallest: this autoencoder is exact
    np.testing.assert_allclose(found.noised, 0.5 * 2.0, rtol=0.05)
    np.testing.assert_allclose(found.dropped, 2.0, rtol=0.05)


def test_a_decoder_draws_one_of_two_pictures_where_the_mean_is_their_average():
    patterns = np.stack([np.eye(4), np.eye(4)[::-1]])[..., None].astype(np.float32)
    x = jnp.asarray(patterns[np.arange(64) % 2])

    class Blind(Linear):
        """An autoencoder that sees nothing of the picture."""

        @staticmethod
        def encode(params, x):
            return jnp.zeros((x.shape[0], 2))

        @staticmethod
        def decode(params, z):
            return jnp.broadcast_to(patterns.mean(axis=0), (z.shape[0], *SHAPE))

    network = MixerDenoiser(patch=2, width=32, num_blocks=1, level_width=32)
    decoder = DiffusionDecoder(network, latent_noise=0.0, drop_latent=0.0)
    spreads = decoder.measure(Blind(), None, jax.random.key(0), x)
    task = decoder.task(Blind(), None, spreads)

    def loss(params, key):
        return task.loss({"network": params, "spreads": spreads._asdict()}, key, {"x": x})[0].mean()

    start = filled(network, x, x, jnp.zeros((64, 2)), jnp.zeros(64), jnp.zeros(64))
    found = minimise(loss, start, 500, 3e-3)
    params = {"network": found, "spreads": spreads._asdict()}
    decode = functools.partial(Blind.decode, None)
    config = DecodingConfig(latent_noise=0.0, num_steps=8, start=5.0, stop=0.05)
    drawn = decoder.draw(params, jax.random.key(2), decode, jnp.zeros((200, 2)), config)
    errors = np.abs(np.asarray(drawn)[:, None] - patterns).mean(axis=(2, 3, 4))
    assert np.mean(errors.min(axis=1) < 0.1) > 0.9  # that of the mean is a quarter
    shares = np.bincount(errors.argmin(axis=1), minlength=2) / 200
    np.testing.assert_allclose(shares, 0.5, atol=0.2)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_use_all_they_see_and_keep_rows_apart(name):
    rng, network = np.random.default_rng(0), NETWORKS[name]
    x, base = rng.normal(size=(2, 8, *SHAPE)).astype(np.float32)
    z, (levels, spread) = rng.normal(size=(8, 2)), rng.uniform(0.1, 1, size=(2, 8))
    inputs = [jnp.asarray(a, jnp.float32) for a in (x, base, z, levels, spread)]
    params = filled(network, *inputs)
    apply = jit(network.apply)
    assert apply(params, *inputs).shape == x.shape
    assert_rows_are_alone(apply, params, *inputs)
    assert unused(apply, params, *inputs) == []
    for i in range(len(inputs)):
        changed = [*inputs[:i], inputs[i] + 0.5, *inputs[i + 1 :]]
        assert np.abs(apply(params, *changed) - apply(params, *inputs)).max() > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_start_at_zero(name):
    inputs = np.ones((2, *SHAPE)), np.ones((2, *SHAPE)), np.ones((2, 2)), np.ones(2), np.ones(2)
    params = NETWORKS[name].init(jax.random.key(0), *inputs)
    assert not np.any(NETWORKS[name].apply(params, *inputs))


def test_a_row_does_not_depend_on_its_batch():
    decoder = DiffusionDecoder(NETWORKS["mixer"])
    inputs = np.ones((1, *SHAPE)), np.ones((1, *SHAPE)), np.ones((1, 2)), np.ones(1), np.ones(1)
    params = {"network": filled(NETWORKS["mixer"], *inputs), "spreads": SPREADS._asdict()}
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)), jnp.float32)
    whole, part = (draws(decoder, params, rows, weight=1.5, eta=1.0) for rows in (z, z[:3]))
    np.testing.assert_allclose(part, whole[:3], atol=1e-5)


def test_values_are_those_that_data_can_have():
    drawn = jnp.array([-0.5, 0.2, 0.7, 1.5])
    assert as_values(LIKELIHOODS["gaussian"], drawn).tolist() == pytest.approx([0, 0.2, 0.7, 1])
    assert as_values(LIKELIHOODS["bernoulli"], drawn).tolist() == [0, 0, 1, 1]


def test_the_number_of_evaluations_counts_the_last_denoising_and_guidance():
    assert DecodingConfig(num_steps=4).num_evaluations == 5
    assert DecodingConfig(num_steps=4, weight=2.0).num_evaluations == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "median"}, "decoder must be one of diffusion, mean, got 'median'"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"weight": -1.0}, "weight must be in 0..100"),
        ({"latent_noise": math.nan}, "latent_noise must be"),
        ({"start": 0.5}, "start must be above 0.5"),
        ({"stop": 0.0}, "stop must be in 0.001"),
        ({"eta": 2.0}, "eta must be in 0..1"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DecodingConfig(**options)


@pytest.mark.parametrize("options", [{"latent_noise": -1.0}, {"drop_latent": 1.0}])
def test_wrong_trainings_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        DiffusionDecoder(Zero(), **options)


def test_decoders_are_not_asked_for_what_they_were_not_trained_for():
    decoders = {"photo": DiffusionDecoder(Zero(), latent_noise=0.2, drop_latent=0.0)}
    require_decodable(DecodingConfig(latent_noise=0.2), decoders)
    require_decodable(DecodingConfig("mean", weight=2.0), {})
    with pytest.raises(ValueError, match="the decoder of photo was trained with drop_latent = 0"):
        require_decodable(DecodingConfig(weight=2.0), decoders)
    with pytest.raises(
        ValueError, match=r"at most 0\.2, with which the decoder of photo was trained"
    ):
        require_decodable(DecodingConfig(latent_noise=0.3), decoders)
    with pytest.raises(ValueError, match="the model has no diffusion decoder"):
        require_decodable(DecodingConfig(), {})


def test_a_task_tells_its_parameters_without_an_autoencoder():
    task = DiffusionDecoder(NETWORKS["mixer"]).task(None, None, no_spreads(2))
    found = jax.eval_shape(task.init, jax.random.key(0), {"x": jnp.zeros((1, *SHAPE))})
    assert found["spreads"]["std"].shape == (2,)
