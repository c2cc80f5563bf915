"""Fréchet distance between two sets of features, each taken as a Gaussian."""

import numpy as np

from sbmae_jax.metrics.rows import rows


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) for features [N, F], in their unit squared.

    Dowson and Landau 1982. On features of the Inception network it is called FID (Heusel et al. 2017,
    arXiv:1706.08500); on others it is not. It falls with N: compare at equal counts only.

    Raises ValueError for features that are not [N, F] with N at least 2, for different F, and for values that
    are not finite.
    """
    a, b = rows("a", a, "N, F", 2), rows("b", b, "N, F", 2)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must have as many features, got {a.shape[1]} and {b.shape[1]}")
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    # The trace of (S_a S_b)^(1/2) equals that of (r S_b r)^(1/2) with r = S_a^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    distance = np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(distance, 0.0))


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))
