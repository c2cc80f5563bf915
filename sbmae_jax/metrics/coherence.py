r"""Coherence: do the modalities of an example agree, as a classifier sees them?

Means come with a standard error and a 95 % interval. Of few rows the interval is not two standard errors on
each side: with n rows it is that of Student's t distribution, mean +- t_(n-1) se; and of a share p of events
that of Wilson, which is never empty, even where all rows or none have the event:

    (p + c / 2 +- sqrt(c p (1 - p) + c^2 / 4)) / (1 + c),      c = 1.96^2 / n.                       (1)

Source of (1): Wilson 1927 (J. Amer. Stat. Assoc. 22, 209-212).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from sbmae_jax.metrics.rows import as_rows, require_same_shape


class Estimate(NamedTuple):
    """A mean over examples, its standard error, and an interval that is right for few examples too.

    Attributes:
        mean: The mean.
        se: Its standard error; NaN where it cannot be estimated.
        low: The lower end of its 95 % interval; NaN where it cannot be estimated.
        high: The upper end.

    Example:
        >>> from sbmae_jax.metrics.coherence import Estimate
        >>> "{0.mean:.2f} ± {0.se:.2f}".format(Estimate(0.81, 0.02, 0.77, 0.85))
        '0.81 ± 0.02'
    """

    mean: float
    se: float
    low: float = math.nan
    high: float = math.nan


def student_estimate(mean: float, se: float, freedom: int) -> Estimate:
    """Return a mean with the interval of Student's t distribution.

    Args:
        mean: The mean.
        se: Its standard error; NaN where it is not known.
        freedom: The degrees of freedom: examples less what was estimated beside the error; 0 gives NaN.

    Returns:
        The estimate.

    Example:
        >>> from sbmae_jax.metrics.coherence import student_estimate
        >>> round(student_estimate(0.0, 1.0, 3).high, 2)  # not 1.96
        3.18
    """
    half = se * float(stdtrit(freedom, 0.975)) if freedom > 0 else math.nan
    return Estimate(mean, se, mean - half, mean + half)


def wilson_interval(share: float, num: int) -> tuple[float, float]:
    """Return the 95 % interval of a probability, equation (1).

    Args:
        share: The share of examples with the event, in 0..1.
        num: The number of examples, at least 1.

    Returns:
        Its ends, in 0..1.

    Example:
        >>> from sbmae_jax.metrics.coherence import wilson_interval
        >>> [round(end, 2) for end in wilson_interval(1.0, 4)]  # all of four
        [0.51, 1.0]
    """
    c = 1.96**2 / num
    half = math.sqrt(c * share * (1 - share) + c**2 / 4)
    return max((share + c / 2 - half) / (1 + c), 0.0), min((share + c / 2 + half) / (1 + c), 1.0)


def estimate(values: np.ndarray) -> Estimate:
    """Estimate the mean of independent values.

    Args:
        values: `[N]`, with N at least 1.

    Returns:
        The mean, its standard error, which is NaN for one value, and its interval: that of Wilson if all
        values are 0 or 1, that of Student otherwise.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import estimate
        >>> estimate([0.0, 1.0, 1.0, 2.0]).mean
        1.0
        >>> found = estimate([1.0, 1.0, 1.0, 1.0])
        >>> found.se, round(found.low, 2)  # four successes do not prove that there are no failures
        (0.0, 0.51)
    """
    values = as_rows("values", values)
    mean = float(np.mean(values))
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    if np.isin(values, (0, 1)).all():
        return Estimate(mean, float(error), *wilson_interval(mean, len(values)))
    return student_estimate(mean, float(error), len(values) - 1)


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
    means, errors = np.array([found[:2] for found in by_class]).T
    error = float(np.sqrt(np.sum(errors**2)) / len(by_class))
    return student_estimate(float(means.mean()), error, len(values) - len(by_class))


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


def pairs_agree(predicted: np.ndarray) -> Estimate:
    """Estimate the share of pairs of modalities that have the same class.

    Each row is first averaged over its pairs, which are not independent.

    Args:
        predicted: Classes that a classifier sees in the modalities, `[N, M]` with M at least 2.

    Returns:
        The share in 0..1 and its standard error.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.coherence import pairs_agree
        >>> pairs_agree([[3, 3, 3], [3, 3, 5]]).mean  # of 1 and 1/3
        0.6666666666666666
    """
    predicted = as_rows("predicted", predicted, "N, M")
    num_modalities = predicted.shape[1]
    if num_modalities < 2:
        raise ValueError(f"predicted must be [N, M] with M at least 2, got {predicted.shape}")
    first, second = np.triu_indices(num_modalities, k=1)
    return estimate((predicted[:, first] == predicted[:, second]).mean(axis=1))
