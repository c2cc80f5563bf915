"""A prepared data set on disk, in TFDS's format: any record at random, and whole arrays on demand.

Nothing here needs TensorFlow: the records are ArrayRecord files, which allow random access.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax._check import require_seed
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import LazyArrays, require_arrays, require_rows

_READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)


@dataclass(frozen=True, kw_only=True)
class RecordSource:
    """Rows of a prepared split, as a `Source`.

    `source[i]` reads one example. `source.arrays[name]` loads one whole array, once.

    Attributes:
        records: Random access to the records of the split, as TFDS gives it.
        features: TFDS's feature of each array.
        rows: The record numbers of these examples.
        names: The arrays of an example.
        entries: The names of the classes of `label`, and of the entries of vectors that have names.
        scalings: Empty: records are prepared.
        ignored: Empty: all arrays may be modelled.
        fingerprint: Empty: records are no files of a user.
        loaded: The arrays that are in memory.
    """

    records: Any
    features: Mapping[str, Any]
    rows: np.ndarray
    names: tuple[str, ...]
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    fingerprint: str = ""
    loaded: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        record = self.records[self.rows[index]]
        return {name: record[name] for name in self.names}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Whole arrays, each loaded when it is first asked for, and kept."""

        def make_array(name):
            self.load([name])
            return self.loaded[name]

        return LazyArrays(self.names, make_array)

    def load(self, names: Sequence[str]) -> None:
        """Load several arrays in one pass, since a record is always read as a whole."""
        wanted = self.select(names)
        missing = tuple(name for name in wanted.names if name not in self.loaded)
        if missing:
            self.loaded.update(_load(self, missing))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each array."""
        return {name: tuple(self.features[name].shape) for name in self.names}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The dtype of each array."""
        return {name: np.dtype(self.features[name].np_dtype) for name in self.names}

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array in bytes, whether it is loaded or not."""
        size = self.dtypes[name].itemsize * len(self)
        return size * int(np.prod(self.shapes[name], dtype=np.int64))

    def select(self, names: Sequence[str]) -> "RecordSource":
        """Return the same examples with these arrays alone; loaded arrays are shared."""
        require_arrays(names, self.names)
        return dataclasses.replace(self, names=tuple(names))


def open_records(
    directory: Path, split: str, names: Sequence[str], num_rows: int | None = None, seed: int = 0
) -> RecordSource:
    """Open one split of a prepared data set.

    Args:
        directory: Where TFDS's format is: the folder of `dataset_info.json`.
        split: A split of the data set.
        names: The arrays of an example.
        num_rows: How many rows, the first of an order drawn from the seed, so that fewer rows are a random
            part of more; None or 0 for all.
        seed: Decides the order of the rows.

    Returns:
        The data set.

    Raises:
        ValueError: If the data have no such split or array, or fewer rows than asked for.
    """
    seed = require_seed("seed", seed)
    builder = tfds.builder_from_directory(directory)
    size = builder.info.splits[split].num_examples if split in builder.info.splits else 0
    require_rows(split, directory, size, num_rows)
    features: Any = builder.info.features
    return RecordSource(
        records=builder.as_data_source(split),  # pyright: ignore
        features=features,
        rows=np.random.default_rng(seed).permutation(size)[: num_rows or size],
        names=tuple(features),
    ).select(names)


def _load(source: RecordSource, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays in the order of the files, with several threads."""
    shapes, dtypes = source.shapes, source.dtypes
    arrays = {name: np.empty((len(source), *shapes[name]), dtypes[name]) for name in names}
    order = np.argsort(source.rows)
    in_order = dataclasses.replace(source, rows=source.rows[order], names=names, loaded={})
    reader = iter(grain.MapDataset.source(in_order).to_iter_dataset(_READ_OPTIONS))
    try:
        for row, example in zip(order, reader, strict=True):
            for name in names:
                arrays[name][row] = example[name]
    finally:
        reader.close()
    return arrays
