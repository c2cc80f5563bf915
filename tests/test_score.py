import functools

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax.latents import Layout
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.score import WEIGHTINGS, Matching, draw_observed, draw_times, score_fn, score_task
from sbmae_jax.sde import VE, VP, SubVP
from sbmae_jax.train import Training, make_step

LAYOUT = Layout(("a", "b", "c"), (1, 2, 2))
SDES = {"vp": VP(), "sub_vp": SubVP(), "ve": VE()}


class Linear:
    """A network without training: F(x, ln snr) = x w."""

    def __init__(self, key):
        self.w = 0.3 * jax.random.normal(key, (5, 5))

    def apply(self, params, x, log_snr):
        return x @ self.w


@pytest.mark.parametrize("weighting", ["noise", "likelihood"])
@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_weighted_error_of_the_network_is_that_of_the_score(sde, weighting, x64):
    # Equation (2): the loss on F with its factor is mean_d (sigma s + eps)^2 of the score that F stands for.
    network_key, loss_key = jax.random.split(jax.random.key(0))
    network, matching = Linear(network_key), Matching(weighting)
    z = jax.random.normal(jax.random.key(1), (64, 5))
    task = score_task(network, sde, LAYOUT, matching)
    loss, _ = task.loss({}, loss_key, {"z": z})
    again = jax.random.split(jax.random.key(0))[1]
    time_key, noise_key, _ = jax.random.split(again, 3)
    t = draw_times(time_key, sde, matching, 64)
    eps = jax.random.normal(noise_key, z.shape)
    score = score_fn(network.apply, {}, sde, LAYOUT)(sde.perturb(z, eps, t), t)
    expected = jnp.mean((sde.sigma(t)[:, None] * score + eps) ** 2, axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_target_of_the_network_has_unit_variance_at_every_level(sde, key):
    # So the loss of a network that says nothing is 1 on standard data, whatever the noise.
    zero = type("Zero", (), {"apply": staticmethod(lambda params, x, log_snr: 0 * x)})
    z = jax.random.normal(jax.random.key(1), (20_000, 5))
    for level in (-3.0, 0.0, 3.0):
        task = score_task(zero, sde, LAYOUT, Matching("unit", level, 0.0))
        loss, _ = task.loss({}, jax.random.fold_in(key, int(level) + 3), {"z": z})
        assert float(loss.mean()) == pytest.approx(1, abs=4 * (2 / (5 * 20_000)) ** 0.5)


def test_unit_weighting_draws_the_levels_it_says(key):
    matching = Matching("unit", level_mean=0.3, level_std=0.8)
    level = -0.5 * VP().log_snr(draw_times(key, VP(), matching, 20_000))
    assert float(level.mean()) == pytest.approx(0.3, abs=0.03)
    assert float(level.std()) == pytest.approx(0.8, abs=0.03)


def test_observed_subsets_are_proper_and_as_frequent_as_asked(key):
    observed = draw_observed(key, Matching(observed_share=0.4), jnp.ones((30_000, 4), bool))
    size = observed.sum(axis=1)
    assert int(size.max()) == 3
    np.testing.assert_allclose(
        np.bincount(size, minlength=4) / len(size), [0.6, *[0.4 / 3] * 3], atol=0.01
    )
    np.testing.assert_allclose(observed.mean(axis=0), 0.4 * 0.5, atol=0.01)


def test_nothing_is_observed_without_a_share_or_with_one_modality(key):
    one, two = jax.random.split(key)
    assert not draw_observed(one, Matching(observed_share=0.0), jnp.ones((50, 4), bool)).any()
    assert not draw_observed(two, Matching(observed_share=1.0), jnp.ones((50, 1), bool)).any()


def test_error_on_observed_coordinates_does_not_count(key):
    # A network that is wrong on observed coordinates only: told by the level that it is given for them.
    def apply(params, x, log_snr):
        return jnp.where(LAYOUT.spread(log_snr) > 13.9, params, 0.0) * jnp.ones_like(x)

    network = type("Wrong", (), {"apply": staticmethod(apply)})
    task = score_task(network, VP(), LAYOUT, Matching("unit", observed_share=1.0))
    batch = {"z": jax.random.normal(jax.random.key(3), (32, 5))}
    losses = [task.loss(jnp.asarray(wrong), jax.random.key(4), batch)[0] for wrong in (0.0, 1e3)]
    np.testing.assert_array_equal(*losses)
    assert float(losses[0].mean()) > 0.1


@functools.cache
def trained():
    """Train a small network on the joint and on all conditionals of a known Gaussian."""
    target = analytic.three_modalities()
    scale = np.sqrt(np.diag(target.cov))
    target = analytic.gaussian(np.zeros(5), target.cov / np.outer(scale, scale))
    z = target.sample(jax.random.key(0), 20_000)
    network = HubScore(LAYOUT.sizes, width=32, hub_width=48, num_blocks=2, level_width=16)
    task = score_task(network, VP(), LAYOUT, Matching("unit", 0.0, 1.3, observed_share=0.5))
    training = Training(1500, 256, 3e-3, ema_decay=0.99)
    optimizer = training.optimizer()
    step = make_step(task, optimizer, training.ema_decay)

    @jax.jit
    def run(key, params):
        from sbmae_jax.train import TrainState

        def body(state, i):
            rows = jax.random.randint(jax.random.fold_in(jax.random.key(7), i), (256,), 0, len(z))
            return step(key, state, {"z": z[rows]})

        state = TrainState(jnp.zeros((), jnp.int32), params, params, optimizer.init(params))
        return jax.lax.scan(body, state, jnp.arange(training.num_steps))[0].ema_params

    init_key, run_key = jax.random.split(jax.random.key(1))
    params = run(run_key, jax.jit(task.init)(init_key, {"z": z}))
    return target, network, params


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_a_trained_network_knows_the_score_of_a_gaussian(level):
    target, network, params = trained()
    sde = VP()
    t = sde.time(jnp.asarray(-2 * level))
    z, eps = target.sample(jax.random.key(2), 2000), jax.random.normal(jax.random.key(3), (2000, 5))
    x = sde.perturb(z, eps, t)
    found = score_fn(network.apply, params, sde, LAYOUT)(x, t)
    exact = target.score(sde)(x, t)
    error = jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)
    assert float(error) < 0.01


@pytest.mark.parametrize(
    "observed", [(True, False, False), (True, True, False), (False, False, True)]
)
def test_the_same_network_knows_every_conditional(observed):
    target, network, params = trained()
    sde = VP()
    t = sde.time(jnp.asarray(0.0))
    mask = np.asarray(LAYOUT.spread(jnp.asarray(observed)))
    z, eps = target.sample(jax.random.key(2), 2000), jax.random.normal(jax.random.key(3), (2000, 5))
    x = jnp.where(mask[None], z, sde.perturb(z, eps, t))
    known = jnp.broadcast_to(jnp.asarray(observed), (2000, 3))
    found = score_fn(network.apply, params, sde, LAYOUT, known)(x, t)
    exact = target.conditional_score(sde, mask)(x, t)
    assert not found[:, mask].any()
    error = jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)
    assert float(error) < 0.02


def test_the_network_beats_the_joint_score_where_it_is_told_what_is_clean():
    # The conditional test above could pass if conditioning did not matter here: it does.
    target, _, _ = trained()
    sde, mask = VP(), np.asarray(LAYOUT.spread(jnp.asarray((True, True, False))))
    t = sde.time(jnp.asarray(0.0))
    z, eps = target.sample(jax.random.key(2), 2000), jax.random.normal(jax.random.key(3), (2000, 5))
    noised = sde.perturb(z, eps, t)
    x = jnp.where(mask[None], z, noised)
    exact = target.conditional_score(sde, mask)(x, t)
    joint = jnp.where(mask[None], 0, target.score(sde)(noised, t))
    assert float(jnp.mean((joint - exact) ** 2) / jnp.mean(exact**2)) > 0.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weighting": "none"}, f"score.weighting must be one of {', '.join(WEIGHTINGS)}"),
        ({"observed_share": 1.5}, r"score.observed_share must be in 0..1, got 1.5"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Matching(**values)
