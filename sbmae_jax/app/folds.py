"""Cross-validation on few rows: each row is a test row once, of a model that has not seen it.

The figures of K runs are averaged. Their interval is that of Student's t distribution over folds, mean +-
t_(K-1) sd / sqrt(K). Any two folds share most of their training rows, so no estimate of this variance is
without bias (Bengio and Grandvalet 2004, J. Mach. Learn. Res. 5, 1089-1105): take it for a guide.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sbmae_jax._check import require_int, require_seed, require_type
from sbmae_jax._io import as_path
from sbmae_jax._json import from_json
from sbmae_jax.app.fit import fit
from sbmae_jax.data.user.frames import frame_package
from sbmae_jax.metrics.coherence import Estimate, student_estimate
from sbmae_jax.training.workdir import RESULTS

MAX_FOLDS = 1000
_SHOWN = ("prediction.", "unconditional_coherence.", "conditional_coherence.", "consistency.mean")


def cross_validate(
    data: Any, *, workdir: str | Path, folds: int = 5, seed: int = 0, quiet: bool = False,
    **options: Any,
) -> dict[str, Estimate]:  # fmt: skip
    """Train and evaluate one model for each fold of the rows, and average what was measured.

    It takes as long as `folds` calls of `fit(..., evaluate=True)`, which it says before it starts. Finished
    folds are kept in the workdir, so the same call resumes. The models are not returned: train one on all
    rows by `fit`.

    Args:
        data: `{name: [N, ...]}`, or a data frame of pandas or polars, without an array `split`.
        workdir: A folder, in which each fold has a run of its own, `fold-1` and so on.
        folds: K, in how many parts the rows are divided, at least 2. A tenth of the training rows of each
            fold is for validation.
        seed: Seed of the division, and of all runs, in 0..2**32 - 1.
        quiet: Print nothing, and show no progress bars.
        options: Those of `fit`. `minutes` are those of each fold.

    Returns:
        By the keys of `results.json` with dots between them, such as "prediction.lab.model.error", the mean
        over folds with its interval, of what all folds have measured.

    Raises:
        ValueError: As `fit`; if the data have a split of their own; or if there are fewer rows than folds.

    Example:
        Of forty rows, which leave four test rows otherwise::

            from sbmae_jax.app.folds import cross_validate

            found = cross_validate(data, workdir="runs/folds", folds=5, minutes=1)
            found["prediction.lab.model.error"].mean, found["prediction.lab.linear.error"].mean
    """
    require_type("quiet", quiet, bool)
    for name in ("evaluate", "redo"):
        if name in options:
            raise ValueError(f"{name} is not an option of cross_validate: leave it out")
    names, num_rows = _rows_of(data)
    if "split" in names:
        raise ValueError("data have an array split: leave it out, as each fold makes its own")
    require_int("folds", folds, 2, MAX_FOLDS)
    if folds > num_rows:
        raise ValueError(f"folds must be at most the number of rows, {num_rows}, got {folds}")
    order = np.random.default_rng(require_seed("seed", seed)).permutation(num_rows)
    number = np.empty(num_rows, int)
    number[order] = np.arange(num_rows) % folds
    if not quiet:
        minutes = options.get("minutes")
        limit = f", at most {folds * minutes:g} minutes of training" if minutes else ""
        print(
            f"cross-validation: {folds} models are trained and evaluated, one after another{limit}"
        )
    figures = []
    for fold in range(folds):
        folder = as_path(workdir) / f"fold-{fold + 1}"
        split = np.where(number == fold, "test", "train")
        fit(
            _with_split(data, split),
            workdir=folder,
            seed=seed,
            quiet=quiet,
            evaluate=True,
            **options,
        )
        figures.append(dict(_means(from_json((folder / RESULTS).read_text()))))
    found = {
        key: _over_folds(np.array([one[key] for one in figures]))
        for key in figures[0]
        if all(key in one for one in figures)
    }
    if not quiet:
        print(format_folds(found))
    return found


def format_folds(found: Mapping[str, Estimate]) -> str:
    """Return the main figures of `cross_validate` as lines for the screen."""
    shown = {key: entry for key, entry in found.items() if key.startswith(_SHOWN)}
    width = max(map(len, shown), default=0)
    return "\n".join(
        f"  {key:<{width}}  {entry.mean:.3f} ({entry.low:.3f} to {entry.high:.3f})"
        for key, entry in shown.items()
    )


def _rows_of(data: Any) -> tuple[list[str], int]:
    """Return the names of arrays or columns, and the number of rows."""
    if frame_package(data):
        return [str(name) for name in data.columns], len(data)
    if not isinstance(data, Mapping) or not data:
        raise ValueError(
            "data must be {name: array} or a data frame, whose rows can be divided: read your files first"
        )
    try:
        return list(map(str, data)), len(next(iter(data.values())))
    except TypeError:
        name = next(iter(data))
        raise ValueError(f"{name} has no rows: the first axis must be rows") from None


def _with_split(data: Any, split: np.ndarray) -> Any:
    """Return data with an array that says of each row in which split it is."""
    package = frame_package(data)
    if package == "pandas":
        return data.assign(split=split)
    if package == "polars":
        return data.with_columns(type(data.to_series(0))("split", split.tolist()))
    return {**data, "split": split}


def _means(results: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Yield the finite means of results, and their keys with dots between them."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            is_estimate = {"mean", "se"} <= value.keys()
            if is_estimate and math.isfinite(value["mean"]):
                yield f"{before}{name}", value["mean"]
            elif not is_estimate:
                yield from _means(value, f"{before}{name}.")
        elif name == "mean" and isinstance(value, float) and math.isfinite(value):
            yield f"{before}{name}", value


def _over_folds(means: np.ndarray) -> Estimate:
    error = float(means.std(ddof=1) / math.sqrt(len(means)))
    return student_estimate(float(means.mean()), error, len(means) - 1)
