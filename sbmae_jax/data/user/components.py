"""How many principal components a modality has, by which the length of its latent is chosen.

The variance that components hold says little of what they tell of other modalities. So those that predict
these are counted too. On the components of the training rows, which are uncorrelated, least squares has a
coefficient for each that does not depend on the others. So the error of predicting the other modalities of
held-out rows from the first k components is found for every k at once. A component that tells nothing adds to
it what its coefficient is off by.
"""

import numpy as np

from sbmae_jax.data.kinds import IMAGE_KINDS
from sbmae_jax.data.tokens import MAX_VOCABULARY, count_tokens
from sbmae_jax.data.user.opened import OpenedFiles

VARIANCE_SHARES = (0.9, 0.95, 0.99)
# Principal components are counted in so many rows. Their matrix is [features, features] or, for wide
# examples, [rows, rows], and its eigenvalues take seconds.
_SAMPLE_ROWS, _SAMPLE_ROWS_IF_WIDE, _WIDE = 2000, 1000, 1000
_MAX_FEATURES = 10_000  # of wider examples so many features are drawn
_MIN_COMPLETE_ROWS = 200  # with fewer, no components are counted by what they predict
_HELD_OUT_SHARE = 0.2
_MAX_PREDICTORS, _MAX_TARGETS = 256, 64  # components of a modality


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


def count_shared_components(opened: OpenedFiles) -> dict[str, int]:
    """Return how many of the leading principal components of each modality predict the other modalities.

    It is the smallest number whose error on held-out rows is within a standard error of the smallest. Images
    and strings are left out. There are no numbers without 200 training rows that have all the others.
    """
    names = [name for name, kind in opened.kinds.items() if kind.name not in (*IMAGE_KINDS, "text")]
    rows = opened.rows["train"]
    for name in names:
        rows = rows[opened.profiles[name].present[rows]]
    if len(names) < 2 or len(rows) < _MIN_COMPLETE_ROWS:
        return {}
    rows = rows[:_SAMPLE_ROWS]
    num, order = int(_HELD_OUT_SHARE * len(rows)), np.random.default_rng(0).permutation(len(rows))
    views = {name: _scores(_features(opened, name, rows)[order], num) for name in names}
    units = {name: np.sqrt((scores[num:] ** 2).sum() + 1e-12) for name, scores in views.items()}
    return {
        name: _count_predictors(
            views[name],
            np.concatenate(
                [views[n][:, :_MAX_TARGETS] / units[n] for n in names if n != name], axis=1
            ),
            num,
        )
        for name in names
    }


def _scores(x: np.ndarray, num_held_out: int) -> np.ndarray:
    """Return rows [N, F] by the principal components of all but the first, [N, K]."""
    train = x[num_held_out:].astype(np.float64)
    mean = train.mean(axis=0)
    train = train - mean
    if train.shape[1] <= len(train):
        values, vectors = np.linalg.eigh(train.T @ train)
    else:
        values, vectors = np.linalg.eigh(train @ train.T)
        vectors = train.T @ vectors / np.sqrt(np.maximum(values, 1e-12))
    kept = values > 1e-8 * max(values[-1], 1e-12)
    return (x - mean) @ vectors[:, kept][:, ::-1][:, :_MAX_PREDICTORS]


def _count_predictors(scores: np.ndarray, targets: np.ndarray, num_held_out: int) -> int:
    """Return how many components [N, K] predict targets [N, T], as `count_shared_components` says."""
    train, aside = scores[num_held_out:], scores[:num_held_out]
    slopes = train.T @ targets[num_held_out:] / (train**2).sum(axis=0)[:, None]
    rest = targets[:num_held_out].copy()
    errors = [(rest**2).sum(axis=1)]
    for values, slope in zip(aside.T, slopes, strict=True):
        rest -= np.outer(values, slope)
        errors.append((rest**2).sum(axis=1))
    gaps = np.stack(errors) - errors[int(np.argmin(np.mean(errors, axis=1)))]
    close = gaps.mean(axis=1) <= gaps.std(axis=1) / np.sqrt(num_held_out)
    return int(np.argmax(close))


def _sample_rows(opened: OpenedFiles, name: str) -> np.ndarray:
    """Return the features [n, F] of some training rows that have a modality."""
    scaling = opened.scalings[name]
    width = int(np.prod(scaling.shape, dtype=np.int64))
    width = MAX_VOCABULARY if scaling.value_kind.is_text else width
    rows = opened.rows["train"]
    rows = rows[opened.profiles[name].present[rows]]
    return _features(opened, name, rows[: _SAMPLE_ROWS if width <= _WIDE else _SAMPLE_ROWS_IF_WIDE])


def _features(opened: OpenedFiles, name: str, rows: np.ndarray) -> np.ndarray:
    """Return prepared rows [n, F] of a modality, sorted; of counts, the standardised ln(1 + x).

    Of text these are the numbers of each token.
    """
    scaling, rows = opened.scalings[name], np.sort(rows)
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
