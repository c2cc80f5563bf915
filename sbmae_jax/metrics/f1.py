"""F1 score and overlap of binary arrays: attributes and masks."""

import numpy as np

from sbmae_jax.metrics.rows import rows


def f1_by_row(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the F1 score of each row, [N] in 0..1; average it for the sample-averaged F1.

    truth, predicted: [N, ...], bool, or numbers that count as True above 0.5. A row in which both
    are empty scores 0, as scikit-learn's default has it.

    Raises ValueError for arrays of different shapes, without rows, or with values that are not finite.
    """
    hits, in_truth, in_predicted = _counts(truth, predicted)
    return _ratio(2 * hits, in_truth + in_predicted)


def iou_by_row(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return intersection over union of each row, [N] in 0..1; 0 where both are empty. As `f1_by_row`."""
    hits, in_truth, in_predicted = _counts(truth, predicted)
    return _ratio(hits, in_truth + in_predicted - hits)


def f1_by_column(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the F1 score of each attribute over all rows: [N, A] -> [A]; 0 for one never there.

    Errors as `f1_by_row`.
    """
    truth, predicted = rows("truth", truth, "N, A"), rows("predicted", predicted, "N, A")
    return f1_by_row(np.swapaxes(truth, 0, 1), np.swapaxes(predicted, 0, 1))


def _counts(truth, predicted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth, predicted = rows("truth", truth, "N, ..."), rows("predicted", predicted, "N, ...")
    if truth.shape != predicted.shape:
        raise ValueError(
            f"truth and predicted must have one shape, got {truth.shape} and {predicted.shape}"
        )
    truth, predicted = truth.reshape(len(truth), -1) > 0.5, predicted.reshape(len(truth), -1) > 0.5
    return (truth & predicted).sum(axis=1), truth.sum(axis=1), predicted.sum(axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 0.0)
