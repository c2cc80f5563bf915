"""Data sets: random access to examples, each a dict of NumPy arrays with one entry per modality."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sbmae_jax.data.scaling import Scaling

SPLITS = ("train", "valid", "test")

PRESENT = "present"
"""Name of the array [N, M] bool that says which modalities each row has, in the order of their names."""


class Source(Protocol):
    """A data set: any example by its row number, and whole arrays for what fits into memory.

    `source[i]` with an integer in 0..len(source)-1 is one example, a dict of arrays. `arrays[name]` is one
    modality of all examples, with rows as the first axis. To add a data set, write a function
    `(split, num_rows, names, seed) -> Source`; most return an `ArraySource` or a `RecordSource`.

    Some arrays are not modalities: `label` [N] int32 is the class of each row, and `present` [N, M] bool
    says which modalities a row has, where rows lack some. The example of `ArraySource` shows one.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, np.ndarray]: ...

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """One array per modality, with one row per example."""
        ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each array."""
        ...

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The dtype of each array."""
        ...

    @property
    def entries(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the classes of `label`, and of the entries of vectors that have names."""
        ...

    @property
    def scalings(self) -> Mapping[str, Scaling]:
        """How each modality of a user's files is scaled; empty for data that come prepared."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """The arrays and columns of a user's files that are not modelled; empty for other data."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells a user's files from others, wherever they are; "" for other data."""
        ...

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array in bytes, whether it is loaded or not."""
        ...

    def load(self, names: Sequence[str]) -> None:
        """Load these arrays into memory, in one pass over the data if possible."""
        ...

    def select(self, names: Sequence[str]) -> "Source":
        """Return the same examples with these arrays alone."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """A data set held in memory.

    An integer index gives one example; an integer array or a slice gives a batch.

    Attributes:
        arrays: One array per modality, and `label` where rows have classes, all with the same first axis.
        entries: The names of the classes of `label`, and of the entries of vectors that have names.
        scalings: How each modality was scaled; empty where the arrays are used as they are.
        ignored: The arrays and columns of a user's files that are not modelled.
        fingerprint: What tells a user's files from others.

    Example:
        >>> source = ArraySource({"x": np.arange(6.0).reshape(3, 2), "label": np.array([0, 1, 1])})
        >>> len(source), source.shapes
        (3, {'x': (2,), 'label': ()})
        >>> source[1]["x"]
        array([2., 3.])
    """

    arrays: Mapping[str, np.ndarray]
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each array."""
        return {name: array.shape[1:] for name, array in self.arrays.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The dtype of each array."""
        return {name: array.dtype for name, array in self.arrays.items()}

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array in bytes."""
        return self.arrays[name].nbytes

    def load(self, names: Sequence[str]) -> None:
        """Do nothing: all arrays are in memory."""

    def select(self, names: Sequence[str]) -> "ArraySource":
        """Return the same examples with these arrays alone; the arrays are shared, not copied."""
        return replace(self, arrays={name: self.arrays[name] for name in names})


@dataclass(frozen=True)
class Subset:
    """Some rows of a source, to be read one by one, with arrays under other names.

    Attributes:
        source: The data set.
        names: For each name in an example, the name of the array in `source`.
        rows: Row numbers in `source`, in the order of the subset: [n] integers; None for all.
    """

    source: Source
    names: Mapping[str, str]
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source if self.rows is None else self.rows)

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]:
        row = self.source[index if self.rows is None else int(self.rows[index])]
        return {field: row[name] for field, name in self.names.items()}


class LazyArrays(Mapping[str, Any]):
    """Named arrays, each made by `make_array(name)` when it is looked up."""

    def __init__(self, names: Sequence[str], make_array: Callable[[str], Any]):
        self._names, self._make_array = tuple(names), make_array

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._make_array(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def require_arrays(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError for a name that is not among those known."""
    for name in names:
        if name not in known:
            raise ValueError(f"the data have no array {name!r}: choose from {', '.join(known)}")


def require_rows(split: str, path: Path, size: int, num_rows: int | None) -> None:
    """Raise ValueError if a split has no rows, or fewer than are asked for."""
    if not size or not 0 <= (num_rows or 0) <= size:
        raise ValueError(
            f"the split {split!r} of {path} has {size:,} rows, but {num_rows or 'some'} were asked for"
        )


def rows_with(source: Source, names: Sequence[str], modalities: Sequence[str]) -> np.ndarray | None:
    """Find the rows that have all of some modalities.

    Args:
        source: The data set.
        names: The modalities that a row must have.
        modalities: All modalities, in the order of the columns of the array `present`.

    Returns:
        The row numbers, or None if every row has every modality.
    """
    if PRESENT not in source.shapes:
        return None
    columns = [m for m, name in enumerate(modalities) if name in names]
    return np.flatnonzero(np.asarray(source.arrays[PRESENT])[:, columns].all(axis=1))


def apportion(counts: np.ndarray, num: int) -> np.ndarray:
    """Divide a number in proportion to counts, by largest remainders; no share exceeds its count.

    Example:
        >>> apportion(np.array([5, 3, 2]), 5)
        array([3, 1, 1])
    """
    whole, remainder = np.divmod(num * counts, counts.sum())
    largest = np.argsort(-remainder, kind="stable")[: num - whole.sum()]
    whole[largest] += 1
    return whole
