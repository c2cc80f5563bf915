"""The kind of each modality: inferred, or set by the user and checked against its array."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from sbmae_jax.data.kinds import IMAGE_KINDS, KINDS
from sbmae_jax.data.kinds.angle import period_of
from sbmae_jax.data.tokens import MAX_CHARACTERS
from sbmae_jax.data.user.kind_rules import (
    MAX_CHANNELS,
    MAX_COUNT,
    MAX_ORDINAL_VALUES,
    VOLUMES,
    Kind,
    channels_first,
    infer,
    misfit_of_category,
    numbers_of,
)
from sbmae_jax.data.user.profile import Profile
from sbmae_jax.data.user.statistics import look_at
from sbmae_jax.data.user.tables import Table


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
                + (f"; {VOLUMES}" if kind == "volume" else "")
            )
    kinds = {}
    for name in table.names:
        shape, dtype, profile = table.shapes[name], table.dtypes[name], profiles[name]
        look = partial(look_at, table, name, profile)
        if name in given:
            kinds[name] = _given(given[name], partial(infer, name, shape, dtype, profile, look))
        else:
            kinds[name] = infer(name, shape, dtype, profile, look)
        problem = _misfit(kinds[name].name, shape, dtype, profile)
        if problem:
            raise ValueError(f"{name} cannot be of the kind {kinds[name].name}: {problem}")
    return kinds


def _given(kind: str, infer_it: Callable[[], Kind]) -> Kind:
    """Return a kind that is set, which in a run that goes on is the one that was inferred."""
    try:
        inferred = infer_it()
    except ValueError:  # channels first, which other kinds than images may have
        return Kind(kind, "set")
    if inferred.name == kind:
        return inferred
    return Kind(kind, f"set (inferred: {inferred.name})")


def _misfit(kind: str, shape: tuple[int, ...], dtype: np.dtype, profile: Profile) -> str:
    """Return what keeps an array from being of a kind, or ""."""
    if kind == "category":
        return misfit_of_category(shape, dtype, profile)
    if kind == "text":
        return _misfit_of_text(shape, dtype)
    if kind == "date":
        iso = "as 2024-12-31 or 2024-12-31T15:30:00, all in one way and one time zone"
        return "" if profile.date_format else f"its values must be strings that are written {iso}"
    if dtype.kind in "US":
        return "its values are strings, which must be a category, text or dates"
    span = f"its values are from {profile.low:g} to {profile.high:g}"
    if kind in IMAGE_KINDS:
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] > MAX_CHANNELS["image"]):
            return f"examples must be [H, W] or [H, W, C] with C in 1..4, got {shape}"
        if channels_first(shape):
            return f"channels must be the last axis, got examples of shape {shape}"
        if kind == "mask" and not (profile.only_01 or profile.only_0_255):
            return f"{span}, not only 0 and 1, or 0 and 255"
        if kind == "segmentation":
            return _misfit_of_segmentation(shape, profile, span)
    if kind == "channels_first_signal" and len(shape) != 2:
        return f"examples must be [C, T], got {shape}"
    if kind == "signal" and len(shape) not in (1, 2):
        return f"examples must be [T] or [T, C], got {shape}"
    if kind == "binary" and not profile.only_01:
        return f"{span}, not only 0 and 1"
    is_flat = kind in ("binary", "counts", "large_counts", "ordinal", "positive")
    if (is_flat or KINDS[kind].is_angle) and len(shape) > 1:
        return f"examples must be [] or [F], got {shape}"
    if kind in ("counts", "large_counts") and not (profile.only_integers and profile.low >= 0):
        return "counts must be non-negative integers"
    if kind == "counts" and profile.high > MAX_COUNT:
        return f"{span}, above {MAX_COUNT:,}: use large_counts"
    if kind == "composition" and (len(shape) != 1 or shape[0] < 2):
        return f"examples must be [F] with at least two parts, got {shape}"
    if kind == "angle" and not period_of(profile.low, profile.high):
        return f"{span}, on none of the known circles of 2 pi, 24 and 360: use radians, hours or degrees"
    if kind in ("positive", "composition") and profile.low < 0:
        return f"{span}, and none may be negative"
    if kind == "ordinal" and shape and np.prod(shape) > MAX_ORDINAL_VALUES:
        return (
            f"it has {np.prod(shape):,} values a row, more than {MAX_ORDINAL_VALUES:,}: use vector"
        )
    return ""


def _misfit_of_segmentation(shape: tuple[int, ...], profile: Profile, span: str) -> str:
    """Return what keeps images from being classes of pixels, or ""."""
    if len(shape) == 3 and shape[2] != 1:
        return f"examples must be [H, W], one class per pixel, got {shape}"
    if not profile.only_integers or profile.low < 0:
        return f"{span}, and classes must be integers from 0"
    return "it has one value alone: leave it out" if profile.constant else ""


def _misfit_of_text(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """Return what keeps an array from being text, or ""."""
    if dtype.kind not in "US":
        return f"its values are {numbers_of(dtype)}, not strings"
    if shape:
        return f"it must be [N], one string per row, got examples of shape {shape}"
    length = dtype.itemsize // (4 if dtype.kind == "U" else 1)
    if length > MAX_CHARACTERS:
        return f"a string has {length:,} characters, and at most {MAX_CHARACTERS:,} fit: shorten it"
    return ""
