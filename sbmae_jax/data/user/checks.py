"""Checks of a user's arrays; each refusal is one sentence that names the array and the fix."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import short_repr
from sbmae_jax.data.names import RESERVED
from sbmae_jax.data.source import SPLITS


def as_strings(name: str, value: Any) -> tuple[str, ...]:
    """Return a list or tuple of strings as a tuple; raises ValueError for anything else."""
    listed = isinstance(value, list | tuple | set | frozenset)
    if not listed or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name} must be a list of strings, got {short_repr(value)}")
    return tuple(value)


def check_rows(path: Path, sizes: Mapping[str, int]) -> int:
    """Return the number of rows of all arrays; raises ValueError, naming two arrays, if they differ."""
    first = next(iter(sizes))
    if not sizes[first]:
        raise ValueError(f"{path} has no rows: {first} is empty")
    for name, size in sizes.items():
        if size != sizes[first]:
            raise ValueError(
                f"{first} has {sizes[first]:,} rows and {name} has {size:,}: all arrays must have the same "
                "rows; where one is missing, put NaN or mark it in NAME_present"
            )
    return sizes[first]


def check_modality(name: str, array: Any) -> None:
    """Raise ValueError if an array cannot be a modality."""
    if array.dtype.kind not in "buifUS":
        raise ValueError(
            f"{name}: values must be numbers or strings, got {array.dtype}: convert them first"
        )
    if 0 in array.shape[1:]:
        raise ValueError(f"{name}: examples are empty, with shape {tuple(array.shape[1:])}")


def decode(name: str, array: Any) -> np.ndarray:
    """Decode bytes to strings; raises ValueError if they are not UTF-8."""
    try:
        return np.char.decode(np.asarray(array), "utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            f"{name}: the bytes are not UTF-8: save strings, as np.asarray(x, str) does"
        ) from None


def check_mask(name: str, of: str, arrays: Mapping[str, Any], mask: Any) -> np.ndarray:
    """Return the mask of the rows that have a modality; raises ValueError if it is not one."""
    if of not in arrays or of in RESERVED:
        raise ValueError(
            f"{name} marks the rows that have {of}, but there is no array {of}: rename or remove it"
        )
    array, mask = mask, np.asarray(mask) if len(mask.shape) == 1 else None
    if mask is None or not (mask.dtype == bool or np.isin(mask, (0, 1)).all()):
        raise ValueError(
            f"{name} must be [{len(array)}] bool, True where {of} is present, got {array.dtype} of shape "
            f"{array.shape}: correct or rename it"
        )
    return mask.astype(bool)


def check_label(label: np.ndarray, missing_markers: Sequence[str]) -> np.ndarray:
    """Return labels as integers or strings; raises ValueError if they are neither, or missing."""
    if label.ndim != 1:
        raise ValueError(f"label must be [{len(label)}], one class for each row, got {label.shape}")
    if label.dtype.kind in "US":
        label = decode("label", label) if label.dtype.kind == "S" else label
        wrong, what = np.isin(label, missing_markers), "missing"
    elif label.dtype.kind in "buif":
        with np.errstate(invalid="ignore"):
            wrong = ~(np.isfinite(label) & (label >= 0) & (label == np.floor(label)))
        what = "not a non-negative integer"
    else:
        raise ValueError(f"label must hold integers or strings, got {label.dtype}")
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise ValueError(
            f"label is {what} in {len(rows):,} of {len(label):,} rows, the first in row {rows[0]:,}: give "
            "each row its class, or remove label"
        )
    return label if label.dtype.kind == "U" else label.astype(np.int64)


def check_split(split: np.ndarray) -> np.ndarray:
    """Return the split of each row; raises ValueError for strings other than SPLITS."""
    split = decode("split", split) if split.dtype.kind == "S" else split
    if split.dtype.kind != "U" or split.ndim != 1:
        raise ValueError(
            f"split must be [{len(split)}] strings of {', '.join(SPLITS)}, got {split.dtype}"
        )
    split = np.where(np.isin(split, ("val", "validation")), "valid", split)
    unknown = np.flatnonzero(~np.isin(split, SPLITS))
    if len(unknown):
        raise ValueError(
            f"split is {str(split[unknown[0]])!r} in row {unknown[0]:,}: use one of {', '.join(SPLITS)}"
        )
    return split


def all_problems(
    where: str, problems: Mapping[str, str], left_out: Collection[str], left: Collection[str]
) -> str:
    """Return one message on several problems; "" for fewer than two.

    Args:
        where: What has the problems.
        problems: For each modality that has one, a sentence.
        left_out: What is left out already.
        left: The modalities without a problem.
    """
    if len(problems) < 2:
        return ""
    lines = [f"{where} has {len(problems)} modalities that cannot be learned as they are:"]
    lines += [f"- {sentence}" for sentence in problems.values()]
    if left:
        names = shlex.quote(",".join(sorted({*left_out, *problems})))
        lines.append(f"fix them, or leave out all of them: --config.data.leave_out={names}")
    return "\n".join(lines)
