"""A user's files as a data set: rows read at random, and prepared for the networks as they are read."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_one_of, require_type
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import PRESENT, SPLITS, LazyArrays, require_arrays, require_rows
from sbmae_jax.data.user.groups import GroupsGiven, PartsGiven
from sbmae_jax.data.user.opened import OpenedFiles, open_files
from sbmae_jax.data.user.profile import pieces
from sbmae_jax.data.user.raw import row_numbers
from sbmae_jax.data.user.table_files import MISSING_MARKERS

LABEL = "label"


def files(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
    *,
    path: str | Path,
    kinds: Mapping[str, str] | None = None,
    partial_rows: str = "refuse",
    missing_markers: Sequence[str] = MISSING_MARKERS,
    groups: GroupsGiven = None,
    key: str = "",
    parts: PartsGiven = None,
) -> "FileSource":
    """Open one split of a user's files.

    Args:
        split: "train", "valid" or "test".
        num_rows: How many rows, of an order drawn from the seed; None or 0 for all.
        names: The modalities; none for all. Rows that have none of them are dropped.
        seed: Decides the order of the rows, and random splits.
        path: As in `open_table`.
        kinds: Kinds that are set rather than inferred, by modality.
        partial_rows: What to do with rows that have NaN in part: "refuse" them, or take them for "missing".
        missing_markers: The strings that mark a missing cell or category.
        groups: Which columns of a table form which vector, as in `open_table`.
        key: The column of a table that names the rows, as in `open_table`.
        parts: The parts in which vectors are learned, as in `open_files`.

    Returns:
        The data set. Its arrays are the prepared modalities; `present` [N, M] bool, in the sorted order of
        the names, if anything is missing in any split; and `label` [N] int32, if the data have labels.

    Raises:
        ValueError: As `open_files`, and if the split is unknown or has fewer rows than asked for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/data.npz", age=np.linspace(20, 80, 50), town=["Bonn", "Oslo"] * 25)
        ...     source = files("train", path=f"{folder}/data.npz")
        >>> len(source), source.shapes
        (40, {'age': (1,), 'town': (2,)})
        >>> source.scalings["town"].restore(source[0]["town"]).item() in ("Bonn", "Oslo")
        True
    """
    require_one_of("split", split, SPLITS)
    if num_rows is not None:
        require_type("num_rows", num_rows, int)
    opened = open_files(
        path, kinds, seed, partial_rows, names, missing_markers, groups=groups, key=key, parts=parts
    )
    modalities, rows = opened.table.names, opened.rows[split]
    require_rows(split, opened.table.path, len(rows), num_rows)
    present = opened.present(modalities)
    anything_missing = not present[present.any(axis=1)].all()
    others = [PRESENT] * anything_missing + [LABEL] * (opened.label is not None)
    return FileSource(
        opened=opened,
        rows=rows[: num_rows or None],
        names=(*modalities, *others),
        modalities=modalities,
        present=present,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class FileSource:
    """Rows of a user's files, as a `Source`.

    `source[i]` reads and prepares one example. `source.arrays[name]` is read and prepared as it is indexed,
    unless it is loaded; `np.asarray` of it reads it whole.

    Attributes:
        opened: The files.
        rows: The row numbers of these examples in the files.
        names: The arrays: modalities, and perhaps `present` and `label`.
        modalities: All modalities that were opened, sorted.
        present: Which of `modalities` each row of the files has: [all rows, M] bool.
        loaded: The arrays that are in memory.
    """

    opened: OpenedFiles
    rows: np.ndarray
    names: tuple[str, ...]
    modalities: tuple[str, ...]
    present: np.ndarray
    loaded: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        batch = self.read(row_numbers([index], len(self)), self.names)
        return {name: array[0] for name, array in batch.items()}

    def read(self, numbers: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read and prepare examples, by their numbers in this source."""
        rows = self.rows[numbers]
        found = {name: self.loaded[name][numbers] for name in names if name in self.loaded}
        unread = [name for name in names if name in self.modalities and name not in found]
        found |= self.opened.prepare(rows, unread)
        if PRESENT in names:
            found[PRESENT] = self.present[rows]
        if LABEL in names and self.opened.label is not None:
            found[LABEL] = self.opened.label.codes[rows]
        return {name: found[name] for name in names}

    @property
    def arrays(self) -> Mapping[str, Any]:
        """The arrays: those that are loaded, and others that are read as they are indexed."""

        def make_array(name):
            if name in (PRESENT, LABEL):
                self.load([name])
            return self.loaded[name] if name in self.loaded else LazyArray(self, name)

        return LazyArrays(self.names, make_array)

    @property
    def scalings(self) -> dict[str, Scaling]:
        """How each modality is prepared and restored."""
        return {name: self.opened.scalings[name] for name in self.names if name in self.modalities}

    @property
    def ignored(self) -> tuple[str, ...]:
        """The arrays and columns of the files that are not modelled."""
        return self.opened.ignored

    @property
    def fingerprint(self) -> str:
        """What tells these files from others, wherever they are."""
        return self.opened.fingerprint

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one example of each array."""
        others = {PRESENT: (len(self.modalities),), LABEL: ()}
        return {n: others[n] if n in others else self.scalings[n].shape for n in self.names}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """The dtype of each array."""
        others = {PRESENT: np.dtype(bool), LABEL: np.dtype(np.int32)}
        return {n: others.get(n) or self.scalings[n].prepared_dtype for n in self.names}

    @property
    def entries(self) -> dict[str, tuple[str, ...]]:
        """The names of the classes of `label` and of categories, and of the entries of named vectors."""
        named = dict(self.opened.table.entries)
        named |= {
            n: tuple(map(str, s.classes))
            for n, s in self.opened.scalings.items()
            if s.value_kind.is_category
        }
        if self.opened.label is not None:
            named[LABEL] = tuple(map(str, self.opened.label.values))
        return {name: named[name] for name in self.names if name in named}

    def nbytes(self, name: str) -> int:
        """Return the size of a whole array in bytes, whether it is loaded or not."""
        size = self.dtypes[name].itemsize * len(self)
        return size * int(np.prod(self.shapes[name], dtype=np.int64))

    def load(self, names: Sequence[str]) -> None:
        """Load arrays in one pass in the order of the files, a piece of rows at a time."""
        shapes, dtypes = self.shapes, self.dtypes
        missing = [name for name in self.select(names).names if name not in self.loaded]
        arrays = {n: np.empty((len(self), *shapes[n]), dtypes[n]) for n in missing}
        raw = [name for name in missing if name in self.modalities]
        order = np.argsort(self.rows)
        for numbers in pieces(self.opened.table, raw, order) if missing else ():
            for name, array in self.read(numbers, missing).items():
                arrays[name][numbers] = array
        self.loaded.update(arrays)

    def select(self, names: Sequence[str]) -> "FileSource":
        """Return the same examples with these arrays alone; loaded arrays are shared."""
        require_arrays(names, self.names)
        return dataclasses.replace(self, names=tuple(names))


class LazyArray:
    """One array of a source, read and prepared as it is indexed along its rows."""

    def __init__(self, source: FileSource, name: str):
        self._source, self._name = source, name
        self.shape = (len(source), *source.shapes[name])
        self.dtype = source.dtypes[name]
        self.ndim = len(self.shape)
        self.nbytes = source.nbytes(name)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        x = self._source.read(np.atleast_1d(numbers), [self._name])[self._name]
        return x if np.ndim(numbers) else x[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy  # always made
        whole = np.empty(self.shape, dtype or self.dtype)
        for numbers in pieces(self._source.opened.table, [self._name], np.arange(len(self))):
            whole[numbers] = self[numbers]
        return whole
