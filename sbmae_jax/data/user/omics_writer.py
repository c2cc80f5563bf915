"""A filled `.h5ad` file: the file that had holes, with its matrices and columns filled, in their types."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax._extras import require_extra
from sbmae_jax.data.names import as_name


class FilledMatrix(NamedTuple):
    """The rows of a matrix that had holes.

    Attributes:
        rows: Their numbers, `[K]`.
        values: What they hold now, `[K, F]`; what was measured stays as it was in the file.
        columns: The names of the columns; empty for the columns of the file, in their order.
    """

    rows: np.ndarray
    values: np.ndarray
    columns: Sequence[str]


class OmicsNames(NamedTuple):
    """What an `.h5ad` file has: the names of its matrices, and of the columns of `obs`."""

    matrices: frozenset[str]
    columns: frozenset[str]


def names_in_h5ad(path: Path) -> OmicsNames:
    """Return what a file has that can be read."""
    data = _open(path, backed="r")
    matrices = {*(["X"] if data.X is not None else []), *data.layers, *data.obsm} - {None}
    found = OmicsNames(frozenset(matrices), frozenset(as_name(str(name)) for name in data.obs))
    data.file.close()
    return found


def write_h5ad(
    path: Path, matrices: Mapping[str, FilledMatrix], fill_columns: Callable[[Any], Any], file: Any
) -> None:
    """Write a copy of a file with its holes filled, and all else as it was.

    A matrix that the file does not have is added: as X or as a layer if its columns are the genes of the
    file, otherwise to `obsm`.

    Args:
        path: The file with holes.
        matrices: What was filled in of X, layers and `obsm`.
        fill_columns: Returns `obs`, a data frame, with its holes filled.
        file: The file to write, open for bytes.
    """
    data = _open(path)
    data.obs = fill_columns(data.obs)
    genes = [as_name(str(name)) for name in data.var_names]
    for name, filled in matrices.items():
        if name == "X" and data.X is not None:
            data.X = _filled(data.X, filled, genes)
        elif name in data.layers:
            data.layers[name] = _filled(data.layers[name], filled, genes)
        elif name in data.obsm:
            names = [as_name(str(c)) for c in getattr(data.obsm[name], "columns", ())]
            data.obsm[name] = _filled(data.obsm[name], filled, names)
        elif sorted(filled.columns) == sorted(genes) and len(genes):
            whole = _filled(
                np.full((data.n_obs, len(genes)), np.nan, filled.values.dtype), filled, genes
            )
            if name == "X":
                data.X = whole
            else:
                data.layers[name] = whole
        elif filled.columns:
            import pandas as pd

            values = filled.values.reshape(len(filled.rows), -1)
            columns = dict(zip(filled.columns, values.T, strict=True))
            data.obsm[name] = pd.DataFrame(columns, index=data.obs_names)
        else:
            data.obsm[name] = filled.values
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        whole = Path(folder) / "filled.h5ad"
        data.write_h5ad(whole)
        with whole.open("rb") as done:
            shutil.copyfileobj(done, file)


def _filled(matrix: Any, filled: FilledMatrix, names: Sequence[str]) -> Any:
    """Return a matrix, dense, sparse or a data frame, whose NaN are filled in; its type and dtype stay."""
    place = {name: number for number, name in enumerate(names)}
    width = filled.values.shape[1]
    columns = [place[name] for name in filled.columns] if place and filled.columns else range(width)
    if hasattr(matrix, "columns"):
        whole = matrix.copy()
        for number, new in zip(columns, filled.values.T, strict=True):
            old = matrix.iloc[filled.rows, number].to_numpy()
            whole.iloc[filled.rows, number] = _kept(old, new)
        return whole
    is_sparse = hasattr(matrix, "tolil")
    whole: Any = matrix.tolil() if is_sparse else np.array(matrix)
    rows = whole[filled.rows]
    rows = rows.toarray() if is_sparse else rows
    rows[:, list(columns)] = _kept(rows[:, list(columns)], filled.values)
    whole[filled.rows] = rows
    return whole.asformat(matrix.format) if is_sparse else whole


def _kept(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return what was measured, and in its holes what is new."""
    return np.where(np.isnan(old), new, old).astype(old.dtype) if old.dtype.kind == "f" else old


def _open(path: Path, backed: Any = None) -> Any:
    require_extra(f"writing what fills {path.name}", "omics", "anndata")
    import anndata

    return anndata.read_h5ad(path, backed=backed)
