"""F1 score and overlap of binary arrays, such as attributes and masks."""

import numpy as np

from sbmae_jax.metrics.rows import as_rows, require_same_shape


def f1_by_row(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the F1 score of each row; its mean is the sample-averaged F1.

    Args:
        truth: `[N, ...]`, bool, or numbers that count as True above 0.5.
        predicted: The same for the prediction.

    Returns:
        `[N]` in 0..1; 0 for a row in which both are empty, as in scikit-learn by default.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.f1 import f1_by_row
        >>> truth = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
        >>> f1_by_row(truth, np.array([[0.9, 0.2, 0.7, 0.1], [0, 0, 0, 0]])).tolist()
        [0.5, 0.0]
    """
    hits, in_truth, in_predicted = _counts(truth, predicted)
    return _ratio(2 * hits, in_truth + in_predicted)


def iou_by_row(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return intersection over union of each row.

    Args:
        truth: `[N, ...]`, bool, or numbers that count as True above 0.5.
        predicted: The same for the prediction.

    Returns:
        `[N]` in 0..1; 0 for a row in which both are empty.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.f1 import iou_by_row
        >>> iou_by_row([[1, 1, 0, 0]], [[1, 0, 1, 1]]).tolist()  # 1 of 4
        [0.25]
    """
    hits, in_truth, in_predicted = _counts(truth, predicted)
    return _ratio(hits, in_truth + in_predicted - hits)


def f1_by_column(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the F1 score of each attribute over all rows.

    Args:
        truth: `[N, A]`, bool, or numbers that count as True above 0.5.
        predicted: The same for the prediction.

    Returns:
        `[A]` in 0..1; 0 for an attribute that never occurs.

    Raises:
        ValueError: If the shapes differ, there are no rows, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.f1 import f1_by_column
        >>> f1_by_column([[1, 0], [1, 1]], [[1, 0], [1, 0]]).tolist()
        [1.0, 0.0]
    """
    truth, predicted = as_rows("truth", truth, "N, A"), as_rows("predicted", predicted, "N, A")
    return f1_by_row(np.swapaxes(truth, 0, 1), np.swapaxes(predicted, 0, 1))


def _counts(truth, predicted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = as_rows("truth", truth, "N, ...")
    predicted = as_rows("predicted", predicted, "N, ...")
    require_same_shape(truth=truth, predicted=predicted)
    truth, predicted = truth.reshape(len(truth), -1) > 0.5, predicted.reshape(len(truth), -1) > 0.5
    return (truth & predicted).sum(axis=1), truth.sum(axis=1), predicted.sum(axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)
