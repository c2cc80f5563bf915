"""New rows of a user, read by what training knew: units, dtypes, classes, names and holes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.base import as_shape
from sbmae_jax.data.names import as_name
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.units import as_training_units
from sbmae_jax.data.user.parts import split_like
from sbmae_jax.data.user.profile import profile_rows, require_usable
from sbmae_jax.data.user.raw import ABOUT_ROWS
from sbmae_jax.data.user.spool import grouped_columns
from sbmae_jax.data.user.tables import Table

_PARTIAL_ADVICE = (
    "fill them in, or set the whole row to NaN (in a CSV file, empty all its cells) to have it drawn; a run "
    "that is trained with config.data.partial_rows='missing' takes these rows for missing"
)
PARTIAL_ADVICE_IN_PYTHON = (
    "fill them in, or call impute(partial_rows='missing'), which draws the whole row and keeps what was "
    "measured"
)


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
        valid = writable_copy(self.raw[name], scaling)
        # Replaced rather than dropped, so that errors count rows as the files do.
        valid[~observed] = scaling.restore(np.zeros(scaling.shape, np.float32))
        try:
            x[observed] = scaling.prepare(valid)[observed]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return x


def read_rows(
    table: Table, data: Description, partial_rows: str, advice: str = _PARTIAL_ADVICE
) -> Rows:
    """Read all rows of a table as a model knows them.

    Args:
        table: The user's rows.
        data: What the model was trained on.
        partial_rows: "refuse" rows that are NaN in part, or take them for "missing".
        advice: What can be done about such rows.

    Raises:
        ValueError: For arrays that the model does not know, or that do not fit it.
    """
    table = split_like(table, data.scalings)
    for name in table.all_names:
        if name not in data.scalings and name not in data.ignored:
            raise ValueError(
                f"{name} in {table.path} is not a modality of this run: remove it; the run has "
                f"{', '.join(sorted(data.scalings))}"
            )
    table = table.only([name for name in table.all_names if name in data.scalings])
    found = table.read(np.arange(table.num_rows), table.names)
    raw, observed, partial, notices = {}, [], [], list(table.notices)
    none = np.zeros(table.num_rows, bool)
    for name, scaling in sorted(data.scalings.items()):
        if name in found:
            marked = table.present.get(name)
            profile = profile_rows(found[name], marked, partial_rows, table.missing_markers)
            require_usable(name, profile, partial_rows, advice)
            raw[name], notice = _in_training_units(name, scaling, found[name], profile.present)
            notices += [f"{name}: {notice}"] * bool(notice)
            columns = data.entries.get(name, ())
            if columns and scaling.raw_shape and name not in table.entries:
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


def groups_in(frame: Any, entries: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Sequence[str]]:
    """Return the columns of a data frame that form vectors, by the name of the vector.

    Args:
        frame: A data frame; anything else has no columns.
        entries: `(name, columns)` of the vectors that a model knows.

    Raises:
        ValueError: If some columns of a vector are there and others are not.
    """
    columns = set(map(str, getattr(frame, "columns", ())))
    groups = {name: names for name, names in entries if columns & set(names)}
    for name, names in groups.items():
        for column in names:
            if column not in columns:
                raise ValueError(
                    f"data lack the column {column!r} of {name}: give all columns of {name}, with NaN where "
                    "it is missing, or none of them"
                )
    return groups


def complete_columns(
    frame: Any, entries: Sequence[tuple[str, Sequence[str]]], ignored: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return the columns of a data frame as arrays `{name: [N, ...]}`, those of vectors joined.

    Args:
        frame: A data frame of pandas or polars.
        entries: `(name, columns)` of the vectors that a model knows.
        ignored: Columns that are left out, as `label` and `split` are.

    Raises:
        ValueError: As `groups_in`, and for a value that is missing.
    """
    others = {*ignored, *ABOUT_ROWS}
    kept = [column for column in frame.columns if as_name(str(column)) not in others]
    found = grouped_columns(frame, groups_in(frame, entries), kept)
    for name, (values, present) in found.items():
        holes = np.zeros(len(values), bool) if present is None else ~present
        if values.dtype.kind == "f":
            holes = holes | np.isnan(values).any(axis=tuple(range(1, values.ndim)))
        if holes.any():
            raise ValueError(
                f"{name} has a hole in row {np.flatnonzero(holes)[0]}: use impute, which fills them, or "
                "leave these rows out"
            )
    return {name: column.values for name, column in found.items()}


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


def writable_copy(raw: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Copy an array, with a dtype that also holds what the model makes: longer strings, or floats."""
    made = scaling.class_values.dtype if scaling.value_kind.is_category else np.dtype(scaling.dtype)
    if scaling.value_kind.is_date:
        made = np.dtype("U40")
    both = {raw.dtype.kind, made.kind}
    if "U" in both and both != {"U"}:
        made = np.dtype(str)
    integers = raw.dtype.kind in "ui" and (made.kind in "ui" or np.abs(raw).max(initial=0) > 2**53)
    return raw.copy() if integers else raw.astype(np.result_type(raw.dtype, made))
