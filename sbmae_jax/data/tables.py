"""A user's data on disk, opened as raw arrays that share their rows, and checked.

Formats: an `.npz` file; an `.npy` file, or a folder of them; a folder that TFDS wrote; a folder with a folder
of pictures for each modality and a CSV file (`tables_pictures`). Arrays with these names are not
modalities: `label`, the class of each row; `split`, with the words train, valid and test; and
`NAME_present` [N] bool, True where NAME was measured.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax.data.columns import Columns, Read
from sbmae_jax.data.tables_arrays import read_npy_file, read_npy_folder, read_npz
from sbmae_jax.data.tables_pictures import read_pictures
from sbmae_jax.data.tables_records import read_records

SPLITS = ("train", "valid", "test")
RESERVED = ("label", "split", "present")
NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True, eq=False)
class Table:
    """Raw arrays of a user; nothing is read before it is asked for.

    shapes, dtypes: of one example of each modality; words have a type of kind "U".
    label: [N], as it stands in the files.  split: [N] words.  present: [N] bool, of those that say it.
    entries: names of the entries of vectors that have names.  notices: what was found and not used.
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

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, sorted."""
        return tuple(sorted(self.shapes))

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


def reader(path: Path) -> Callable[[Path], Columns]:
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


def assemble(path: Path, columns: Columns) -> Table:
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
    )


def reads(arrays: Mapping[str, Any]) -> Read:
    """Return what reads rows of arrays one array after the other."""

    def read(rows, names):
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)  # as one piece, without a copy
        return {name: np.asarray(arrays[name][rows]) for name in names}

    return read


def check_rows(path: Path, arrays: Mapping[str, Any]) -> int:
    """Return how many rows all arrays have; raises ValueError, naming two, if they differ."""
    for name, array in arrays.items():
        if not array.shape:
            raise ValueError(f"{name} in {path} is a single value: the first axis must be rows")
    sizes = {name: array.shape[0] for name, array in arrays.items()}
    if not sizes:
        raise ValueError(f"{path} holds no arrays")
    first = next(iter(sizes))
    for name, size in sizes.items():
        if size != sizes[first]:
            raise ValueError(
                f"{first} has {sizes[first]:,} rows and {name} has {size:,}: all arrays must have the same "
                "rows; where one was not measured, put NaN or mark it in NAME_present"
            )
    return sizes[first]


def check_modality(name: str, array: Any) -> None:
    """Raise ValueError if an array cannot be a modality."""
    if name in RESERVED:
        raise ValueError(f"{name} is a reserved name: rename this array")
    if not NAME.fullmatch(name):
        raise ValueError(
            f"a modality cannot be called {name!r}: use letters, digits, _ and - in its name"
        )
    if array.dtype.kind not in "buifUS":
        raise ValueError(f"{name}: values must be numbers or words, got {array.dtype}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{name}: examples are empty, of shape {tuple(array.shape[1:])}")


def decoded(name: str, array: Any) -> np.ndarray:
    """Return bytes as words; raises ValueError if they are no text."""
    try:
        return np.char.decode(np.asarray(array), "utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            f"{name}: its bytes are no text in UTF-8: save words, as np.asarray(x, str)"
        ) from None


def check_mask(name: str, of: str, arrays: Mapping[str, Any], mask: Any) -> np.ndarray:
    """Return which rows of a modality are measured; raises ValueError if that is no mask."""
    mask = np.asarray(mask)
    if of not in arrays or of in RESERVED:
        raise ValueError(f"{name} says which rows of {of} are measured, but there is no {of}")
    if mask.ndim != 1 or not (mask.dtype == bool or np.isin(mask, (0, 1)).all()):
        raise ValueError(
            f"{name} must be [{len(mask)}] bool, True where {of} was measured, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    return mask.astype(bool)


def check_label(label: np.ndarray) -> np.ndarray:
    """Return labels as whole numbers or words; raises ValueError if they are not."""
    if label.ndim != 1:
        raise ValueError(f"label must be [{len(label)}], one class for each row, got {label.shape}")
    if label.dtype.kind in "US":
        label = decoded("label", label) if label.dtype.kind == "S" else label
        wrong, what = label == "", "empty"
    elif label.dtype.kind in "buif":
        with np.errstate(invalid="ignore"):
            wrong = ~(np.isfinite(label) & (label >= 0) & (label == np.floor(label)))
        what = "not a whole number from 0"
    else:
        raise ValueError(f"label must hold whole numbers or words, got {label.dtype}")
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise ValueError(
            f"label is {what} in {len(rows):,} of {len(label):,} rows, the first in row {rows[0]:,}: give "
            "each row its class, or leave label out"
        )
    return label if label.dtype.kind == "U" else label.astype(np.int64)


def check_split(split: np.ndarray) -> np.ndarray:
    """Return the split of each row; raises ValueError for other words than SPLITS."""
    split = decoded("split", split) if split.dtype.kind == "S" else split
    words = split if split.dtype.kind == "U" else None
    if words is None or words.ndim != 1:
        raise ValueError(
            f"split must be [{len(split)}] words of {', '.join(SPLITS)}, got {split.dtype}"
        )
    words = np.where(np.isin(words, ("val", "validation")), "valid", words)
    strange = np.flatnonzero(~np.isin(words, SPLITS))
    if len(strange):
        raise ValueError(
            f"split is {str(words[strange[0]])!r} in row {strange[0]:,}: its words are {', '.join(SPLITS)}"
        )
    return words
