"""Fill the holes of new rows: samples of every modality that was not measured, given those that were.

All patterns of holes are one compiled call: rows with holes, each as often as there are samples, are cut
into batches of one size, and what is observed is an array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from sbmae_jax._check import require_int, require_type
from sbmae_jax._io import write
from sbmae_jax.data.description import Description
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.user.profile import profile_rows, require_usable
from sbmae_jax.data.user.tables import Table, open_table
from sbmae_jax.types import CompleteFn


class Imputed(NamedTuple):
    """What was done. num_holes: of each modality the rows in which it was filled."""

    path: Path
    num_rows: int
    num_holes: Mapping[str, int]


@dataclass(frozen=True)
class Rows:
    """New rows of a user, of all modalities that a model knows.

    raw: {name: [N, ...]}, what the files hold, and blanks where they do not have a modality.
    observed, partial: [N, M] bool, in the order of the names: what is measured, and what is NaN in part.
    """

    raw: Mapping[str, np.ndarray]
    observed: np.ndarray
    partial: np.ndarray
    scalings: Mapping[str, Scaling]

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, sorted."""
        return tuple(self.raw)

    @cached_property
    def prepared(self) -> dict[str, np.ndarray]:
        """All modalities as the networks see them; raises ValueError for values that they cannot have."""
        return {name: self.prepare(name) for name in self.names}

    def prepare(self, name: str) -> np.ndarray:
        """Prepare one modality [N, *shape]; what is not observed is 0."""
        observed, scaling = self.observed[:, self.names.index(name)], self.scalings[name]
        x = np.zeros((len(observed), *scaling.shape), scaling.prepared_dtype)
        valid = copy_for(self.raw[name], scaling.class_values.dtype)
        if valid.shape[1:] == scaling.raw_shape:
            # Blanks are replaced rather than left out, so that errors count rows as the files do.
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
    num_samples: int = 20,
    seed: int = 0,
    batch_size: int = 500,
    partial_rows: str = "refuse",
) -> Imputed:
    """Fill the rows of a file, and write an `.npz` file, whole or not at all.

    draw: draws what is not observed, as `Model.draw`, compiled.
    data: of the run.  path: as in `open_table`; modalities that are not there were not measured.
    num_samples: of each hole, at least 2.  partial_rows: as in `look`; where a row is measured in part and
        taken for missing, the measured part is kept.

    Of each modality NAME with K holes are written:
        NAME [N, ...] as given, the holes filled with the mean, rounded where the type is of whole numbers,
            or with the most frequent class;
        NAME_rows [K], the rows with holes;  NAME_samples [K, num_samples, ...];
        NAME_mean and NAME_std [K, ...] of the samples, or for a category
        NAME_classes [C] and NAME_probabilities [K, C], their frequencies.
    Of other modalities NAME alone.

    Raises ValueError for a run whose data are no files, for arrays that it does not know or that do not
    fit, for rows without a hole, for fewer than 2 samples, and for a seed or a batch size out of range.
    """
    require_type("num_samples", num_samples, int)
    require_int("seed", seed, 0, 2**32 - 1)
    require_int("batch_size", batch_size, 1)
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2, to have a deviation, got {num_samples}")
    if not data.scalings:
        raise ValueError(
            "this run was not trained on files of your own: only such a run can fill holes"
        )
    rows = read_rows(open_table(path), data.scalings, partial_rows)
    if rows.observed.all():
        raise ValueError(
            f"{path} has no holes: put NaN where a modality was not measured, mark its rows in NAME_present, "
            "or leave its array out"
        )
    samples = draw_samples(draw, rows, num_samples, seed, batch_size)
    arrays: dict[str, np.ndarray] = {}
    for name in rows.names:
        for key, array in filled(name, rows, samples[name]).items():
            if key in arrays:
                raise ValueError(
                    f"{key} is a modality and also what is written of another: rename it"
                )
            arrays[key] = array
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write(output, lambda file: np.savez(file, allow_pickle=False, **arrays))
    holes = {name: len(samples[name]) for name in rows.names}
    return Imputed(output, len(rows.observed), holes)


def read_rows(table: Table, scalings: Mapping[str, Scaling], partial_rows: str) -> Rows:
    """Read all rows of a table; raises ValueError for arrays that the scalings do not know."""
    for name in table.names:
        if name not in scalings:
            raise ValueError(
                f"{name} in {table.path} is no modality of this run: take it out; the run has "
                f"{', '.join(sorted(scalings))}"
            )
    found = table.read(np.arange(table.num_rows), table.names)
    raw, observed, partial = {}, [], []
    none = np.zeros(table.num_rows, bool)
    for name, scaling in sorted(scalings.items()):
        if name in found:
            profile = profile_rows(found[name], table.present.get(name), partial_rows)
            require_usable(name, profile, partial_rows)
            raw[name] = found[name]
            observed.append(profile.present)
            partial.append(profile.partial)
        else:
            dtype = np.dtype(scaling.dtype)
            raw[name] = np.zeros((table.num_rows, *scaling.raw_shape), dtype)
            observed.append(none)
            partial.append(none)
    return Rows(raw, np.stack(observed, axis=1), np.stack(partial, axis=1), scalings)


def draw_samples(
    draw: CompleteFn, rows: Rows, num_samples: int, seed: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Return samples of all holes in the user's units: {name: [K, num_samples, ...]}."""
    holed = np.flatnonzero(~rows.observed.all(axis=1))
    index = {
        name: np.cumsum(~rows.observed[:, m]) - 1 for m, name in enumerate(rows.names)
    }  # of a row among those in which the modality is missing
    samples: dict[str, np.ndarray] = {}
    root, total = jax.random.key(seed), len(holed) * num_samples
    batch_size = min(batch_size, total)
    for i, start in enumerate(range(0, total, batch_size)):
        # The last batch repeats its end, so that all have one size.
        numbers = np.minimum(np.arange(start, start + batch_size), total - 1)
        row, sample = holed[numbers // num_samples], numbers % num_samples
        batch = {name: x[row] for name, x in rows.prepared.items()}
        made = draw(jax.random.fold_in(root, i), batch, rows.observed[row])
        used = np.arange(batch_size) < total - start
        for m, name in enumerate(rows.names):
            holes = used & ~rows.observed[row, m]
            restored = rows.scalings[name].restore(np.asarray(made[name])[holes])
            if name not in samples:
                num = int(np.count_nonzero(~rows.observed[:, m]))
                samples[name] = np.empty((num, num_samples, *restored.shape[1:]), restored.dtype)
            samples[name][index[name][row[holes]], sample[holes]] = restored
    return samples


def filled(name: str, rows: Rows, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Return what is written of one modality."""
    m = rows.names.index(name)
    scaling, raw, holes = rows.scalings[name], rows.raw[name], np.flatnonzero(~rows.observed[:, m])
    if not len(holes):
        return {name: raw}
    about = {f"{name}_rows": holes, f"{name}_samples": samples}
    if scaling.kind == "category":
        classes = scaling.class_values
        shares = np.stack([(samples == c).mean(axis=1) for c in classes], axis=1)
        fill = classes[shares.argmax(axis=1)]
        about |= {f"{name}_classes": classes, f"{name}_probabilities": shares.astype(np.float32)}
    else:
        fill = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
        std = samples.std(axis=1, ddof=1, dtype=np.float64).astype(np.float32)
        about |= {f"{name}_mean": fill, f"{name}_std": std}
    return {name: put(raw, holes, fill, rows.partial[holes, m]), **about}


def put(raw: np.ndarray, holes: np.ndarray, fill: np.ndarray, partial: np.ndarray) -> np.ndarray:
    """Put values [K, ...] into rows; of rows that were measured in part, the measured part stays."""
    whole = copy_for(raw, fill.dtype)
    if raw.dtype.kind in "bui":
        fill = np.round(fill)
    elif partial.any():
        keep = ~np.isnan(raw[holes]) & partial.reshape(-1, *[1] * (raw.ndim - 1))
        fill = np.where(keep, raw[holes], fill)
    whole[holes] = fill.astype(whole.dtype)
    return whole


def copy_for(raw: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Copy an array; words get room for those of a type."""
    return raw.astype(np.result_type(raw.dtype, dtype) if raw.dtype.kind in "US" else raw.dtype)
