"""Vectors that are learned in parts, as their columns are missing in different rows, and put together again.

A part is a modality of its own, so that a row may have it or not. Users give and get whole vectors. Which
columns of which vector a part holds is in its scaling, `details["part_of"]`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmae_jax.data.scaling import Scaling

PART_OF = "part_of"


def part_details(vector: str, columns: tuple[int, ...], width: int) -> dict[str, Any]:
    """Return the details of the scaling of a part: columns of a vector of `width` columns."""
    return {PART_OF: {"vector": vector, "columns": list(columns), "width": width}}


def vectors_of(scalings: Mapping[str, Scaling]) -> dict[str, dict[str, list[int]]]:
    """Return the parts of each vector that is learned in parts, with their columns: {vector: {part: [k]}}.

    Example:
        >>> hb = Scaling("vector", (2,), "float64", details=part_details("lab", (0, 2), 3))
        >>> crp = Scaling("vector", (1,), "float64", details=part_details("lab", (1,), 3))
        >>> vectors_of({"lab_hb": hb, "lab_crp": crp})
        {'lab': {'lab_hb': [0, 2], 'lab_crp': [1]}}
    """
    found: dict[str, dict[str, list[int]]] = {}
    for name, scaling in scalings.items():
        part = scaling.details.get(PART_OF)
        if part is not None:
            found.setdefault(part["vector"], {})[name] = list(part["columns"])
    return found


def width_of(scalings: Mapping[str, Scaling], vector: str) -> int:
    """Return the number of columns of a vector that is learned in parts."""
    part = next(iter(vectors_of(scalings)[vector]))
    return int(scalings[part].details[PART_OF]["width"])


def split_given(given: Mapping[str, Any], scalings: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return arrays with whole vectors `[.., F]` replaced by their parts.

    Raises:
        ValueError: For a vector of another width, and for one that is given as a whole and in part.
    """
    vectors, found = vectors_of(scalings), {}
    for name, values in given.items():
        if name not in vectors:
            found[name] = values
            continue
        both = [part for part in vectors[name] if part in given]
        if both:
            raise ValueError(f"{name} and its part {both[0]} are both given: give one of them")
        whole = values if isinstance(values, np.ma.MaskedArray) else _as_numbers(name, values)
        width = width_of(scalings, name)
        if whole.ndim < 2 or whole.shape[-1] != width:
            raise ValueError(
                f"{name}: examples must have shape {(width,)}, got {whole.shape[1:]} in an array of shape "
                f"{whole.shape}"
            )
        found |= {part: whole[..., columns] for part, columns in vectors[name].items()}
    return found


def merged(arrays: Mapping[str, np.ndarray], scalings: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return arrays with the parts of each vector, where all are there, replaced by the vector `[.., F]`."""
    vectors = {
        vector: parts
        for vector, parts in vectors_of(scalings).items()
        if all(part in arrays for part in parts)
    }
    owner = {part: vector for vector, parts in vectors.items() for part in parts}
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        vector = owner.get(name)
        if vector is None:
            found[name] = array
        elif vector not in found:
            found[vector] = merge_columns(arrays, vectors[vector])
    return found


def merge_columns(arrays: Mapping[str, np.ndarray], parts: Mapping[str, list[int]]) -> np.ndarray:
    """Return one array `[.., F]` of the arrays `[.., k]` of the parts of a vector."""
    pieces = [arrays[part] for part in parts]
    width = sum(map(len, parts.values()))
    whole = np.empty((*pieces[0].shape[:-1], width), np.result_type(*pieces))
    for columns, piece in zip(parts.values(), pieces, strict=True):
        whole[..., columns] = piece
    return whole


def _as_numbers(name: str, values: Any) -> np.ndarray:
    """Return rows as an array of numbers, where None is NaN."""
    try:
        found = np.asarray(values)
        return found.astype(np.float64) if found.dtype.kind == "O" else found
    except (ValueError, TypeError):
        raise ValueError(f"{name}: all rows must have the same shape, and hold numbers") from None
