"""Factors found in rows, complete or not, whose covariance is known."""

import numpy as np
import pytest

from sbmae_jax.models import factor_fit
from sbmae_jax.models.factor_fit import MIN_NOISE, fit_factors

SIZES = (6, 4, 8)
SIZE = sum(SIZES)


def truth(num_factors=3):
    """Return loadings and noise of coordinates of variance 1."""
    rng = np.random.default_rng(0)
    loadings, noise = rng.normal(size=(SIZE, num_factors)), rng.uniform(0.3, 1.5, SIZE)
    scale = np.sqrt((loadings**2).sum(axis=1) + noise)
    return loadings / scale[:, None], noise / scale**2


def rows(num, num_factors=3, seed=1):
    rng, (loadings, noise) = np.random.default_rng(seed), truth(num_factors)
    factors = rng.normal(size=(num, num_factors))
    return factors @ loadings.T + rng.normal(size=(num, SIZE)) * np.sqrt(noise)


def dense(loadings, noise):
    return loadings @ loadings.T + np.diag(noise)


def divergence(found):
    """Return how far the found Gaussian is from the true one, in nats: KL(truth, found)."""
    loadings, noise = (np.asarray(a, np.float64) for a in found)
    right, cov = dense(*truth()), dense(loadings, noise)
    logs = np.linalg.slogdet(cov)[1] - np.linalg.slogdet(right)[1]
    return 0.5 * (np.trace(np.linalg.solve(cov, right)) - SIZE + logs)


def patterns(num, seed=2):
    """Return rows that have one modality to all three, at random."""
    chosen = np.random.default_rng(seed).integers(1, 8, num)
    return (chosen[:, None] >> np.arange(3) & 1).astype(bool)


def test_complete_rows_give_the_covariance_and_the_number_of_factors():
    mean, found = fit_factors(rows(4000), SIZES)
    assert found.loadings.shape == (SIZE, 3)
    assert found.loadings.dtype == found.noise.dtype == mean.dtype == np.float32
    # The expected divergence of the estimate is the number of parameters over twice that of rows.
    assert divergence(found) < 2 * (SIZE * 4) / (2 * 4000)
    assert np.abs(mean).max() < 5 / np.sqrt(4000)


def test_rows_with_holes_give_it_too_and_what_is_absent_is_not_read():
    z, present = rows(8000), patterns(8000)
    here = np.repeat(present, SIZES, axis=1)
    _, found = fit_factors(np.where(here, z, np.nan), SIZES, present)
    assert found.loadings.shape == (SIZE, 3)
    assert divergence(found) < 5 * (SIZE * 4) / (2 * 8000)
    # Zeros instead of what is absent would halve every covariance.
    _, filled = fit_factors(np.where(here, z, 0), SIZES)
    assert divergence(filled) > 20 * divergence(found)


def test_pairs_of_modalities_are_enough():
    present = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)[np.arange(6000) % 3]
    _, found = fit_factors(rows(6000), SIZES, present)
    assert divergence(found) < 5 * (SIZE * 4) / (2 * 6000)


def test_a_mean_is_right_where_values_are_missing_for_a_reason_that_is_seen():
    # The second and third modality are measured where the first coordinate is high.
    z = rows(8000)
    present = np.ones((8000, 3), bool)
    present[:, 1:] = z[:, :1] > 0
    mean, found = fit_factors(z, SIZES, present)
    naive = z[present[:, 1], 6:].mean(axis=0)
    assert np.abs(naive).max() > 0.3
    assert np.abs(mean).max() < 0.1
    assert divergence(found) < 0.1


def test_latents_that_have_nothing_in_common_have_no_factors():
    z = np.random.default_rng(3).normal(size=(2000, SIZE))
    _, found = fit_factors(z, SIZES)
    assert found.loadings.shape == (SIZE, 0)
    np.testing.assert_allclose(found.noise, z.var(axis=0), rtol=2e-3)


def test_the_likelihood_never_falls_and_is_that_of_dense_algebra():
    z, present = rows(300), patterns(300)
    groups = factor_fit._grouped(z, present, SIZES)
    found, values = factor_fit._initial(groups, 3, SIZES), []
    for _ in range(30):
        before = found
        found, value = factor_fit._iteration(found, groups, SIZES)
        values.append(value)
    assert (np.diff(values) > 0).all()
    wanted, here = 0.0, np.repeat(present, SIZES, axis=1)
    cov = dense(before.loadings, before.noise)
    for row, mask in zip(z, here, strict=True):
        some, gap = cov[np.ix_(mask, mask)], row[mask] - before.mean[mask]
        wanted -= 0.5 * (gap @ np.linalg.solve(some, gap) + np.linalg.slogdet(2 * np.pi * some)[1])
    assert values[-1] == pytest.approx(wanted, rel=1e-9)
    each = factor_fit._log_likelihoods(before, z, present, SIZES)
    assert each.sum() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_few_rows_give_a_covariance_that_is_no_worse_than_none(num):
    _, found = fit_factors(rows(num), SIZES)
    assert all(np.isfinite(a).all() for a in found)
    assert (found.noise >= np.float32(MIN_NOISE)).all()
    if num == 40:
        nothing = np.zeros((SIZE, 0)), np.ones(SIZE)
        assert divergence(found) < divergence(nothing)


def test_copies_and_constants_leave_a_covariance_that_is_positive():
    z = rows(500)
    z[:, 1], z[:, 2] = z[:, 0], 0.0
    _, found = fit_factors(z, SIZES)
    assert (found.noise >= np.float32(MIN_NOISE)).all()
    np.linalg.cholesky(dense(*found))


def test_a_seed_gives_the_same_bits():
    z = rows(500)
    for one, other in zip(
        fit_factors(z, SIZES, seed=3)[1], fit_factors(z, SIZES, seed=3)[1], strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_latents_that_are_no_numbers_are_refused(value):
    z = rows(50)
    z[3, 7] = value
    with pytest.raises(ValueError, match="latents must be finite: the encoder"):
        fit_factors(z, SIZES)
    present = np.ones((50, 3), bool)
    present[3, 1] = False
    fit_factors(z, SIZES, present)


def test_a_modality_that_no_row_has_is_left_at_variance_one():
    present = np.ones((300, 3), bool)
    present[:, 1] = False
    _, found = fit_factors(rows(300), SIZES, present)
    np.testing.assert_allclose(dense(*found).diagonal()[6:10], 1, atol=1e-6)
