"""Diversity: are all classes generated, and do samples for the same observation differ?"""

import numpy as np
from scipy.stats import binom

from sbmae_jax._check import require_int
from sbmae_jax.metrics.rows import as_rows, require_same_shape


def label_shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how often each class occurs.

    Args:
        labels: Integers in 0..num_classes - 1, of any shape but empty.
        num_classes: Number of classes, at least 1.

    Returns:
        `[num_classes]`, with sum 1.

    Raises:
        ValueError: If there are no labels, or one is not a class.

    Example:
        >>> from sbmae_jax.metrics.diversity import label_shares
        >>> label_shares([[0, 1], [1, 1]], num_classes=3).tolist()
        [0.25, 0.75, 0.0]
    """
    require_int("num_classes", num_classes, 1, 10_000_000)
    labels = as_rows("labels", labels, "N, ...", integers=True)
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must be in 0..{num_classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return np.bincount(np.ravel(labels), minlength=num_classes) / np.size(labels)


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Return the total variation distance between two distributions over classes.

    Args:
        p: Probabilities, `[C]`.
        q: Probabilities to compare with, `[C]`.

    Returns:
        Half the sum of the absolute differences: 0 if they are equal, 1 if they share no class.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.diversity import total_variation
        >>> total_variation([0.5, 0.5, 0.0], [0.5, 0.25, 0.25])
        0.25
    """
    p, q = as_rows("p", p, "C"), as_rows("q", q, "C")
    require_same_shape(p=p, q=q)
    return float(0.5 * np.abs(p - q).sum())


def expected_total_variation(p: np.ndarray, num: int) -> float:
    """Return how far the shares of exact draws lie from their distribution, on average.

    Shares of few draws vary, so a total variation says something only beside this one. The expected distance
    of a binomial count from its mean is 2 m (1 - p) P(count = m), with m = floor(num p) + 1 (De Moivre 1730).

    Args:
        p: Probabilities, `[C]`.
        num: How many independent draws the shares are of, at least 1.

    Returns:
        The mean of `total_variation(shares, p)` over draws, in 0..1.

    Raises:
        ValueError: If `p` are no probabilities that add up to 1, or `num` is out of range.

    Example:
        >>> expected_total_variation([0.5, 0.5], 1)  # either share is 1
        0.5
        >>> round(expected_total_variation(np.full(4, 0.25), 1000), 3)
        0.022
    """
    p = np.asarray(as_rows("p", p, "C"), float)
    require_int("num", num, 1, 2**53)
    if p.min() < 0 or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"p must be probabilities that add up to 1, got a sum of {p.sum():.6g}")
    inside = p[(p > 0) & (p < 1)]
    most = np.floor(num * inside) + 1
    distance = 2 * most * (1 - inside) * binom.pmf(most, num, inside)
    return float(0.5 * distance.sum() / num)


def spread_ratio(
    first: np.ndarray, second: np.ndarray, real: np.ndarray, label: np.ndarray
) -> float:
    """Compare the variance of samples that share an observation with that of real examples.

    The variance of real examples is taken within a class, because an observation fixes the class and little
    else.

    Args:
        first: Features of one sample for each of N observations, `[N, F]`.
        second: Features of another, independent sample for each, `[N, F]`.
        real: Features of real examples, `[K, F]`.
        label: Classes of the real examples, `[K]`.

    Returns:
        The ratio of the variances: 1 if samples are as diverse as the data, 0 if all samples for an
        observation are the same; NaN without samples, or if the real examples of each class are all equal.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.diversity import spread_ratio
        >>> real = np.array([[0.0], [2.0], [10.0], [12.0]])  # variance 1 within each class
        >>> spread_ratio(np.array([[1.0]]), np.array([[2.0]]), real, [0, 0, 1, 1])
        0.5
    """
    first, second = (as_rows(n, x, "N, ...", 0) for n, x in (("first", first), ("second", second)))
    real, label = as_rows("real", real, "K, F"), as_rows("label", label, "K")
    require_same_shape(first=first, second=second)
    require_same_shape(real=real[:, 0], label=label)
    if first.shape[1:] != real.shape[1:]:
        raise ValueError(f"first must be [N, {real.shape[1]}], as real is, got {first.shape}")
    within = np.mean([np.var(real[label == c], axis=0).sum() for c in np.unique(label)])
    if not len(first) or not within:
        return float("nan")
    return float(np.mean(np.sum((first - second) ** 2, axis=1)) / 2 / within)


def mean_pairwise_distance(samples: np.ndarray) -> np.ndarray:
    """Return how far samples that share a condition lie from each other.

    Args:
        samples: K samples for each of N conditions, `[N, K, ...]` with K at least 2.

    Returns:
        `[N]`: the mean over pairs of the root mean square distance over coordinates, in their unit; 0 if all
        samples are the same.

    Raises:
        ValueError: If there are fewer than two samples, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.diversity import mean_pairwise_distance
        >>> mean_pairwise_distance([[[0.0, 0.0], [2.0, 2.0]], [[1.0, 5.0], [1.0, 5.0]]]).tolist()
        [2.0, 0.0]
    """
    samples = as_rows("samples", samples, "N, K, ...")
    num_samples = samples.shape[1]
    if num_samples < 2:
        raise ValueError(f"samples must be [N, K, ...] with K at least 2, got {samples.shape}")
    flat = np.asarray(samples, np.float64).reshape(len(samples), num_samples, -1)
    first, second = np.triu_indices(num_samples, k=1)
    distances = np.sqrt(np.mean((flat[:, first] - flat[:, second]) ** 2, axis=-1))
    return distances.mean(axis=1)
