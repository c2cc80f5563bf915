"""A data set on disk, prepared in TFDS's format: any record at random, and whole arrays when asked.

Nothing here needs TensorFlow: the records are ArrayRecord files, which are read at random.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax.data.scaling import Scaling

READING = grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)


@dataclass(frozen=True)
class RecordSource:
    """Rows of a prepared split: `source[i]` reads one example, `source.arrays[name]` loads one array.

    records: random access by number, as TFDS gives it.  features: TFDS's, by name.
    rows: numbers of the records that these examples are.  loaded: arrays that are in memory already.
    entries: names of the entries of vectors that have names.  scalings: none, as records are prepared.
    """

    records: Any
    features: Mapping[str, Any]
    rows: np.ndarray
    names: tuple[str, ...]
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    loaded: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        record = self.records[self.rows[index]]
        return {name: record[name] for name in self.names}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Whole arrays, each loaded when it is first asked for, and kept."""
        return _Arrays(self)

    def load(self, names: Sequence[str]) -> None:
        """Load several arrays in one pass: a record is read as a whole, whatever is wanted of it.

        Raises ValueError for a name that is not there.
        """
        wanted = self.select(names)
        missing = tuple(name for name in wanted.names if name not in self.loaded)
        if missing:
            self.loaded.update(_load(self, missing))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each modality."""
        return {name: tuple(self.features[name].shape) for name in self.names}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The type of each modality."""
        return {name: np.dtype(self.features[name].np_dtype) for name in self.names}

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array, loaded or not."""
        size = self.dtypes[name].itemsize * len(self)
        return size * int(np.prod(self.shapes[name], dtype=np.int64))

    def select(self, names: Sequence[str]) -> "RecordSource":
        """Return the same examples with these modalities alone; what is loaded is shared."""
        for name in names:
            if name not in self.names:
                raise ValueError(f"no {name!r} in these data: choose from {', '.join(self.names)}")
        return dataclasses.replace(self, names=tuple(names))


def open_records(
    directory: Path, split: str, names: Sequence[str], num_rows: int | None = None, seed: int = 0
) -> RecordSource:
    """Open a prepared split.

    num_rows: the first of the rows in an order drawn from the seed, so that fewer rows are a random
    part of more; None or 0 for all.

    Raises ValueError for a split, a name or a number of rows that the data do not have.
    """
    builder = tfds.builder_from_directory(directory)
    size = builder.info.splits[split].num_examples if split in builder.info.splits else 0
    if not 0 <= (num_rows or 0) <= size or not size:
        raise ValueError(f"the split {split!r} has {size:,} rows, and {num_rows} were asked for")
    rows = np.random.default_rng(seed).permutation(size)[: num_rows or size]
    features: Any = builder.info.features
    records = builder.as_data_source(split)  # pyright: ignore
    return RecordSource(records, features, rows, tuple(features)).select(names)


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays of a source, loaded when they are asked for."""

    def __init__(self, source: RecordSource):
        self._source = source

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._source.names:
            raise KeyError(name)
        self._source.load([name])
        return self._source.loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names)

    def __len__(self) -> int:
        return len(self._source.names)


def _load(source: RecordSource, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read arrays in the order of the files, with several threads."""
    shapes, dtypes = source.shapes, source.dtypes
    arrays = {name: np.empty((len(source), *shapes[name]), dtypes[name]) for name in names}
    order = np.argsort(source.rows)
    in_order = dataclasses.replace(source, rows=source.rows[order], names=names, loaded={})
    reader = iter(grain.MapDataset.source(in_order).to_iter_dataset(READING))
    try:
        for row, example in zip(order, reader, strict=True):
            for name in names:
                arrays[name][row] = example[name]
    finally:
        reader.close()
    return arrays
