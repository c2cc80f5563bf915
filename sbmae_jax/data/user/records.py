"""Raw arrays of a data set that TFDS wrote as ArrayRecord files; TensorFlow is not needed."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax.data.user.raw import RawArrays, row_numbers

WORDS = {"train": "train", "valid": "valid", "validation": "valid", "val": "valid", "test": "test"}


def read_records(path: Path) -> RawArrays:
    """Open a folder of TFDS; features are modalities, classes with names become words.

    Where it has the splits train and test, they are used, or else all its rows are one.

    Features within features, and of shapes that differ between rows, are unusable.

    Raises ValueError for a folder that cannot be opened, and for splits of other names.
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
    features = {name: f for name, f in info.features.items() if is_array(f)}
    unusable = {
        name: f"is {type(f).__name__} of shape {f.shape} in TFDS, and only arrays of one fixed shape can be "
        "modalities: bring it to one, or leave it out (config.data.leave_out)"
        for name, f in info.features.items()
        if name not in features
    }
    arrays: dict[str, Any] = {name: Feature(name, f, records) for name, f in features.items()}
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

    return RawArrays(arrays, unusable=unusable, read=read)


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


def is_array(feature: Any) -> bool:
    """Return whether a feature is an array of one shape."""
    shape = getattr(feature, "shape", None)
    return isinstance(shape, tuple) and None not in shape


class Feature:
    """One feature of all records, as an array that is read when it is indexed."""

    def __init__(self, name: str, feature: Any, records: Joined):
        self._name, self._records = name, records
        self._words = words_of(feature)
        is_text = isinstance(feature, tfds.features.Text) or self._words is not None
        shape: Any = feature.shape
        dtype: Any = "U" if is_text else feature.np_dtype
        self.shape, self.dtype = (len(records), *shape), np.dtype(dtype)

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
