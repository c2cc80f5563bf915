"""What arrays of a user must be, each told in one sentence that names the array and the mending."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = ("train", "valid", "test")
RESERVED = ("label", "split", "present")
NAME = re.compile(r"[\w-]+")


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
