import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from sbmae_jax.metrics.coherence import all_agree, at_least_k, conditional_coherence, estimate
from sbmae_jax.metrics.diversity import (
    label_shares,
    mean_pairwise_distance,
    spread_ratio,
    total_variation,
)
from sbmae_jax.metrics.f1 import f1_by_column, f1_by_row, iou_by_row
from sbmae_jax.metrics.frechet import frechet_distance


def test_coherence_counts_unobserved_modalities_only():
    predicted = np.array([[1, 1, 0], [2, 0, 2]])
    observed = np.array([[True, False, False], [False, True, False]])
    found = conditional_coherence(predicted, np.array([1, 2]), observed)
    assert found.mean == pytest.approx((0.5 + 1.0) / 2)


def test_coherence_needs_a_target():
    with pytest.raises(ValueError, match="at least one modality"):
        conditional_coherence(np.ones((1, 2)), np.ones(1), np.ones((1, 2), bool))


def test_standard_error_matches_repeated_experiments():
    values = np.random.default_rng(0).random((2000, 50)) < 0.3
    errors = [estimate(row.astype(float)).se for row in values]
    assert np.mean(errors) == pytest.approx(values.mean(axis=1).std(), rel=0.1)


def test_c_m_equals_all_agree():
    predicted = np.random.default_rng(1).integers(2, size=(500, 4))
    assert at_least_k(predicted)[4] == pytest.approx(all_agree(predicted).mean)


def test_at_least_k_counts_the_first_modality():
    assert at_least_k(np.array([[3, 3, 5], [3, 5, 5]])) == {2: 0.5, 3: 0.0}


def test_frechet_distance_of_gaussians_has_its_closed_form():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 3))
    # An exact affine image: moments transform exactly, so the distance is known without sampling error.
    scale, shift = np.array([1.0, 2.0, 0.5]), np.array([0.0, 1.0, -1.0])
    whitened = (a - a.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(a.T))).T
    b = whitened * scale + shift
    expected = np.sum(shift**2) + np.sum((1 - scale) ** 2)
    assert frechet_distance(whitened, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_agrees_with_the_matrix_root_of_scipy():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    cross = np.trace(sqrtm(cov_a @ cov_b).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_refuses_pictures():
    with pytest.raises(ValueError, match=r"a must be \[N, F\] with N at least 2"):
        frechet_distance(np.ones((2, 3, 3)), np.ones((2, 3)))


def test_total_variation_is_one_between_disjoint_distributions():
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1
    np.testing.assert_allclose(label_shares(np.array([[0, 1], [1, 1]]), 3), [0.25, 0.75, 0])


def test_spread_is_one_for_fresh_draws_and_zero_for_copies():
    first, second, real = np.random.default_rng(0).normal(size=(3, 20_000, 4))
    label = np.zeros(20_000, int)
    assert spread_ratio(first, second, real, label) == pytest.approx(1, abs=0.03)
    assert spread_ratio(first, first, real, label) == 0
    assert spread_ratio(first / 2, second / 2, jnp.asarray(real), label) == pytest.approx(
        0.25, abs=0.01
    )


def test_f1_and_overlap_by_hand():
    truth = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    shown = np.array([[0.9, 0.2, 0.7, 0.1], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(f1_by_row(truth, shown), [0.5, 1, 0])
    np.testing.assert_allclose(iou_by_row(truth, shown), [1 / 3, 1, 0])
    np.testing.assert_allclose(f1_by_column(truth, shown), [1, 0, 0, 0])


def test_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, shown = rng.random((50, 18)) < 0.3, rng.random((50, 18)) < 0.4
    ours = f1_by_row(truth, shown).mean()
    assert ours == pytest.approx(f1_score(truth, shown, average="samples", zero_division=0))
    theirs = f1_score(truth, shown, average=None, zero_division=0)
    np.testing.assert_allclose(f1_by_column(truth, shown), theirs)


def test_f1_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match=r"the same shape, got \(2, 3\) and \(2, 4\)"):
        f1_by_row(np.zeros((2, 3)), np.zeros((2, 4)))


def test_pairwise_distance_is_the_root_mean_square_over_pairs():
    samples = np.array([[[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]], [[1.0, 5.0]] * 3])
    np.testing.assert_allclose(mean_pairwise_distance(samples), [4 / 3, 0])
    with pytest.raises(ValueError, match="K at least 2"):
        mean_pairwise_distance(samples[:, :1])
