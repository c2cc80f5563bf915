"""Which kind of modality an array holds, told from its type, its axes and its values."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sbmae_jax.data.scaling import KINDS
from sbmae_jax.data.user.profile import MAX_CLASSES, Profile
from sbmae_jax.data.user.tables import Table

FEW_VALUES = 20  # whole numbers in an array [N] that are taken for a category
MAX_CHANNELS = {"image": 4, "signal": 16}


class Kind(NamedTuple):
    """A kind of `scaling.KINDS`, and in words why it was chosen."""

    name: str
    reason: str


def kinds_of(
    table: Table, profiles: Mapping[str, Profile], given: Mapping[str, str] | None = None
) -> dict[str, Kind]:
    """Return the kind of each modality, sorted by name.

    given: kinds that are not to be inferred.

    Raises ValueError for a kind that is not there or does not fit the array, for a name in `given` that is
    no array, and for an array of which no kind is known.
    """
    for name, kind in (given or {}).items():
        if name not in table.shapes:
            raise ValueError(f"kinds: there is no array {name!r}, but {', '.join(table.names)}")
        if kind not in KINDS:
            raise ValueError(
                f"kinds: {name} has the unknown kind {kind!r}: use one of {', '.join(KINDS)}"
            )
    kinds = {}
    for name in table.names:
        shape, dtype, seen = table.shapes[name], table.dtypes[name], profiles[name]
        if given and name in given:
            kinds[name] = Kind(given[name], "as config.data.kinds says")
        else:
            kinds[name] = infer(name, shape, dtype, seen)
        check(name, kinds[name].name, shape, dtype, seen)
    return kinds


def infer(name: str, shape: tuple[int, ...], dtype: np.dtype, seen: Profile) -> Kind:
    """Infer the kind of an array from one example's shape, the type and what is in it."""
    if dtype.kind in "US":
        return Kind("category", "words")
    if len(shape) in (2, 3):
        return infer_picture(name, shape, dtype, seen)
    if len(shape) > 3:
        return Kind("vector", f"{len(shape) + 1} axes: taken as one long vector")
    axes = "one axis" if not shape else "two axes"
    number = number_of(dtype)
    if dtype.kind == "b" or (seen.only_01 and (shape or dtype.kind == "f")):
        return Kind("binary", f"{number}, {axes}, only 0 and 1")
    if dtype.kind == "f":
        return Kind("vector", f"{number}, {axes}")
    if not shape and seen.values is not None and len(seen.values) <= FEW_VALUES:
        return Kind("category", f"whole numbers, {len(seen.values)} different ones")
    if seen.low >= 0:
        return Kind("counts", f"whole numbers from 0, {axes}")
    return Kind("vector", f"whole numbers below 0, too, {axes}")


def infer_picture(name: str, shape: tuple[int, ...], dtype: np.dtype, seen: Profile) -> Kind:
    """Infer the kind of an array [N, A, B] or [N, A, B, C]."""
    channels = shape[2] if len(shape) == 3 else 1
    axes = "three axes" if len(shape) == 2 else f"four axes, {channels} in the last"
    number = number_of(dtype)
    if channels_first(shape):
        raise ValueError(
            f"{name}: examples of shape {shape} are pictures with their channels first: put them last, as "
            f"np.moveaxis({name}, 1, -1) does"
        )
    signal = len(shape) == 2 and shape[1] <= MAX_CHANNELS["signal"] and dtype.kind != "b"
    if signal and dtype != np.uint8:
        return Kind("signal", f"{number}, {axes}, {shape[1]} in the last: channels over time")
    if channels > MAX_CHANNELS["image"]:
        return Kind("vector", f"{number}, {axes}, too many for a picture: one long vector")
    if dtype.kind == "b" or seen.only_01 or seen.only_0_255:
        return Kind("mask", f"{axes}, only 0 and {seen.high:g}")
    colour = "a grey picture" if channels == 1 else "a picture in colour"
    return Kind("image", f"{number}, {axes}: {colour}")


def number_of(dtype: np.dtype) -> str:
    """Return a type of numbers in words."""
    if dtype == np.uint8:
        return "bytes"
    return {"b": "true or false", "f": "real numbers"}.get(dtype.kind, "whole numbers")


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an example looks like a picture [C, H, W]."""
    return len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > MAX_CHANNELS["image"]


def check(name: str, kind: str, shape: tuple[int, ...], dtype: np.dtype, seen: Profile) -> None:
    """Raise ValueError if an array cannot be of a kind."""
    reason = misfit(kind, shape, dtype, seen)
    if reason:
        raise ValueError(f"{name} cannot be of the kind {kind}: {reason}")


def misfit(kind: str, shape: tuple[int, ...], dtype: np.dtype, seen: Profile) -> str:
    """Return what keeps an array from being of a kind, or nothing."""
    if kind == "category":
        return no_category(shape, dtype, seen)
    if dtype.kind in "US":
        return "its values are words, which make a category"
    if kind in ("image", "mask"):
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > MAX_CHANNELS["image"]):
            return f"examples must be [H, W] or [H, W, C] with C in 1..4, got {shape}"
        if channels_first(shape):
            return f"channels must be the last axis, got examples of shape {shape}"
        if kind == "mask" and not (seen.only_01 or seen.only_0_255):
            return (
                f"it has other values than 0 and 1 or 0 and 255, from {seen.low:g} to {seen.high:g}"
            )
    if kind == "signal" and len(shape) not in (1, 2):
        return f"examples must be [T] or [T, C], got {shape}"
    if kind == "binary" and not seen.only_01:
        return f"it has other values than 0 and 1, from {seen.low:g} to {seen.high:g}"
    if kind in ("binary", "counts") and len(shape) > 1:
        return f"examples must be [] or [F], got {shape}"
    if kind == "counts" and not (seen.whole and seen.low >= 0):
        return "counts are whole numbers from 0"
    return ""


def no_category(shape: tuple[int, ...], dtype: np.dtype, seen: Profile) -> str:
    """Return what keeps an array from being a category, or nothing."""
    if shape:
        return f"it must be [N], one class for each row, got examples of shape {shape}"
    if dtype.kind == "f" and not seen.whole:
        return "its classes must be whole numbers or words"
    if seen.values is None:
        return f"it has more than {MAX_CLASSES:,} different values: leave out names and texts"
    num_rows = int(np.count_nonzero(seen.present))
    if len(seen.values) > max(FEW_VALUES, math.ceil(num_rows / 2)):
        return (
            f"{len(seen.values):,} of {num_rows:,} values are different: leave out names and texts"
        )
    return ""
