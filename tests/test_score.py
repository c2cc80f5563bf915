import functools

import analytic
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from minimise import minimise
from networks import jit

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

LAYOUT = Layout(("a", "b", "c"), (1, 2, 2))
SDES = {"vp": VP(), "sub_vp": SubVP(), "ve": VE()}
each_sde = pytest.mark.parametrize("sde", SDES.values(), ids=SDES)
draw_subsets = jit(draw_observed, static_argnums=(2, 3))


class Function:
    """A network that is a function."""

    def __init__(self, function):
        self.function = function

    def apply(self, params, x, log_snr):
        return self.function(params, x, log_snr)


@pytest.mark.parametrize("weighting", ["noise", "likelihood"])
@each_sde
def test_weighted_error_of_the_network_is_that_of_the_score(sde, weighting, x64):
    # Equation (2): the loss on F with its factor is mean_d (sigma s + eps)^2 of the score that F stands for.
    rng, config = np.random.default_rng(0), ScoreMatchingConfig(weighting)
    z, w = rng.normal(size=(64, 5)), 0.3 * rng.normal(size=(5, 5))
    network = Function(lambda params, x, log_snr: x @ w)

    @jit
    def both(key):
        loss, _ = score_task(network, sde, LAYOUT, config).loss({}, key, {"z": z})
        time_key, noise_key, _ = jax.random.split(jax.random.clone(key), 3)
        t = config.draw_times(time_key, sde, 64)
        eps = jax.random.normal(noise_key, z.shape)
        score = score_fn(LatentNetwork(network.apply, {}, sde, LAYOUT))(sde.perturb(z, eps, t), t)
        return loss, jnp.mean((sde.sigma(t)[:, None] * score + eps) ** 2, axis=1)

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-6)


@each_sde
def test_target_of_the_network_has_unit_variance_at_every_level(sde):
    # So the loss of a network that says nothing is 1 on standard data, whatever the noise.
    z = np.random.default_rng(1).normal(size=(20_000, 5)).astype(np.float32)

    @jit
    def mean_loss(key, level):
        zero = Function(lambda params, x, log_snr: 0 * x)
        task = score_task(zero, sde, LAYOUT, ScoreMatchingConfig("unit", level, 0.0))
        return task.loss({}, key, {"z": z})[0].mean()

    for i, level in enumerate((-3.0, 0.0, 3.0)):
        loss = mean_loss(jax.random.key(i), level)
        assert loss == pytest.approx(1, abs=4 * (2 / (5 * 20_000)) ** 0.5)


def test_few_are_observed_more_often_by_the_power_asked_for(key):
    present = np.tile([[True] * 4, [True, True, True, False]], (20_000, 1))
    size = np.asarray(draw_subsets(key, present, 0.5, 1.0)).sum(axis=1).reshape(-1, 2)
    for column, wanted in enumerate(([6 / 11, 3 / 11, 2 / 11], [2 / 3, 1 / 3, 0])):
        counts = np.bincount(size[:, column], minlength=4) / len(size)
        np.testing.assert_allclose(counts, [0.5, *(0.5 * np.array(wanted))], atol=0.015)


def test_nothing_is_observed_without_a_share_or_with_one_modality():
    for num, share in ((4, 0.0), (1, 1.0)):
        assert not draw_subsets(jax.random.key(0), np.ones((50, num), bool), share, 0.0).any()


def test_what_is_observed_was_present_and_something_present_is_left(key):
    share, num = 0.5, 40_000
    patterns = np.array([[m >> i & 1 for i in range(4)] for m in range(1, 16)], bool)
    present = patterns[np.arange(num) % 15]
    observed = np.asarray(draw_subsets(key, present, share, 0.0))
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


def test_error_on_observed_coordinates_does_not_count():
    # A network that is wrong on observed coordinates only: told by the level that it is given for them.
    wrong = Function(
        lambda size, x, log_snr: jnp.where(LAYOUT.expand(log_snr) > 13.9, size, 0.0) + 0 * x
    )
    task = score_task(wrong, VP(), LAYOUT, ScoreMatchingConfig("unit", conditioning_prob=1.0))
    z = np.random.default_rng(3).normal(size=(32, 5)).astype(np.float32)
    loss = jit(lambda size: task.loss(size, jax.random.key(4), {"z": z})[0])
    losses = [np.asarray(loss(size)) for size in (0.0, 1e3)]
    np.testing.assert_array_equal(*losses)
    assert losses[0].mean() > 0.1


PATTERNS = np.array([[m >> i & 1 for i in range(3)] for m in range(8)], bool)


def unit_gaussian():
    """Return the Gaussian of `analytic.three_modalities`, each coordinate of mean 0 and variance 1."""
    target = analytic.three_modalities()
    scale = np.sqrt(np.diag(target.cov))
    return analytic.gaussian(np.zeros(5), target.cov / np.outer(scale, scale))


def draws(num):
    """Return draws of that Gaussian [num, 5], and standard noise [num, 5]."""
    rng, root = np.random.default_rng(2), np.linalg.cholesky(unit_gaussian().cov)
    return rng.normal(size=(num, 5)) @ root.T, rng.normal(size=(num, 5))


class ExactMarginals:
    """The network of (1) for a Gaussian of covariance `cov`: the exact score of p(z_P), of every P.

    It reads what is there from ln snr alone: a modality at the largest noise level says nothing, one at
    MAX_LOG_SNR all.
    """

    def __init__(self, cov, sde):
        self.precision, self.bottom = jnp.linalg.inv(cov), sde.log_snr(jnp.ones(()))

    def apply(self, params, x, log_snr):
        level = LAYOUT.expand(log_snr)
        alpha, sigma = jax.nn.sigmoid(level) ** 0.5, jax.nn.sigmoid(-level) ** 0.5
        # x / alpha is z and noise of the variance exp(-level); its precision is 0 where nothing is said.
        says = jnp.where(level > self.bottom + 1e-9, jnp.exp(level), 0)
        posterior = self.precision[None] + says[:, :, None] * jnp.eye(5)[None]
        mean = jnp.linalg.solve(posterior, (says * x / alpha)[..., None])[..., 0]
        return (mean - alpha * x) / sigma


@each_sde
def test_the_exact_network_has_the_exact_score_of_the_joint_and_of_every_conditional(sde, x64):
    target, (z, eps) = unit_gaussian(), draws(20)
    subsets = np.array([(0, 0, 1), (1, 0, 0), (1, 1, 0)], bool)

    @jit
    def scores(z, eps):
        t = sde.time(jnp.asarray(0.0))
        network = LatentNetwork(ExactMarginals(target.cov, sde).apply, {}, sde, LAYOUT)
        noised = sde.perturb(z, eps, t)
        pairs = []
        for observed in subsets:
            mask = np.repeat(observed, LAYOUT.sizes)
            x = jnp.where(mask[None], z, noised)
            found = score_fn(network, jnp.tile(observed, (20, 1)))(x, t)
            pairs.append((found, target.conditional_score(sde, mask)(x, t)))
        return (score_fn(network)(noised, t), target.score(sde)(noised, t)), pairs

    (found, joint), pairs = scores(z, eps)
    np.testing.assert_allclose(found, joint, rtol=1e-6, atol=1e-6)
    for observed, (found, exact) in zip(subsets, pairs, strict=True):
        assert not found[:, np.repeat(observed, LAYOUT.sizes)].any()
        np.testing.assert_allclose(found, exact, atol=1e-4)
    # So what the network is told of observed modalities matters: c given a and b is not the joint score.
    assert float(jnp.mean((joint - exact)[:, :3] ** 2) / jnp.mean(exact[:, :3] ** 2)) > 0.05


def test_the_score_of_a_marginal_is_that_of_the_others_as_if_alone(x64):
    target, sde = unit_gaussian(), VP()
    network, t = (
        LatentNetwork(ExactMarginals(target.cov, sde).apply, {}, sde, LAYOUT),
        jnp.asarray(0.3),
    )
    z, eps = map(jnp.asarray, draws(20))
    absent, observed = np.array([False, False, True]), np.array([False, True, False])
    gone, clean = (np.repeat(mask, LAYOUT.sizes) for mask in (absent, observed))
    alone = analytic.gaussian(np.zeros(3), target.cov[:3, :3])
    for given, exact in (
        (np.zeros(3, bool), alone.score(sde)),
        (observed, alone.conditional_score(sde, clean[:3])),
    ):
        x = jnp.where(np.repeat(given, LAYOUT.sizes)[None], z, sde.perturb(z, eps, t))
        tile = (jnp.tile(mask, (20, 1)) for mask in (given, absent))
        masks = dict(zip(("observed", "absent"), tile, strict=True))
        found = score_fn(network, **masks)(jnp.where(gone[None], np.nan, x), t)
        np.testing.assert_allclose(found[:, :3], exact(x[:, :3], t), atol=1e-4)
        assert not found[:, 3:].any()


def rows_with_holes(num):
    """Return draws of the Gaussian [num, 5] and what is present [num, 3], missing completely at random."""
    chances = np.array([3, 5, 4, 2, 6, 3, 7]) / 30  # of the patterns, unequal
    pattern = np.random.default_rng(8).choice(PATTERNS[1:], num, p=chances)
    return {"z": jnp.asarray(draws(num)[0]), "present": jnp.asarray(pattern)}


def slopes(batch):
    """Return how the loss changes with the covariance of that network at the truth: means, standard errors.

    With its scale, and with the coupling of two coordinates of different modalities.
    """
    cov, step = unit_gaussian().cov, 1e-4
    coupling = np.zeros((5, 5))
    coupling[0, 2] = coupling[2, 0] = 1

    def losses(cov):
        config = ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.6)
        task = score_task(ExactMarginals(cov, VP()), VP(), LAYOUT, config)
        return np.asarray(task.loss({}, jax.random.key(5), batch)[0])

    change = [losses(cov + step * d) - losses(cov - step * d) for d in (cov, coupling)]
    slope = np.stack(change) / (2 * step)
    return slope.mean(axis=1), slope.std(axis=1) / np.sqrt(slope.shape[1])


@pytest.mark.slow
def test_the_exact_score_of_every_marginal_makes_the_loss_stationary(x64):
    batch = rows_with_holes(60_000)
    mean, error = slopes(batch)
    assert (np.abs(mean) < 4 * error).all()
    # With imputed values, here the mean of each coordinate, the loss would have it be another.
    mean, error = slopes({"z": jnp.where(LAYOUT.expand(batch["present"]), batch["z"], 0)})
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
    batch, inputs = rows_with_holes(60_000), []

    def record(output, x, log_snr):
        inputs.append((x, log_snr))
        return output

    level, cov = 0.2, unit_gaussian().cov
    config = ScoreMatchingConfig("unit", level, 0.0, conditioning_prob=0.6)
    task = score_task(Function(record), VP(), LAYOUT, config)

    def total(output):
        return task.loss(output, jax.random.key(5), batch)[0].sum(), inputs[0]

    slope, seen_by_network = jit(jax.grad(total, has_aux=True))(jnp.zeros((60_000, 5)))
    slope, x, log_snr = map(np.asarray, (slope, *seen_by_network))
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


def test_complete_rows_also_show_the_network_some_of_their_modalities():
    inputs = []

    def record(params, x, log_snr):
        inputs.append(log_snr)
        return jnp.zeros_like(x)

    config = ScoreMatchingConfig("unit", 0.2, 0.0, conditioning_prob=0.6, absent_prob=0.5)
    task = score_task(Function(record), VP(), LAYOUT, config)

    @jit
    def loss_and_levels(z):
        return task.loss({}, jax.random.key(5), {"z": z})[0], inputs[0]

    loss, level = map(np.asarray, loss_and_levels(draws(4000)[0]))
    bottom = float(VP().log_snr(jnp.ones(())))
    absent, observed = level < bottom + 1e-3, level > 13.9
    num = absent.sum(axis=1)
    assert num.max() == 2
    np.testing.assert_allclose([(num == k).mean() for k in range(3)], [0.5, 0.25, 0.25], atol=0.03)
    np.testing.assert_allclose(absent.mean(axis=0), 0.25, atol=0.03)
    assert (absent | observed).sum(axis=1).max() == 2  # something is left to learn
    assert observed[num == 1].any()  # conditionals of marginals
    assert not observed[num == 2].any()
    assert (loss > 0).all()


@jit
def loss_and_gradient(batch):
    """Return the losses and the gradient of a network of one layer: F = tanh(x w + ln snr v)."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=(n, 5)).astype(np.float32) for name, n in (("w", 5), ("v", 3))}
    layer = Function(lambda p, x, log_snr: jnp.tanh(x @ p["w"] + 0.1 * log_snr @ p["v"]))
    config = ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.6)
    task = score_task(layer, VP(), LAYOUT, config)

    def total(params):
        losses = task.loss(params, jax.random.key(4), batch)[0]
        return losses.sum(), losses

    gradient, losses = jax.grad(total, has_aux=True)(params)
    return losses, gradient


def test_with_everything_present_the_loss_is_that_of_complete_rows():
    batch = rows_with_holes(64)
    complete = loss_and_gradient({"z": batch["z"]})
    everything = batch | {"present": jnp.ones((64, 3), bool)}
    # These are two programs, and XLA may round the sums of each in another order (JAX 0.12 does).
    chex.assert_trees_all_close(loss_and_gradient(everything), complete, rtol=1e-5, atol=1e-6)
    assert (loss_and_gradient(batch)[0] != complete[0]).any()


@pytest.mark.parametrize("value", [1e4, np.nan, np.inf])
def test_latents_of_what_is_absent_are_not_used(value):
    batch = rows_with_holes(64)
    absent, here = ~LAYOUT.expand(batch["present"]), loss_and_gradient(batch)
    assert absent.any()
    other = batch | {"z": jnp.where(absent, value, batch["z"])}
    chex.assert_trees_all_equal(loss_and_gradient(other), here)
    changed = batch | {"z": jnp.where(absent, batch["z"], 10.0)}
    assert (loss_and_gradient(changed)[0] != here[0]).all()


@functools.cache
def trained():
    """Train a small network on the joint and on all conditionals of a known Gaussian."""
    z = jnp.asarray(draws(20_000)[0], jnp.float32)
    network = HubScore(LAYOUT.sizes, width=32, hub_width=48, num_blocks=2, level_width=16)
    config = ScoreMatchingConfig("unit", 0.0, 1.3, conditioning_prob=0.5)
    task = score_task(network, VP(), LAYOUT, config)

    def mean_loss(params, key):
        rows_key, loss_key = jax.random.split(key)
        rows = jax.random.randint(rows_key, (256,), 0, len(z))
        return jnp.mean(task.loss(params, loss_key, {"z": z[rows]})[0])

    params = minimise(mean_loss, jit(task.init)(jax.random.key(0), {"z": z}), 1500, 3e-3)
    return LatentNetwork(network.apply, params, VP(), LAYOUT)


@pytest.mark.slow  # the exact network above is its minimiser, and the tests of networks train others
@pytest.mark.parametrize(
    ("level", "observed", "most"),
    [
        *((level, (False, False, False), 0.01) for level in (-1.0, 0.0, 1.0)),
        (0.0, (True, False, False), 0.02),
        (0.0, (True, True, False), 0.02),
        (0.0, (False, False, True), 0.02),
    ],
)
def test_a_trained_network_knows_the_score_of_the_joint_and_of_conditionals(level, observed, most):
    target, sde, mask = unit_gaussian(), VP(), np.repeat(observed, LAYOUT.sizes)
    t = sde.time(jnp.asarray(-2 * level))
    z, eps = (jnp.asarray(a, jnp.float32) for a in draws(2000))
    x = jnp.where(mask[None], z, sde.perturb(z, eps, t))
    found = score_fn(trained(), jnp.tile(np.array(observed), (2000, 1)))(x, t)
    score = target.conditional_score(sde, mask) if any(observed) else target.score(sde)
    exact = score(x, t)
    assert float(jnp.mean((found - exact) ** 2) / jnp.mean(exact**2)) < most


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weighting": "none"}, f"weighting must be one of {', '.join(WEIGHTINGS)}"),
        ({"conditioning_prob": 1.5}, r"conditioning_prob must be in 0..1, got 1.5"),
        ({"subset_size_power": -1.0}, r"subset_size_power must be in 0..8, got -1"),
        ({"absent_prob": -0.1}, r"absent_prob must be in 0..1, got -0.1"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ScoreMatchingConfig(**values)
