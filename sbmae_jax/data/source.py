"""Where examples come from: random access to dicts of numpy arrays, one entry per modality."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ArraySource:
    """A data set held in memory.

    arrays: one array per modality (and `label`, where there is one), all with the same first axis.
    Indexing with an integer gives one example, with an integer array or a slice a batch.
    """

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}


def map_batches(
    function: Callable[[int, dict[str, np.ndarray]], Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Apply a function to consecutive batches of rows, and join what it returns.

    function: (number of the batch, batch) -> arrays with one row for each row of the batch. All batches
    have the same size, so that one executable serves all: the last one repeats its final row, and what
    is made of the repetitions is dropped.
    """
    num_rows = len(next(iter(arrays.values())))
    parts = []
    for i, start in enumerate(range(0, num_rows, batch_size)):
        rows = np.minimum(np.arange(start, start + batch_size), num_rows - 1)
        made = function(i, {name: array[rows] for name, array in arrays.items()})
        parts.append({name: np.asarray(array) for name, array in made.items()})
    return {name: np.concatenate([part[name] for part in parts])[:num_rows] for name in parts[0]}
