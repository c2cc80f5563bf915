"""Impute rows: draw samples of every modality that was not measured, given those that were.

All patterns of missing modalities share one compiled function: each incomplete row is repeated once for each
sample, the rows are cut into batches of one size, and what is observed is an array.
"""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sbmae_jax._batches import padded_batches
from sbmae_jax._check import require_int, require_one_of
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.date import Date
from sbmae_jax.data.names import as_name
from sbmae_jax.data.parts import merge_columns, vectors_of
from sbmae_jax.data.units import in_training_dtype
from sbmae_jax.data.user.frames import frame_package, put_into
from sbmae_jax.data.user.profile import POLICIES
from sbmae_jax.data.user.raw import ABOUT_ROWS
from sbmae_jax.data.user.spool import named_as_given, write_folder
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.coders import coder_errors
from sbmae_jax.models.rows import (
    PARTIAL_ADVICE_IN_PYTHON,
    Rows,
    groups_in,
    read_rows,
    writable_copy,
)
from sbmae_jax.types import CompleteFn, Key

BATCH_SIZE = 500  # samples in one compiled call


class Imputation(NamedTuple):
    """Rows whose holes were filled in, and the samples that filled them: what `Model.impute` returns.

    Attributes:
        filled: The rows, as the type that was given. Holes hold the mean of their samples, rounded for
            integers, or the most frequent class (of each pixel), or the string that shares the most tokens
            with the others.
        samples: `{name: [K, S, ...]}`, S samples of each of the K rows that had a hole, and of no other row;
            modalities without holes are absent. Row `k` of it is row `rows[name][k]` of the data.
        rows: `{name: [K]}`, the numbers of the rows that had a hole.
        notices: Sentences on what was converted, or looks wrong; each is a warning as well.
    """

    filled: Any
    samples: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]
    notices: tuple[str, ...]


def require_own_data(model: Any) -> None:
    """Raise ValueError if a `Model` does not know the units of all its modalities."""
    if len(model.scalings) < len(model.modalities):
        raise ValueError("only a model that was trained on data of your own can impute")


def impute(
    model: Any, draw: CompleteFn, data: Any, num_samples: int, key: Key, partial_rows: str
) -> Imputation:
    """Fill in what rows in memory lack; `Model.impute` documents the arguments."""
    require_int("num_samples", num_samples, 2, 10**6)
    require_one_of("partial_rows", partial_rows, POLICIES)
    require_own_data(model)
    if not frame_package(data) and not isinstance(data, Mapping):
        raise ValueError("data must be {name: array}, or a data frame of pandas or polars")
    # The columns of an array without names are in the order of training.
    entries = dict(model.entries) if frame_package(data) else {}
    others = (*model.ignored, *ABOUT_ROWS)
    known = Description({}, {}, entries, dict(model.scalings), others)
    columns = set(map(str, getattr(data, "columns", ())))
    groups = groups_in(data, model.entries)
    names = set(map(as_name, columns or map(str, data)))
    ignored = [name for name in others if name in names]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with named_as_given(folder):
            write_folder(data, folder, groups, ignored)
            table = open_table(folder, like=known)
            rows = read_rows(table, known, partial_rows, PARTIAL_ADVICE_IN_PYTHON)
    for notice in rows.notices:
        warnings.warn(notice, stacklevel=3)
    samples = draw_samples(draw, rows, num_samples, key, BATCH_SIZE)
    none = np.zeros(0)  # of a modality that no row lacks
    about = {name: filled_in(name, rows, samples.get(name, none)) for name in rows.names}
    joined = join_parts(about, rows)
    if not frame_package(data):  # whose columns are found by their names
        about = joined
    holes = {name: of.get(f"{name}_rows", none.astype(int)) for name, of in about.items()}
    with_holes = [name for name, of in joined.items() if f"{name}_rows" in of]
    return Imputation(
        filled=put_into(
            data, {name: of[name] for name, of in about.items()}, holes, dict(model.entries)
        ),
        samples={name: joined[name][f"{name}_samples"] for name in with_holes},
        rows={name: joined[name][f"{name}_rows"] for name in with_holes},
        notices=rows.notices,
    )


def draw_samples(
    draw: CompleteFn, rows: Rows, num_samples: int, root: Key, batch_size: int
) -> dict[str, np.ndarray]:
    """Return samples of all holes in the user's units: {name: [K, num_samples, ...]}.

    Args:
        draw: Draws what is not observed, as `Model.draw` does, compiled.
        rows: The rows, with K holes in a modality.
        num_samples: Samples of each hole.
        root: A typed key, into which the numbers of the batches are folded.
        batch_size: Samples in one call of `draw`; larger batches need more memory.
    """
    incomplete = np.flatnonzero(~rows.observed.all(axis=1))
    # The index of a row among those that lack the modality.
    index = {name: np.cumsum(~rows.observed[:, m]) - 1 for m, name in enumerate(rows.names)}
    samples: dict[str, np.ndarray] = {}
    total = len(incomplete) * num_samples
    batches = padded_batches(total, batch_size, powers_of_two=True)
    for i, (numbers, num) in enumerate(batches):
        row, sample = incomplete[numbers // num_samples], numbers % num_samples
        batch = {name: x[row] for name, x in rows.prepared.items()}
        with coder_errors():
            made = jax.device_get(draw(jax.random.fold_in(root, i), batch, rows.observed[row]))
        used = np.arange(len(numbers)) < num
        for m, name in enumerate(rows.names):
            holes = used & ~rows.observed[row, m]
            restored = rows.scalings[name].restore(made[name][holes])
            if name not in samples:
                num_holes = int(np.count_nonzero(~rows.observed[:, m]))
                samples[name] = np.empty(
                    (num_holes, num_samples, *restored.shape[1:]), restored.dtype
                )
            samples[name][index[name][row[holes]], sample[holes]] = restored
    return samples


def filled_in(name: str, rows: Rows, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Return one modality filled in, and what is known of its holes, by the names of `impute_file`."""
    m = rows.names.index(name)
    scaling, raw, holes = rows.scalings[name], rows.raw[name], np.flatnonzero(~rows.observed[:, m])
    if not len(holes):
        return {name: in_training_dtype(scaling, raw)}
    about = {f"{name}_rows": holes, f"{name}_samples": samples}
    if scaling.value_kind.is_category:
        classes = scaling.class_values
        shares = np.stack([(samples == c).mean(axis=1) for c in classes], axis=1)
        fill = classes[shares.argmax(axis=1)]
        about |= {f"{name}_classes": classes, f"{name}_probabilities": shares.astype(np.float32)}
        whole = np.empty(len(raw), classes.dtype)
        whole[holes], kept = fill, rows.observed[:, m]
        whole[kept] = in_training_dtype(scaling, raw[kept])
    elif not scaling.value_kind.has_mean:
        fill = scaling.value_kind.best_guess(scaling, samples)
        whole = raw.astype(np.result_type(raw.dtype, fill.dtype))
        whole[holes] = fill
        whole = in_training_dtype(scaling, whole)
    elif isinstance(scaling.value_kind, Date):
        fill = scaling.value_kind.best_guess(scaling, samples)
        std = scaling.value_kind.std_in_days(scaling, samples).astype(np.float32)
        about |= {f"{name}_mean": fill, f"{name}_std": std}
        whole = raw.astype(np.result_type(raw.dtype, fill.dtype))
        whole[holes] = fill
    else:
        dtype = np.result_type(samples.dtype, np.float32)
        fill = scaling.value_kind.best_guess(scaling, samples).astype(dtype)
        std = samples.std(axis=1, ddof=1, dtype=np.float64).astype(dtype)
        about |= {f"{name}_mean": fill, f"{name}_std": std}
        partial = rows.partial[:, m]
        known = raw[rows.observed[:, m] | partial]
        measured = in_training_dtype(scaling, known[known == known])  # without NaN
        whole = writable_copy(raw, scaling)
        dtype = scaling.dtype if measured.dtype == scaling.dtype else whole.dtype
        whole = _put(whole, holes, fill, partial[holes], np.dtype(dtype))
    return {name: whole, **about}


def join_parts(
    about: Mapping[str, Mapping[str, np.ndarray]], rows: Rows
) -> dict[str, dict[str, np.ndarray]]:
    """Return what `filled_in` returned of each modality, with vectors in the place of their parts.

    A row of a vector has a hole if one of its cells is missing. Samples repeat the cells that were measured.
    """
    vectors = vectors_of(rows.scalings)
    owner = {part: vector for vector, parts in vectors.items() for part in parts}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, of in about.items():
        vector = owner.get(name)
        if vector is None:
            found[name] = dict(of)
        elif vector not in found:
            found[vector] = _joined(vector, {n: about[n] for n in vectors[vector]}, vectors[vector])
    return found


def _joined(
    vector: str, about: Mapping[str, Mapping[str, np.ndarray]], parts: Mapping[str, list[int]]
) -> dict[str, np.ndarray]:
    """Return a vector filled in, and what is known of its holes."""
    whole = merge_columns({part: about[part][part] for part in parts}, parts)
    having = [part for part in parts if f"{part}_rows" in about[part]]
    if not having:
        return {vector: whole}
    holes = np.unique(np.concatenate([about[part][f"{part}_rows"] for part in having]))
    num_samples = about[having[0]][f"{having[0]}_samples"].shape[1]
    found = {vector: whole, f"{vector}_rows": holes}
    for what in ("samples", "mean", "std"):
        drawn = {part: about[part][f"{part}_{what}"] for part in having}
        start = np.zeros_like(whole[holes]) if what == "std" else whole[holes]
        start = np.repeat(start[:, None], num_samples, axis=1) if what == "samples" else start
        start = start.astype(np.result_type(start, *drawn.values()))
        for part, values in drawn.items():
            at = np.searchsorted(holes, about[part][f"{part}_rows"])
            some = start[at]
            some[..., parts[part]] = values
            start[at] = some
        found[f"{vector}_{what}"] = start
    return found


def _put(
    whole: np.ndarray, holes: np.ndarray, fill: np.ndarray, partial: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Put values [K, ...] into rows, and keep the measured part of rows that were measured in part."""
    if dtype.kind in "bui":
        fill = np.round(fill)
    if whole.dtype.kind == "f" and partial.any():
        keep = ~np.isnan(whole[holes]) & partial.reshape(-1, *[1] * (whole.ndim - 1))
        fill = np.where(keep, whole[holes], fill)
    whole[holes] = fill.astype(whole.dtype)
    return whole.astype(dtype, copy=False)
