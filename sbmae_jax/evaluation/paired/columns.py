"""Modalities as columns of numbers, for predictors that know no pictures: centred, scaled, few."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from sbmae_jax.models.autoencoder import as_float

MAX_COLUMNS = 256  # of a modality; a wider one is reduced to so many principal components
PCA_ROWS = 5000  # rows from which these are computed

VALUE_TYPE_BY_LIKELIHOOD = {
    "gaussian": "real", "normal": "real", "bernoulli": "binary", "categorical": "category",
    "poisson": "counts",
}  # fmt: skip
"""The type of the values, as `metrics.prediction` names it, by the likelihood of a modality."""


def flat(x: np.ndarray) -> np.ndarray:
    """Return the values of rows as the losses see them, [N, ...] -> [N, F]: pictures are in [0, 1]."""
    return np.asarray(as_float(np.asarray(x)), np.float32).reshape(len(x), -1)


def present_rows(rows: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Return what was measured, [N, M] bool: `present`, or all where the data lack nothing."""
    everything = np.ones((len(rows[names[0]]), len(names)), bool)
    return np.asarray(rows["present"], bool) if "present" in rows else everything


@dataclass(frozen=True, eq=False)
class Columns:
    """How the values of a modality become columns whose total variance is about their number.

    Counts are taken as log(1 + x). mean: [F].  scale: one for the whole modality, so that the distances of
    pictures keep their meaning.  components: principal ones [C, F], or None where F is small.
    """

    value_type: str
    mean: np.ndarray
    scale: float
    components: np.ndarray | None

    def read(self, x: np.ndarray) -> np.ndarray:
        """Return the columns of rows: [N, ...] -> [N, C]."""
        values = (logs(self.value_type, flat(x)) - self.mean) / self.scale
        return values if self.components is None else values @ self.components.T

    def restore(self, columns: np.ndarray) -> np.ndarray:
        """Return the values that belong to columns, but for what the components leave out: [N, F]."""
        values = columns if self.components is None else columns @ self.components
        return values * self.scale + self.mean


def logs(value_type: str, values: np.ndarray) -> np.ndarray:
    """Return log(1 + x) of counts, and other values as they are."""
    return np.log1p(values) if value_type == "counts" else values


def fit_columns(value_type: str, x: np.ndarray, max_columns: int = MAX_COLUMNS) -> Columns:
    """Find the columns of a modality from training rows [N, ...] that have it."""
    values = logs(value_type, flat(x))
    mean = values.mean(axis=0)
    scale = float(np.sqrt(np.mean(values.var(axis=0)))) or 1.0
    if values.shape[1] <= max_columns:
        return Columns(value_type, mean, scale, None)
    chosen = np.random.default_rng(0).permutation(len(values))[:PCA_ROWS]
    some = (values[chosen] - mean) / scale
    pca = PCA(min(max_columns, len(some)), svd_solver="randomized", random_state=0)
    return Columns(value_type, mean, scale, pca.fit(some).components_)
