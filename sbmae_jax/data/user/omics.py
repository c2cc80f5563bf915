"""Files of AnnData and MuData: matrices of cells and genes, and what is known of each cell."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._extras import require_extra
from sbmae_jax._io import one_line
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.base import abbreviate
from sbmae_jax.data.names import as_name
from sbmae_jax.data.user.column_arrays import as_trained, infer_arrays
from sbmae_jax.data.user.frame_file import as_frame_columns
from sbmae_jax.data.user.raw import RawArrays, by_name, read_each, row_numbers, unusable_names
from sbmae_jax.data.user.table_files import TableOptions

OMICS_FILES = (".h5ad", ".h5mu")


def read_omics(path: Path, options: TableOptions, like: Description | None = None) -> RawArrays:
    """Open an `.h5ad` or `.h5mu` file; rows of the matrix X of an `.h5ad` file are read when indexed.

    Args:
        path: The file.
        options: How the columns of `obs` are grouped.
        like: What a model was trained on, for new rows: genes and columns are then found by their names.

    Returns:
        Of an `.h5ad` file: X, each layer and each array of `obsm`. Of an `.h5mu` file: the X of each modality
        by the name of the modality, and its layers and arrays as MODALITY_NAME, missing in cells that the
        modality lacks. Of both: the columns of `obs`, of which those of numbers form the vector `obs`.

    Raises:
        ValueError: If the file cannot be read, if two arrays have the same name, or if new rows lack genes.
        ImportError: If anndata or mudata are not installed.
    """
    package = "anndata" if path.suffix == ".h5ad" else "mudata"
    require_extra(f"reading {path.name}", "omics", package)
    try:
        if path.suffix == ".h5ad":
            import anndata

            data = anndata.read_h5ad(path, backed="r")
            parts = {"": data}
        else:
            import mudata

            data = mudata.read_h5mu(path)
            parts = dict(data.mod)
    except Exception as error:  # of whatever type these packages raise
        raise ValueError(
            f"{path} cannot be read ({one_line(error)}): it is damaged or of another format, so write it "
            "again"
        ) from None
    matrices = by_name(path, (pair for part in parts.items() for pair in _matrices(*part)))
    place = {name: row for row, name in enumerate(data.obs_names)}
    rows = {
        part: np.array([place[name] for name in one.obs_names], np.int64)
        for part, one in parts.items()
    }
    notices: list[str] = []

    def open_matrix(name):
        part, matrix, columns = matrices[name]
        chosen = _chosen(path, name, columns, like, notices)
        return _Matrix(matrix, rows[part], len(place), chosen)

    arrays, unreadable = read_each({name: name for name in matrices}, open_matrix)
    present = {n: a.present for n, a in arrays.items() if not a.present.all()}
    entries = {
        name: tuple(columns) if like is None else like.entries.get(name, tuple(columns))
        for name, (_, _, columns) in matrices.items()
        if columns
    }
    found = _obs(path, data, options, like)
    arrays = by_name(path, [*arrays.items(), *found.arrays.items()])
    return RawArrays(
        arrays,
        present=present | dict(found.present),
        entries=entries | dict(found.entries),
        grouped=found.grouped,
        notices=(*notices, *found.notices),
        unusable=unusable_names(dict.fromkeys(matrices, "the matrix")) | dict(found.unusable),
        unreadable=unreadable | dict(found.unreadable),
    )


def _matrices(part: str, data: Any) -> Iterator[tuple[str, tuple[str, Any, Sequence[str]]]]:
    """Yield the name of each matrix, with its part of the file, its values and the names of its columns."""
    before, genes = f"{part}_" if part else "", [as_name(str(name)) for name in data.var_names]
    if data.X is not None:
        yield part or "X", (part, data.X, genes)
    for name, layer in data.layers.items():
        if name is not None:  # as newer versions call X
            yield f"{before}{name}", (part, layer, genes)
    for name, array in data.obsm.items():
        if array.shape[1:] == (1,) and array.dtype == bool and name in (part, *data.obsm):
            continue  # where MuData notes which cells a modality has
        columns = [as_name(str(c)) for c in array.columns] if hasattr(array, "columns") else []
        values = array.to_numpy() if hasattr(array, "columns") else array
        yield f"{before}{name}", (part, values, columns)


def _obs(path: Path, data: Any, options: TableOptions, like: Description | None) -> RawArrays:
    """Return the columns of `obs` as arrays; those that MuData takes from its parts are left out."""
    frame = data.obs.reset_index(drop=True)
    frame = frame[[name for name in frame.columns if path.suffix == ".h5ad" or ":" not in name]]
    if not len(frame.columns):
        return RawArrays({})
    table = as_frame_columns(path / "obs", frame, options.markers)
    return infer_arrays(table, options.groups) if like is None else as_trained(table, like, ())


def _chosen(
    path: Path, name: str, columns: Sequence[str], like: Description | None, notices: list[str]
) -> np.ndarray | None:
    """Return the numbers of the columns that a model knows, in its order; None for all as they are."""
    known = like.entries.get(name, ()) if like is not None else ()
    if not known or not columns or tuple(columns) == tuple(known):
        return None
    place = {column: number for number, column in enumerate(columns)}
    lacking = [column for column in known if column not in place]
    if lacking:
        raise ValueError(
            f"{path} lacks {len(lacking):,} columns that the training data had in {name}, such as "
            f"{abbreviate(tuple(lacking), 3)}: add them, or leave {name} out of these rows to have it drawn"
        )
    if len(columns) > len(known):
        notices.append(
            f"{name}: {len(columns) - len(known):,} columns are not of the training data"
        )
    return np.array([place[column] for column in known])


class _Matrix:
    """A matrix of a file, dense or sparse, as an array [N, F] with a row for each cell of the file."""

    def __init__(self, matrix: Any, rows: np.ndarray, num_rows: int, columns: np.ndarray | None):
        self._matrix, self._columns = matrix, columns
        self._place = np.full(num_rows, -1)
        self._place[rows] = np.arange(len(rows))
        width = matrix.shape[1:] if columns is None else (len(columns),)
        self.shape, self.dtype = (num_rows, *width), np.dtype(matrix.dtype)
        self.present = self._place >= 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        numbers = row_numbers(rows, len(self))
        found = np.zeros((len(numbers), *self.shape[1:]), self.dtype)
        there = self.present[numbers]
        if there.any():  # files are read at increasing rows, each once
            unique, back = np.unique(self._place[numbers[there]], return_inverse=True)
            part = self._matrix[unique]
            part = np.asarray(part.toarray() if hasattr(part, "toarray") else part)
            part = part if self._columns is None else part[:, self._columns]
            found[there] = part[back]
        return found
