"""What a user's data are, in figures and in words, before anything is learned from them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_seed, require_type, short_repr
from sbmae_jax._io import as_path
from sbmae_jax.data.kinds import IMAGE_KINDS
from sbmae_jax.data.kinds.base import abbreviate
from sbmae_jax.data.kinds.date import span_of
from sbmae_jax.data.kinds.text import notices_of, tokenizer_of
from sbmae_jax.data.names import NOT_MODELLED, as_name
from sbmae_jax.data.numbers import parse_number
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.checks import as_strings
from sbmae_jax.data.user.components import count_components, count_shared_components
from sbmae_jax.data.user.groups import GroupsGiven, PartsGiven
from sbmae_jax.data.user.opened import (
    OpenedFiles,
    forget_opened,
    found_parts,
    groups_without,
    open_files,
    whole_table,
)
from sbmae_jax.data.user.parts import part_notices
from sbmae_jax.data.user.table_files import MISSING_MARKERS
from sbmae_jax.data.user.tables import table_options


@dataclass(frozen=True, kw_only=True)
class ModalitySurvey:
    """One modality of a user, as `survey` finds it.

    Attributes:
        name: The name of its array.
        kind: One of `data.kinds.KINDS`.
        reason: Why it is of this kind.
        raw_shape: The shape of one example in the files.
        raw_dtype: The dtype in the files; "str" for strings.
        shape: The shape of one example as the networks see it.
        dtype: The dtype as the networks see it.
        low: The smallest number in the files; NaN for strings.
        high: The largest number in the files; NaN for strings.
        num_missing: How many rows lack it, of those that have any modality.
        num_constant: How many features have the same value in all training rows.
        num_components: How many principal components hold 90, 95 and 99 % of the variance of training rows.
        num_shared: How many of the leading ones are needed to predict other modalities of held-out rows; 0
            where that is not known.
        vocabulary: How many different tokens text has; 0 for other kinds.
        classes: The classes of a category or of pixels, or the levels of ordinal values, ascending; empty for
            other kinds.
        likelihood: The likelihood of its values, a name in `models.likelihoods.LIKELIHOODS`.
        vector: The vector of which it is a part; "" for what is no part.
        span: The first and the last date of the training rows, in words; "" for other kinds.
    """

    name: str
    kind: str
    reason: str
    raw_shape: tuple[int, ...]
    raw_dtype: str
    shape: tuple[int, ...]
    dtype: np.dtype
    low: float
    high: float
    num_missing: int
    num_constant: int
    num_components: tuple[int, int, int]
    classes: tuple[Any, ...]
    num_shared: int = 0
    vocabulary: int = 0
    likelihood: str
    vector: str = ""
    span: str = ""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All modalities of a user, and their rows, as `survey` returns them.

    Attributes:
        path: Where the data are, as an absolute path.
        modalities: The modalities, sorted by name.
        num_rows: The number of rows of each split.
        num_empty: How many rows have no modality; they are dropped.
        num_classes: The number of classes of `label`, 0 without labels.
        notices: Sentences on what a user may not expect.
        parts: The columns of each part of the vectors that are learned in parts.
    """

    path: Path
    modalities: tuple[ModalitySurvey, ...]
    num_rows: Mapping[str, int]
    num_empty: int
    num_classes: int
    notices: tuple[str, ...]
    parts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return format_survey(self)


def survey(
    path: str | Path,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    partial_rows: str = "refuse",
    leave_out: Sequence[str] = (),
    missing_markers: Sequence[str] = MISSING_MARKERS,
    groups: GroupsGiven = None,
    key: str = "",
    parts: PartsGiven = None,
) -> Survey:
    """Survey a user's data.

    Args:
        path: As in `open_table`.
        kinds: Kinds that are set rather than inferred, by modality.
        seed: Decides the order of the rows, and random splits.
        partial_rows: What to do with rows that have NaN in part: "refuse" them, take them for "missing", or
            "split" vectors into parts that are missing together.
        leave_out: Arrays that are not to be modelled, and columns of vectors; they are ignored.
        missing_markers: The strings that mark a missing cell or category.
        groups: Which columns of a table form which vector, as in `open_table`.
        key: The column of a table that names the rows, as in `open_table`.
        parts: The columns of each part of vectors, `{vector: lists of columns}` or `{vector: "each"}`, by
            their names, or their numbers where they have none. None finds them for "split".

    Returns:
        The survey.

    Raises:
        ValueError: As `open_files`, and if `leave_out` names an unknown array or leaves none.

    Example:
        >>> import tempfile
        >>> rng = np.random.default_rng(0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/data.npz", age=rng.uniform(20, 80, 50), town=["Bonn", "Oslo"] * 25)
        ...     found = survey(f"{folder}/data.npz")
        >>> [(m.name, m.kind, m.reason) for m in found.modalities]
        [('age', 'vector', 'floats, one axis'), ('town', 'category', 'strings')]
    """
    require_seed("seed", seed)
    path = Path(as_path(path)).resolve()
    leave_out = tuple(map(as_name, as_strings("leave_out", leave_out)))
    groups = groups_without(path, leave_out, missing_markers, groups, key)
    options = table_options(missing_markers, groups, key, parts)
    names = whole_table(path, options).all_names
    for name in leave_out:
        if name not in names:
            raise ValueError(
                f"leave_out names {name!r}, which {path} does not have: choose from {', '.join(names)}"
            )
    kept = tuple(name for name in names if name not in leave_out)
    if not kept:
        raise ValueError(f"leave_out names all modalities of {path}: leave out fewer")
    if partial_rows == "split" and not parts:
        parts = found_parts(path, options, kept)
        options = table_options(missing_markers, groups, key, parts)
        kept = tuple(n for n in whole_table(path, options).all_names if n not in leave_out)
    opened = open_files(
        path, kinds, seed, partial_rows, kept, missing_markers, groups=groups, key=key, parts=parts
    )
    return replace(_survey(opened), parts=parts or {})


def forget_files() -> None:
    """Close the files that were surveyed or opened, and are kept for another call."""
    forget_opened()
    _survey.cache_clear()


@functools.lru_cache(maxsize=4)
def _survey(opened: OpenedFiles) -> Survey:
    present = opened.present(tuple(opened.kinds))
    num_empty = int(np.count_nonzero(~present.any(axis=1)))
    num_shared = count_shared_components(opened)
    modalities = tuple(
        _survey_modality(
            opened, name, int(np.count_nonzero(~present[:, m])) - num_empty, num_shared.get(name, 0)
        )
        for m, name in enumerate(opened.kinds)
    )
    return Survey(
        path=opened.table.path,
        modalities=modalities,
        num_rows={split: len(rows) for split, rows in opened.rows.items()},
        num_empty=num_empty,
        num_classes=0 if opened.label is None else len(opened.label.values),
        notices=tuple(_notices(opened, modalities, num_empty)),
    )


def _survey_modality(
    opened: OpenedFiles, name: str, num_missing: int, num_shared: int
) -> ModalitySurvey:
    """Survey one modality."""
    scaling, profile, kind = opened.scalings[name], opened.profiles[name], opened.kinds[name]
    return ModalitySurvey(
        name=name,
        kind=kind.name,
        reason=kind.reason,
        raw_shape=scaling.raw_shape,
        raw_dtype=scaling.dtype,
        shape=scaling.shape,
        dtype=scaling.prepared_dtype,
        low=profile.low,
        high=profile.high,
        num_missing=num_missing,
        num_constant=opened.num_constant[name],
        num_components=count_components(opened, name),
        num_shared=num_shared,
        classes=scaling.classes,
        vocabulary=tokenizer_of(scaling).size if scaling.value_kind.is_text else 0,
        likelihood=scaling.value_kind.likelihood_of(scaling),
        vector=opened.table.parts[name][0] if name in opened.table.parts else "",
        span=span_of(scaling) if scaling.value_kind.is_date else "",
    )


def _notices(
    opened: OpenedFiles, modalities: tuple[ModalitySurvey, ...], num_empty: int
) -> list[str]:
    """Return what a user may not expect."""
    found = list(opened.table.notices)
    if opened.table.split is not None and not (opened.table.split == "valid").any():
        num = len(opened.rows["valid"])
        found.append(
            f"the data have no rows for the split 'valid': {num:,} training rows are held out for it"
        )
    if num_empty:
        found.append(f"{num_empty:,} rows are dropped: all modalities are missing in them")
    if opened.label is not None:
        found.append(NOT_MODELLED)
        found += _odd_classes("label", opened.label.values)
    found += part_notices(opened.table.parts, opened.vectors)
    for m in modalities:
        profile, scaling = opened.profiles[m.name], opened.scalings[m.name]
        if profile.markers:
            found.append(
                f"{m.name}: {', '.join(map(repr, profile.markers))} marks what is missing; set "
                "config.data.missing_markers if it is a class"
            )
        found += _odd_classes(m.name, scaling.classes)
        doubt = opened.kinds[m.name].doubt
        if doubt:
            found.append(f"{m.name} is taken for {m.kind}: {doubt}")
        if _is_coarse(scaling):
            found.append(
                f"{m.name}: {scaling.dtype} stores values as large as these in steps that are coarse beside "
                "their spread: save them as float64, or subtract a constant"
            )
        if scaling.shape[:2] != m.raw_shape[:2] and m.kind in IMAGE_KINDS:
            sides = " x ".join(map(str, scaling.shape[:2]))
            found.append(
                f"{m.name}: networks see these images padded to {sides}; samples are cropped"
            )
        num_features = np.prod(m.shape, dtype=np.int64)
        if scaling.value_kind.is_text:
            num_train = int(np.count_nonzero(profile.present[opened.rows["train"]]))
            found += notices_of(m.name, scaling, num_train)
            if not m.reason.startswith("set"):
                found.append(
                    f"{m.name} is taken for text, as its strings hardly repeat: leave it out by "
                    "config.data.leave_out if they are names or numbers of rows"
                )
        if m.num_constant and (m.num_constant == num_features or scaling.value_kind.is_one_cell):
            found.append(f"{m.name} is constant in the training rows: there is nothing to learn")
        elif m.num_constant:
            found.append(
                f"{m.name}: {m.num_constant:,} of {num_features:,} features are constant in the training "
                "rows: there is nothing to learn of them"
            )
    if len(modalities) == 1:
        found.append(
            f"{modalities[0].name} is the only modality: the model is a latent diffusion model, with nothing "
            "to condition on"
        )
    return found


def _odd_classes(name: str, classes: Sequence[Any]) -> list[str]:
    """Say which classes may mark what is missing: of punctuation alone, or the only one that is no number."""
    words = [word for word in classes if isinstance(word, str)]
    odd = [word for word in words if not any(map(str.isalnum, word))]
    no_numbers = [word for word in words if parse_number(word) is None]
    if len(no_numbers) == 1 < len(words):
        odd = no_numbers
    if not odd:
        return []
    what = "is a class among numbers" if odd == no_numbers else "is a class"
    return [
        f"{name}: {', '.join(map(repr, odd))} {what}; add it to config.data.missing_markers if it marks what "
        "is missing"
    ]


def _is_coarse(scaling: Scaling) -> bool:
    """Return whether a dtype of floats stores the values of some feature too coarsely for their spread."""
    dtype = np.dtype(scaling.dtype if scaling.dtype != "str" else "U")
    if dtype.kind != "f" or not (scaling.kind == "vector" or scaling.value_kind.is_signal):
        return False
    step = float(np.finfo(dtype).eps) * np.abs(scaling.shift)
    return bool((step > 0.01 * scaling.scale).any())


def format_survey(found: Survey, extra: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Format a survey as lines of text: a row per modality, the splits, and the notices.

    Args:
        found: The survey.
        extra: Further columns: {title: {name of a modality: text}}.

    Returns:
        The lines, joined.
    """
    if not isinstance(found, Survey):
        raise ValueError(f"found must be what survey returns, got {short_repr(found)}")
    require_type("extra", extra, Mapping[str, Mapping[str, str]] | None)
    extra = extra or {}
    num_used = sum(found.num_rows.values())
    head = ["name", "kind", "shape", "dtype", "range", "missing", *extra, "why this kind"]
    lines = [head]
    for m in found.modalities:
        shape = " x ".join(map(str, m.raw_shape)) or "1"
        missing = f"{m.num_missing / num_used:.1%}" if m.num_missing else "-"
        added = [column.get(m.name, "") for column in extra.values()]
        lines.append([m.name, m.kind, shape, m.raw_dtype, _range_of(m), missing, *added, m.reason])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    rows = ", ".join(f"{num:,} {split}" for split, num in found.num_rows.items())
    label = f"; label: {found.num_classes} classes" if found.num_classes else "; no label"
    return "\n".join([*text, f"rows: {rows}{label}", *found.notices])


def _range_of(m: ModalitySurvey) -> str:
    """Return in words which values a modality has."""
    if m.kind in ("category", "segmentation"):
        return f"{len(m.classes)} classes: {abbreviate(m.classes, 8)}"
    if m.vocabulary:
        return f"{m.shape[0]} tokens of {m.vocabulary:,}"
    if m.span:
        return m.span
    low, high = f"{m.low:.4g}", f"{m.high:.4g}"
    # Times and other numbers of which only the last digits differ need more of them.
    return f"{low} to {high}" if low != high else f"{m.low:.12g} to {m.high:.12g}"
