"""What one would use without this library: predict a modality from the others, by lines or by neighbours.

Both are fitted on training rows, and their one free value, a penalty or a number of neighbours, is chosen on
rows held out from these. Inputs are `Columns`; a missing one is 0, the training mean, and a column beside
says that it is missing.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.neighbors import NearestNeighbors

from sbmae_jax.evaluation.paired.columns import Columns
from sbmae_jax.metrics.prediction import losses

MAX_HELD_OUT = 1000
MAX_REGRESSIONS = (
    8  # columns of binary values or counts that get a regression each; more share a ridge
)
MAX_REGRESSION_ROWS = 5000  # from which these are fitted
PENALTIES = (3e-3, 3e-2, 3e-1)  # of these, per row
RIDGE_PENALTIES = np.logspace(-2, 5, 15)
NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100)

Predict = Callable[[np.ndarray], np.ndarray]
"""inputs [N, C] -> mean of the target [N, F]"""


class Target(NamedTuple):
    """A modality that is to be predicted.  values: as the losses see them, [N, F]."""

    columns: Columns
    values: np.ndarray

    @property
    def value_type(self) -> str:
        """The type of the values."""
        return self.columns.value_type

    def take(self, rows: np.ndarray) -> "Target":
        """Return some rows."""
        return Target(self.columns, self.values[rows])

    def error(self, predicted: np.ndarray) -> float:
        """Return the loss by which free values are chosen: of probabilities the log loss."""
        found = losses(self.value_type, self.values, predicted)
        return float(found.get("log_loss", found["error"]).mean())


def inputs(blocks: Sequence[np.ndarray], present: np.ndarray, incomplete: np.ndarray) -> np.ndarray:
    """Join the columns of the modalities that are given, [N, C] in all.

    blocks: one [N, C_m] for each of these.  present: [N, M].  incomplete: [M], which may be missing: these
    have a column that says so.
    """
    filled = [np.where(seen[:, None], x, 0) for x, seen in zip(blocks, present.T, strict=True)]
    missing = [~seen[:, None] for seen, may in zip(present.T, incomplete, strict=True) if may]
    return np.concatenate([*filled, *missing], axis=1, dtype=np.float32)


def split(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to fit on and of those held out, a fifth of them, at random.

    Fewer than five rows are both.
    """
    order = np.random.default_rng(0).permutation(num_rows)
    if num_rows < 5:
        return order, order
    num_held = min(num_rows // 5, MAX_HELD_OUT)
    return order[num_held:], order[:num_held]


def fit_linear(x: np.ndarray, target: Target) -> Predict:
    """Fit ridge regression, or for categories and binary values logistic, for counts Poisson regression.

    Where binary values or counts have more columns than MAX_REGRESSIONS, it is ridge regression, cut off at
    what such a mean can be.
    """
    value_type, num_columns = target.value_type, target.values.shape[1]
    if value_type == "real" or (value_type != "category" and num_columns > MAX_REGRESSIONS):
        return fit_ridge(x, target)
    fit = {"category": fit_category, "binary": fit_binary, "counts": fit_counts}[value_type]
    kept, held = split(len(x))
    kept = kept[:MAX_REGRESSION_ROWS]
    found = [fit(x[kept], target.values[kept], penalty) for penalty in PENALTIES]
    errors = [target.take(held).error(predict(x[held])) for predict in found]
    rows = np.concatenate([kept, held])[:MAX_REGRESSION_ROWS]
    return fit(x[rows], target.values[rows], PENALTIES[int(np.argmin(errors))])


def fit_ridge(x: np.ndarray, target: Target) -> Predict:
    """Fit ridge regression to the columns of the target; its penalty is chosen by leaving one row out."""
    value_type, columns = target.value_type, target.columns
    ranges = {"real": (-np.inf, np.inf), "binary": (0.01, 0.99), "counts": (0.01, np.inf)}
    low, high = ranges[value_type]
    # Counts are predicted themselves, not their logarithm, whose mean is not that of counts.
    own = value_type == "counts"
    solve = ridge(x, target.values if own else columns.read(target.values))

    def predict(x):
        predicted = solve(x)
        return np.clip(predicted if own else columns.restore(predicted), low, high)

    return predict


def ridge(x: np.ndarray, y: np.ndarray) -> Predict:
    """Fit ridge regression of y [N, F] to x [N, C], its penalty chosen by leaving one row out.

    As scikit-learn's RidgeCV, but for all penalties from one decomposition. With X = U S V' centred, a
    penalty a, and D = S^2 / (S^2 + a), the prediction of the training rows is H y, H = U D U' + 1 / N,
    and the error of row i without it is (y - H y)_i / (1 - H_ii). Of many rows MAX_HELD_OUT are
    left out in turn.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    centred, values = np.asarray(x - x_mean, np.float64), np.asarray(y - y_mean, np.float64)
    squares, right = np.linalg.eigh(centred.T @ centred)
    kept = squares > 1e-9 * max(squares[-1], 1e-300)
    squares, right = squares[kept], right[:, kept]
    left = centred @ (right / np.sqrt(squares))
    inner = left.T @ values
    some = np.random.default_rng(0).permutation(len(x))[:MAX_HELD_OUT]
    left, values = left[some], values[some]

    def error(penalty):
        shrink = squares / (squares + penalty)
        residual = values - left @ (shrink[:, None] * inner)
        leave = np.maximum(1 - left**2 @ shrink - 1 / len(x), 1e-9)
        return np.mean((residual / leave[:, None]) ** 2)

    penalty = min(RIDGE_PENALTIES, key=error)
    slope = right @ ((np.sqrt(squares) / (squares + penalty))[:, None] * inner)
    return lambda x: (x - x_mean) @ slope + y_mean


def fit_category(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit logistic regression to one-hot values; what was never seen gets the probability 0."""
    seen = np.flatnonzero(values.any(axis=0))
    labels = values.argmax(axis=1)
    if len(seen) == 1:
        return constant(values.mean(axis=0))
    model = LogisticRegression(C=1 / (penalty * len(x)), max_iter=200, tol=1e-3)
    quietly(model.fit, x, labels)

    def predict(x):
        found = np.zeros((len(x), values.shape[1]))
        found[:, seen] = model.predict_proba(x)
        return found

    return predict


def fit_binary(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit logistic regression to each column of 0 and 1."""
    pairs = [np.stack([1 - column, column], axis=1) > 0.5 for column in values.T]
    fitted = [fit_category(x, pair, penalty) for pair in pairs]
    return lambda x: np.stack([predict(x)[:, 1] for predict in fitted], axis=1)


def fit_counts(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit Poisson regression, with a logarithmic link, to each column of counts."""

    def fit(column):
        if not column.any():
            return lambda x: np.zeros(len(x))
        model = PoissonRegressor(alpha=penalty, max_iter=200, tol=1e-3)
        return quietly(model.fit, x, column).predict

    fitted = [fit(column) for column in values.T]
    return lambda x: np.stack([predict(x) for predict in fitted], axis=1)


def constant(mean: np.ndarray) -> Predict:
    """Predict the same mean [F] for all rows."""
    return lambda x: np.broadcast_to(mean, (len(x), len(mean)))


def quietly(fit: Callable, x: np.ndarray, y: np.ndarray):
    """Fit, although the last digits may not have converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(x, y)


def fit_neighbours(x: np.ndarray, weights: np.ndarray, target: Target) -> Predict:
    """Fit the mean of the nearest training rows.

    weights: [C], by which the columns are multiplied if that does better on rows held out; these also
    choose the number of neighbours. Means of counts and probabilities are drawn towards the mean of all
    training rows by the weight of one neighbour, so that none is 0.
    """
    kept, held = split(len(x))
    numbers = [k for k in NEIGHBOURS if k <= len(kept)]
    tried = {}
    for scaled in (False, True):
        z = x * weights if scaled else x
        means = neighbour_means(z[kept], target.take(kept), numbers)(z[held])
        errors = [target.take(held).error(mean) for mean in means]
        tried |= {(scaled, k): error for k, error in zip(numbers, errors, strict=True)}
    scaled, number = min(tried, key=tried.__getitem__)
    means = neighbour_means(x * weights if scaled else x, target, [number])
    return lambda x: means(x * weights if scaled else x)[0]


def neighbour_means(
    x: np.ndarray, target: Target, numbers: Sequence[int]
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return the function that gives the mean of the nearest rows, for several numbers of them."""
    value_type, columns = target.value_type, target.columns
    # Of pictures the components are averaged: the memory of all neighbours' pixels is not needed.
    values = columns.read(target.values) if value_type == "real" else target.values
    index = NearestNeighbors(n_neighbors=max(numbers), algorithm="brute").fit(x)
    prior = values.mean(axis=0)

    def predict(query):
        _, nearest = index.kneighbors(query)
        sums, found = np.zeros((len(query), values.shape[1])), []
        for k in range(max(numbers)):
            sums += values[nearest[:, k]]
            if k + 1 in numbers:
                mean = sums / (k + 1) if value_type == "real" else (sums + prior) / (k + 2)
                found.append(columns.restore(mean) if value_type == "real" else mean)
        return found

    return predict
