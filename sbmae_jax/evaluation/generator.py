"""The generator as it is measured: on rows of a test split, a batch at a time.

Generator and reconstruction are functions, so that this model and any baseline are measured by the
same lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from sbmae_jax.data.source import map_batches
from sbmae_jax.types import Array, CompleteFn, Key

Arrays = Mapping[str, np.ndarray]
Read = Callable[[Mapping[str, Array]], Mapping[str, Any]]
"""all modalities of a batch -> what is kept of it: arrays with one row for each row"""


@dataclass(frozen=True)
class Generator:
    """What is measured. All functions work on batches of `batch_size`.

    complete: the generator, as `Model.complete`.
    reconstruct: batch -> all modalities, each encoded and decoded.
    draw: as `complete`, but draws from p(x|z) rather than its mean, which stands in where it is left out.

    What its methods return is what `read` keeps of each batch, at first all of it; where the pictures of
    all rows do not fit into memory, keep less.
    """

    names: tuple[str, ...]
    complete: CompleteFn
    reconstruct: Callable[[Arrays], Mapping[str, Array]]
    batch_size: int
    draw: CompleteFn | None = None

    def reconstructed(self, rows: Arrays, read: Read = dict) -> dict[str, np.ndarray]:
        """Encode and decode rows [N, ...]."""
        pictures = {name: rows[name] for name in self.names}
        return map_batches(
            lambda _, batch: read(self.reconstruct(batch)), pictures, self.batch_size
        )

    def completed(
        self, key: Key, rows: Arrays, observed: np.ndarray, read: Read = dict
    ) -> dict[str, np.ndarray]:
        """Generate what is not observed, [N, M] or the same in all rows [M], of rows [N, ...]."""
        return self._generated(self.complete, key, rows, observed, read)

    def drawn(
        self, key: Key, rows: Arrays, observed: np.ndarray, read: Read = dict
    ) -> dict[str, np.ndarray]:
        """Draw what is not observed, with the noise of p(x|z); otherwise as `completed`."""
        return self._generated(self.draw or self.complete, key, rows, observed, read)

    def _generated(self, generate: CompleteFn, key, rows, observed, read) -> dict[str, np.ndarray]:
        def call(i, batch):
            mask = batch.pop("observed")
            return read(generate(jax.random.fold_in(key, i), batch, mask))

        pictures = {name: rows[name] for name in self.names}
        shape = (len(pictures[self.names[0]]), len(self.names))
        pictures["observed"] = np.broadcast_to(observed, shape)
        return map_batches(call, pictures, self.batch_size)


def nothing(rows: Arrays, names: tuple[str, ...], num: int) -> tuple[Arrays, np.ndarray]:
    """Return `num` blank rows like `rows`, with nothing observed [num, M]."""
    blank = {name: np.zeros((num, *rows[name].shape[1:]), rows[name].dtype) for name in names}
    return blank, np.zeros((num, len(names)), bool)
