"""The demo with several seeds, against its targets; results/polydigits.json and the front page's table.

    python -m benchmarks.polydigits runs --seeds 0 1 2    # six to seven minutes a seed
    python -m benchmarks.polydigits demo                  # `make demo` in a fresh clone, with a watch
    python -m benchmarks.polydigits captions --seeds 0    # with text: two models, twelve minutes
    python -m benchmarks.polydigits drawn                 # samplers and temperatures, some minutes a seed
    python -m benchmarks.polydigits small                 # the model in the wheel, measured as it is stored

Each seed draws other digits for training and test, other weights and other samples.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.captions import measure_captions, of_captions
from benchmarks.claims import Claim, Target, claim
from benchmarks.drawn import drawn_table, measure_drawn, of_drawn, temperature_table
from benchmarks.runner import ROOT, Options, Page, Report, main, seconds_of
from benchmarks.runs import forget_compiled, nested_figures, run_seeds, trained
from benchmarks.tables import figures_table, over_seeds
from configs import polydigits
from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.app.loading import SHIPPED, SMALL

TARGETS: dict[str, Target] = {
    "classifier accuracy, real test images": (">", 0.95),
    "reconstruction accuracy (the ceiling)": (">", 0.93),
    "coherence given 1, over the ceiling": (">", 0.70),
    "coherence given 2, over the ceiling": (">", 0.85),
    "coherence given 3, over the ceiling": (">", 0.92),
    "coherence given 4, over the ceiling": (">", 0.95),
    "smallest rise of coherence with one more observed": (">", 0.0),
    "coherence from nothing, all five agree": (">", 0.60),
    "label total variation from uniform": ("<=", 0.10),
    "1,000 conditional samples of all missing modalities, seconds": ("<=", 10.0),
    "all stages together, seconds": ("<=", 600.0),
    "peak memory, GiB": ("<=", 4.0),
}


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that have targets."""
    ceiling = results["reconstruction_accuracy"]["mean"]
    given = [entry["mean"] for entry in results["conditional_coherence"].values()]
    values = (
        results["classifier_accuracy"]["mean"],
        ceiling,
        *(mean / ceiling for mean in given),
        float(np.diff(given).min()),
        results["unconditional_coherence"]["all_agree"]["mean"],
        results["label_total_variation"]["uniform"],
        results["seconds_per_1000_samples"],
        sum(results["seconds"].values()),
        results["peak_memory_bytes"] / 2**30,
    )
    return dict(zip(TARGETS, values, strict=True))


def of_runs(page: Page) -> Iterator[Claim]:
    for seed, results in page["runs"]["runs"].items():
        for name, value in figures(results).items():
            yield claim(f"{name}, seed {seed}", value, *TARGETS[name])


def of_demo(page: Page) -> Iterator[Claim]:
    yield claim("make demo in a fresh clone, seconds", page["demo"]["seconds"], "<=", 600.0)


def front_table(page: Page) -> str:
    """Return the table of the front page: the first seed, and mean and deviation of all."""
    runs = page["runs"]["runs"]
    first = dict(list(runs.items())[:1])
    return figures_table(over_seeds(first, figures) | over_seeds(runs, figures), TARGETS)


def measure_runs(options: Options) -> dict[str, Any]:
    config = polydigits.get_config("smoke" if options.smoke else "default")
    return run_seeds(options, "polydigits", config)


def measure_demo(options: Options) -> dict[str, Any]:
    """Time `make demo` in a fresh clone of the last commit, installation included."""
    command = ["make", "--dry-run", "demo"] if options.smoke else ["make", "demo"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        return {"seconds": seconds_of(command, Path(folder))}


def measure_small(options: Options) -> dict[str, Any]:
    """Measure the model that is installed with the package, by classifiers that are trained for it."""
    config = polydigits.get_config("small").to_dict()
    if options.smoke:
        quick = polydigits.get_config("smoke")
        config |= {key: quick[key].to_dict() for key in ("classifier_training", "evaluation")}
    run = trained(config, options.runs / "polydigits-small", ("evaluators",))
    found, _ = pipeline.measure(run, load(SMALL), "test")
    forget_compiled()
    size = SHIPPED[SMALL].stat().st_size
    return {"config": "configs/polydigits.py:small", "bytes": size, "found": found}


def small_figures(page: Page) -> dict[str, float]:
    found = nested_figures(page["small"]["found"])
    ceiling = found["reconstruction"]
    return {
        "reconstruction accuracy (the ceiling)": ceiling,
        **{
            f"coherence given {n}, over the ceiling": found[f"given {n}"] / ceiling
            for n in range(1, 5)
        },
        "coherence from nothing, all five agree": found["all agree"],
        "diversity": found["diversity"],
        "size, MB": page["small"]["bytes"] / 1e6,
    }


SMALL_TARGETS: dict[str, Target] = {
    "coherence given 1, over the ceiling": (">=", 0.80),
    "coherence from nothing, all five agree": (">=", 0.70),
    "size, MB": ("<=", 6.0),
}


def of_small(page: Page) -> Iterator[Claim]:
    for name, value in small_figures(page).items():
        if name in SMALL_TARGETS:
            yield claim(f"{name}, the installed model", value, *SMALL_TARGETS[name])


def small_table(page: Page) -> str:
    """Return the figures of the installed model."""
    return figures_table({"polydigits-small": [small_figures(page)]}, SMALL_TARGETS)


REPORT = Report(
    "polydigits",
    [
        ("runs", of_runs),
        ("demo", of_demo),
        ("captions", of_captions),
        ("small", of_small),
        ("drawn", of_drawn),
    ],
    {
        "polydigits.front": ("runs", front_table),
        "polydigits.small": ("small", small_table),
        "polydigits.drawn": ("drawn", drawn_table),
        "polydigits.temperature": ("drawn", temperature_table),
    },
)

if __name__ == "__main__":
    main(
        "polydigits",
        __doc__,
        REPORT,
        (measure_runs, measure_demo, measure_captions, measure_small, measure_drawn),
        seeds=(0, 1, 2),
    )
