"""What networks over the joint latents are told of noise: scaled inputs, levels, and times in training."""

import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit

from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import MAX_LOG_SNR, T_MIN, LatentNetwork, lognormal_times
from sbmae_jax.sampling.sde import VE, VP, SubVP

LAYOUT = Layout(("a", "b", "c"), (1, 2, 2))
N = 20_000


@pytest.mark.parametrize("sde", [VP(), SubVP(), VE()], ids=["vp", "sub_vp", "ve"])
def test_inputs_have_variance_1_at_every_time_and_clean_latents_are_left_alone(sde):
    rng = np.random.default_rng(0)
    z, eps = rng.normal(size=(2, N, 5)).astype(np.float32)
    t = np.tile(np.float32([[0.03, 1, 0.4]]), (N, 1))
    clean = np.tile([[False, False, True]], (N, 1))
    network = LatentNetwork(lambda params, *args: args, {}, sde, LAYOUT)

    @jit
    def told(t, clean):
        alpha, sigma = LAYOUT.expand(sde.alpha(t)), LAYOUT.expand(sde.sigma(t))
        return network(jnp.where(LAYOUT.expand(clean), z, alpha * z + sigma * eps), t, clean)

    x, log_snr = map(np.asarray, told(t, clean))
    np.testing.assert_allclose(x.var(axis=0), 1, atol=4.5 * (2 / N) ** 0.5)
    np.testing.assert_array_equal(x[:, 3:], z[:, 3:])
    np.testing.assert_array_equal(log_snr[:, 2], MAX_LOG_SNR)
    np.testing.assert_allclose(log_snr[:, :2], sde.log_snr(t[:, :2]), rtol=1e-5)
    # So the share of the signal in the scaled input is that of its ln snr.
    share = (x[:, :3] * z[:, :3]).mean(axis=0) ** 2
    exact = LAYOUT.expand(1 / (1 + np.exp(-log_snr[:1])))[0, :3]
    np.testing.assert_allclose(share, exact, atol=4.5 * 2 / N**0.5)


def test_a_level_of_no_noise_is_told_as_clean():
    network = LatentNetwork(lambda params, *args: args, {}, VE(1e-6, 50.0), LAYOUT)
    _, log_snr = network(np.ones((1, 5), np.float32), np.zeros((1, 3)), np.zeros((1, 3), bool))
    np.testing.assert_array_equal(log_snr, np.full((1, 3), MAX_LOG_SNR, np.float32))


def test_times_are_those_of_a_lognormal_noise_level(key):
    draw = jit(lognormal_times, static_argnums=(1, 2, 3, 4))
    t = draw(key, VP(), N, 0.3, 0.8)
    assert t.min() >= T_MIN
    assert t.max() <= 1
    level = -0.5 * np.asarray(VP().log_snr(t))
    assert level.mean() == pytest.approx(0.3, abs=0.03)
    assert level.std() == pytest.approx(0.8, abs=0.03)
