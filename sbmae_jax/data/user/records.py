"""Raw arrays of a data set that TFDS wrote as ArrayRecord files; TensorFlow is not needed."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax._io import one_line
from sbmae_jax.data.user.raw import RawArrays, row_numbers, unusable_names


def read_records(path: Path) -> RawArrays:
    """Open a folder that TFDS wrote; its features are modalities, and class labels with names are strings.

    Args:
        path: The folder with `dataset_info.json`.

    Returns:
        The arrays of all splits, one after the other, with an array `split` if there are splits train and
        test. Nested features, and features whose shape differs between rows, are unusable.

    Raises:
        ValueError: If the folder cannot be opened.
    """
    try:
        info: Any = tfds.builder_from_directory(path).info
        splits = {
            name: tfds.builder_from_directory(path).as_data_source(name)  # pyright: ignore
            for name, split in info.splits.items()
            if split.num_examples
        }
    except Exception as error:  # TFDS documents no types
        raise ValueError(
            f"{path} cannot be read as a TFDS data set ({one_line(error)}): it must hold ArrayRecord "
            "files, as written with file_format='array_record'"
        ) from None
    records = _JoinedRecords(list(splits.values()))
    features = {name: f for name, f in info.features.items() if _has_fixed_shape(f)}
    unusable = {
        name: f"is a TFDS feature {type(f).__name__} of shape {f.shape}, but a modality needs one fixed "
        "shape: give it one, or leave it out by config.data.leave_out"
        for name, f in info.features.items()
        if name not in features
    }
    arrays: dict[str, Any] = {name: _Feature(name, f, records) for name, f in features.items()}
    present = _find_classes(path, list(splits), features, arrays)
    if {"train", "test"} <= set(splits):
        arrays["split"] = np.repeat(list(splits), [len(split) for split in splits.values()])
    if "label" in features:
        arrays["label"] = arrays["label"][np.arange(len(records))]

    def read(rows, names):
        chosen = [records[i] for i in rows]
        return {name: arrays[name].stack([record[name] for record in chosen]) for name in names}

    unusable |= unusable_names(dict.fromkeys(arrays, "the feature"))
    return RawArrays(arrays, present=present, unusable=unusable, read=read)


def _find_classes(
    path: Path, splits: list[str], features: dict[str, Any], arrays: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Return the rows that have a class, of features whose classes have no names: -1 is no class."""
    numbered = [
        name
        for name, feature in features.items()
        if isinstance(feature, tfds.features.ClassLabel) and arrays[name].dtype.kind != "U"
    ]
    if not numbered:
        return {}
    images = [name for name, f in features.items() if isinstance(f, tfds.features.Image)]
    undecoded = dict.fromkeys(images, tfds.decode.SkipDecoding())
    builder: Any = tfds.builder_from_directory(path)
    sources = [builder.as_data_source(split, decoders=undecoded) for split in splits]
    codes = [[record[name] for name in numbered] for source in sources for record in source]
    present = np.asarray(codes).reshape(-1, len(numbered)) >= 0
    return {n: p for n, p in zip(numbered, present.T, strict=True) if n != "label" and not p.all()}


class _JoinedRecords:
    """The records of several splits, one after the other."""

    def __init__(self, sources: list[Any]):
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, row: int) -> dict[str, Any]:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._sources[part][int(row - (self._ends[part - 1] if part else 0))]


def _has_fixed_shape(feature: Any) -> bool:
    """Return whether a feature is an array of the same shape in every row."""
    shape = getattr(feature, "shape", None)
    return isinstance(shape, tuple) and None not in shape


class _Feature:
    """One feature of all records, as an array that is read when it is indexed."""

    def __init__(self, name: str, feature: Any, records: _JoinedRecords):
        self._name, self._records = name, records
        self._classes = _class_names(feature)
        is_string = isinstance(feature, tfds.features.Text) or self._classes is not None
        shape: Any = feature.shape
        dtype: Any = "U" if is_string else feature.np_dtype
        self.shape, self.dtype = (len(records), *shape), np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        return self.stack([self._records[i][self._name] for i in numbers])

    def stack(self, values: list[Any]) -> np.ndarray:
        """Stack the values of several records."""
        if self._classes is not None:
            # -1 is no class. The empty string after the last name marks what is missing.
            return np.append(self._classes, "")[np.maximum(np.asarray(values, np.int64), -1)]
        if self.dtype.kind == "U":
            return np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in values])
        return np.asarray(values, self.dtype).reshape(len(values), *self.shape[1:])


def _class_names(feature: Any) -> np.ndarray | None:
    """Return the names of a feature's classes, or None where they are just their numbers."""
    if not isinstance(feature, tfds.features.ClassLabel):
        return None
    names = list(feature.names)
    return None if names == list(map(str, range(len(names)))) else np.asarray(names)
