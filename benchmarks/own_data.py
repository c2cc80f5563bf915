"""Data of one's own: prediction, calibration, missing modalities and time; results/own_data.json.

    python benchmarks/own_data.py linear     # six vectors of a linear-Gaussian model; times launch.py
    python benchmarks/own_data.py digits     # scikit-learn's digits: pixels, Fourier magnitudes, profiles
    python benchmarks/own_data.py missing    # PolyDigits, modalities missing at random; an hour on two cores
    python benchmarks/own_data.py claims     # compares what was measured with the targets again

Each part keeps its own command and commit. Runs are kept under runs/own-NAME and not repeated.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "configs"))  # before this folder, which has files of the same names

import polydigits  # noqa: E402

from sbmae_jax.app import pipeline, provenance  # noqa: E402

RESULTS = ROOT / "results" / "own_data.json"
PLOT = ROOT / "results" / "own_data_missing.png"
SIZES = (8, 12, 20, 5, 30, 10)  # of the six vectors
NUM_FACTORS, NUM_ROWS = 4, 2000
# Shares of missing pictures, and whether incomplete rows are dropped; beyond .7 none of 20,000 is complete.
CASES = (
    (0.0, False), (0.5, False), (0.5, True), (0.9, False), (0.7, False), (0.7, True), (0.3, False),
)  # fmt: skip
NONLINEAR = ("pixels", "fourier")  # views of the digits that are no linear functions of the others


def launch(path: Path, workdir: Path) -> float:
    """Go from a file to a report by the command line, and return the seconds; nothing is compiled yet."""
    command = [
        sys.executable, "launch.py", "--config=configs/custom.py", f"--config.data.path={path}",
        f"--workdir={workdir}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as empty:
        start = time.perf_counter()
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": empty}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return time.perf_counter() - start


def run_custom(name: str, arrays: dict[str, np.ndarray]) -> tuple[dict[str, Any], Path]:
    """Write arrays to a file, learn from them, and return the results and the workdir."""
    workdir, path = ROOT / "runs" / f"own-{name}", ROOT / "runs" / f"own-{name}.npz"
    took = workdir / "whole_seconds.json"
    if not took.exists():
        shutil.rmtree(workdir, ignore_errors=True)  # a run that was interrupted has no time
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
        took.write_text(json.dumps(launch(path, workdir)))
    results = json.loads((workdir / "results.json").read_text())
    return results | {"whole_seconds": json.loads(took.read_text())}, workdir


def measure_linear() -> dict[str, Any]:
    """Compare predictions with the exact conditional mean of a linear-Gaussian model."""
    rng = np.random.default_rng(0)
    loadings = [rng.normal(size=(NUM_FACTORS, size)) for size in SIZES]
    noise = [0.7 + 0.06 * m for m in range(len(SIZES))]
    factors = rng.normal(size=(NUM_ROWS, NUM_FACTORS))
    arrays = {
        f"v{m}": factors @ w + s * rng.normal(size=(NUM_ROWS, w.shape[1]))
        for m, (w, s) in enumerate(zip(loadings, noise, strict=True))
    }
    results, workdir = run_custom("linear", arrays)
    source = pipeline.open_run(workdir).data.test
    raw = {name: source.scalings[name].restore(np.asarray(source.arrays[name])) for name in arrays}
    w = np.concatenate(loadings, axis=1)
    cov = w.T @ w + np.diag(np.repeat(np.square(noise), SIZES))
    ends = np.cumsum((0, *SIZES))
    best = {}
    for m, name in enumerate(arrays):
        target = np.arange(ends[m], ends[m + 1])
        rest = np.setdiff1d(np.arange(ends[-1]), target)
        gain = np.linalg.solve(cov[np.ix_(rest, rest)], cov[np.ix_(rest, target)])
        others = np.concatenate([raw[n] for n in arrays if n != name], axis=1)
        scale, center = source.scalings[name].scale, source.scalings[name].shift
        error = np.mean(((raw[name] - others @ gain) / scale) ** 2)
        best[name] = float(error / np.mean(((raw[name] - center) / scale) ** 2))
    model = {name: results["prediction"][name]["model"]["error"]["mean"] for name in arrays}
    return {
        "error": model,
        "error_of_the_exact_conditional_mean": best,
        "ratio": {name: model[name] / best[name] for name in arrays},
        "coverage": coverage(results),
        "whole_seconds": results["whole_seconds"],
        **origin(results),
    }


def measure_digits() -> dict[str, Any]:
    """Learn three views of scikit-learn's digits, two of which are no linear functions of the others."""
    digits = load_digits()
    images = digits.images / 16.0  # pyright: ignore
    arrays = {
        "pixels": images.reshape(len(images), -1),
        "fourier": np.abs(np.fft.rfft2(images)).reshape(len(images), -1),
        "profiles": np.concatenate([images.sum(axis=1), images.sum(axis=2)], axis=1),
        "label": digits.target,  # pyright: ignore
    }
    results, _ = run_custom("digits", arrays)
    views = ("pixels", "fourier", "profiles")
    return {
        "error": {n: results["prediction"][n]["model"]["error"]["mean"] for n in views},
        "error_of_ridge": {n: results["prediction"][n]["linear"]["error"]["mean"] for n in views},
        "error_of_neighbours": {
            n: results["prediction"][n]["neighbours"]["error"]["mean"] for n in views
        },
        "coverage": coverage(results),
        "classifier_accuracy": results["classifier_accuracy"],
        "conditional_coherence": results["conditional_coherence"],
        "unconditional_coherence": results["unconditional_coherence"],
        "whole_seconds": results["whole_seconds"],
        **origin(results),
    }


def coverage(results: dict[str, Any]) -> dict[str, float]:
    """Return how often the 90 % intervals hold the truth, by modality."""
    return {name: e["coverage"]["mean"] for name, e in results["calibration"].items()}


def origin(results: dict[str, Any]) -> dict[str, Any]:
    """Return where figures come from."""
    return {"commit": results["commit"], "seed": results["seed"], "num_rows": results["num_rows"]}


def measure_missing() -> dict[str, Any]:
    """Measure coherence where training rows lack modalities at random, with and without incomplete rows."""
    rows = {}
    for share, complete_only in CASES:
        config = polydigits.get_config()
        config.data.update(missing=share, complete_only=complete_only)
        # Half of the demo's steps: eight runs are to fit into an hour.
        config.autoencoder_training.num_steps //= 2
        config.score_training.num_steps = 2000
        name = f"own-{'complete' if complete_only else 'missing'}-{round(100 * share)}"
        workdir, evaluator = ROOT / "runs" / name, ROOT / "runs" / "own-missing-0" / "classifier"
        if share and not (workdir / "classifier").exists():  # all are judged by one classifier
            shutil.copytree(evaluator, workdir / "classifier")
        pipeline.run(config.to_dict(), workdir)
        results = json.loads((workdir / "results.json").read_text())
        rows[name.removeprefix("own-")] = {
            "missing": share,
            "complete_only": complete_only,
            **{f"given {n}": e["mean"] for n, e in results["conditional_coherence"].items()},
            "all agree": results["unconditional_coherence"]["all_agree"]["mean"],
            "conditional diversity": results["conditional_diversity"],
            "Fréchet distance": results["frechet_classifier_features"]["mean"],
            "reconstruction accuracy": results["reconstruction_accuracy"]["mean"],
            **origin(results),
        }
    draw(rows)
    return {"rows": rows, "commit": sorted({row["commit"] for row in rows.values()})}


def draw(rows: dict[str, dict[str, Any]]) -> None:
    """Draw coherence against the share of pictures that training rows lack."""
    figure = Figure(figsize=(5.6, 3.6))
    axes = figure.add_subplot()
    for complete_only, style in ((False, "o-"), (True, "x--")):
        chosen = [
            r for r in rows.values()
            if r["complete_only"] == complete_only or (complete_only and r["missing"] == 0)
        ]  # fmt: skip
        for number, key in enumerate(("given 1", "given 4", "all agree")):
            points = sorted((r["missing"], r[key]) for r in chosen)
            words = "complete rows alone" if complete_only else "all rows"
            axes.plot(
                *zip(*points, strict=True), style, color=f"C{number}", label=f"{key}, {words}"
            )
    axes.set(xlabel="share of pictures missing in training", ylabel="coherence", ylim=(0, 1))
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)


def claims(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured with its targets."""
    found = []

    def claim(name: str, value: float, low: float, high: float = np.inf) -> None:
        bound = f"<= {high}" if low == -np.inf else f">= {low}"
        bound = f"{low} to {high}" if np.isfinite(low) and np.isfinite(high) else bound
        found.append({
            "name": name, "value": round(value, 4), "bound": bound, "holds": bool(low <= value <= high),
        })  # fmt: skip

    if "linear" in page:
        part = page["linear"]
        ratios = list(part["ratio"].values())
        claim("linear: error over that of the exact conditional mean, mean of six",
              float(np.mean(ratios)), -np.inf, 1.05)  # fmt: skip
        claim("linear: the same, largest of six", max(ratios), -np.inf, 1.05)
        for name, value in part["coverage"].items():
            claim(f"linear: 90 % intervals of {name} hold the truth", value, 0.87, 0.93)
        claim(
            "2,000 rows, six vectors, from file to report: seconds",
            part["whole_seconds"],
            -np.inf,
            180,
        )
    if "digits" in page:
        part = page["digits"]
        for name in NONLINEAR:
            ratio = part["error"][name] / part["error_of_ridge"][name]
            claim(f"digits: error of {name} over that of ridge", ratio, -np.inf, 1.0)
        for name, value in part["coverage"].items():
            claim(f"digits: 90 % intervals of {name} hold the truth", value, 0.87, 0.93)
    if "missing" in page:
        rows = page["missing"]["rows"]
        full, half, dropped = (rows[n] for n in ("missing-0", "missing-50", "complete-50"))
        for key in ("given 1", "given 2", "given 3", "given 4", "all agree"):
            claim(f"half missing, {key}: over that of all data", half[key] / full[key], 0.9)
        for key in ("given 1", "all agree"):
            gain = half[key] - dropped[key]
            claim(f"half missing, {key}: gain over dropping incomplete rows", gain, 0.1)
        # What follows was added when the figures of the above were known.
        gain = half["conditional diversity"] - dropped["conditional diversity"]
        claim("set afterwards: half missing, conditional diversity: gain over dropping", gain, 0.1)
        if "complete-70" in rows:
            for key in ("given 1", "all agree", "conditional diversity"):
                gain = rows["missing-70"][key] - rows["complete-70"][key]
                claim(f"set afterwards: seven tenths missing, {key}: gain over dropping", gain, 0.1)
    return found


def vectors_table(page: dict[str, Any]) -> str:
    """Return errors and coverage of the vectors as a table of Markdown."""
    linear, digits = page["linear"], page["digits"]
    lines = [
        "| data | target | error | of the exact conditional mean | of ridge | 90 % intervals hold |",
        "|---|---|---|---|---|---|",
    ]
    for name, error in linear["error"].items():
        best = linear["error_of_the_exact_conditional_mean"][name]
        lines.append(
            f"| linear-Gaussian | {name} | {error:.3f} | {best:.3f} | | {linear['coverage'][name]:.3f} |"
        )
    for name, error in digits["error"].items():
        ridge = digits["error_of_ridge"][name]
        lines.append(
            f"| digits | {name} | {error:.3f} | | {ridge:.3f} | {digits['coverage'][name]:.3f} |"
        )
    return "\n".join(lines)


COLUMNS = (
    "given 1", "given 2", "given 3", "given 4", "all agree", "conditional diversity",
    "Fréchet distance",
)  # fmt: skip


def missing_table(page: dict[str, Any]) -> str:
    """Return coherence by the share of missing pictures as a table of Markdown."""
    rows = sorted(
        page["missing"]["rows"].values(), key=lambda r: (r["complete_only"], r["missing"])
    )
    lines = [f"| missing | trained on | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for row in rows:
        used = "complete rows" if row["complete_only"] else "all rows"
        values = " | ".join(f"{row[key]:.3f}" for key in COLUMNS)
        lines.append(f"| {row['missing']:.0%} | {used} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """Measure a part, compare with the targets, write."""
    parts = {"linear": measure_linear, "digits": measure_digits, "missing": measure_missing}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*parts, "claims"])
    part = parser.parse_args().part
    found = parts[part]() if part in parts else {}
    page = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if part in parts:
        page[part] = {"command": f"python benchmarks/own_data.py {part}", **found}
    measured = [page[name] for name in parts if name in page]
    page |= {
        "claims": claims(page),
        "command": "; ".join(m["command"] for m in measured),
        "commit": sorted({c for m in measured for c in np.atleast_1d(m["commit"]).tolist()}),
        "seeds": [0],
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    for entry in page["claims"]:
        print(
            f"{'holds' if entry['holds'] else 'MISSED'}  {entry['name']}: {entry['value']}, {entry['bound']}"
        )


if __name__ == "__main__":
    main()
