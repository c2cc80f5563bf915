"""What a user's data are, in figures and in words, before anything is learned from them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.data.scaling import few
from sbmae_jax.data.user.opened import Opened, open_files, state_of, table_of

SHARES = (0.9, 0.95, 0.99)  # of the variance
SAMPLE, SAMPLE_OF_WIDE = (
    2000,
    1000,
)  # rows in which principal components are counted: their matrix is ...
WIDE = 1000  # ... [features, features], or else [rows, rows], and its eigenvalues take seconds
MAX_FEATURES = 10_000  # of wider data as many are drawn: the components count those


class Modality(NamedTuple):
    """One modality of a user.

    raw_shape, raw_dtype: of one example in the files.  shape, dtype: as the networks see it.
    low, high: the range in the files; NaN for words.  num_missing: rows, of those that are used.
    num_constant: features with one value in all training rows.
    num_components: principal components that hold SHARES of the variance of training rows.
    classes: of a category.
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


class Survey(NamedTuple):
    """All modalities, sorted by name, and their rows.

    num_rows: of each split.  num_empty: rows in which nothing is measured, which are left out.
    num_measured: training rows of each modality.  num_classes: of `label`, 0 without it.
    notices: sentences on what a user may not expect.
    """

    path: Path
    modalities: tuple[Modality, ...]
    num_rows: Mapping[str, int]
    num_empty: int
    num_measured: Mapping[str, int]
    num_classes: int
    notices: tuple[str, ...]


def survey(
    path: str | Path,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
    partial_rows: str = "refuse",
    leave_out: Sequence[str] = (),
) -> Survey:
    """Survey the data at a path.

    leave_out: names of arrays that are no modalities; they are not looked at.

    Other arguments and errors as `open_files`; also raises ValueError if nothing is left.
    """
    path = Path(path).expanduser().resolve()
    names = table_of(path).all_names
    for name in leave_out:
        if name not in names:
            raise ValueError(f"leave_out: {path} has no modality {name!r}, but {', '.join(names)}")
    kept = tuple(name for name in names if name not in leave_out)
    if not kept:
        raise ValueError(f"leave_out: no modality of {path} is left")
    given = tuple(sorted((kinds or {}).items()))
    return _survey(path, state_of(path), given, seed, partial_rows, kept)


@functools.lru_cache(maxsize=4)
def _survey(
    path: Path,
    state: tuple,
    kinds: tuple[tuple[str, str], ...],
    seed: int,
    partial_rows: str,
    names: tuple[str, ...],
) -> Survey:
    del state  # part of the key alone
    opened = open_files(path, dict(kinds), seed, partial_rows, names)
    present = opened.present(tuple(opened.kinds))
    num_empty = int(np.count_nonzero(~present.any(axis=1)))
    modalities = tuple(
        modality(opened, name, int(np.count_nonzero(~present[:, m])) - num_empty)
        for m, name in enumerate(opened.kinds)
    )
    return Survey(
        path,
        modalities,
        {split: len(rows) for split, rows in opened.rows.items()},
        num_empty,
        {
            name: int(opened.profiles[name].present[opened.rows["train"]].sum())
            for name in opened.kinds
        },
        0 if opened.label is None else len(opened.label.values),
        tuple(notices(opened, modalities, num_empty)),
    )


def modality(opened: Opened, name: str, num_missing: int) -> Modality:
    """Survey one modality."""
    scaling, seen, kind = opened.scalings[name], opened.profiles[name], opened.kinds[name]
    return Modality(
        name,
        kind.name,
        kind.reason,
        scaling.raw_shape,
        scaling.dtype,
        scaling.shape,
        scaling.prepared_dtype,
        seen.low,
        seen.high,
        num_missing,
        opened.constant[name],
        num_components(sample(opened, name)),
        scaling.classes,
    )


def sample(opened: Opened, name: str) -> np.ndarray:
    """Return some measured training rows [n, F], prepared; of counts the standardised ln(1 + x)."""
    width = int(np.prod(opened.scalings[name].shape, dtype=np.int64))
    rows = opened.rows["train"]
    rows = rows[opened.profiles[name].present[rows]]
    rows = np.sort(rows[: SAMPLE if width <= WIDE else SAMPLE_OF_WIDE])
    x = opened.prepare(rows, [name])[name].reshape(len(rows), -1)
    if x.shape[1] > MAX_FEATURES:
        chosen = np.random.default_rng(0).choice(x.shape[1], MAX_FEATURES, replace=False)
        x = x[:, np.sort(chosen)]
    x = x / np.float32(255) if x.dtype == np.uint8 else x
    if opened.kinds[name].name == "counts":
        x = np.log1p(x)
        std = x.std(axis=0)
        x = x / np.where(std > 0, std, 1)
    return x


def num_components(x: np.ndarray) -> tuple[int, int, int]:
    """Return how many principal components hold SHARES of the variance of rows [N, F]."""
    x = x - x.mean(axis=0)
    products = (
        x.T @ x if x.shape[1] <= len(x) else x @ x.T
    )  # both have the same eigenvalues but zeros
    variances = np.linalg.eigvalsh(products.astype(np.float64))[::-1].clip(0)
    if not variances.sum():
        return (0, 0, 0)
    held = np.cumsum(variances) / variances.sum()
    first, second, third = (int(np.searchsorted(held, share - 1e-9)) + 1 for share in SHARES)
    return first, second, third


def notices(opened: Opened, modalities: tuple[Modality, ...], num_empty: int) -> list[str]:
    """Return what a user may not expect."""
    found = list(opened.table.notices)
    if opened.table.split is not None and not (opened.table.split == "valid").any():
        num = len(opened.rows["valid"])
        found.append(
            f"the data have no rows of the split 'valid': {num:,} training rows are held out for it"
        )
    if num_empty:
        found.append(f"{num_empty:,} rows are left out: nothing is measured in them")
    for m in modalities:
        if m.num_constant and np.prod(m.shape, dtype=np.int64) == m.num_constant:
            found.append(
                f"{m.name} has the same value in all training rows: nothing can be learned of it"
            )
        elif m.num_constant:
            found.append(
                f"{m.name}: {m.num_constant:,} of {np.prod(m.shape, dtype=np.int64):,} features have the "
                "same value in all training rows: nothing can be learned of them"
            )
    if len(modalities) == 1:
        found.append(
            f"{modalities[0].name} is the only modality: the model is a latent diffusion model, and there is "
            "nothing to condition on"
        )
    return found


def table(found: Survey, more: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return a survey as lines to print.

    more: further columns, {title: {name of a modality: what stands there}}.
    """
    more = more or {}
    num_used = sum(found.num_rows.values())
    head = ["name", "kind", "shape", "dtype", "range", "missing", *more, "why this kind"]
    lines = [head]
    for m in found.modalities:
        shape = " x ".join(map(str, m.raw_shape)) or "1"
        missing = f"{m.num_missing / num_used:.1%}" if m.num_missing else "-"
        extra = [columns.get(m.name, "") for columns in more.values()]
        lines.append([m.name, m.kind, shape, m.raw_dtype, range_of(m), missing, *extra, m.reason])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    rows = ", ".join(f"{num:,} {split}" for split, num in found.num_rows.items())
    label = f"; label: {found.num_classes} classes" if found.num_classes else "; no label"
    return "\n".join([*text, f"rows: {rows}{label}", *found.notices])


def range_of(m: Modality) -> str:
    """Return in words which values a modality has."""
    if m.kind == "category":
        return f"{len(m.classes)} classes: {few(m.classes, 4)}"
    return f"{m.low:.4g} to {m.high:.4g}"
