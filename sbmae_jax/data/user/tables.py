"""A user's data on disk, opened as raw arrays that share their rows, and checked.

Formats: an `.npz` file; an `.npy` file, or a folder of them; a folder that TFDS wrote; a folder with a folder
of pictures for each modality and a CSV file (`tables_pictures`). Arrays with these names are not
modalities: `label`, the class of each row; `split`, with the words train, valid and test; and
`NAME_present` [N] bool, True where NAME was measured.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax.data.user.arrays import read_npy_file, read_npy_folder, read_npz
from sbmae_jax.data.user.checks import (
    check_label,
    check_mask,
    check_modality,
    check_rows,
    check_split,
    decoded,
)
from sbmae_jax.data.user.pictures import read_pictures
from sbmae_jax.data.user.raw import RawArrays, Read
from sbmae_jax.data.user.records import read_records


@dataclass(frozen=True, eq=False)
class Table:
    """Raw arrays of a user; nothing is read before it is asked for.

    shapes, dtypes: of one example of each modality; words have a type of kind "U".
    label: [N], as it stands in the files.  split: [N] words.  present: [N] bool, of those that say it.
    entries: names of the entries of vectors that have names.  notices: what was found and not used.
    unusable: sentences on what cannot be a modality, by name.
    """

    path: Path
    num_rows: int
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    read: Read
    label: np.ndarray | None = None
    split: np.ndarray | None = None
    present: Mapping[str, np.ndarray] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, sorted."""
        return tuple(sorted(self.shapes))

    @property
    def all_names(self) -> tuple[str, ...]:
        """The modalities and what cannot be one, sorted."""
        return tuple(sorted([*self.shapes, *self.unusable]))

    def only(self, names: Sequence[str]) -> "Table":
        """Return the same rows with these modalities alone. Raises ValueError for one that there is not."""
        for name in names:
            if name in self.unusable:
                raise ValueError(f"{name} {self.unusable[name]}")
            if name not in self.shapes:
                known = ", ".join(self.names)
                raise ValueError(f"{self.path} has no modality {name!r}: choose from {known}")
        return dataclasses.replace(
            self,
            shapes={name: self.shapes[name] for name in names},
            dtypes={name: self.dtypes[name] for name in names},
            present={name: mask for name, mask in self.present.items() if name in names},
        )

    def row_bytes(self, names: Sequence[str]) -> int:
        """Return how many bytes one row of these arrays has."""
        sizes = (self.dtypes[n].itemsize * np.prod(self.shapes[n], dtype=np.int64) for n in names)
        return max(1, int(sum(sizes)))


def open_table(path: str | Path) -> Table:
    """Open the data at a path.

    Raises ValueError, in one sentence that says what to mend, for a path that is not there or of no known
    format, for arrays that cannot be read, and for what `assemble` refuses.
    """
    path = Path(path).expanduser()
    return assemble(path, reader(path)(path))


def reader(path: Path) -> Callable[[Path], RawArrays]:
    """Return what reads a path; raises ValueError if nothing does."""
    if not path.exists():
        raise ValueError(
            f"there is no {path}: config.data.path must name a file or a folder of data"
        )
    if path.is_file():
        if path.suffix == ".npz":
            return read_npz
        if path.suffix == ".npy":
            return read_npy_file
        raise ValueError(
            f"{path} is not an .npz file: pack the arrays with np.savez, or name a folder of .npy files"
        )
    if (path / "dataset_info.json").exists():
        return read_records
    if any(path.glob("*.npy")):
        return read_npy_folder
    versions = sorted(path.glob("*/dataset_info.json"))
    if versions:
        raise ValueError(
            f"{path} holds versions of a data set of TFDS: name one, as {versions[-1].parent}"
        )
    if any(path.glob("*.csv")) or any(child.is_dir() for child in path.iterdir()):
        return read_pictures
    raise ValueError(
        f"{path} holds no data that are known: .npy files, a data set of TFDS, or folders of pictures with "
        "a CSV file"
    )


def assemble(path: Path, columns: RawArrays) -> Table:
    """Tell modalities from what describes them, and check that they fit together.

    Raises ValueError for arrays that differ in their number of rows, names that are reserved or cannot be
    used, types that hold no values, and `label`, `split` or `NAME_present` that are not what they must be.
    """
    arrays = dict(columns.arrays)
    num_rows = check_rows(path, arrays)
    label = arrays.pop("label", None)
    split = arrays.pop("split", None)
    present = dict(columns.present)
    for name in [name for name in arrays if name.endswith("_present")]:
        of = name.removesuffix("_present")
        mask = check_mask(name, of, arrays, arrays.pop(name))
        present[of] = mask & present.get(of, True)
    if not arrays:
        raise ValueError(f"{path} holds no modality, but {', '.join(columns.arrays) or 'nothing'}")
    for name, array in arrays.items():
        check_modality(name, array)
        if array.dtype.kind == "S":
            arrays[name] = decoded(name, array)
    return Table(
        path,
        num_rows,
        {name: tuple(array.shape[1:]) for name, array in arrays.items()},
        {name: array.dtype for name, array in arrays.items()},
        columns.read or reads(arrays),
        None if label is None else check_label(np.asarray(label)),
        None if split is None else check_split(np.asarray(split)),
        present,
        columns.entries,
        columns.notices,
        columns.unusable,
    )


def reads(arrays: Mapping[str, Any]) -> Read:
    """Return what reads rows of arrays one array after the other."""

    def read(rows, names):
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)  # as one piece, without a copy
        return {name: np.asarray(arrays[name][rows]) for name in names}

    return read
