"""Where examples come from: random access to dicts of numpy arrays, one entry per modality."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from sbmae_jax.data.scaling import Scaling

PRESENT = "present"
"""The array of bool [N, M] that says which modalities a row has, in the order of their names."""


class Source(Protocol):
    """A data set: any example by its number, and whole arrays for what fits into memory.

    `source[i]` with an integer 0..len(source)-1 gives one example, a dict of arrays; `arrays[name]`
    is all of one modality, with the rows as first axis.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, np.ndarray]: ...

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """One array per modality, with one row for each example."""
        ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each modality."""
        ...

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The type of each modality."""
        ...

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the classes of `label`, and of the entries of vectors that have names."""
        ...

    @property
    def scalings(self) -> Mapping[str, Scaling]:
        """How modalities whose user has them in other units were scaled."""
        ...

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array, loaded or not."""
        ...

    def load(self, names: Sequence[str]) -> None:
        """Have these arrays in memory, where one pass over the data can load several."""
        ...

    def select(self, names: Sequence[str]) -> "Source":
        """Return the same examples with these modalities alone."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """A data set held in memory.

    arrays: one array per modality (and `label`, where there is one), all with the same first axis.
    entries: names of the classes of `label`, and of the entries of vectors that have names.
    Indexing with an integer gives one example, with an integer array or a slice a batch.
    """

    arrays: Mapping[str, np.ndarray]
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scalings: Mapping[str, Scaling] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each modality."""
        return {name: array.shape[1:] for name, array in self.arrays.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The type of each modality."""
        return {name: array.dtype for name, array in self.arrays.items()}

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array."""
        return self.arrays[name].nbytes

    def load(self, names: Sequence[str]) -> None:
        """Do nothing: all arrays are in memory."""

    def select(self, names: Sequence[str]) -> "ArraySource":
        """Return the same examples with these modalities alone; the arrays are shared."""
        return ArraySource({name: self.arrays[name] for name in names}, self.entries, self.scalings)


@dataclass(frozen=True)
class Subset:
    """Some rows of a source, for reading one by one, with arrays under other names.

    Attributes:
        source: Where the rows come from.
        names: For each name in a row, the name of the array.
        rows: The numbers of the rows; None takes all.
    """

    source: Source
    names: Mapping[str, str]
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source if self.rows is None else self.rows)

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]:
        row = self.source[index if self.rows is None else int(self.rows[index])]
        return {field: row[name] for field, name in self.names.items()}


def rows_with(source: Source, names: Sequence[str], modalities: Sequence[str]) -> np.ndarray | None:
    """Return the numbers of the rows that have all of `names`, or None if every row has everything.

    modalities: the columns of the array `present`, which a source has where rows lack modalities.
    """
    if PRESENT not in source.shapes:
        return None
    columns = [m for m, name in enumerate(modalities) if name in names]
    return np.flatnonzero(np.asarray(source.arrays[PRESENT])[:, columns].all(axis=1))


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
