"""Raw arrays of a data set that TFDS wrote as ArrayRecord files; TensorFlow is not needed."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax.data.columns import Columns, row_numbers

WORDS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}


def read_records(path: Path) -> Columns:
    """Open a folder of TFDS; features are modalities, classes with names become words.

    Where it has the splits train and test, they are used, or else all its rows are one.

    Raises ValueError for a folder that cannot be opened, for features within features, and for shapes that
    differ between rows.
    """
    try:
        info: Any = tfds.builder_from_directory(path).info
        sources = {name: open_split(path, name) for name in info.splits if len_of(info, name)}
    except Exception as error:  # TFDS raises what it likes
        raise ValueError(
            f"{path} cannot be read as a data set of TFDS ({' '.join(str(error).split())}): it must hold "
            "ArrayRecord files, as written with file_format='array_record'"
        ) from None
    records = Joined(list(sources.values()))
    features = dict(info.features)
    arrays: dict[str, Any] = {
        name: Feature(name, feature, records) for name, feature in features.items()
    }
    if {"train", "test"} <= {WORDS.get(name) for name in sources}:
        strange = [name for name in sources if name not in WORDS]
        if strange:
            raise ValueError(
                f"{path} has the split {strange[0]!r}: splits must be train, validation and test"
            )
        sizes = [len(source) for source in sources.values()]
        arrays["split"] = np.repeat([WORDS[name] for name in sources], sizes)
    if "label" in features:
        arrays["label"] = arrays["label"][np.arange(len(records))]

    def read(rows, names):
        chosen = [records[i] for i in rows]
        return {name: arrays[name].joined([record[name] for record in chosen]) for name in names}

    return Columns(arrays, read=read)


def open_split(path: Path, name: str) -> Any:
    """Open one split for reading at random."""
    return tfds.builder_from_directory(path).as_data_source(name)  # pyright: ignore


def len_of(info: Any, name: str) -> int:
    """Return how many rows a split has."""
    return info.splits[name].num_examples


class Joined:
    """Records of several splits, one after the other."""

    def __init__(self, sources: list[Any]):
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, row: int) -> dict[str, Any]:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._sources[part][int(row - (self._ends[part - 1] if part else 0))]


class Feature:
    """One feature of all records, as an array that is read when it is indexed.

    Raises ValueError for a feature that is no array of one shape.
    """

    def __init__(self, name: str, feature: Any, records: Joined):
        shape, dtype = getattr(feature, "shape", None), getattr(feature, "np_dtype", None)
        if not isinstance(shape, tuple) or None in shape or isinstance(dtype, dict):
            raise ValueError(
                f"{name} is {type(feature).__name__} of shape {shape} in TFDS: only arrays of one fixed "
                "shape can be modalities"
            )
        self._name, self._records = name, records
        self._words = words_of(feature)
        is_text = isinstance(feature, tfds.features.Text)
        self.shape = (len(records), *shape)
        self.dtype = np.dtype("U" if is_text or self._words is not None else dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        return self.joined([self._records[i][self._name] for i in numbers])

    def joined(self, values: list[Any]) -> np.ndarray:
        """Join the values of several records."""
        if self._words is not None:
            return self._words[np.asarray(values, np.int64)]
        if self.dtype.kind == "U":
            return np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in values])
        return np.asarray(values, self.dtype).reshape(len(values), *self.shape[1:])


def words_of(feature: Any) -> np.ndarray | None:
    """Return the names of a feature's classes, where they are more than their numbers."""
    if not isinstance(feature, tfds.features.ClassLabel):
        return None
    names = list(feature.names)
    return None if names == list(map(str, range(len(names)))) else np.asarray(names)
