"""The kind of each modality, inferred from the dtype, the axes and the values of its array."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sbmae_jax.data.kinds import IMAGE_KINDS, KINDS
from sbmae_jax.data.tokens import MAX_CHARACTERS
from sbmae_jax.data.user.profile import MAX_CLASSES, Profile
from sbmae_jax.data.user.tables import Table

MAX_COUNT = 1_000_000  # of the kind counts, whose likelihood ends at e^15; more are large counts
MIN_RATIO = (
    1.5  # of the largest of many large counts to the smallest; logarithms of others lose digits
)
MAX_INTEGER_CLASSES = 20  # distinct integers in an array [N] that is taken for a category
MAX_CHANNELS = {"image": 4, "signal": 16}


class Kind(NamedTuple):
    """A kind of modality, and why it was chosen.

    Attributes:
        name: One of `data.kinds.KINDS`.
        reason: The reason, for the survey: a few words.
    """

    name: str
    reason: str


def infer_kinds(
    table: Table, profiles: Mapping[str, Profile], given: Mapping[str, str] | None = None
) -> dict[str, Kind]:
    """Infer the kind of each modality, or check the kind that the user gives.

    Args:
        table: The user's arrays.
        profiles: What `profile` found in them.
        given: Kinds that the user sets, by modality; these are not inferred.

    Returns:
        The kind of each modality, sorted by name.

    Raises:
        ValueError: If a name in `given` is not an array, a kind is unknown or does not fit its array, or no
            kind fits an array.
    """
    given = given or {}
    for name, kind in given.items():
        if name not in table.shapes:
            raise ValueError(
                f"kinds: there is no array {name!r}: choose from {', '.join(table.names)}"
            )
        if kind not in KINDS:
            raise ValueError(
                f"kinds: {name} has the unknown kind {kind!r}: use one of {', '.join(KINDS)}"
            )
    kinds = {}
    for name in table.names:
        shape, dtype, profile = table.shapes[name], table.dtypes[name], profiles[name]
        if name in given:
            kinds[name] = _given(given[name], name, shape, dtype, profile)
        else:
            kinds[name] = _infer(name, shape, dtype, profile)
        problem = _misfit(kinds[name].name, shape, dtype, profile)
        if problem:
            raise ValueError(f"{name} cannot be of the kind {kinds[name].name}: {problem}")
    return kinds


def _given(kind: str, name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> Kind:
    """Return a kind that is set, which in a run that goes on is the one that was inferred."""
    try:
        inferred = _infer(name, shape, dtype, profile)
    except ValueError:  # channels first, which other kinds than images may have
        return Kind(kind, "set")
    return inferred if inferred.name == kind else Kind(kind, f"set (inferred: {inferred.name})")


def _infer(name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> Kind:
    """Infer the kind of an array from the shape of one example, the dtype and the values."""
    if dtype.kind in "US":
        return _infer_words(shape, dtype, profile)
    if len(shape) in (2, 3):
        return _infer_image(name, shape, dtype, profile)
    if len(shape) > 3:
        return Kind("vector", f"{len(shape) + 1} axes, flattened into one vector")
    axes = "one axis" if not shape else "two axes"
    numbers = _numbers(dtype)
    if dtype.kind == "b" or (profile.only_01 and (shape or dtype.kind == "f")):
        return Kind("binary", f"{numbers}, {axes}, only 0 and 1")
    if dtype.kind == "f" and not shape and profile.only_integers and not profile.present.all():
        numbers = "integers with holes"  # which only floats can have
    elif dtype.kind == "f":
        return Kind("vector", f"{numbers}, {axes}")
    if not shape and profile.values is not None and len(profile.values) <= MAX_INTEGER_CLASSES:
        return Kind("category", f"{numbers}, {len(profile.values)} distinct values")
    if profile.high > MAX_COUNT and profile.low > profile.high / MIN_RATIO:
        return Kind(
            "vector", f"{numbers} of nearly one size, as times or numbers of things, {axes}"
        )
    if profile.low >= 0 and profile.high > MAX_COUNT:
        return Kind("large_counts", f"non-negative {numbers}, some above {MAX_COUNT:,}, {axes}")
    if profile.low >= 0:
        return Kind("counts", f"non-negative {numbers}, {axes}")
    return Kind("vector", f"{numbers}, some negative, {axes}")


def _infer_words(shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> Kind:
    """Infer the kind of strings: text where they hardly repeat."""
    if shape or not _misfit_of_category(shape, dtype, profile):
        return Kind("category", "strings")
    num = f"more than {MAX_CLASSES:,}" if profile.values is None else f"{len(profile.values):,}"
    num_rows = int(np.count_nonzero(profile.present))
    return Kind("text", f"strings, {num} of {num_rows:,} distinct")


def _infer_image(name: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> Kind:
    """Infer the kind of an array [N, A, B] or [N, A, B, C]."""
    channels = shape[2] if len(shape) == 3 else 1
    axes = "three axes" if len(shape) == 2 else f"four axes, {_channels(channels)}"
    numbers = _numbers(dtype)
    if _channels_first(shape):
        raise ValueError(
            f"{name}: examples of shape {shape} are images with their channels first: move them last, as "
            f"np.moveaxis({name}, 1, -1) does"
        )
    signal = len(shape) == 2 and shape[1] <= MAX_CHANNELS["signal"] and dtype.kind != "b"
    if signal and dtype != np.uint8:
        return Kind("signal", f"{numbers}, {axes}: {_channels(shape[1])} over time")
    if channels > MAX_CHANNELS["image"]:
        return Kind("vector", f"{numbers}, {axes}: too many for an image, so one vector")
    if dtype.kind == "b" or profile.only_01 or profile.only_0_255:
        return Kind("mask", f"{axes}, only 0 and {profile.high:g}")
    colour = "greyscale" if channels == 1 else "colour"
    return Kind("image", f"{numbers}, {axes}: {colour} images")


def _numbers(dtype: np.dtype) -> str:
    """Return a dtype of numbers in words."""
    if dtype == np.uint8:
        return "bytes"
    return {"b": "booleans", "f": "floats"}.get(dtype.kind, "integers")


def _channels(num: int) -> str:
    return f"{num} channel" if num == 1 else f"{num} channels"


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an example looks like an image [C, H, W]."""
    return len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > MAX_CHANNELS["image"]


def _misfit(kind: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> str:
    """Return what keeps an array from being of a kind, or ""."""
    if kind == "category":
        return _misfit_of_category(shape, dtype, profile)
    if kind == "text":
        return _misfit_of_text(shape, dtype)
    if dtype.kind in "US":
        return "its values are strings, which must be a category or text"
    span = f"its values are from {profile.low:g} to {profile.high:g}"
    if kind in IMAGE_KINDS:
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > MAX_CHANNELS["image"]):
            return f"examples must be [H, W] or [H, W, C] with C in 1..4, got {shape}"
        if _channels_first(shape):
            return f"channels must be the last axis, got examples of shape {shape}"
        if kind == "mask" and not (profile.only_01 or profile.only_0_255):
            return f"{span}, not only 0 and 1, or 0 and 255"
    if kind == "signal" and len(shape) not in (1, 2):
        return f"examples must be [T] or [T, C], got {shape}"
    if kind == "binary" and not profile.only_01:
        return f"{span}, not only 0 and 1"
    if kind in ("binary", "counts", "large_counts") and len(shape) > 1:
        return f"examples must be [] or [F], got {shape}"
    if kind in ("counts", "large_counts") and not (profile.only_integers and profile.low >= 0):
        return "counts must be non-negative integers"
    if kind == "counts" and profile.high > MAX_COUNT:
        return f"{span}, above {MAX_COUNT:,}: use large_counts"
    return ""


def _misfit_of_text(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """Return what keeps an array from being text, or ""."""
    if dtype.kind not in "US":
        return f"its values are {_numbers(dtype)}, not strings"
    if shape:
        return f"it must be [N], one string per row, got examples of shape {shape}"
    length = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    if length > MAX_CHARACTERS:
        return f"a string has {length:,} characters, and at most {MAX_CHARACTERS:,} fit: shorten it"
    return ""


def _misfit_of_category(shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> str:
    """Return what keeps an array from being a category, or ""."""
    if shape:
        return f"it must be [N], one class per row, got examples of shape {shape}"
    if dtype.kind == "f" and not profile.only_integers:
        return "its classes must be integers or strings"
    if profile.values is None:
        return f"it has more than {MAX_CLASSES:,} distinct values: make it text, or leave it out"
    num_rows = int(np.count_nonzero(profile.present))
    if len(profile.values) > max(MAX_INTEGER_CLASSES, math.ceil(num_rows / 2)):
        return (
            f"{len(profile.values):,} of {num_rows:,} values are distinct: make it text, or leave it "
            "out"
        )
    return ""
