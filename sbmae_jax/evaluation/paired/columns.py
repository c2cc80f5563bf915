"""Modalities as columns of numbers, for predictors that cannot read images: centred, scaled, few."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from sbmae_jax.data.tokens import MAX_VOCABULARY, count_tokens
from sbmae_jax.models.autoencoder import as_float

MAX_COLUMNS = 256  # of a modality; a wider one is reduced to as many principal components
PCA_ROWS = 5000  # rows from which these are computed

VALUE_TYPE_BY_LIKELIHOOD = {
    "gaussian": "real", "normal": "real", "bernoulli": "binary", "categorical": "category",
    "poisson": "counts", "tokens": "real", "ordinal": "ordinal",
    "pixel_classes": "segmentation",
}  # fmt: skip
"""The type of the values, as `metrics.prediction` names it, by the likelihood of a modality."""


def is_text(x: np.ndarray) -> bool:
    """Return whether rows are the tokens of strings: their dtype is that of nothing else."""
    return x.dtype == np.uint16


def num_values(x: np.ndarray) -> int:
    """Return how many numbers the losses see of each row."""
    return MAX_VOCABULARY if is_text(x) else int(np.prod(x.shape[1:]))


def flatten(x: np.ndarray) -> np.ndarray:
    """Return rows as the losses see them, `[N, ...] -> [N, F]` float32, with images in [0, 1].

    Of text these are the numbers of each token, in whatever order they stand.
    """
    if is_text(x):
        return count_tokens(np.asarray(x))
    return np.asarray(as_float(np.asarray(x)), np.float32).reshape(len(x), -1)


def present_mask(rows: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Return which modalities each row has, `[N, M]` bool: its array `present`, or all without one."""
    everything = np.ones((len(rows[names[0]]), len(names)), bool)
    return np.asarray(rows["present"], bool) if "present" in rows else everything


@dataclass(frozen=True, eq=False)
class Columns:
    """How the values of a modality become columns whose total variance is about their number.

    Counts are taken as log(1 + x).

    Attributes:
        value_type: The type of the values; see `metrics.prediction`.
        mean: Of the values, `[F]`.
        scale: What they are divided by: one number, so that distances between images keep their meaning.
        components: The principal components to project on, `[C, F]`, or None where F is small.
    """

    value_type: str
    mean: np.ndarray
    scale: float
    components: np.ndarray | None

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Turn rows into columns, `[N, ...] -> [N, C]`."""
        values = (_logs(self.value_type, flatten(x)) - self.mean) / self.scale
        return values if self.components is None else values @ self.components.T

    def decode(self, columns: np.ndarray) -> np.ndarray:
        """Turn columns into values, `[N, C] -> [N, F]`, without what the components leave out.

        Counts come back as log(1 + x).
        """
        values = columns if self.components is None else columns @ self.components
        return values * self.scale + self.mean


def fit_columns(value_type: str, x: np.ndarray, max_columns: int = MAX_COLUMNS) -> Columns:
    """Find the columns of a modality.

    Args:
        value_type: The type of its values.
        x: The training rows that have it, `[N, ...]`.
        max_columns: How many columns to make at most.
    """
    values = _logs(value_type, flatten(x))
    mean = values.mean(axis=0)
    scale = float(np.sqrt(np.mean(values.var(axis=0)))) or 1.0
    if values.shape[1] <= max_columns:
        return Columns(value_type, mean, scale, None)
    chosen = np.random.default_rng(0).permutation(len(values))[:PCA_ROWS]
    some = (values[chosen] - mean) / scale
    pca = PCA(min(max_columns, len(some)), svd_solver="randomized", random_state=0)
    return Columns(value_type, mean, scale, pca.fit(some).components_)


def _logs(value_type: str, values: np.ndarray) -> np.ndarray:
    return np.log1p(values) if value_type == "counts" else values
