r"""Fréchet distance between two sets of features, each taken as a Gaussian.

Between Gaussians with means m_a, m_b and covariances S_a, S_b it is (Dowson and Landau 1982)

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)).                                               (1)
"""

import numpy as np

from sbmae_jax.metrics.rows import as_rows


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the squared Fréchet distance between two sets of features, equation (1).

    On features of the Inception network this is FID (Heusel et al. 2017, arXiv:1706.08500); on others it must
    not be called so. Its bias falls with the number of rows: compare figures of equally many rows only.

    Args:
        a: Features, `[N, F]` with N at least 2.
        b: Features to compare with, `[K, F]` with K at least 2.

    Returns:
        The distance, at least 0, in the unit of the features squared.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.frechet import frechet_distance
        >>> a = np.random.default_rng(0).normal(size=(100, 3))
        >>> round(frechet_distance(a, a), 6), round(frechet_distance(a, a + 2), 6)  # 3 * 2^2
        (0.0, 12.0)
    """
    a, b = as_rows("a", a, "N, F", 2), as_rows("b", b, "N, F", 2)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"a and b must have the same number of features, got {a.shape[1]} and {b.shape[1]}"
        )
    (mean_a, cov_a), (mean_b, cov_b) = _mean_and_cov(a), _mean_and_cov(b)
    # The trace of (S_a S_b)^(1/2) equals that of (r S_b r)^(1/2) with r = S_a^(1/2), which is symmetric.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    distance = np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return float(max(distance, 0.0))


def _mean_and_cov(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, np.float64)
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))
