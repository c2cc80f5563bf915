"""Calibration and fair losses, on Gaussians where the right answers are known."""

import numpy as np
import pytest

from sbmae_jax.metrics.calibration import (
    bias,
    coverage,
    crps,
    nominal_coverage,
    rank_shares,
    ranks,
    reliability,
)
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import losses, moments, ratio

NUM, DRAWS = 4000, 19


def shares_of(width=1.0, shift=0.0, discrete=False):
    """Rank shares where truth and draws have the same centre, and draws are wider or shifted."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(NUM, 1, 1))
    truth = centre[:, 0] + rng.normal(size=(NUM, 2))
    draws = centre + width * rng.normal(size=(NUM, DRAWS, 2)) + shift
    if discrete:
        truth, draws = np.round(truth), np.round(draws)
    return rank_shares(ranks(truth, draws, rng), DRAWS)


@pytest.mark.parametrize("discrete", [False, True])
def test_right_draws_cover_what_they_should_and_all_ranks_are_as_likely(discrete):
    shares = shares_of(discrete=discrete)
    found = estimate(coverage(shares))
    assert nominal_coverage(DRAWS) == 0.9
    assert abs(found.mean - 0.9) < 4 * found.se
    assert found.se < 0.01
    expected = 1 / (DRAWS + 1)
    error = np.sqrt(
        expected * (1 - expected) / NUM
    )  # features of a row are independent here: cautious
    np.testing.assert_allclose(shares.mean(axis=0), expected, atol=4 * error)
    assert abs(estimate(bias(shares)).mean) < 4 * estimate(bias(shares)).se


def test_narrow_draws_cover_too_little_and_wide_ones_too_much():
    narrow, wide = shares_of(width=0.5), shares_of(width=2.0)
    assert estimate(coverage(narrow)).mean < 0.75
    assert estimate(coverage(wide)).mean > 0.98
    flat = 1 / (DRAWS + 1)
    assert narrow.mean(axis=0)[[0, -1]].min() > 2 * flat
    assert wide.mean(axis=0)[[0, -1]].max() < flat / 2


def test_a_planted_bias_is_seen_on_its_side():
    low = estimate(bias(shares_of(shift=-0.5)))
    high = estimate(bias(shares_of(shift=0.5)))
    assert low.mean > 20 * low.se  # the draws are too low, so the truth ranks high
    assert high.mean < -20 * high.se


def test_ranks_by_hand():
    rng = np.random.default_rng(0)
    draws = np.array([[[1.0], [2.0], [3.0]]])
    assert [ranks(np.array([[y]]), draws, rng).item() for y in (0.0, 1.5, 9.0)] == [0, 1, 3]
    tied = {ranks(np.array([[2.0]]), draws, rng).item() for _ in range(50)}
    assert tied == {1, 2}
    with pytest.raises(ValueError, match=r"truth must be \[N, F\].* got \(1, 2\) and \(1, 3, 1\)"):
        ranks(np.zeros((1, 2)), draws, rng)


@pytest.mark.parametrize("num_draws", [2, 5, 19])
def test_the_score_of_gaussian_draws_is_the_closed_form_for_any_number_of_draws(num_draws):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(20_000, 1))
    found = estimate(crps(truth, rng.normal(size=(20_000, num_draws, 1))))
    assert abs(found.mean - 1 / np.sqrt(np.pi)) < 4 * found.se  # E|x - y| / 2 = 1 / sqrt(pi)
    assert found.se < 0.01


def test_no_draws_score_better_than_right_ones():
    rng = np.random.default_rng(2)
    truth, draws = rng.normal(size=(NUM, 2)), rng.normal(size=(NUM, DRAWS, 2))
    right = crps(truth, draws).mean()
    for wrong in (0.5 * draws, 2 * draws, draws + 0.5):
        assert crps(truth, wrong).mean() > right + 0.02


def test_the_score_by_hand():
    truth, draws = np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0], [4.0, 1.0]]])
    # Feature one: (1 + 3) / 2 - 4 / 2 = 0; feature two: 1 - 0.
    np.testing.assert_allclose(crps(truth, draws), [0.5])
    with pytest.raises(ValueError, match="K at least 2"):
        crps(truth, draws[:, :1])


def test_right_probabilities_are_reliable_and_overconfident_ones_are_not():
    rng = np.random.default_rng(3)
    probability = rng.random(20_000)
    hit = rng.random(20_000) < probability
    right = reliability(probability, hit)
    assert right.error < 2 * right.by_chance < 0.02
    assert sum(right.weight) == pytest.approx(1)
    np.testing.assert_allclose(right.share, right.probability, atol=0.05)
    overconfident = reliability(np.where(probability > 0.5, 0.99, 0.01), hit)
    assert overconfident.error == pytest.approx(0.24, abs=0.02)  # 0.99 - 0.75
    assert overconfident.error > 10 * overconfident.by_chance


@pytest.mark.parametrize("num_draws", [2, 5, 19])
def test_the_squared_error_is_that_of_the_exact_mean_for_any_number_of_draws(num_draws):
    rng = np.random.default_rng(4)
    centre = rng.normal(size=(20_000, 3))
    truth = centre + 0.5 * rng.normal(size=centre.shape)
    draws = 0.2 + centre[:, None] + 2 * rng.normal(size=(20_000, num_draws, 3))
    found = estimate(losses("real", truth, *moments(draws))["error"])
    assert abs(found.mean - (0.5**2 + 0.2**2)) < 4 * found.se
    uncorrected = losses("real", truth, moments(draws)[0])["error"].mean()
    assert uncorrected == pytest.approx(found.mean + 4 / num_draws, rel=0.05)


def test_the_log_loss_and_the_deviance_of_few_draws_are_nearly_those_of_the_exact_mean():
    rng = np.random.default_rng(5)
    share = rng.beta(8, 4, size=(40_000, 1))  # the exact mean is 2/3
    label = rng.random((40_000, 1)) < 2 / 3
    draws = rng.beta(8, 4, size=(40_000, 5, 1))
    exact = losses("binary", label, np.full_like(share, 2 / 3))["log_loss"].mean()
    mean, variance = moments(draws)
    found = losses("binary", label, mean, variance)["log_loss"].mean()
    plain = losses("binary", label, mean)["log_loss"].mean()
    assert abs(found - exact) < 0.2 * abs(plain - exact)
    counts = rng.poisson(4.0, size=(40_000, 1))
    rates = rng.gamma(8, 0.5, size=(40_000, 5, 1))  # mean 4
    exact = losses("counts", counts, np.full((40_000, 1), 4.0))["error"].mean()
    mean, variance = moments(rates)
    found = losses("counts", counts, mean, variance)["error"].mean()
    plain = losses("counts", counts, mean)["error"].mean()
    assert abs(found - exact) < 0.3 * abs(plain - exact)


def test_losses_by_hand():
    truth, mean = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[0.5, 0.25, 0.25], [0.6, 0.4, 0]])
    found = losses("category", truth, mean)
    np.testing.assert_allclose(found["log_loss"], -np.log([0.5, 0.4]))
    np.testing.assert_allclose(found["accuracy"], [1, 0])
    np.testing.assert_allclose(found["error"], [0.375 / 3, 0.72 / 3])
    binary = losses("binary", np.array([[1.0, 0.0]]), np.array([[0.8, 0.6]]))
    np.testing.assert_allclose(binary["log_loss"], -np.log(0.8 * 0.4) / 2)
    np.testing.assert_allclose(binary["accuracy"], 0.5)
    counts = losses("counts", np.array([[0.0, 3.0]]), np.array([[2.0, 3.0]]))
    np.testing.assert_allclose(counts["error"], 2.0)
    with pytest.raises(ValueError, match="value_type must be one of real, binary"):
        losses("word", truth, mean)
    with pytest.raises(ValueError, match="K at least 2"):
        moments(np.zeros((3, 1, 2)))


def test_the_error_of_a_ratio_matches_repeated_experiments():
    rng = np.random.default_rng(6)
    denominator = 1 + rng.random((2000, 100))
    numerator = 0.5 * denominator + 0.3 * rng.normal(size=denominator.shape)
    found = np.array([ratio(n, d) for n, d in zip(numerator, denominator, strict=True)])
    assert found[:, 0].mean() == pytest.approx(0.5, abs=0.005)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)
    assert np.isnan(ratio(np.ones(3), np.zeros(3))).all()
