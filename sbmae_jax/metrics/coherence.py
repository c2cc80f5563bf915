"""Coherence: do the modalities of an example agree, as a classifier sees them?"""

import math
from typing import NamedTuple

import numpy as np

from sbmae_jax.metrics.rows import as_rows, require_same_shape


class Estimate(NamedTuple):
    """A mean over examples and its standard error.

    Attributes:
        mean: The mean.
        se: Its standard error; NaN where it cannot be estimated.

    Example:
        >>> from sbmae_jax.metrics.coherence import Estimate
        >>> "{0.mean:.2f} ± {0.se:.2f}".format(Estimate(0.81, 0.02))
        '0.81 ± 0.02'
    """

    mean: float
    se: float


def estimate(values: np.ndarray) -> Estimate:
    """Estimate the mean of independent values.

    Args:
        values: `[N]`, with N at least 1.

    Returns:
        The mean and its standard error, which is NaN for one value.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import estimate
        >>> estimate([0.0, 1.0, 1.0, 2.0]).mean
        1.0
    """
    values = as_rows("values", values)
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(np.mean(values)), float(error))


def macro_estimate(values: np.ndarray, label: np.ndarray) -> Estimate:
    """Estimate the mean over classes of the mean within each class.

    Every class that occurs counts the same, however often it does. The error is over examples, with the
    classes taken as fixed.

    Args:
        values: Independent values, `[N]`.
        label: Their classes, `[N]` integers.

    Returns:
        The mean and its standard error, which is NaN if a class has only one example.

    Raises:
        ValueError: If the shapes do not fit, the labels are not integers, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import macro_estimate
        >>> macro_estimate([1.0, 1.0, 1.0, 0.0, 0.0], [7, 7, 7, 8, 8]).mean
        0.5
    """
    values, label = as_rows("values", values), as_rows("label", label, integers=True)
    require_same_shape(values=values, label=label)
    by_class = [estimate(values[label == c]) for c in np.unique(label)]
    means, errors = np.array(by_class).T
    return Estimate(float(means.mean()), float(np.sqrt(np.sum(errors**2)) / len(by_class)))


def conditional_coherence(
    predicted: np.ndarray, label: np.ndarray, observed: np.ndarray
) -> Estimate:
    """Estimate the share of generated modalities that show the class of their example.

    Each row is first averaged over its unobserved modalities, which are not independent.

    Args:
        predicted: Classes that a classifier sees in the generated modalities, `[N, M]`.
        label: Classes of the examples, `[N]`.
        observed: Which modalities were observed, `[N, M]` bool; they do not count.

    Returns:
        The share in 0..1 and its standard error.

    Raises:
        ValueError: If a row has no unobserved modality, or shapes or dtypes do not fit.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.coherence import conditional_coherence
        >>> predicted, label = np.array([[1, 1, 0], [2, 0, 2]]), np.array([1, 2])
        >>> observed = np.array([[True, False, False], [False, True, False]])
        >>> conditional_coherence(predicted, label, observed).mean  # of 0.5 and 1
        0.75
    """
    predicted, label = as_rows("predicted", predicted, "N, M"), as_rows("label", label)
    observed = as_rows("observed", observed, "N, M")
    require_same_shape(predicted=predicted, observed=observed)
    require_same_shape(label=label, predicted=predicted[:, 0])
    if observed.dtype != np.bool_:
        raise ValueError(f"observed must be bool, got dtype {observed.dtype}")
    target = ~observed
    if not target.any(axis=1).all():
        raise ValueError("observed must leave at least one modality of each row to generate")
    correct = (predicted == label[:, None]) & target
    return estimate(correct.sum(axis=1) / target.sum(axis=1))


def at_least_k(predicted: np.ndarray) -> dict[int, float]:
    """Return in how many joint samples k modalities agree with the first.

    Args:
        predicted: Classes that a classifier sees in the modalities, `[N, M]`.

    Returns:
        For k = 2..M the share of the rows, in 0..1. The first modality counts, so k = M means that all agree.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import at_least_k
        >>> at_least_k([[3, 3, 5], [3, 5, 5]])
        {2: 0.5, 3: 0.0}
    """
    predicted = as_rows("predicted", predicted, "N, M")
    num_agreeing = (predicted == predicted[:, :1]).sum(axis=1)
    return {k: float(np.mean(num_agreeing >= k)) for k in range(2, predicted.shape[1] + 1)}


def all_agree(predicted: np.ndarray) -> Estimate:
    """Estimate the share of joint samples in which all modalities have the same class.

    Args:
        predicted: Classes that a classifier sees in the modalities, `[N, M]`.

    Returns:
        The share in 0..1 and its standard error.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import all_agree
        >>> all_agree([[3, 3, 3], [3, 5, 5]]).mean
        0.5
    """
    predicted = as_rows("predicted", predicted, "N, M")
    return estimate((predicted == predicted[:, :1]).all(axis=1).astype(float))
