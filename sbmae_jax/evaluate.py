"""The generator as it is measured: on rows of a test split, a batch at a time.

Generator and reconstruction are functions, so that this model and any baseline are measured by the
same lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from sbmae_jax.data.source import map_batches
from sbmae_jax.types import Array, Generate, Key

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """What is measured. All functions work on batches of `batch_size`.

    complete: the generator, as `Model.complete`.
    reconstruct: batch -> all modalities, each encoded and decoded.
    """

    names: tuple[str, ...]
    complete: Generate
    reconstruct: Callable[[Arrays], Mapping[str, Array]]
    batch_size: int

    def reconstructed(self, rows: Arrays) -> dict[str, np.ndarray]:
        """Encode and decode rows [N, ...]."""
        pictures = {name: rows[name] for name in self.names}
        return map_batches(lambda _, batch: self.reconstruct(batch), pictures, self.batch_size)

    def completed(self, key: Key, rows: Arrays, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Generate what is not observed, [N, M] or the same in all rows [M], of rows [N, ...]."""

        def complete(i, batch):
            mask = batch.pop("observed")
            return self.complete(jax.random.fold_in(key, i), batch, mask)

        pictures = {name: rows[name] for name in self.names}
        shape = (len(pictures[self.names[0]]), len(self.names))
        pictures["observed"] = np.broadcast_to(observed, shape)
        return map_batches(complete, pictures, self.batch_size)


def nothing(rows: Arrays, names: tuple[str, ...], num: int) -> tuple[Arrays, np.ndarray]:
    """Return `num` blank rows like `rows`, with nothing observed [num, M]."""
    blank = {name: np.zeros((num, *rows[name].shape[1:]), rows[name].dtype) for name in names}
    return blank, np.zeros((num, len(names)), bool)


def nested_subsets(num_rows: int, num_modalities: int) -> list[np.ndarray]:
    """Return for 1, 2, .. M-1 observed modalities which ones each row observes: [num_rows, M] bool.

    Each row adds modalities in an order of its own, drawn uniformly from a fixed seed; so the subsets of
    a size are equally likely, and those of a row grow.
    """
    draws = np.random.default_rng(0).random((num_rows, num_modalities))
    rank = draws.argsort(axis=1).argsort(axis=1)
    return [rank < num_observed for num_observed in range(1, num_modalities)]
