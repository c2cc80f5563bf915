"""Coherence: do the modalities of an example agree, as a classifier sees them?"""

import math
from typing import NamedTuple

import numpy as np

from sbmae_jax.metrics.rows import rows, same_shape


class Estimate(NamedTuple):
    """A mean over examples and its standard error."""

    mean: float
    se: float


def estimate(values: np.ndarray) -> Estimate:
    """Return mean and standard error of independent values [N]; the error is NaN for one value.

    Raises ValueError for values that are not [N] with N at least 1, or not finite.
    """
    values = rows("values", values)
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(np.mean(values)), float(error))


def macro_estimate(values: np.ndarray, label: np.ndarray) -> Estimate:
    """Return the mean over classes of the mean of independent values [N] within each class.

    label: [N]; every class that occurs counts the same, however often it does. The error is over examples,
    with the classes taken as fixed; it is NaN if some class has one example.

    Raises ValueError as `estimate`, and for labels that are not as many.
    """
    values, label = rows("values", values), rows("label", label, whole=True)
    same_shape(values=values, label=label)
    by_class = [estimate(values[label == c]) for c in np.unique(label)]
    means, errors = np.array(by_class).T
    return Estimate(float(means.mean()), float(np.sqrt(np.sum(errors**2)) / len(by_class)))


def conditional_coherence(
    predicted: np.ndarray, label: np.ndarray, observed: np.ndarray
) -> Estimate:
    """Return the share of generated targets that show the example's class.

    predicted: [N, M] classes of the generated modalities.  label: [N].  observed: [N, M] bool.
    Each row is first averaged over its unobserved modalities, which are not independent.

    Raises ValueError if some row has nothing to generate, and for shapes and types that do not fit.
    """
    predicted, label = rows("predicted", predicted, "N, M"), rows("label", label)
    observed = rows("observed", observed, "N, M")
    same_shape(predicted=predicted, observed=observed)
    same_shape(label=label, predicted=predicted[:, 0])
    if observed.dtype != np.bool_:
        raise ValueError(f"observed must be bool, got dtype {observed.dtype}")
    target = ~observed
    if not target.any(axis=1).all():
        raise ValueError("observed: a row with all modalities observed has no target to score")
    correct = (predicted == label[:, None]) & target
    return estimate(correct.sum(axis=1) / target.sum(axis=1))


def at_least_k(predicted: np.ndarray) -> dict[int, float]:
    """Return for k = 2..M the share of joint samples in which k modalities agree with the first.

    predicted: [N, M] classes. The first modality counts, so that k = M means that all agree.

    Raises ValueError for what is not [N, M], or not finite.
    """
    predicted = rows("predicted", predicted, "N, M")
    num_agreeing = (predicted == predicted[:, :1]).sum(axis=1)
    return {k: float(np.mean(num_agreeing >= k)) for k in range(2, predicted.shape[1] + 1)}


def all_agree(predicted: np.ndarray) -> Estimate:
    """Return the share of joint samples [N, M] in which all modalities have the same class.

    Raises ValueError as `at_least_k`.
    """
    predicted = rows("predicted", predicted, "N, M")
    return estimate((predicted == predicted[:, :1]).all(axis=1).astype(float))
