r"""Losses of predictions, for every type of values, corrected for the number of draws.

A generator predicts by the mean m of K draws. Write m = mu + e, where mu is its exact conditional mean and
the error e has mean 0 and variance sigma^2 / K. For a loss l(y, m), averaged over draws,

    E l(y, m) = l(y, mu) + l''(y, mu) sigma^2 / (2 K) + ...                                          (1)

with l'' the second derivative in m: the fewer the draws, the larger the loss, whatever the model. So `losses`
subtracts l''(y, m) s^2 / (2 K), where s^2 is the sample variance of the draws.

    squared error        l'' = 2, and (1) has no further terms: what is left is unbiased for the error of the
                         exact conditional mean, for any K of at least 2. Single values may be below 0.
    log loss             -log m, with l'' = 1 / m^2. (1) has further terms, of order 1 / K^2. Draws that are
                         not negative have s^2 <= K m^2, so at most 1/2 is subtracted.
    Poisson deviance     2 (y log(y / m) - y + m), with l'' = 2 y / m^2; further terms as for the log loss.

Source: Ferro 2014, Fair scores for ensemble forecasts, Q. J. R. Meteorol. Soc. 140, section 3 (the quadratic
score); (1) is the delta method.
"""

import numpy as np

from sbmae_jax._check import require_number, require_one_of
from sbmae_jax.metrics.coherence import Estimate, student_estimate
from sbmae_jax.metrics.rows import as_rows, require_same_shape

VALUE_TYPES = ("real", "binary", "category", "counts", "ordinal", "segmentation")
SMALLEST = 1e-6  # smaller probabilities and rates count as this


def moments(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of draws and the variance of that mean.

    Args:
        draws: K draws for each row, `[N, K, F]` with K at least 2.

    Returns:
        The mean and s^2 / K, each `[N, F]` in float64, as `losses` takes them.

    Raises:
        ValueError: If there are fewer than two draws, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.prediction import moments
        >>> mean, variance = moments(np.array([[[1.0], [3.0]]]))
        >>> mean.tolist(), variance.tolist()
        ([[2.0]], [[1.0]])
    """
    draws = as_rows("draws", draws, "N, K, F")
    num_draws = draws.shape[1]
    if num_draws < 2:
        raise ValueError(f"draws must be [N, K, F] with K at least 2, got shape {draws.shape}")
    draws = np.asarray(draws, np.float64)
    return draws.mean(axis=1), draws.var(axis=1, ddof=1) / num_draws


def losses(
    value_type: str, truth: np.ndarray, mean: np.ndarray, variance: np.ndarray | float = 0.0
) -> dict[str, np.ndarray]:
    """Return the losses of each row, averaged over the features.

    Args:
        value_type: Type of the values: "real", "binary", "category", "counts", "ordinal" or "segmentation".
        truth: True values, `[N, F]`; those of a "category" are one-hot, those of a "segmentation" are so for
            each pixel, one pixel after the other; those of "ordinal" say for each level but the last whether
            it is exceeded.
        mean: Predicted means, `[N, F]`: probabilities for "binary", "category", "ordinal" and "segmentation",
            rates for "counts".
        variance: Variance of the means, `[N, F]`, as `moments` returns it; 0 for a prediction without draws.

    Returns:
        Each `[N]`, by name. "error" is the squared error, for "counts" the Poisson deviance, for "ordinal" in
            effect the ranked probability score. "binary", "category" and "segmentation" also have "log_loss"
            in nats, for a "segmentation" per pixel, and "accuracy", which is not corrected for the number of
            draws. A "segmentation" has "iou" as well: the intersection of the most probable classes of pixels
            with the true ones over their union, the mean over the classes that either of them has.

    Raises:
        ValueError: If the type is unknown, the shapes do not fit, or a value is not finite or not possible
            for the type.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.prediction import losses, moments
        >>> losses("real", np.array([[1.0]]), *moments(np.array([[[1.0], [3.0]]])))["error"].tolist()
        [0.0]
        >>> found = losses("category", np.array([[0, 1]]), np.array([[0.5, 0.5]]))
        >>> round(float(found["log_loss"][0]), 3)  # ln 2
        0.693
    """
    require_one_of("value_type", value_type, VALUE_TYPES)
    truth = as_rows("truth", truth, "N, F").astype(np.float64)
    mean = as_rows("mean", mean, "N, F").astype(np.float64)
    require_same_shape(truth=truth, mean=mean)
    if np.ndim(variance):
        require_same_shape(truth=truth, variance=as_rows("variance", variance, "N, F"))
    else:
        require_number("variance", variance, low=0)
    if value_type != "real" and truth.min() < 0:
        raise ValueError(f"truth of {value_type} must be at least 0, got {truth.min():.4g}")
    variance = np.broadcast_to(variance, truth.shape)
    if value_type == "counts":
        return {"error": _deviance(truth, mean, variance).mean(axis=1)}
    found = {"error": ((truth - mean) ** 2 - variance).mean(axis=1)}
    if value_type == "category":
        terms = truth * _surprise(mean, variance)
        hit = truth.argmax(axis=1) == mean.argmax(axis=1)
        found |= {"log_loss": terms.sum(axis=1), "accuracy": hit.astype(float)}
    if value_type == "segmentation":
        found |= _of_pixels(truth, mean, variance)
    if value_type == "binary":
        terms = truth * _surprise(mean, variance) + (1 - truth) * _surprise(1 - mean, variance)
        hits = (truth > 0.5) == (mean > 0.5)
        found |= {"log_loss": terms.mean(axis=1), "accuracy": hits.mean(axis=1)}
    return found


def per_pixel(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values as `[N, P, K]`, for P pixels of K classes.

    Args:
        truth: The true classes of each pixel, one-hot, `[N, P K]`.
        values: What to return, `[N, P K]`.

    Returns:
        The values, `[N, P, K]`.

    Raises:
        ValueError: If `truth` is not one-hot for as many pixels in each row.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.prediction import per_pixel
        >>> truth = np.array([[0, 1, 1, 0, 1, 0]])  # three pixels of two classes
        >>> per_pixel(truth, truth).shape
        (1, 3, 2)
    """
    num = int(truth[0].sum())
    if num < 1 or truth.shape[1] % num or (truth.sum(axis=1) != num).any():
        raise ValueError("truth of segmentation must be one-hot for each pixel")
    return values.reshape(len(values), num, -1)


def _of_pixels(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> dict[str, np.ndarray]:
    """Return the losses of rows of pixels that need a class of each."""
    terms = per_pixel(truth, truth * _surprise(mean, variance)).sum(axis=2)
    classes, likely = (per_pixel(truth, values).argmax(axis=2) for values in (truth, mean))
    shares, counted = np.zeros(len(truth)), np.zeros(len(truth))
    for c in range(truth.shape[1] // classes.shape[1]):
        true, found = classes == c, likely == c
        either = (true | found).sum(axis=1)
        shares += (true & found).sum(axis=1) / np.maximum(either, 1)
        counted += either > 0
    return {
        "log_loss": terms.mean(axis=1),
        "accuracy": (classes == likely).mean(axis=1),
        "iou": shares / counted,
    }


def _surprise(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    mean = np.maximum(mean, SMALLEST)
    return -np.log(mean) - np.minimum(variance / mean**2, 1) / 2


def _deviance(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    mean = np.maximum(mean, SMALLEST)
    logs = truth * np.log(np.where(truth > 0, truth, 1) / mean)
    return 2 * (logs - truth + mean) - truth * np.minimum(variance / mean**2, 1)


def shared_variance(truth: np.ndarray, predicted: np.ndarray, mean: np.ndarray) -> float:
    """Return the covariance of truth and prediction, over the variance of the truth.

    For a least-squares prediction this is the share of the variance that it explains. It is 0 on average, and
    not below, if prediction and truth are independent.

    Args:
        truth: True values, `[N, F]`.
        predicted: Predictions, `[N, F]`.
        mean: What both are taken around, `[F]`.

    Returns:
        The ratio, with sums over rows and features; NaN if the truth is constant.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.prediction import shared_variance
        >>> truth = np.array([[-1.0], [1.0]])
        >>> shared_variance(truth, 0.5 * truth, mean=np.zeros(1))
        0.5
    """
    truth, predicted = as_rows("truth", truth, "N, F"), as_rows("predicted", predicted, "N, F")
    mean = as_rows("mean", mean, "F")
    require_same_shape(truth=truth, predicted=predicted)
    require_same_shape(mean=mean, truth=truth[0])
    truth, predicted = truth - mean, predicted - mean
    total = float(np.sum(truth**2, dtype=np.float64))
    return float(np.sum(truth * predicted, dtype=np.float64)) / total if total else float("nan")


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """Return the ratio of two means over the same rows, with its standard error by the delta method.

    Args:
        numerator: `[N]`.
        denominator: `[N]`, of the same rows.

    Returns:
        The ratio, its error and its interval. All are NaN if the denominator has mean 0; of one row, all but
        the ratio are.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.prediction import ratio
        >>> ratio([1.0, 3.0], [4.0, 4.0]).mean
        0.5
    """
    numerator, denominator = as_rows("numerator", numerator), as_rows("denominator", denominator)
    require_same_shape(numerator=numerator, denominator=denominator)
    total = float(np.mean(denominator))
    if total == 0:
        return Estimate(float("nan"), float("nan"))
    value = float(np.mean(numerator)) / total
    if len(numerator) < 2:
        return Estimate(value, float("nan"))
    rest = np.asarray(numerator) - value * np.asarray(denominator)
    error = float(rest.std(ddof=1) / np.sqrt(len(rest)) / abs(total))
    return student_estimate(value, error, len(rest) - 1)
