"""A user's data on disk, opened as raw arrays that share their rows, and checked.

The formats are an `.npz` file; an `.npy` file, or a folder of them; a folder that TFDS wrote; a table (CSV,
Parquet, Feather, Excel), or several that a key joins; an `.h5ad` or `.h5mu` file; a data set that Hugging
Face saved to disk; and a folder that holds a folder of images for each modality, and tables (`pictures`).
Some names are not modalities: `label` is the class of each row; `split` holds the strings train, valid and
test; and `NAME_present` [N] bool is True where the modality NAME is there.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_type
from sbmae_jax._io import as_path
from sbmae_jax.data.description import Description
from sbmae_jax.data.names import as_name
from sbmae_jax.data.user.arrays import read_npy_file, read_npy_folder, read_npz
from sbmae_jax.data.user.checks import (
    as_strings,
    check_label,
    check_mask,
    check_modality,
    check_rows,
    check_split,
    decode,
)
from sbmae_jax.data.user.columns import as_column
from sbmae_jax.data.user.datasets_folder import ONE, SEVERAL, read_datasets_folder
from sbmae_jax.data.user.frame_file import EXCEL
from sbmae_jax.data.user.groups import GroupsGiven, PartsGiven, as_groups, as_parts
from sbmae_jax.data.user.omics import OMICS_FILES, read_omics
from sbmae_jax.data.user.pictures import read_pictures
from sbmae_jax.data.user.raw import RawArrays, ReadRows
from sbmae_jax.data.user.records import read_records
from sbmae_jax.data.user.table_files import MISSING_MARKERS, TableOptions, is_table


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """A user's raw arrays, with the same rows; nothing is read until it is asked for.

    Attributes:
        path: Where the data are.
        num_rows: The number of rows, N.
        sizes: The number of rows of each array in the files, also of labels, splits and masks.
        shapes: The shape of one example of each modality.
        dtypes: The dtype of each modality; strings have a dtype of kind "U".
        read: Reads rows: (row numbers, names) -> {name: raw rows}.
        label: The class of each row [N], as it is in the files, or None.
        split: The split of each row [N], as strings, or None.
        present: [N] bool masks, for modalities whose missing rows the files themselves mark.
        entries: The names of the entries of vectors that have names.
        grouped: The columns of the vectors that columns of tables were grouped into.
        notices: Sentences on what was found and not used.
        unusable: By name, why something cannot be a modality.
        unreadable: By name, in one sentence, why something cannot be read.
        ignored: Columns that are known but not modelled: the names of the rows.
        missing_markers: The strings that mark a missing category.
        parts: The vector, the columns of it and the number of all its columns, for each part of a vector.
    """

    path: Path
    num_rows: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    read: ReadRows
    sizes: Mapping[str, int] = field(default_factory=dict)
    label: np.ndarray | None = None
    split: np.ndarray | None = None
    present: Mapping[str, np.ndarray] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grouped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    missing_markers: tuple[str, ...] = MISSING_MARKERS
    parts: Mapping[str, tuple[str, tuple[int, ...], int]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, sorted."""
        return tuple(sorted(self.shapes))

    @property
    def all_names(self) -> tuple[str, ...]:
        """The modalities and what cannot be one, sorted."""
        return tuple(sorted({*self.shapes, *self.unusable, *self.unreadable}))

    def check(self, names: Sequence[str]) -> int:
        """Return the number of rows; raises ValueError if arrays differ in it, or if one is unreadable."""
        for name in names:
            if name in self.unreadable:
                raise ValueError(self.unreadable[name])
        asked = {"label", "split", *names, *(f"{name}_present" for name in names)}
        sizes = {name: size for name, size in self.sizes.items() if name in asked}
        return check_rows(self.path, sizes) if sizes else self.num_rows

    def only(self, names: Sequence[str]) -> "Table":
        """Return the same rows with these modalities alone.

        Raises:
            ValueError: For a modality that is unknown, unusable or unreadable, and as `check`.
        """
        for name in names:
            if name in self.unusable:
                shown = name if name.isidentifier() else repr(name)
                raise ValueError(f"{shown} {self.unusable[name]}")
            if name not in self.shapes and name not in self.unreadable:
                known = ", ".join(self.names)
                raise ValueError(f"{self.path} has no modality {name!r}: choose from {known}")
        return dataclasses.replace(
            self,
            num_rows=self.check(names),
            shapes={name: self.shapes[name] for name in names},
            dtypes={name: self.dtypes[name] for name in names},
            present={name: mask for name, mask in self.present.items() if name in names},
        )

    def row_bytes(self, names: Sequence[str]) -> int:
        """Return the size of one row of these arrays in bytes, at least 1."""
        sizes = (self.dtypes[n].itemsize * np.prod(self.shapes[n], dtype=np.int64) for n in names)
        return max(1, int(sum(sizes)))


def open_table(
    path: str | Path,
    missing_markers: Sequence[str] = MISSING_MARKERS,
    like: Description | None = None,
    *,
    groups: GroupsGiven = None,
    key: str = "",
) -> Table:
    """Open a user's data; arrays are mapped or read when their rows are asked for.

    Args:
        path: A file or a folder in one of the formats above. `~` is the home folder.
        missing_markers: The strings that mark a missing cell or category.
        like: What a model was trained on, where these are new rows for it: the columns of a table are then
            found by their names, and have the types that they had. None infers them.
        groups: Which columns of a table form which vector: `{name: columns}`, where a column may be a pattern
            such as "lab_*" and every other column is a modality of its own; "each" for one modality per
            column; or "prefix" for vectors of the columns that have the same letters before their first
            underscore or point. None makes one vector of all numbers of a file.
        key: The column of a table that names the rows; "" for one that is called `id` or `file`.

    Returns:
        The arrays, checked to have the same rows.

    Raises:
        ValueError: In one sentence that says what to fix: if the path does not exist or its format is
            unknown, if an array cannot be read or has other rows than the others, and as `assemble`. New rows
            may hold anything in what training has left out.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/data.npz", age=np.array([31.0, 47.0]), label=np.array([0, 1]))
        ...     table = open_table(f"{folder}/data.npz")
        >>> table.names, table.num_rows, table.shapes
        (('age',), 2, {'age': ()})
        >>> table.read(np.array([1]), ["age"])
        {'age': array([47.])}
    """
    options = table_options(missing_markers, groups, key)
    table = open_arrays(path, options, like)
    ignored = () if like is None else like.ignored
    table.check([name for name in table.all_names if name not in ignored])
    return table


def table_options(
    missing_markers: Sequence[str] = MISSING_MARKERS, groups: GroupsGiven = None, key: str = "",
    parts: PartsGiven = None,
) -> TableOptions:  # fmt: skip
    """Return how tables are read, checked; the arguments are those of `open_files`."""
    require_type("key", key, str)
    markers = as_strings("missing_markers", missing_markers)
    return TableOptions(
        markers=markers, groups=as_groups(groups), key=as_name(key), parts=as_parts(parts)
    )


def open_arrays(path: str | Path, options: TableOptions, like: Description | None = None) -> Table:
    """Open a user's data as `open_table`, but leave to `Table.only` what is wrong with single arrays."""
    path = Path(as_path(path))
    raw = _reader_of(path, options, like)(path)
    if like is not None:  # which needs neither labels nor splits
        arrays = {name: x for name, x in raw.arrays.items() if name not in ("label", "split")}
        raw = replace(raw, arrays=arrays)
    return assemble(path, raw, options.markers)


def _reader_of(
    path: Path, options: TableOptions, like: Description | None
) -> Callable[[Path], RawArrays]:
    """Return the function that reads a path; raises ValueError if none can, or if it reads no tables."""
    read = _find_reader(path)
    if read in (read_pictures, read_omics):
        return partial(read, options=options, like=like)
    if options.groups:
        raise ValueError(
            f"groups: only the columns of tables can be grouped, and {path} holds arrays"
        )
    return read


def _find_reader(path: Path) -> Callable[..., RawArrays]:
    """Return the function that reads a path; raises ValueError if none can."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: name a file or a folder of data")
    if path.is_file():
        if path.suffix == ".npz":
            return read_npz
        if path.suffix == ".npy":
            return read_npy_file
        if is_table(path) or path.suffix.lower() in EXCEL:
            return read_pictures
        if path.suffix in OMICS_FILES:
            return read_omics
        raise ValueError(
            f"{path} is not an .npz file: save the arrays with np.savez, or as a folder of .npy files, or a "
            "table as a .csv or .parquet file"
        )
    if (path / ONE).exists() or (path / SEVERAL).exists():
        return read_datasets_folder
    if (path / "dataset_info.json").exists():
        return read_records
    if any(path.glob("*.npy")):
        return read_npy_folder
    versions = sorted(path.glob("*/dataset_info.json"))
    if versions:
        raise ValueError(
            f"{path} holds the versions of a TFDS data set: name one, such as {versions[-1].parent}"
        )
    if any(is_table(child) or child.is_dir() for child in path.iterdir()):
        return read_pictures
    raise ValueError(
        f"{path} holds no known data: expected .npy files, a TFDS data set, tables such as CSV files, or "
        "folders of images"
    )


def assemble(
    path: Path, raw: RawArrays, missing_markers: tuple[str, ...] = MISSING_MARKERS
) -> Table:
    """Separate modalities from what describes them, and note what cannot be read.

    Args:
        path: Where the arrays come from, for messages.
        raw: The arrays, as a reader returned them.
        missing_markers: The strings that mark a missing category.

    Returns:
        The table of modalities, with their labels, splits and masks. An array without rows or of a dtype
        that holds no values, or whose mask is not what it must be, is unreadable.

    Raises:
        ValueError: If there is no modality, or `label` or `split` is not what it must be.
    """
    arrays = dict(raw.arrays)
    if not arrays and not raw.unreadable:
        raise ValueError(f"{path} holds no arrays")
    unreadable = dict(raw.unreadable)
    for name in [name for name, array in arrays.items() if not array.shape]:
        unreadable[name] = f"{name} in {path} is a scalar: the first axis must be rows"
        del arrays[name]
    sizes = {name: array.shape[0] for name, array in arrays.items()}
    label = arrays.pop("label", None)
    split = arrays.pop("split", None)
    present = dict(raw.present)
    for name in [name for name in arrays if name.endswith("_present")]:
        of, mask = name.removesuffix("_present"), arrays.pop(name)
        try:
            mask = check_mask(name, of, arrays, mask)
            present[of] = mask & present.get(of, True)
        except ValueError as error:
            if of not in unreadable:
                unreadable[of if of in arrays else name] = str(error)
    for name in raw.unusable.keys() & arrays.keys():
        del arrays[name]
    if not arrays and not raw.unusable and not unreadable:
        raise ValueError(f"{path} holds no modality, only {', '.join(raw.arrays) or 'nothing'}")
    for name, array in list(arrays.items()):
        try:
            if array.dtype.kind == "M":
                array, here = as_column(name, np.asarray(array))
                arrays[name] = array
                if here is not None:
                    present[name] = here & present.get(name, True)
            check_modality(name, array)
            if array.dtype.kind == "S":
                arrays[name] = decode(name, array)
        except ValueError as error:
            unreadable.setdefault(name, str(error))
        if name in unreadable:
            del arrays[name]
    return Table(
        path=path,
        num_rows=next(iter(sizes.values()), 0),
        sizes=sizes,
        shapes={name: tuple(array.shape[1:]) for name, array in arrays.items()},
        dtypes={name: array.dtype for name, array in arrays.items()},
        read=raw.read or _read_each(arrays),
        label=None if label is None else check_label(np.asarray(label), missing_markers),
        split=None if split is None else check_split(np.asarray(split)),
        present=present,
        entries=raw.entries,
        grouped=raw.grouped,
        notices=raw.notices,
        unusable=raw.unusable,
        unreadable=unreadable,
        ignored=raw.ignored,
        missing_markers=missing_markers,
    )


def _read_each(arrays: Mapping[str, Any]) -> ReadRows:
    """Return a function that reads rows of one array after the other."""

    def read(rows, names):
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)  # a contiguous view, without a copy
        return {name: np.asarray(arrays[name][rows]) for name in names}

    return read
