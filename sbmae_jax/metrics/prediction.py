r"""How far predictions are from the truth, for every kind of values, as exact means would be.

A generator predicts by the mean m of K draws, and m = mu + e, where mu is its exact conditional mean and
the error e has mean 0 and variance sigma^2 / K. For a loss l(y, m), averaged over draws,

    E l(y, m) = l(y, mu) + l''(y, mu) sigma^2 / (2 K) + ...                                          (1)

with l'' the second derivative by m: the fewer the draws, the larger the loss, whatever the model. So
`losses` takes l''(y, m) s^2 / (2 K) off, where s^2 is the sample variance of the draws. For the squared
error l'' = 2 and nothing follows in (1): what is left is unbiased for the error of the exact conditional
mean, for any K of at least 2, and single values of it may be below 0. For the log loss -log m, l'' is
1 / m^2; for the Poisson deviance 2 (y log(y / m) - y + m), it is 2 y / m^2. There (1) goes on with terms of
order 1 / K^2. As draws that are not negative have s^2 <= K m^2, no more than 1/2 is taken off a log loss.

Source: Ferro 2014, Fair scores for ensemble forecasts, Q. J. R. Meteorol. Soc. 140, section 3 (the
quadratic score); (1) is the delta method.
"""

import numpy as np

from sbmae_jax._check import require_number, require_one_of
from sbmae_jax.metrics.coherence import Estimate
from sbmae_jax.metrics.rows import rows, same_shape

VALUE_TYPES = ("real", "binary", "category", "counts")
SMALLEST = 1e-6  # a probability or a rate below this counts as this


def moments(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of draws [N, K, F] and the variance of that mean, s^2 / K: each [N, F].

    Raises ValueError if there are fewer than two draws, and for values that are not finite.
    """
    draws = rows("draws", draws, "N, K, F")
    num_draws = draws.shape[1]
    if num_draws < 2:
        raise ValueError(f"draws must be [N, K, F] with K at least 2, got shape {draws.shape}")
    draws = np.asarray(draws, np.float64)
    return draws.mean(axis=1), draws.var(axis=1, ddof=1) / num_draws


def losses(
    value_type: str, truth: np.ndarray, mean: np.ndarray, variance: np.ndarray | float = 0.0
) -> dict[str, np.ndarray]:
    """Return the losses of each row by name, averaged over the features: each [N].

    truth, mean: [N, F]; of a "category" the truth is one-hot and the mean are probabilities, of "binary"
        values they are in 0..1, and "counts" have rates as mean.
    variance: of the mean, [N, F], as `moments` gives it; 0 for a prediction without draws.

    "error": squared, and for counts the Poisson deviance.  "log_loss" in nats and "accuracy": of binary
    values and categories alone. The accuracy is not corrected for the number of draws.

    Raises ValueError for a kind that there is not, for shapes that do not fit, and for values that are not
    finite or that the kind cannot have.
    """
    require_one_of("value_type", value_type, VALUE_TYPES)
    truth = rows("truth", truth, "N, F").astype(np.float64)
    mean = rows("mean", mean, "N, F").astype(np.float64)
    same_shape(truth=truth, mean=mean)
    if np.ndim(variance):
        same_shape(truth=truth, variance=rows("variance", variance, "N, F"))
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
    if value_type == "binary":
        terms = truth * _surprise(mean, variance) + (1 - truth) * _surprise(1 - mean, variance)
        hits = (truth > 0.5) == (mean > 0.5)
        found |= {"log_loss": terms.mean(axis=1), "accuracy": hits.mean(axis=1)}
    return found


def _surprise(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    mean = np.maximum(mean, SMALLEST)
    return -np.log(mean) - np.minimum(variance / mean**2, 1) / 2


def _deviance(truth: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    mean = np.maximum(mean, SMALLEST)
    logs = truth * np.log(np.where(truth > 0, truth, 1) / mean)
    return 2 * (logs - truth + mean) - truth * np.minimum(variance / mean**2, 1)


def shared_variance(truth: np.ndarray, predicted: np.ndarray, mean: np.ndarray) -> float:
    """Return the covariance of truth and prediction over the variance of the truth, both around a mean [F].

    truth, predicted: [N, F]; sums run over both. For a least-squares prediction this is the share of variance
    that it explains; it is 0, and not below, where the two have nothing to do with each other. NaN where the
    truth is constant.

    Raises ValueError for shapes that do not fit, and for values that are not finite.
    """
    truth, predicted = rows("truth", truth, "N, F"), rows("predicted", predicted, "N, F")
    mean = rows("mean", mean, "F")
    same_shape(truth=truth, predicted=predicted)
    same_shape(mean=mean, truth=truth[0])
    truth, predicted = truth - mean, predicted - mean
    total = float(np.sum(truth**2, dtype=np.float64))
    return float(np.sum(truth * predicted, dtype=np.float64)) / total if total else float("nan")


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
    """Return the ratio of two means over the same rows [N], with its standard error (delta method).

    Both are NaN where the denominator is 0; the error is NaN for one row.

    Raises ValueError for what is not [N], or not finite, or of different lengths.
    """
    numerator, denominator = rows("numerator", numerator), rows("denominator", denominator)
    same_shape(numerator=numerator, denominator=denominator)
    total = float(np.mean(denominator))
    if total == 0:
        return Estimate(float("nan"), float("nan"))
    value = float(np.mean(numerator)) / total
    if len(numerator) < 2:
        return Estimate(value, float("nan"))
    rest = np.asarray(numerator) - value * np.asarray(denominator)
    return Estimate(value, float(rest.std(ddof=1) / np.sqrt(len(rest)) / abs(total)))
