"""Diversity: are all classes made, and do samples for the same observation differ?"""

import numpy as np

from sbmae_jax._check import require_int
from sbmae_jax.metrics.rows import rows, same_shape


def label_shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how often each class occurs in `labels`, of any shape: [num_classes], summing to 1.

    Raises ValueError for labels that are not whole numbers in 0..num_classes - 1, or for none.
    """
    require_int("num_classes", num_classes, 1, 10_000_000)
    labels = rows("labels", labels, "N, ...", whole=True)
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must be in 0..{num_classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return np.bincount(np.ravel(labels), minlength=num_classes) / np.size(labels)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Return the total variation between two distributions over classes, in 0..1.

    Raises ValueError for what is not [C], or not finite, or of different lengths.
    """
    p, q = rows("p", p, "C"), rows("q", q, "C")
    same_shape(p=p, q=q)
    return float(0.5 * np.abs(p - q).sum())


def spread_ratio(
    first: np.ndarray, second: np.ndarray, real: np.ndarray, label: np.ndarray
) -> float:
    """Compare the variance of samples that share an observation with that of real examples.

    first, second: features [N, F] of two independent samples for the same N observations.
    real, label: features [K, F] of real examples and their classes [K]; real variance is taken within
    a class, since an observation fixes the class and little else.

    Returns a ratio: 1 is as diverse as the data, 0 is the same sample each time; NaN where there is no pair
    of samples, or the real examples of a class are all alike.

    Raises ValueError for shapes that do not fit, and for values that are not finite.
    """
    first, second = (rows(n, x, "N, ...", 0) for n, x in (("first", first), ("second", second)))
    real, label = rows("real", real, "K, F"), rows("label", label, "K")
    same_shape(first=first, second=second)
    same_shape(real=real[:, 0], label=label)
    if first.shape[1:] != real.shape[1:]:
        raise ValueError(f"first must be [N, {real.shape[1]}] as real is, got {first.shape}")
    within = np.mean([np.var(real[label == c], axis=0).sum() for c in np.unique(label)])
    if not len(first) or not within:
        return float("nan")
    return float(np.mean(np.sum((first - second) ** 2, axis=1)) / 2 / within)


def mean_pairwise_distance(samples: np.ndarray) -> np.ndarray:
    """Return how far samples that share a condition lie from each other: [N, K, ...] -> [N].

    The distance is the root mean square over the coordinates, in their unit; 0 is collapse.

    Raises ValueError if there are fewer than two samples, and for values that are not finite.
    """
    samples = rows("samples", samples, "N, K, ...")
    num_samples = samples.shape[1]
    if num_samples < 2:
        raise ValueError(f"samples must be [N, K, ...] with K at least 2, got {samples.shape}")
    flat = np.asarray(samples, np.float64).reshape(len(samples), num_samples, -1)
    first, second = np.triu_indices(num_samples, k=1)
    distances = np.sqrt(np.mean((flat[:, first] - flat[:, second]) ** 2, axis=-1))
    return distances.mean(axis=1)
