"""How many principal components a modality has, by which the length of its latent is chosen."""

import numpy as np

from sbmae_jax.data.tokens import MAX_VOCABULARY, count_tokens
from sbmae_jax.data.user.opened import OpenedFiles

VARIANCE_SHARES = (0.9, 0.95, 0.99)
# Principal components are counted in so many rows. Their matrix is [features, features] or, for wide
# examples, [rows, rows], and its eigenvalues take seconds.
_SAMPLE_ROWS, _SAMPLE_ROWS_IF_WIDE, _WIDE = 2000, 1000, 1000
_MAX_FEATURES = 10_000  # of wider examples so many features are drawn


def count_components(opened: OpenedFiles, name: str) -> tuple[int, int, int]:
    """Return how many principal components hold VARIANCE_SHARES of the variance of a modality."""
    x = _sample_rows(opened, name)
    x = x - x.mean(axis=0)
    # Both products have the same eigenvalues, but for zeros.
    products = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    variances = np.linalg.eigvalsh(products.astype(np.float64))[::-1].clip(0)
    if not variances.sum():
        return (0, 0, 0)
    held = np.cumsum(variances) / variances.sum()
    first, second, third = (
        int(np.searchsorted(held, share - 1e-9)) + 1 for share in VARIANCE_SHARES
    )
    return first, second, third


def _sample_rows(opened: OpenedFiles, name: str) -> np.ndarray:
    """Return some prepared training rows [n, F] of a modality; of counts, the standardised ln(1 + x).

    Of text these are the numbers of each token.
    """
    scaling = opened.scalings[name]
    width = int(np.prod(scaling.shape, dtype=np.int64))
    width = MAX_VOCABULARY if scaling.value_kind.is_text else width
    rows = opened.rows["train"]
    rows = rows[opened.profiles[name].present[rows]]
    rows = np.sort(rows[: _SAMPLE_ROWS if width <= _WIDE else _SAMPLE_ROWS_IF_WIDE])
    x = opened.prepare(rows, [name])[name].reshape(len(rows), -1)
    x = count_tokens(x) if scaling.value_kind.is_text else x
    if x.shape[1] > _MAX_FEATURES:
        chosen = np.random.default_rng(0).choice(x.shape[1], _MAX_FEATURES, replace=False)
        x = x[:, np.sort(chosen)]
    x = x / np.float32(255) if x.dtype == np.uint8 else x
    if opened.kinds[name].name == "counts":
        x = np.log1p(x)
        std = x.std(axis=0)
        x = x / np.where(std > 0, std, 1)
    return x
