"""Which modalities are observed."""

import numpy as np


def nested_subsets(num_rows: int, num_modalities: int) -> list[np.ndarray]:
    """Return for 1, 2, .. M-1 observed modalities which ones each row observes: [num_rows, M] bool.

    Each row adds modalities in an order of its own, drawn uniformly from a fixed seed; so the subsets of
    a size are equally likely, and those of a row grow.
    """
    draws = np.random.default_rng(0).random((num_rows, num_modalities))
    rank = draws.argsort(axis=1).argsort(axis=1)
    return [rank < num_observed for num_observed in range(1, num_modalities)]
