"""Impute the rows of a file, and write another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax

from sbmae_jax._check import require_int, require_seed, require_type
from sbmae_jax._io import as_path, require_writable, write_npz, write_results
from sbmae_jax.app.filled_table import H5AD, table_writer
from sbmae_jax.data.description import Description
from sbmae_jax.data.user.frame_file import FRAME_FILES
from sbmae_jax.data.user.table_files import MISSING_MARKERS
from sbmae_jax.data.user.tables import open_table
from sbmae_jax.models.imputation import draw_samples, filled_in, join_parts
from sbmae_jax.models.rows import Rows, read_rows
from sbmae_jax.training import distributed
from sbmae_jax.types import CompleteFn


@dataclass(frozen=True, kw_only=True)
class Imputed:
    """What `impute_file` has done.

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
    key: str = "",
) -> Imputed:
    """Impute the rows of a file, and write an `.npz` file or a table, whole or not at all.

    Of several processes, the first one writes.

    For a modality NAME that K of N rows lack, the file has

    - NAME [N, ...]: the rows, with each hole filled by the mean of its samples, rounded if the dtype is an
      integer, or by the most frequent class. Measured values stay as they are, but are converted to the units
      of the training data, and to their dtype where it holds all of them exactly;
    - NAME_rows [K]: the rows that were filled in;
    - NAME_samples [K, num_samples, ...];
    - NAME_mean and NAME_std [K, ...] of the samples, or for a category NAME_classes [C] and
      NAME_probabilities [K, C], the frequencies of the classes; text has neither.

    For other modalities it has NAME alone, as given. An output that ends in `.csv`, `.parquet`, `.feather` or
    `.xlsx` is the table of the input with its holes filled, in its columns and their order, number formats
    and types; it does not have the samples. An output that ends in `.h5ad` is such a file of the input.

    Args:
        draw: Draws what is not observed, as `Model.draw` does, compiled.
        data: The description of the data that the model was trained on.
        path: The new rows, as `open_table` reads them. A modality that is absent was not measured.
        output: The file to write: `.npz`, or for rows of a table one of the formats above.
        num_samples: Samples of each hole, at least 2, as a standard deviation needs.
        seed: In 0..2**32 - 1. The same seed gives the same samples.
        batch_size: Samples in one call of `draw`; larger batches need more memory.
        partial_rows: "refuse" rows that are NaN in part, or take them for "missing"; what was measured in
            such a row is then kept.
        missing_markers: The strings that mark a missing cell or category.
        key: The column of a table that names the rows, as in `open_table`.

    Returns:
        Where the file is, and how much was filled in.

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
    rows = read_rows(open_table(path, missing_markers, like=data, key=key), data, partial_rows)
    if rows.observed.all():
        raise ValueError(
            f"{path} has nothing to fill in: put NaN where a modality was not measured, mark its rows in "
            "NAME_present, or leave its array out"
        )
    write_table = None
    if output.suffix == ".npz":
        _check_names(rows)
    else:
        write_table = table_writer(as_path(path), output, missing_markers, rows, data)
    samples = draw_samples(draw, rows, num_samples, jax.random.key(seed), batch_size)
    about = {name: filled_in(name, rows, samples[name]) for name in rows.names}
    joined = join_parts(about, rows)
    arrays = {
        key: array
        # Columns of tables belong to parts, matrices to whole vectors.
        for of in (*(about.values() if write_table else ()), *joined.values())
        for key, array in of.items()
    }
    if distributed.is_first():
        fill = partial(write_table, arrays) if write_table else partial(write_npz, arrays=arrays)
        write_results(output.parent, {output.name: fill})
    distributed.barrier("imputed")
    num_filled = {name: len(of.get(f"{name}_rows", ())) for name, of in joined.items()}
    return Imputed(
        path=output, num_rows=len(rows.observed), num_filled=num_filled, notices=rows.notices
    )


def _check_output(output: str | Path) -> Path:
    """Return the file to write; raises ValueError if it cannot be written, or has another suffix."""
    output = as_path(output)
    if output.suffix not in (".npz", ".csv", *FRAME_FILES, H5AD):
        raise ValueError(
            f"output {output} must end in .npz, for rows of a table also in .csv, {', '.join(FRAME_FILES)}, "
            f"or for those of an {H5AD} file in {H5AD}: choose .npz, which holds all kinds of rows"
        )
    require_writable(output)
    return output


def _check_names(rows: Rows) -> None:
    """Raise ValueError if a modality has the name of an array that is written about another one."""
    for m, name in enumerate(rows.names):
        kind = rows.scalings[name].value_kind
        summary = ("mean", "std") if kind.has_mean else ()
        summary = ("classes", "probabilities") if kind.is_category else summary
        for key in () if rows.observed[:, m].all() else ("rows", "samples", *summary):
            if f"{name}_{key}" in rows.names:
                raise ValueError(
                    f"{name}_{key} is a modality and also the name of an output for another: rename it"
                )
