"""Factors found in rows, complete or not, whose covariance is known."""

import itertools

import chex
import jax
import numpy as np
import pytest
from scipy import linalg

from sbmae_jax.models import factor_fit, factor_rows
from sbmae_jax.models.factor_fit import MIN_NOISE, fit_factors
from sbmae_jax.models.factor_rows import sort_rows

SIZES = (6, 4, 8)
SIZE = sum(SIZES)


def truth():
    """Return loadings, and covariances that modalities have of their own, of coordinates of variance 1."""
    rng = np.random.default_rng(0)
    loadings, roots = rng.normal(size=(SIZE, 3)), [rng.normal(size=(d, d + 2)) for d in SIZES]
    own = [0.5 * root @ root.T / len(root) + 0.2 * np.eye(len(root)) for root in roots]
    scale = np.sqrt((loadings**2).sum(axis=1) + blocks(own).diagonal())
    ends = np.cumsum((0, *SIZES))
    scales = [scale[a:b] for a, b in itertools.pairwise(ends)]
    own = [cov / np.outer(s, s) for cov, s in zip(own, scales, strict=True)]
    return loadings / scale[:, None], own


def rows(num, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num, SIZE)) @ np.linalg.cholesky(right()).T


def blocks(matrices):
    """Return the matrix that has these on its diagonal."""
    return linalg.block_diag(*(np.asarray(m, np.float64) for m in matrices))


def dense(found):
    """Return the covariance of a fit, of latents that are not rotated."""
    loadings, noise = (np.asarray(a, np.float64) for a in found.gaussian)
    rotation = blocks(found.rotation)
    return rotation @ (loadings @ loadings.T + np.diag(noise)) @ rotation.T


def right():
    """Return the true covariance: each modality has one of its own, and factors are shared."""
    loadings, own = truth()
    return loadings @ loadings.T + blocks(own)


NUM_PARAMETERS = SIZE * 4 + sum(d * (d + 1) // 2 for d in SIZES)


def divergence(found):
    """Return how far the found Gaussian is from the true one, in nats: KL(truth, found)."""
    return divergence_of(dense(found))


def divergence_of(cov):
    logs = np.linalg.slogdet(cov)[1] - np.linalg.slogdet(right())[1]
    return 0.5 * (np.trace(np.linalg.solve(cov, right())) - SIZE + logs)


def patterns(num, seed=2):
    """Return rows that have one modality to all three, at random."""
    chosen = np.random.default_rng(seed).integers(1, 8, num)
    return (chosen[:, None] >> np.arange(3) & 1).astype(bool)


def test_complete_rows_give_the_covariance_and_the_number_of_factors():
    found = fit_factors(rows(4000), SIZES)
    assert found.gaussian.loadings.shape == (SIZE, 3)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    # The expected divergence of the estimate is the number of parameters over twice that of rows.
    assert divergence(found) < 2 * NUM_PARAMETERS / (2 * 4000)
    assert np.abs(found.mean).max() < 5 / np.sqrt(4000)
    for matrix in found.rotation:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-5)


def test_rows_with_holes_give_it_too_and_what_is_absent_is_not_read():
    z, present = rows(8000), patterns(8000)
    here = np.repeat(present, SIZES, axis=1)
    found = fit_factors(np.where(here, z, np.nan), SIZES, present)
    assert found.gaussian.loadings.shape == (SIZE, 3)
    assert divergence(found) < 4 * NUM_PARAMETERS / (2 * 8000)
    # Zeros instead of what is absent would halve every covariance.
    filled = fit_factors(np.where(here, z, 0), SIZES)
    assert divergence(filled) > 20 * divergence(found)


def test_pairs_of_modalities_are_enough():
    present = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], bool)[np.arange(6000) % 3]
    found = fit_factors(rows(6000), SIZES, present)
    assert divergence(found) < 4 * NUM_PARAMETERS / (2 * 6000)


def test_a_mean_is_right_where_values_are_missing_for_a_reason_that_is_seen():
    # The second and third modality are measured where the first coordinate is high.
    z = rows(8000)
    present = np.ones((8000, 3), bool)
    present[:, 1:] = z[:, :1] > 0
    found = fit_factors(z, SIZES, present)
    naive = z[present[:, 1], 6:].mean(axis=0)
    assert np.abs(naive).max() > 0.3
    assert np.abs(found.mean).max() < 0.1
    assert divergence(found) < 0.1


def test_modalities_that_have_nothing_in_common_have_no_factors_whatever_each_is_like():
    z = rows(2000)
    for m, block in enumerate((slice(0, 6), slice(6, 10), slice(10, 18))):
        z[:, block] = rows(2000, seed=m)[:, block]
    found = fit_factors(z, SIZES)
    assert found.gaussian.loadings.shape == (SIZE, 0)
    np.testing.assert_allclose(dense(found)[:6, :6], np.cov(z[:, :6].T), atol=0.01)


def test_the_likelihood_never_falls_and_is_that_of_dense_algebra(monkeypatch):
    z, present = rows(300), patterns(300)
    data = sort_rows(z, present, SIZES)
    # Without the prior of `_shrunk`, under which it is not the likelihood that rises.
    monkeypatch.setattr(factor_fit, "_shrunk", lambda cov, num: (cov + cov.T) / 2)
    found, values = factor_fit._initial(data, 3), []
    for _ in range(30):
        parts = factor_fit._of_groups(found, data.groups, data.blocks)
        values.append(sum(part.sum() for part in parts))
        found = factor_fit._iteration(found, data)
    assert (np.diff(values) > 0).all()
    each, here = factor_fit._log_likelihoods(found, z, present, data.blocks), present
    cov = found.loadings @ found.loadings.T + blocks(found.noise)
    for value, row, mask in zip(each, z, np.repeat(here, SIZES, axis=1), strict=True):
        some, gap = cov[np.ix_(mask, mask)], row[mask] - found.mean[mask]
        wanted = gap @ np.linalg.solve(some, gap) + np.linalg.slogdet(2 * np.pi * some)[1]
        assert value == pytest.approx(-0.5 * wanted, rel=1e-9)
    parts = factor_fit._of_groups(found, data.groups, data.blocks)
    assert sum(part.sum() for part in parts) == pytest.approx(each.sum(), rel=1e-9)


@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_few_rows_give_a_covariance_that_is_no_worse_than_none(num):
    found = fit_factors(rows(num), SIZES)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert (found.gaussian.noise >= 0.99 * MIN_NOISE).all()
    if num == 40:
        assert divergence(found) < divergence_of(np.eye(SIZE))


def test_copies_and_constants_leave_a_covariance_that_is_positive():
    z = rows(500)
    z[:, 1], z[:, 2] = z[:, 0], 0.0
    found = fit_factors(z, SIZES)
    assert (found.gaussian.noise >= 0.99 * MIN_NOISE).all()
    np.linalg.cholesky(dense(found))


def test_a_seed_gives_the_same_bits():
    one, other = (fit_factors(rows(500), SIZES, seed=3) for _ in range(2))
    chex.assert_trees_all_equal(one, other)


def test_one_modality_has_no_factors():
    found = fit_factors(rows(500), (SIZE,))
    assert found.gaussian.loadings.shape == (SIZE, 0)
    np.testing.assert_allclose(dense(found), np.cov(rows(500).T), atol=0.1)


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
    found = fit_factors(rows(300), SIZES, present)
    np.testing.assert_allclose(dense(found)[6:10, 6:10], np.eye(4), atol=1e-6)


def test_rows_of_rare_patterns_are_fitted_as_those_of_common_ones(monkeypatch):
    z = rows(200)
    present = np.random.default_rng(2).random((200, len(SIZES))) < 0.6
    found = []
    for rare in (0, 200):  # all patterns are common, and none is
        monkeypatch.setattr(factor_rows, "RARE", rare)
        found.append(fit_factors(z, SIZES, present))
    assert found[0].gaussian.loadings.shape[1] > 0
    np.testing.assert_allclose(dense(found[0]), dense(found[1]), atol=1e-5)


def test_factors_of_single_columns_are_found_though_some_explain_less_than_a_column():
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(12, 4))
    cov = loadings @ loadings.T + 0.49 * np.eye(12)
    scale = np.sqrt(cov.diagonal())
    cov /= np.outer(scale, scale)
    assert np.linalg.eigvalsh(cov)[-4] < 1
    z = rng.normal(size=(1000, 12)) @ np.linalg.cholesky(cov).T
    present = rng.random(z.shape) < 0.8
    found = fit_factors(z, (1,) * 12, present)
    assert found.gaussian.loadings.shape[1] == 4
    assert np.abs(dense(found) - cov).max() < 0.15
