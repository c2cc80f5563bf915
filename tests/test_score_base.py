"""A score that starts from a Gaussian: exact before the first step where the latents are Gaussian."""

import functools
import itertools

import analytic
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit

from sbmae_jax.models.factor_gaussian import FactorGaussian, standard_gaussian
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.score import ScoreMatchingConfig, score_fn, score_task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.sampling.generate import SAMPLERS, SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import VE, VP, SubVP

LAYOUT = Layout(("a", "b", "c"), (1, 2, 2))
SDES = {"vp": VP(), "sub_vp": SubVP(), "ve": VE()}
SUBSETS = np.array(list(itertools.product((False, True), repeat=3)))


class Zero:
    """A network that says nothing."""

    def init(self, key, x, log_snr):
        return {}

    def apply(self, params, x, log_snr):
        return jnp.zeros_like(x)


class Recorder(Zero):
    """A network that says what its parameters are, and keeps what it is shown."""

    def apply(self, params, x, log_snr):
        self.shown = x, log_snr
        return params


def target():
    """Return a Gaussian whose coordinates have mean 0 and variance 1."""
    cov = analytic.three_modalities().cov
    scale = np.sqrt(np.diag(cov))
    return analytic.gaussian(np.zeros(5), cov / np.outer(scale, scale))


def covariance(dtype=np.float64):
    """Return its covariance by factors, of which any covariance has enough."""
    values, vectors = np.linalg.eigh(target().cov)
    noise = 0.9 * values[0]
    loadings = vectors * np.sqrt(values - noise)
    return FactorGaussian(loadings.astype(dtype), np.full(5, noise, dtype))


def start(sde, observed=None):
    return score_fn(LatentNetwork(Zero().apply, {}, sde, LAYOUT), observed, covariance())


@pytest.mark.parametrize("level", [-4.0, 0.0, 3.0])
@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_the_score_is_exact_for_all_and_given_every_subset_before_training(sde, level, x64):
    rng, t = np.random.default_rng(0), sde.time(jnp.asarray(-2 * level))
    z, eps = map(jnp.asarray, rng.normal(size=(2, 20, 5)))
    x = sde.perturb(z, eps, t)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-8)
    close(start(sde)(x, t), target().score(sde)(x, t))
    for observed in SUBSETS[1:-1]:
        mask = np.repeat(observed, LAYOUT.sizes)
        seen = jnp.where(mask[None], z, x)
        found = start(sde, jnp.tile(observed, (20, 1)))(seen, t)
        close(found, target().conditional_score(sde, mask)(seen, t))
    assert not start(sde, jnp.ones((20, 3), bool))(z, t).any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_what_it_draws_with_the_exact_score(sampler, x64):
    sampling = SamplingConfig(sampler, num_levels=6, num_corrections=1, snr=0.3)
    z, observed = jnp.asarray(np.random.default_rng(1).normal(size=(30, 5))), SUBSETS[4]
    mask = np.repeat(observed, LAYOUT.sizes)
    scores = start(VP(), jnp.tile(observed, (30, 1))), target().conditional_score(VP(), mask)
    rows = jnp.tile(mask, (30, 1))
    drawn = [
        jit(functools.partial(generate_latents, sde=VP(), score=score, sampling=sampling))(
            jax.random.key(2), value=z, mask=rows
        )
        for score in scores
    ]
    np.testing.assert_allclose(*drawn, atol=1e-7)


def config(**values):
    return ScoreMatchingConfig(base="gaussian", **values)


def test_what_is_left_for_the_network_has_unit_variance_and_no_linear_part(x64):
    # For every pattern of absent, observed and noised modalities. The loss is a regression: its slope in what
    # the network says, at 0, is the target.
    num, rng, network = 60_000, np.random.default_rng(2), Recorder()
    z = rng.normal(size=(num, 5)) @ np.linalg.cholesky(target().cov).T
    batch = {"z": jnp.asarray(z), "present": jnp.asarray(SUBSETS[rng.integers(1, 8, num)])}
    matching = config(level_mean=0.2, level_std=0.0, conditioning_prob=0.6)
    task = score_task(network, VP(), LAYOUT, matching, covariance())
    slope = np.asarray(
        jax.grad(lambda said: task.loss(said, jax.random.key(5), batch)[0].sum())(
            jnp.zeros((num, 5))
        )
    )
    x, log_snr = (np.asarray(array) for array in network.shown)
    patterns = np.unique(log_snr, axis=0)
    assert len(patterns) == 19  # 3 of one modality, 3 x 3 of two, 7 of three
    for pattern in patterns:
        rows = (log_snr == pattern).all(axis=1)
        hidden = slope[rows].any(axis=0)
        left = -0.5 * hidden.sum() * slope[rows][:, hidden]
        count = rows.sum()
        assert (np.abs(left.var(axis=0) - 1) < 5 * np.sqrt(2 / count)).all()
        size = x[rows].std(axis=0) + 1e-12
        correlation = x[rows].T @ left / count / size[:, None]
        assert (np.abs(correlation) < 5 / np.sqrt(count)).all()


@pytest.mark.parametrize("weighting", ["noise", "likelihood"])
def test_weighted_error_of_the_network_is_that_of_the_score(weighting, x64):
    # Equation (2), with a network that says something.
    z, said = map(jnp.asarray, np.random.default_rng(3).normal(size=(2, 64, 5)))
    network, matching = Recorder(), config(weighting=weighting)

    @jit
    def both(key):
        batch = {"z": z, "present": jnp.ones((64, 3), bool)}
        loss, _ = score_task(network, VP(), LAYOUT, matching, covariance()).loss(said, key, batch)
        time_key, noise_key, _ = jax.random.split(jax.random.clone(key), 3)
        t = matching.draw_times(time_key, VP(), 64)
        eps = jax.random.normal(noise_key, z.shape)
        latent_network = LatentNetwork(network.apply, said, VP(), LAYOUT)
        score = score_fn(latent_network, None, covariance())(VP().perturb(z, eps, t), t)
        return loss, jnp.mean((VP().sigma(t)[:, None] * score + eps) ** 2, axis=1)

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-6)


@pytest.mark.slow
def test_groups_of_complete_rows_share_a_level_and_what_is_observed():
    network, z = Recorder(), jnp.ones((24, 5))
    task = score_task(network, VP(), LAYOUT, config(conditioning_prob=0.5), covariance(np.float32))
    with jax.disable_jit():
        losses, _ = task.loss(jnp.zeros((24, 5)), jax.random.key(0), {"z": z})
    assert losses.shape == (24,)
    levels = np.asarray(network.shown[1]).reshape(3, 8, 3)
    np.testing.assert_array_equal(levels, np.broadcast_to(levels[:, :1], levels.shape))
    assert len(np.unique(levels[:, 0].min(axis=1))) == 3


def hub():
    return HubScore(LAYOUT.sizes, width=8, hub_width=8, num_blocks=1, level_width=8)


def losses_and_gradient(matching, gaussian, z, present):
    task = score_task(hub(), VP(), LAYOUT, matching, gaussian)
    params = jit(task.init)(jax.random.key(0), {"z": z})
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)

    @jit
    def both(params):
        def total(params):
            losses = task.loss(params, jax.random.key(1), {"z": z, "present": present})[0]
            return losses.sum(), losses

        return jax.grad(total, has_aux=True)(params)

    return both(params)


def test_with_the_covariance_one_it_is_the_usual_loss():
    z = jnp.asarray(np.random.default_rng(4).normal(size=(64, 5)), jnp.float32)
    plain = ScoreMatchingConfig(conditioning_prob=0.6)
    here = jnp.ones((64, 3), bool)
    found = losses_and_gradient(config(conditioning_prob=0.6), standard_gaussian(5), z, here)
    usual = losses_and_gradient(plain, None, z, here)
    chex.assert_trees_all_close(found, usual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [-7.0, 5.0])
def test_loss_and_gradient_are_finite_at_both_ends_of_the_noise(level):
    z = jnp.asarray(np.random.default_rng(4).normal(size=(64, 5)), jnp.float32)
    sharp = covariance(np.float32)._replace(noise=np.full(5, 1e-4, np.float32))
    matching = config(level_mean=level, level_std=0.0, conditioning_prob=0.6)
    present = jnp.asarray(SUBSETS[1 + np.arange(len(z)) % 7])
    gradient, losses = losses_and_gradient(matching, sharp, z, present)
    chex.assert_tree_all_finite((gradient, losses))
    assert losses.max() < 1e6


def test_a_gaussian_that_is_not_passed_is_asked_for():
    task = score_task(hub(), VP(), LAYOUT, config())
    params = jit(task.init)(jax.random.key(0), {"z": jnp.zeros((1, 5))})
    with pytest.raises(ValueError, match="base 'gaussian' needs the covariance of the latents"):
        task.loss(params, jax.random.key(0), {"z": jnp.zeros((2, 5))})


def test_an_unknown_base_is_refused():
    with pytest.raises(ValueError, match="base must be one of none, gaussian, got 'ridge'"):
        ScoreMatchingConfig(base="ridge")
