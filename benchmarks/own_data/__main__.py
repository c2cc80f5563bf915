"""Data of one's own: prediction, calibration, missing modalities and time; results/own_data.json.

python -m benchmarks.own_data linear     # six vectors of a linear-Gaussian model; times launch.py
python -m benchmarks.own_data nonlinear  # six wide vectors, a third of whose columns are not linear
python -m benchmarks.own_data digits     # scikit-learn's digits: pixels, Fourier magnitudes, profiles
python -m benchmarks.own_data missing    # PolyDigits, modalities missing at random; an hour on two cores
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.own_data import nonlinear
from benchmarks.own_data.report import EXACT, REPORT, RIDGE
from benchmarks.runner import ROOT, Options, main, once, reuse, seconds_of
from benchmarks.runs import nested_figures, results_of
from configs import polydigits
from sbmae_jax import load
from sbmae_jax._io import write_npz
from sbmae_jax._json import from_json
from sbmae_jax.app import pipeline

SIZES = (8, 12, 20, 5, 30, 10)  # of the six vectors
NUM_FACTORS, NUM_ROWS = 4, 2000
# Shares of missing pictures, and whether incomplete rows are dropped; beyond .7 none of 20,000 is complete.
CASES = (
    (0.0, False), (0.5, False), (0.5, True), (0.9, False), (0.7, False), (0.7, True), (0.3, False),
)  # fmt: skip


def run_file(name: str, arrays: Mapping[str, Any], options: Options) -> tuple[dict[str, Any], Path]:
    """Go from a file of arrays to a report by the command line, and return the results and the workdir.

    `whole_seconds` of the results is how long that took; nothing was compiled before.
    """
    workdir, path = options.runs / f"own-{name}", options.runs / f"own-{name}.npz"

    def run() -> dict[str, float]:
        shutil.rmtree(workdir, ignore_errors=True)  # a run that was interrupted has no time
        path.parent.mkdir(exist_ok=True, parents=True)
        write_npz(path, arrays)
        config = f"--config=configs/custom.py{':smoke' * options.smoke}"
        run = [sys.executable, "launch.py", config, f"--config.data.path={path}"]
        return {"whole_seconds": seconds_of([*run, f"--workdir={workdir}"], ROOT)}

    took = once(workdir / "whole_seconds.json", run)
    return from_json((workdir / "results.json").read_text()) | took, workdir


def rows_of(results: Mapping[str, Any], **others: str) -> dict[str, Any]:
    """Return errors of prediction and coverage by modality, how long all took, and the commit.

    others: names of columns, and the methods whose errors stand there.
    """
    rows = {}
    for name, entry in results["prediction"].items():
        if "error" in entry["model"]:
            rows[name] = {"error": entry["model"]["error"]["mean"]}
            rows[name] |= {word: entry[other]["error"]["mean"] for word, other in others.items()}
            held = results["calibration"][name]["coverage"]["mean"]
            rows[name]["90 % intervals hold"] = held
    return {"rows": rows, **{key: results[key] for key in ("whole_seconds", "commit")}}


def measure_linear(options: Options) -> dict[str, Any]:
    """Compare predictions with the exact conditional mean of a linear-Gaussian model."""
    rng = np.random.default_rng(0)
    loadings = [rng.normal(size=(NUM_FACTORS, size)) for size in SIZES]
    noise = [0.7 + 0.06 * m for m in range(len(SIZES))]
    factors = rng.normal(size=(NUM_ROWS, NUM_FACTORS))
    arrays = {
        f"v{m}": factors @ w + s * rng.normal(size=(NUM_ROWS, w.shape[1]))
        for m, (w, s) in enumerate(zip(loadings, noise, strict=True))
    }
    results, workdir = run_file("linear", arrays, options)
    source = pipeline.open_run(workdir).data.test
    raw = {name: source.scalings[name].restore(np.asarray(source.arrays[name])) for name in arrays}
    w = np.concatenate(loadings, axis=1)
    cov = w.T @ w + np.diag(np.repeat(np.square(noise), SIZES))
    ends = np.cumsum((0, *SIZES))
    found = rows_of(results)
    for m, name in enumerate(arrays):
        target = np.arange(ends[m], ends[m + 1])
        rest = np.setdiff1d(np.arange(ends[-1]), target)
        gain = np.linalg.solve(cov[np.ix_(rest, rest)], cov[np.ix_(rest, target)])
        others = np.concatenate([raw[n] for n in arrays if n != name], axis=1)
        scale, center = source.scalings[name].scale, source.scalings[name].shift
        error = np.mean(((raw[name] - others @ gain) / scale) ** 2)
        exact = error / np.mean(((raw[name] - center) / scale) ** 2)
        found["rows"][name][EXACT] = float(exact)
    return found


def measure_nonlinear(options: Options) -> dict[str, Any]:
    """Compare wide vectors, a third of whose columns are not linear, with ridge and a joint Gaussian."""
    sizes = nonlinear.SIZES[:2] if options.smoke else nonlinear.SIZES
    arrays = nonlinear.make_views(np.random.default_rng(5), sizes)
    results, workdir = run_file("nonlinear", arrays, options)
    found = nonlinear.compare(load(workdir), arrays, results)
    return found | {key: results[key] for key in ("whole_seconds", "commit")}


def measure_digits(options: Options) -> dict[str, Any]:
    """Learn three views of scikit-learn's digits, two of which are no linear functions of the others."""
    digits = load_digits()
    images = digits.images / 16.0  # pyright: ignore[reportAttributeAccessIssue]
    arrays = {
        "pixels": images.reshape(len(images), -1),
        "fourier": np.abs(np.fft.rfft2(images)).reshape(len(images), -1),
        "profiles": np.concatenate([images.sum(axis=1), images.sum(axis=2)], axis=1),
        "label": digits.target,  # pyright: ignore[reportAttributeAccessIssue]
    }
    results, _ = run_file("digits", arrays, options)
    return rows_of(results, **{RIDGE: "linear", "of nearest neighbours": "neighbours"})


def measure_missing(options: Options) -> dict[str, Any]:
    """Measure coherence where training rows lack modalities at random, with and without incomplete rows."""
    rows, variant = {}, "smoke" if options.smoke else "default"
    for share, complete_only in CASES[:3] if options.smoke else CASES:
        config = polydigits.get_config(variant)
        config.data.update(missing=share, complete_only=complete_only)
        # Half of the demo's steps: eight runs are to fit into an hour.
        config.autoencoder_training.num_steps //= 2
        config.score_training.num_steps = min(config.score_training.num_steps, 2000)
        name = f"{share:.0%}, {'complete' if complete_only else 'all'} rows"
        workdir = options.runs / f"own-missing-{share}-{complete_only}"
        if share:  # all are judged by one classifier
            reuse(options.runs / "own-missing-0.0-False", workdir, ("classifier",))
        results = results_of(config.to_dict(), workdir)
        rows[name] = nested_figures(results) | {"commit": results["commit"]}
    return {"rows": rows}


if __name__ == "__main__":
    main(
        "own_data",
        __doc__,
        REPORT,
        (measure_linear, measure_nonlinear, measure_digits, measure_missing),
    )
