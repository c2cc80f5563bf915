"""Wide vectors that share factors, a third of whose columns are no linear functions of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import RidgeCV

from sbmae_jax.models.model import Model

SIZES = (50, 80, 120, 160, 200, 250)  # columns of the views
NUM_FACTORS, NUM_ROWS, NUM_TEST = 30, 1500, 1000
NUM_DRAWS = 5
GAUSSIAN = "of a joint Gaussian"


def make_views(rng: np.random.Generator, sizes: tuple[int, ...] = SIZES) -> dict[str, np.ndarray]:
    """Return views `[N, size]` and the split of the rows."""
    num = NUM_ROWS + NUM_TEST
    factors, views = rng.normal(size=(num, NUM_FACTORS)), {}
    for number, size in enumerate(sizes):
        values = factors @ rng.normal(size=(NUM_FACTORS, size)) / np.sqrt(NUM_FACTORS)
        values[:, : size // 3] = np.sin(2 * values[:, : size // 3])
        views[f"w{number}"] = values + 0.3 * rng.normal(size=values.shape)
    parts = {"train": NUM_ROWS * 9 // 10, "valid": NUM_ROWS // 10, "test": NUM_TEST}
    return views | {"split": np.repeat(list(parts), list(parts.values()))}


class Standardised(NamedTuple):
    """Views in units of the standard deviation of the training rows, by split."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


def standardise(arrays: Mapping[str, np.ndarray]) -> Standardised:
    """Return the training rows and the test rows; the validation rows are left to the model."""
    is_train, is_test = arrays["split"] == "train", arrays["split"] == "test"
    views = {n: (x - x[is_train].mean(axis=0)) / x[is_train].std(axis=0)
             for n, x in arrays.items() if n != "split"}  # fmt: skip
    return Standardised(
        {n: x[is_train] for n, x in views.items()}, {n: x[is_test] for n, x in views.items()}
    )


def errors_of_linear(views: Standardised, given: list[str], target: str) -> dict[str, np.ndarray]:
    """Return the squared errors `[N, F]` of ridge regression and of a Gaussian, by the name of the method."""
    x, y = (np.concatenate([part[n] for n in given], axis=1) for part in views)
    ridge = RidgeCV(np.logspace(-1, 5, 13)).fit(x, views.train[target])
    joint = LedoitWolf().fit(np.concatenate([x, views.train[target]], axis=1)).covariance_
    seen = x.shape[1]
    gain = np.linalg.solve(joint[:seen, :seen], joint[:seen, seen:])
    found = {"of ridge": ridge.predict(y), GAUSSIAN: y @ gain}
    return {name: (mean - views.test[target]) ** 2 for name, mean in found.items()}


def errors_of_model(
    model: Model, arrays: Mapping[str, np.ndarray], views: Standardised, target: str
) -> np.ndarray:
    """Return the squared errors `[N, F]` of the mean of draws given all other views, less their scatter."""
    is_test, is_train = arrays["split"] == "test", arrays["split"] == "train"
    given = {n: x[is_test] for n, x in arrays.items() if n not in ("split", target)}
    draws = model.generate(given, num_samples=NUM_DRAWS)[target]
    center, scale = arrays[target][is_train].mean(axis=0), arrays[target][is_train].std(axis=0)
    draws = (draws - center) / scale
    error = (draws.mean(axis=1) - views.test[target]) ** 2
    return error - draws.var(axis=1, ddof=1) / NUM_DRAWS


def compare(
    model: Model, arrays: Mapping[str, np.ndarray], results: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the errors given all and given one, and those of the columns that are not linear."""
    views, cells, columns = standardise(arrays), {}, {}
    names = list(views.train)
    for target in names:
        total = float(np.mean(views.test[target] ** 2))
        for source in [None, *names]:
            if source == target:
                continue
            given = [n for n in names if n != target] if source is None else [source]
            linear = errors_of_linear(views, given, target)
            entry = (
                results["prediction"][target]["model"]
                if source is None
                else results["prediction_given_one"][source][target]
            )["error"]
            cells[f"{target} given {source or 'all'}"] = {
                "error": entry["mean"], "its standard error": entry["se"],
                **{name: float(error.mean()) / total for name, error in linear.items()},
            }  # fmt: skip
            if source is None:
                bent = slice(len(views.test[target][0]) // 3)
                of_model = errors_of_model(model, arrays, views, target)
                unit = float(np.mean(views.test[target][:, bent] ** 2))
                columns[target] = {
                    name: float(error[:, bent].mean()) / unit
                    for name, error in {"error": of_model, **linear}.items()
                }
    return {"rows": cells, "columns": columns}
