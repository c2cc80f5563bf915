"""Impute rows: draw samples of every modality that was not measured, given those that were.

All patterns of missing modalities share one compiled function: each incomplete row is repeated once for each
sample, the rows are cut into batches of one size, and what is observed is an array.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from sbmae_jax._batches import padded_batches
from sbmae_jax._check import require_int, require_seed, require_type
from sbmae_jax._io import as_path, require_writable, write_npz, write_results
from sbmae_jax.data.description import Description
from sbmae_jax.data.scaling import Scaling, as_shape
from sbmae_jax.data.units import as_training_units, in_training_dtype
from sbmae_jax.data.user.profile import profile_rows, require_usable
from sbmae_jax.data.user.tables import MISSING_MARKERS, Table, open_table
from sbmae_jax.types import CompleteFn

_PARTIAL_ADVICE = (
    "fill them in, or set the whole row to NaN (in a CSV file, empty all its cells) to have it drawn; a run "
    "that is trained with config.data.partial_rows='missing' takes these rows for missing"
)


@dataclass(frozen=True, kw_only=True)
class Imputed:
    """What was imputed.

    Attributes:
        path: The file that was written.
        num_rows: The number of rows in it.
        num_filled: For each modality, in how many rows it was filled in.
        notices: Sentences on what was converted, or looks wrong.
    """

    path: Path
    num_rows: int
    num_filled: Mapping[str, int]
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """New rows of a user, with all modalities that a model knows.

    Attributes:
        raw: {name: [N, ...]} in the units of the training data; zeros for a modality that the files do not
            have.
        observed: [N, M] bool, in the order of the names: which modalities are measured.
        partial: [N, M] bool: which modalities are NaN in part.
        scalings: How each modality is scaled for the networks.
        notices: Sentences on what was converted, or looks wrong.
    """

    raw: Mapping[str, np.ndarray]
    observed: np.ndarray
    partial: np.ndarray
    scalings: Mapping[str, Scaling]
    notices: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, sorted."""
        return tuple(self.raw)

    @cached_property
    def prepared(self) -> dict[str, np.ndarray]:
        """All modalities as the networks see them. Raises ValueError for values that cannot be."""
        return {name: self._prepare(name) for name in self.names}

    def _prepare(self, name: str) -> np.ndarray:
        """Prepare one modality [N, *shape]; it is 0 where it is not observed."""
        observed, scaling = self.observed[:, self.names.index(name)], self.scalings[name]
        x = np.zeros((len(observed), *scaling.shape), scaling.prepared_dtype)
        valid = _copy(self.raw[name], scaling)
        # Replaced rather than dropped, so that errors count rows as the files do.
        valid[~observed] = scaling.restore(np.zeros(scaling.shape, np.float32))
        try:
            x[observed] = scaling.prepare(valid)[observed]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return x


def impute_file(
    draw: CompleteFn,
    data: Description,
    path: str | Path,
    output: str | Path,
    *,
    num_samples: int = 20,
    seed: int = 0,
    batch_size: int = 500,
    partial_rows: str = "refuse",
    missing_markers: Sequence[str] = MISSING_MARKERS,
) -> Imputed:
    """Impute the rows of a file, and write an `.npz` file, whole or not at all.

    For a modality NAME that K of N rows lack, the file has

    - NAME [N, ...]: the rows, with each hole filled by the mean of its samples, rounded if the dtype is an
      integer, or by the most frequent class. Measured values stay as they are, but are converted to the units
      of the training data, and to their dtype where it holds all of them exactly;
    - NAME_rows [K]: the rows that were filled in;
    - NAME_samples [K, num_samples, ...];
    - NAME_mean and NAME_std [K, ...] of the samples, or for a category NAME_classes [C] and
      NAME_probabilities [K, C], the frequencies of the classes.

    For other modalities it has NAME alone, as given.

    Args:
        draw: Draws what is not observed, as `Model.draw` does, compiled.
        data: The description of the data that the model was trained on.
        path: The new rows, as `open_table` reads them. A modality that is absent was not measured.
        output: The file to write.
        num_samples: Samples of each hole, at least 2, as a standard deviation needs.
        seed: In 0..2**32 - 1. The same seed gives the same samples.
        batch_size: Samples in one call of `draw`; larger batches need more memory.
        partial_rows: "refuse" rows that are NaN in part, or take them for "missing"; what was measured in
            such a row is then kept.
        missing_markers: The strings that mark a missing cell or category.

    Raises:
        ValueError: If the run was not trained on files, if an array or a column is unknown, is lacking or
            does not fit, if no row has a hole, or if an argument is out of range.

    Example:
        With the model of a finished run, as `pipeline.impute` does::

            model = load_model(run)
            done = impute_file(partial(draw, model), run.data.description, "new.npz", "filled.npz")
            print(done.num_filled)
    """
    require_type("num_samples", num_samples, int)
    require_seed("seed", seed)
    require_int("batch_size", batch_size, 1)
    if num_samples < 2:
        raise ValueError(
            f"num_samples must be at least 2, as a standard deviation needs, got {num_samples}"
        )
    if not data.scalings:
        raise ValueError("only a run that was trained on files of your own can impute")
    output = _check_output(output)
    if output.resolve() == as_path(path).resolve():
        raise ValueError(
            f"output {output} is the input: choose another file, to keep what was measured"
        )
    rows = _read_rows(open_table(path, missing_markers, like=data), data, partial_rows)
    if rows.observed.all():
        raise ValueError(
            f"{path} has nothing to fill in: put NaN where a modality was not measured, mark its rows in "
            "NAME_present, or leave its array out"
        )
    _check_names(rows)
    samples = _draw_samples(draw, rows, num_samples, seed, batch_size)
    arrays: dict[str, np.ndarray] = {}
    for name in rows.names:
        arrays |= _filled_in(name, rows, samples[name])
    write_results(output.parent, {output.name: lambda file: write_npz(file, arrays)})
    num_filled = {name: len(samples[name]) for name in rows.names}
    return Imputed(
        path=output, num_rows=len(rows.observed), num_filled=num_filled, notices=rows.notices
    )


def _check_output(output: str | Path) -> Path:
    """Return the file to write; raises ValueError if it cannot be written, or is not called `.npz`."""
    output = as_path(output)
    if output.suffix != ".npz":
        raise ValueError(f"output {output} must be the name of an .npz file, such as filled.npz")
    require_writable(output)
    return output


def _check_names(rows: Rows) -> None:
    """Raise ValueError if a modality has the name of an array that is written about another one."""
    for m, name in enumerate(rows.names):
        summary = (
            ("classes", "probabilities")
            if rows.scalings[name].kind == "category"
            else ("mean", "std")
        )
        for key in () if rows.observed[:, m].all() else ("rows", "samples", *summary):
            if f"{name}_{key}" in rows.names:
                raise ValueError(
                    f"{name}_{key} is a modality and also the name of an output for another: rename it"
                )


def _read_rows(table: Table, data: Description, partial_rows: str) -> Rows:
    """Read all rows of a table as a model knows them; raises ValueError for arrays that it does not know."""
    for name in table.all_names:
        if name not in data.scalings and name not in data.ignored:
            raise ValueError(
                f"{name} in {table.path} is not a modality of this run: remove it; the run has "
                f"{', '.join(sorted(data.scalings))}"
            )
    known = [name for name in table.names if name in data.scalings]
    found = table.read(np.arange(table.num_rows), known)
    raw, observed, partial, notices = {}, [], [], list(table.notices)
    none = np.zeros(table.num_rows, bool)
    for name, scaling in sorted(data.scalings.items()):
        if name in found:
            marked = table.present.get(name)
            profile = profile_rows(found[name], marked, partial_rows, table.missing_markers)
            require_usable(name, profile, partial_rows, _PARTIAL_ADVICE)
            raw[name], notice = _in_training_units(name, scaling, found[name], profile.present)
            notices += [f"{name}: {notice}"] * bool(notice)
            columns = data.entries.get(name, ())
            if columns and scaling.kind != "category" and name not in table.entries:
                order = f"{', '.join(columns)}, in this order"
                notices.append(f"{name} has no names of columns: they are taken to be {order}")
            observed.append(profile.present)
            partial.append(profile.partial)
        else:
            dtype = np.dtype(scaling.dtype)
            raw[name] = np.zeros((table.num_rows, *scaling.raw_shape), dtype)
            observed.append(none)
            partial.append(none)
    return Rows(
        raw=raw, observed=np.stack(observed, 1), partial=np.stack(partial, 1),
        scalings=data.scalings, notices=tuple(notices),
    )  # fmt: skip


def _in_training_units(
    name: str, scaling: Scaling, raw: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, str]:
    """Convert one array to the units of the training data, as its present rows tell them."""
    try:
        converted, notice = as_training_units(scaling, raw[present])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if raw.dtype.kind == "U" and converted.dtype.kind != "U":  # words that were read as numbers
        raw = np.zeros(raw.shape, converted.dtype)
    whole = np.zeros((len(raw), *scaling.raw_shape), np.result_type(raw.dtype, converted.dtype))
    whole[~present] = as_shape(raw, scaling.raw_shape)[~present]
    whole[present] = converted
    return whole, notice


def _draw_samples(
    draw: CompleteFn, rows: Rows, num_samples: int, seed: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Return samples of all holes in the user's units: {name: [K, num_samples, ...]}."""
    incomplete = np.flatnonzero(~rows.observed.all(axis=1))
    # The index of a row among those that lack the modality.
    index = {name: np.cumsum(~rows.observed[:, m]) - 1 for m, name in enumerate(rows.names)}
    samples: dict[str, np.ndarray] = {}
    root, total = jax.random.key(seed), len(incomplete) * num_samples
    batches = padded_batches(total, batch_size, powers_of_two=True)
    for i, (numbers, num) in enumerate(batches):
        row, sample = incomplete[numbers // num_samples], numbers % num_samples
        batch = {name: x[row] for name, x in rows.prepared.items()}
        made = draw(jax.random.fold_in(root, i), batch, rows.observed[row])
        used = np.arange(len(numbers)) < num
        for m, name in enumerate(rows.names):
            holes = used & ~rows.observed[row, m]
            restored = rows.scalings[name].restore(np.asarray(made[name])[holes])
            if name not in samples:
                num_holes = int(np.count_nonzero(~rows.observed[:, m]))
                samples[name] = np.empty(
                    (num_holes, num_samples, *restored.shape[1:]), restored.dtype
                )
            samples[name][index[name][row[holes]], sample[holes]] = restored
    return samples


def _filled_in(name: str, rows: Rows, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays that are written for one modality."""
    m = rows.names.index(name)
    scaling, raw, holes = rows.scalings[name], rows.raw[name], np.flatnonzero(~rows.observed[:, m])
    if not len(holes):
        return {name: in_training_dtype(scaling, raw)}
    about = {f"{name}_rows": holes, f"{name}_samples": samples}
    if scaling.kind == "category":
        classes = scaling.class_values
        shares = np.stack([(samples == c).mean(axis=1) for c in classes], axis=1)
        fill = classes[shares.argmax(axis=1)]
        about |= {f"{name}_classes": classes, f"{name}_probabilities": shares.astype(np.float32)}
        whole = np.empty(len(raw), classes.dtype)
        whole[holes], kept = fill, rows.observed[:, m]
        whole[kept] = in_training_dtype(scaling, raw[kept])
    else:
        dtype = np.result_type(samples.dtype, np.float32)
        fill = samples.mean(axis=1, dtype=np.float64).astype(dtype)
        std = samples.std(axis=1, ddof=1, dtype=np.float64).astype(dtype)
        about |= {f"{name}_mean": fill, f"{name}_std": std}
        partial = rows.partial[:, m]
        known = raw[rows.observed[:, m] | partial]
        measured = in_training_dtype(scaling, known[known == known])  # without NaN
        whole = _copy(raw, scaling)
        dtype = scaling.dtype if measured.dtype == scaling.dtype else whole.dtype
        whole = _put(whole, holes, fill, partial[holes], np.dtype(dtype))
    return {name: whole, **about}


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


def _copy(raw: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Copy an array, with a dtype that also holds what the model makes: longer strings, or floats."""
    made = scaling.class_values.dtype if scaling.kind == "category" else np.dtype(scaling.dtype)
    both = {raw.dtype.kind, made.kind}
    if "U" in both and both != {"U"}:
        made = np.dtype(str)
    integers = raw.dtype.kind in "ui" and (made.kind in "ui" or np.abs(raw).max(initial=0) > 2**53)
    return raw.copy() if integers else raw.astype(np.result_type(raw.dtype, made))
