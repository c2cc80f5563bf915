"""A data set of Hugging Face, as `save_to_disk` writes it into a folder."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._extras import require_extra
from sbmae_jax._io import one_line
from sbmae_jax.data.user.columns import Column, as_column
from sbmae_jax.data.user.raw import RawArrays, read_each, unusable_names
from sbmae_jax.data.user.spool import SPLIT_NAMES, in_declared_dtype

ONE, SEVERAL = "state.json", "dataset_dict.json"
"""Files that tell a data set, and several splits of one, from other folders."""


def read_datasets_folder(path: Path) -> RawArrays:
    """Read a data set into memory; each column is a modality, and classes are their names.

    Args:
        path: The folder.

    Returns:
        The columns, with an array `split` if there are splits train and test. Columns whose values have no
        common type or shape are unreadable.

    Raises:
        ValueError: If the folder cannot be read.
        ImportError: If `datasets` is not installed.
    """
    require_extra(f"reading {path}", "datasets", "datasets")
    import datasets

    try:
        data: Any = datasets.load_from_disk(str(path))
        parts: Mapping[str, Any] = data if isinstance(data, Mapping) else {"": data}
        parts = {name: part for name, part in parts.items() if len(part)}
        features = next(iter(parts.values())).features
    except Exception as error:  # of whatever type the package raises
        raise ValueError(
            f"{path} cannot be read as a data set of Hugging Face ({one_line(error)}): write it again with "
            "save_to_disk"
        ) from None

    def read(name):
        # In NumPy's format, integers with holes would be floats.
        is_value = isinstance(features[name], datasets.Value)
        chosen = (part.select_columns([name]) for part in parts.values())
        formatted = (part.with_format(None if is_value else "numpy") for part in chosen)
        values = list(chain.from_iterable(part[:][name] for part in formatted))
        classes = getattr(features[name], "names", None)
        if classes is not None:
            values = [None if v is None or v < 0 else classes[int(v)] for v in values]
        column = in_declared_dtype(as_column(name, values), features[name])
        if is_value and column.values.dtype == np.float64:
            return column._replace(
                values=column.values.astype(features[name].pa_type.to_pandas_dtype())
            )
        return column

    columns: dict[str, Column]
    columns, unreadable = read_each({name: name for name in features}, read)
    arrays = {name: values for name, (values, _) in columns.items()}
    if {"train", "test"} <= set(parts) and "split" not in arrays:
        names = [SPLIT_NAMES.get(name, name) for name in parts]
        arrays["split"] = np.repeat(names, [len(part) for part in parts.values()])
    return RawArrays(
        arrays,
        present={n: present for n, (_, present) in columns.items() if present is not None},
        unusable=unusable_names(dict.fromkeys(arrays, "the column")),
        unreadable=unreadable,
    )
