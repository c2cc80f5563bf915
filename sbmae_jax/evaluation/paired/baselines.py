"""Predictions without this library: a modality from the others, by regression or by nearest neighbours.

Both are fitted to training rows, and their one hyperparameter, a penalty or a number of neighbours, is chosen
on rows held out from these. Inputs are `Columns`; a missing one is 0, the training mean, and another column
says that it is missing.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.neighbors import NearestNeighbors

from sbmae_jax.evaluation.paired.columns import Columns, flatten
from sbmae_jax.evaluation.paired.eval_data import Blocks, EvalData, score_rows
from sbmae_jax.metrics.prediction import losses

MAX_HELD_OUT = 1000
MAX_REGRESSIONS = 8  # columns of binary values or counts with a regression each; more share a ridge
MAX_REGRESSION_ROWS = 5000  # from which these are fitted
PENALTIES = (3e-3, 3e-2, 3e-1)  # of these, per row
RIDGE_PENALTIES = np.logspace(-2, 5, 15)
NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100)

Predict = Callable[[np.ndarray], np.ndarray]
"""`inputs [N, C] -> mean of the target [N, F]`"""


class Baselines(NamedTuple):
    """Predictors of one modality from all others.

    Attributes:
        gather: `(columns, present [N, M]) -> inputs [N, C]`, of some rows.
        predictors: "linear" and "neighbours".
    """

    gather: Callable[[Blocks, np.ndarray], np.ndarray]
    predictors: Mapping[str, Predict]

    def score(self, eval_data: EvalData, name: str, rows: np.ndarray) -> dict[str, Any]:
        """Return the losses of all predictors on test rows, `{predictor: {loss: [N]}}`.

        Args:
            eval_data: The data.
            name: The modality that they predict.
            rows: The numbers of the test rows, `[N]`.
        """
        test = eval_data.test
        x = self.gather([block[rows] for block in test.blocks], test.present[rows])
        return {
            title: score_rows(eval_data, name, rows, lambda some, predict=predict: predict(x[some]))
            for title, predict in self.predictors.items()
        }


def fit_baselines(eval_data: EvalData, m: int) -> Baselines:
    """Fit regression and nearest neighbours to the modality number `m`, given all others."""
    name, others = eval_data.names[m], [i for i in range(len(eval_data.names)) if i != m]

    def gather(blocks, present):
        some = [blocks[i] for i in others]
        return join_inputs(some, present[:, others], eval_data.incomplete[others])

    train = eval_data.train
    seen = train.present[:, m]
    x = gather([block[seen] for block in train.blocks], train.present[seen])
    target = Target(eval_data.columns[name], flatten(train.arrays[name][seen]))
    # The second way to weight: each modality, and each column that tells what is missing, counts the same.
    widths = [train.blocks[i].shape[1] for i in others]
    flags = np.ones(x.shape[1] - sum(widths))
    weights = np.concatenate([*(np.full(w, w**-0.5) for w in widths), flags], dtype=np.float32)
    return Baselines(
        gather,
        {"linear": fit_linear(x, target), "neighbours": fit_neighbours(x, weights, target)},
    )


class Target(NamedTuple):
    """A modality that is to be predicted.

    Attributes:
        columns: How it becomes columns.
        values: Its values as the losses see them, `[N, F]`.
    """

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
        """Return the loss by which hyperparameters are chosen: of probabilities the log loss."""
        found = losses(self.value_type, self.values, predicted)
        return float(found.get("log_loss", found["error"]).mean())


def join_inputs(
    blocks: Sequence[np.ndarray], present: np.ndarray, incomplete: np.ndarray
) -> np.ndarray:
    """Join the columns of modalities into inputs, `[N, C]`.

    Args:
        blocks: The columns of each modality, `[N, C_m]`.
        present: Which of them each row has, `[N, M]` bool.
        incomplete: The modalities that may be missing, `[M]` bool. Another column says so for each of these.
    """
    filled = [np.where(seen[:, None], x, 0) for x, seen in zip(blocks, present.T, strict=True)]
    missing = [~seen[:, None] for seen, may in zip(present.T, incomplete, strict=True) if may]
    return np.concatenate([*filled, *missing], axis=1, dtype=np.float32)


def hold_out(num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose at random the rows to fit on and those to hold out, a fifth of them.

    Fewer than five rows serve as both.
    """
    order = np.random.default_rng(0).permutation(num_rows)
    if num_rows < 5:
        return order, order
    num_held = min(num_rows // 5, MAX_HELD_OUT)
    return order[num_held:], order[:num_held]


def fit_linear(x: np.ndarray, target: Target) -> Predict:
    """Fit ridge regression, or logistic to categories and binary values, or Poisson regression to counts.

    Binary values or counts with more columns than MAX_REGRESSIONS get ridge regression, whose predictions are
    clipped to what a mean can be.

    Args:
        x: Inputs, `[N, C]`.
        target: What to predict, with N rows.
    """
    value_type, num_columns = target.value_type, target.values.shape[1]
    if value_type in ("real", "ordinal", "segmentation") or (
        value_type != "category" and num_columns > MAX_REGRESSIONS
    ):
        return _fit_clipped_ridge(x, target)
    fit = {"category": _fit_category, "binary": _fit_binary, "counts": _fit_counts}[value_type]
    kept, held = hold_out(len(x))
    kept = kept[:MAX_REGRESSION_ROWS]
    found = [fit(x[kept], target.values[kept], penalty) for penalty in PENALTIES]
    errors = [target.take(held).error(predict(x[held])) for predict in found]
    rows = np.concatenate([kept, held])[:MAX_REGRESSION_ROWS]
    return fit(x[rows], target.values[rows], PENALTIES[int(np.argmin(errors))])


def _fit_clipped_ridge(x: np.ndarray, target: Target) -> Predict:
    value_type, columns = target.value_type, target.columns
    low, high = {
        "real": (-np.inf, np.inf), "binary": (0.01, 0.99), "counts": (0.01, np.inf), "ordinal": (0, 1),
        "segmentation": (0.01, 0.99),
    }[value_type]  # fmt: skip
    # Counts are predicted themselves, not their logarithm, whose mean is not that of counts.
    unscaled = value_type == "counts"
    solve = fit_ridge(x, target.values if unscaled else columns.encode(target.values))

    def predict(x):
        predicted = solve(x)
        return np.clip(predicted if unscaled else columns.decode(predicted), low, high)

    return predict


def fit_ridge(x: np.ndarray, y: np.ndarray) -> Predict:
    """Fit ridge regression, its penalty chosen by leaving one row out.

    As scikit-learn's RidgeCV, but for all penalties from one decomposition. With X = U S V' centred, a
    penalty a, and D = S^2 / (S^2 + a), the prediction of the training rows is H y, H = U D U' + 1 / N,
    and the error of row i without it is (y - H y)_i / (1 - H_ii). Of many rows MAX_HELD_OUT are left out in
    turn.

    Args:
        x: Inputs, `[N, C]`.
        y: What to predict, `[N, F]`.
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
    weights = right @ ((np.sqrt(squares) / (squares + penalty))[:, None] * inner)
    return lambda x: (x - x_mean) @ weights + y_mean


def _fit_category(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit logistic regression to one-hot values. A category that was never seen gets the probability 0."""
    seen = np.flatnonzero(values.any(axis=0))
    labels = values.argmax(axis=1)
    if len(seen) == 1:
        mean = values.mean(axis=0)
        return lambda x: np.broadcast_to(mean, (len(x), len(mean)))
    model = LogisticRegression(C=1 / (penalty * len(x)), max_iter=200, tol=1e-3)
    fit_quietly(model, x, labels)

    def predict(x):
        found = np.zeros((len(x), values.shape[1]))
        found[:, seen] = model.predict_proba(x)
        return found

    return predict


def _fit_binary(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit logistic regression to each column of 0 and 1."""
    pairs = [np.stack([1 - column, column], axis=1) > 0.5 for column in values.T]
    fitted = [_fit_category(x, pair, penalty) for pair in pairs]
    return lambda x: np.stack([predict(x)[:, 1] for predict in fitted], axis=1)


def _fit_counts(x: np.ndarray, values: np.ndarray, penalty: float) -> Predict:
    """Fit Poisson regression, with a logarithmic link, to each column of counts."""

    def fit(column):
        if not column.any():
            return lambda x: np.zeros(len(x))
        return fit_quietly(
            PoissonRegressor(alpha=penalty, max_iter=200, tol=1e-3), x, column
        ).predict

    fitted = [fit(column) for column in values.T]
    return lambda x: np.stack([predict(x) for predict in fitted], axis=1)


def fit_quietly(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Fit a model of scikit-learn, and accept that its last digits may not have converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def fit_neighbours(x: np.ndarray, weights: np.ndarray, target: Target) -> Predict:
    """Fit the mean of the nearest training rows.

    Rows held out choose the number of neighbours, and whether to weight the columns. The means of counts and
    probabilities are drawn towards the mean of all training rows by the weight of one neighbour, so that none
    is 0.

    Args:
        x: Inputs, `[N, C]`.
        weights: What to multiply the columns by if that does better, `[C]`.
        target: What to predict, with N rows.
    """
    kept, held = hold_out(len(x))
    numbers = [k for k in NEIGHBOURS if k <= len(kept)]
    tried = {}
    for weighted in (False, True):
        z = x * weights if weighted else x
        means = _neighbour_means(z[kept], target.take(kept), numbers)(z[held])
        errors = [target.take(held).error(mean) for mean in means]
        tried |= {(weighted, k): error for k, error in zip(numbers, errors, strict=True)}
    weighted, number = min(tried, key=tried.__getitem__)
    means = _neighbour_means(x * weights if weighted else x, target, [number])
    return lambda x: means(x * weights if weighted else x)[0]


def _neighbour_means(
    x: np.ndarray, target: Target, numbers: Sequence[int]
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return the function that gives the mean of the nearest rows, for several numbers of them."""
    is_real, columns = target.value_type == "real", target.columns
    # Of images the components are averaged: the pixels of all neighbours need not be in memory.
    values = columns.encode(target.values) if is_real else target.values
    index = NearestNeighbors(n_neighbors=max(numbers), algorithm="brute").fit(x)
    prior = values.mean(axis=0)

    def predict(query):
        _, nearest = index.kneighbors(query)
        sums, found = np.zeros((len(query), values.shape[1])), []
        for k in range(max(numbers)):
            sums += values[nearest[:, k]]
            if k + 1 in numbers:
                mean = sums / (k + 1) if is_real else (sums + prior) / (k + 2)
                found.append(columns.decode(mean) if is_real else mean)
        return found

    return predict
