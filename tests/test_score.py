import functools
from functools import partial

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.score import (
    WEIGHTINGS,
    ScoreMatchingConfig,
    draw_observed,
    score_fn,
    score_task,
)
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.sampling.sde import VE, VP, SubVP
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import make_step

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
    network, matching = Linear(network_key), ScoreMatchingConfig(weighting)
    z = jax.random.normal(jax.random.key(1), (64, 5))
    task = score_task(network, sde, LAYOUT, matching)
    loss, _ = task.loss({}, loss_key, {"z": z})
    again = jax.random.split(jax.random.key(0))[1]
    time_key, noise_key, _ = jax.random.split(again, 3)
    t = matching.draw_times(time_key, sde, 64)
    eps = jax.random.normal(noise_key, z.shape)
    score = score_fn(LatentNetwork(network.apply, {}, sde, LAYOUT))(sde.perturb(z, eps, t), t)
    expected = jnp.mean((sde.sigma(t)[:, None] * score + eps) ** 2, axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
def test_target_of_the_network_has_unit_variance_at_every_level(sde, key):
    # So the loss of a network that says nothing is 1 on standard data, whatever the noise.
    zero = type("Zero", (), {"apply": staticmethod(lambda params, x, log_snr: 0 * x)})
    z = jax.random.normal(jax.random.key(1), (20_000, 5))
    for level in (-3.0, 0.0, 3.0):
        task = score_task(zero, sde, LAYOUT, ScoreMatchingConfig("unit", level, 0.0))
        loss, _ = task.loss({}, jax.random.fold_in(key, int(level) + 3), {"z": z})
        assert float(loss.mean()) == pytest.approx(1, abs=4 * (2 / (5 * 20_000)) ** 0.5)


def test_unit_weighting_draws_the_levels_it_says(key):
    matching = ScoreMatchingConfig("unit", level_mean=0.3, level_std=0.8)
    level = -0.5 * VP().log_snr(matching.draw_times(key, VP(), 20_000))
    assert float(level.mean()) == pytest.approx(0.3, abs=0.03)
    assert float(level.std()) == pytest.approx(0.8, abs=0.03)


def test_observed_subsets_are_proper_and_as_frequent_as_asked(key):
    observed = draw_observed(key, jnp.ones((30_000, 4), bool), 0.4)
    size = observed.sum(axis=1)
    assert int(size.max()) == 3
    np.testing.assert_allclose(
        np.bincount(size, minlength=4) / len(size), [0.6, *[0.4 / 3] * 3], atol=0.01
    )
    np.testing.assert_allclose(observed.mean(axis=0), 0.4 * 0.5, atol=0.01)


def test_few_are_observed_more_often_by_the_power_asked_for(key):
    present = jnp.asarray(np.tile([[True] * 4, [True, True, True, False]], (20_000, 1)))
    size = np.asarray(draw_observed(key, present, 0.5, 1.0).sum(axis=1)).reshape(-1, 2)
    for column, wanted in enumerate(([6 / 11, 3 / 11, 2 / 11], [2 / 3, 1 / 3, 0])):
        counts = np.bincount(size[:, column], minlength=4) / len(size)
        np.testing.assert_allclose(counts, [0.5, *(0.5 * np.array(wanted))], atol=0.015)


def test_nothing_is_observed_without_a_share_or_with_one_modality(key):
    one, two = jax.random.split(key)
    assert not draw_observed(one, jnp.ones((50, 4), bool), 0.0).any()
    assert not draw_observed(two, jnp.ones((50, 1), bool), 1.0).any()


def test_error_on_observed_coordinates_does_not_count(key):
    # A network that is wrong on observed coordinates only: told by the level that it is given for them.
    def apply(params, x, log_snr):
        return jnp.where(LAYOUT.expand(log_snr) > 13.9, params, 0.0) * jnp.ones_like(x)

    network = type("Wrong", (), {"apply": staticmethod(apply)})
    task = score_task(network, VP(), LAYOUT, ScoreMatchingConfig("unit", conditioning_prob=1.0))
    batch = {"z": jax.random.normal(jax.random.key(3), (32, 5))}
    losses = [task.loss(jnp.asarray(wrong), jax.random.key(4), batch)[0] for wrong in (0.0, 1e3)]
    np.testing.assert_array_equal(*losses)
    assert float(losses[0].mean()) > 0.1


def unit_gaussian():
    """Return the Gaussian of `analytic.three_modalities`, each coordinate of mean 0 and variance 1."""
    target = analytic.three_modalities()
    scale = np.sqrt(np.diag(target.cov))
    return analytic.gaussian(np.zeros(5), target.cov / np.outer(scale, scale))


@functools.cache
def trained():
    """Train a small network on the joint and on all conditionals of a known Gaussian."""
    target = unit_gaussian()
    z = target.sample(jax.random.key(0), 20_000)
    network = HubScore(LAYOUT.sizes, width=32, hub_width=48, num_blocks=2, level_width=16)
    task = score_task(
        network, VP(), LAYOUT, ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.5)
    )
    training = TrainingConfig(num_steps=1500, batch_size=256, learning_rate=3e-3, ema_decay=0.99)
    optimizer = training.optimizer()
    step = make_step(task, optimizer, training.ema_decay)

    @jax.jit
    def run(key, params):
        from sbmae_jax.training.step import TrainState

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
    found = score_fn(LatentNetwork(network.apply, params, sde, LAYOUT))(x, t)
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
    mask = np.asarray(LAYOUT.expand(jnp.asarray(observed)))
    z, eps = target.sample(jax.random.key(2), 2000), jax.random.normal(jax.random.key(3), (2000, 5))
    x = jnp.where(mask[None], z, sde.perturb(z, eps, t))
    known = jnp.broadcast_to(jnp.asarray(observed), (2000, 3))
    found = score_fn(LatentNetwork(network.apply, params, sde, LAYOUT), known)(x, t)
    exact = target.conditional_score(sde, mask)(x, t)
    assert not found[:, mask].any()
    error = jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)
    assert float(error) < 0.02


def test_the_network_beats_the_joint_score_where_it_is_told_what_is_clean():
    # The conditional test above could pass if conditioning did not matter here: it does.
    target, _, _ = trained()
    sde, mask = VP(), np.asarray(LAYOUT.expand(jnp.asarray((True, True, False))))
    t = sde.time(jnp.asarray(0.0))
    z, eps = target.sample(jax.random.key(2), 2000), jax.random.normal(jax.random.key(3), (2000, 5))
    noised = sde.perturb(z, eps, t)
    x = jnp.where(mask[None], z, noised)
    exact = target.conditional_score(sde, mask)(x, t)
    joint = jnp.where(mask[None], 0, target.score(sde)(noised, t))
    assert float(jnp.mean((joint - exact) ** 2) / jnp.mean(exact**2)) > 0.05


PATTERNS = np.array([[m >> i & 1 for i in range(3)] for m in range(1, 8)], bool)


def rows_with_holes(num):
    """Return draws of the Gaussian [num, 5] and what is present [num, 3], missing completely at random."""
    chances = jnp.array([0.3, 0.5, 0.4, 0.2, 0.6, 0.3, 0.7])  # of the patterns, unequal
    pattern = jax.random.choice(jax.random.key(8), 7, (num,), p=chances / chances.sum())
    z = unit_gaussian().sample(jax.random.key(9), num)
    return z, jnp.asarray(PATTERNS)[pattern]


class ExactMarginals:
    """The network of (1) for VP and a Gaussian of covariance `cov`: the exact score of p(z_P), of every P.

    It reads what is there from ln snr alone: a modality at the largest noise level says nothing, one at
    MAX_LOG_SNR all. In NumPy, as nothing but this file runs it.
    """

    def __init__(self, cov):
        self.precision, self.bottom = np.linalg.inv(cov), float(VP().log_snr(jnp.ones(())))

    def apply(self, params, x, log_snr):
        x, level = np.asarray(x), np.repeat(np.asarray(log_snr), LAYOUT.sizes, axis=1)
        alpha, sigma = special.expit(level) ** 0.5, special.expit(-level) ** 0.5
        # x / alpha is z and noise of the variance exp(-level); its precision is 0 where nothing is said.
        says = np.where(level > self.bottom + 1e-9, np.exp(level), 0)
        posterior = self.precision + says[:, :, None] * np.eye(5)
        mean = np.linalg.solve(posterior, (says * x / alpha)[..., None])[..., 0]
        return jnp.asarray((mean - alpha * x) / sigma)


def slopes(batch):
    """Return how the loss changes with the covariance of that network at the truth: means, standard errors.

    With its scale, and with the coupling of two coordinates of different modalities.
    """
    cov, step = unit_gaussian().cov, 1e-4
    coupling = np.zeros((5, 5))
    coupling[0, 2] = coupling[2, 0] = 1

    def losses(cov):
        matching = ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.6)
        task = score_task(ExactMarginals(cov), VP(), LAYOUT, matching)
        return np.asarray(task.loss({}, jax.random.key(5), batch)[0])

    change = [losses(cov + step * d) - losses(cov - step * d) for d in (cov, coupling)]
    slope = np.stack(change) / (2 * step)
    return slope.mean(axis=1), slope.std(axis=1) / np.sqrt(slope.shape[1])


def test_the_exact_score_of_every_marginal_makes_the_loss_stationary(x64):
    z, present = rows_with_holes(40_000)
    mean, error = slopes({"z": z, "present": present})
    assert (np.abs(mean) < 4 * error).all()
    # With imputed values, here the mean of each coordinate, the loss would have it be another.
    mean, error = slopes({"z": jnp.where(LAYOUT.expand(present), z, 0)})
    assert (np.abs(mean) > 8 * error).all()


def exact_coefficients(cov, present, observed, log_snr):
    """Return the best linear F [5, 5] of what is hidden, of one pattern, at one noise level (VP)."""
    alpha2 = 1 / (1 + np.exp(-log_snr))
    seen, clean = (np.repeat(of, LAYOUT.sizes) for of in (present, observed))
    signal = np.where(clean, 1.0, np.sqrt(alpha2)) * seen  # x = signal z + noise
    noise = np.where(clean, 0.0, np.where(seen, 1 - alpha2, 1.0))
    cov_x = signal[:, None] * cov * signal + np.diag(noise)
    # target = sigma z - alpha eps, and E[target x^T] = sigma C diag(signal) - alpha diag(sigma) where noised.
    sigma = np.sqrt(1 - alpha2)
    with_x = sigma * cov * signal - np.diag(np.sqrt(alpha2) * sigma * (seen & ~clean))
    return with_x @ np.linalg.inv(cov_x), seen & ~clean


def test_least_squares_on_the_loss_finds_the_exact_coefficients_of_every_pattern(x64):
    # The loss is a regression: its slope in what the network says, at 0, is the target. Its input is
    # recorded, the pattern read from ln snr, and a linear network fitted to each pattern alone.
    z, present = rows_with_holes(60_000)
    inputs = []

    def apply(params, x, log_snr):
        inputs.append((x, log_snr))
        return params

    network = type("Recorded", (), {"apply": staticmethod(apply)})
    level, cov = 0.2, unit_gaussian().cov
    task = score_task(
        network, VP(), LAYOUT, ScoreMatchingConfig("unit", level, 0.0, conditioning_prob=0.6)
    )
    batch = {"z": z, "present": present}
    said = jax.grad(lambda out: task.loss(out, jax.random.key(5), batch)[0].sum())
    slope = np.asarray(said(jnp.zeros_like(z)))
    x, log_snr = (np.asarray(array) for array in inputs[0])
    bottom, seen = float(VP().log_snr(jnp.ones(()))), set()
    for pattern in np.unique(log_snr, axis=0):
        rows = (log_snr == pattern).all(axis=1)
        exact, hidden = exact_coefficients(cov, pattern > bottom + 1e-9, pattern > 13.9, -2 * level)
        np.testing.assert_array_equal(slope[rows] != 0, np.broadcast_to(hidden, (rows.sum(), 5)))
        target = -0.5 * hidden.sum() * slope[rows]
        found, *_ = np.linalg.lstsq(x[rows], target[:, hidden])
        left = target[:, hidden] - x[rows] @ found
        spread = np.linalg.inv(x[rows].T @ x[rows]).diagonal()
        error = np.sqrt(spread[:, None] * left.var(axis=0))
        assert (np.abs(found - exact[hidden].T) < 5 * error + 1e-6).all()
        assert error.max() < 0.06  # so a coefficient that is wrong by more would be seen
        seen.add(tuple(pattern))
    assert len(seen) == 19  # 3 of one modality, 3 x 3 of two, 7 of three


def holes_batch(num=64):
    z, present = rows_with_holes(num)
    return {"z": z, "present": present}


class Layer:
    """A network of one layer, quick to differentiate: F = tanh(x w + ln snr v)."""

    @staticmethod
    def apply(params, x, log_snr):
        return jnp.tanh(x @ params["w"] + 0.1 * log_snr @ params["v"])


@jax.jit
def loss_and_gradient(batch):
    rng = np.random.default_rng(0)
    shapes = {"w": (5, 5), "v": (3, 5)}
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}
    task = score_task(
        Layer, VP(), LAYOUT, ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.6)
    )

    def total(params):
        losses = task.loss(params, jax.random.key(4), batch)[0]
        return losses.sum(), losses

    gradient, losses = jax.grad(total, has_aux=True)(params)
    return losses, gradient


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_with_everything_present_the_loss_is_that_of_complete_rows():
    z = holes_batch()["z"]
    complete = loss_and_gradient({"z": z})
    stated = loss_and_gradient({"z": z, "present": jnp.ones((64, 3), bool)})
    # These are two programs, and XLA may round the sums of each in another order (JAX 0.12 does).
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), stated, complete)
    lacking = loss_and_gradient(holes_batch())
    assert (np.asarray(lacking[0]) != np.asarray(complete[0])).any()


def test_latents_of_what_is_absent_are_not_used():
    batch = holes_batch()
    absent = ~LAYOUT.expand(batch["present"])
    assert absent.any()
    other = batch | {"z": jnp.where(absent, 1e4, batch["z"])}
    assert_same(loss_and_gradient(other), loss_and_gradient(batch))
    present = batch | {"z": jnp.where(absent, batch["z"], 1e1)}
    assert (
        np.asarray(loss_and_gradient(present)[0]) != np.asarray(loss_and_gradient(batch)[0])
    ).all()


def test_what_is_observed_was_present_and_something_present_is_left(key):
    share, num = 0.5, 40_000
    patterns = np.array([[m >> i & 1 for i in range(4)] for m in range(1, 16)], bool)
    present = patterns[np.arange(num) % 15]
    observed = np.asarray(draw_observed(key, jnp.asarray(present), share))
    assert not (observed & ~present).any()
    assert (observed.sum(axis=1) < present.sum(axis=1)).all()
    for size in (1, 2, 3, 4):
        of_size = observed[present.sum(axis=1) == size]
        counts = np.bincount(of_size.sum(axis=1), minlength=size) / len(of_size)
        wanted = [1 - share, *[share / (size - 1)] * (size - 1)] if size > 1 else [1.0]
        error = 4 * np.sqrt(np.array(wanted) * (1 - np.array(wanted)) / len(of_size))
        assert (np.abs(counts - wanted) <= error).all()
    # Of the subsets of one size each is as likely.
    both = observed[(present == patterns[14]).all(axis=1) & (observed.sum(axis=1) == 1)]
    error = 4.5 * np.sqrt(0.25 * 0.75 / len(both))
    assert (np.abs(both.mean(axis=0) - 0.25) < error).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weighting": "none"}, f"weighting must be one of {', '.join(WEIGHTINGS)}"),
        ({"conditioning_prob": 1.5}, r"conditioning_prob must be in 0..1, got 1.5"),
        ({"subset_size_power": -1.0}, r"subset_size_power must be in 0..8, got -1"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ScoreMatchingConfig(**values)
