"""What Extended PolyMNIST was to reach, here and on an accelerator, its tables and its plot.

What `python -m benchmarks.gpu` wrote to results/gpu is compared here, too.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims import Claim, Target, claim, flops_claim, short
from benchmarks.runner import RESULTS, Page, Report
from benchmarks.tables import figures_table, mean_std, over_seeds, part_table
from sbmae_jax._json import from_json

# Coherence is that of the protocol of all subsets.
CPU: dict[str, Target] = {
    "coherence, given 1": (">=", 0.70), "coherence, given 2": (">=", 0.85),
    "coherence, given 3": (">=", 0.90), "coherence, given 4": (">=", 0.93),
    "all agree": (">=", 0.60), "minutes of all stages": ("<=", 45),
}  # fmt: skip
FIVE: dict[str, Target] = {
    "coherence, given 1": (">=", 0.85), "coherence, given 2": (">=", 0.93),
    "coherence, given 3": (">=", 0.96), "coherence, given 4": (">=", 0.97),
    "all agree": (">=", 0.90), "label total variation": ("<=", 0.05),
}  # fmt: skip
RISE, GROWTH = "least rise of coherence with one more observed", "growth of the Fréchet distance"
TEN: dict[str, Target] = {
    "coherence, given 1": (">=", 0.85), "coherence, given 9": (">=", 0.97), RISE: (">", 0.0),
    "all agree": (">=", 0.75), GROWTH: ("<=", 0.05), "seconds in all": ("<=", 600.0),
}  # fmt: skip


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the main figures of one run."""

    def by_number(words: str, key: str) -> dict[str, float]:
        return {f"{words}, given {n}": e["mean"] for n, e in results.get(key, {}).items()}

    distances = "all_subsets_frechet_classifier_features"
    return {
        "classifier accuracy": results["classifier_accuracy"]["mean"],
        "reconstruction accuracy": results["reconstruction_accuracy"]["mean"],
        **by_number("coherence", "all_subsets_coherence"),
        **by_number("coherence by prefix", "prefix_coherence"),
        "all agree": results["unconditional_coherence"]["all_agree"]["mean"],
        "label total variation": results["label_total_variation"]["uniform"],
        "conditional diversity": results["conditional_diversity"],
        **by_number("Fréchet distance (classifier features)", distances),
        "seconds per 1,000 samples": results["seconds_per_1000_samples"],
        "minutes of all stages": sum(results["seconds"].values()) / 60,
        "peak memory, GiB": results["peak_memory_bytes"] / 2**30,
    }


def of_runs(page: Page) -> Iterator[Claim]:
    for seed, results in page["runs"]["runs"].items():
        values = figures(results)
        for name in (name for name in CPU if name in values):
            yield claim(f":cpu, seed {seed}: {name}", values[name], *CPU[name])


def of_networks(page: Page) -> Iterator[Claim]:
    rows = page["networks"]["rows"]
    for name in (name for name in rows if not name.startswith("hub")):
        for figure in ("given 1", "all agree"):
            title, ours = f"score network hub against {name}: {figure}", rows["hub"][figure]
            yield claim(title, ours, ">=", rows[name][figure])


def of_growth(page: Page) -> Iterator[Claim]:
    for name, slope in page["growth"]["growth"].items():
        yield claim(f"growth with the number of modalities, as a power: {name}", slope, "<=", 1.0)


def of_accelerator(page: Page) -> Iterator[Claim]:
    del page
    for run, targets in {"polymnist-five": FIVE, "polymnist-ten": TEN}.items():
        measured = accelerator_figures(run)
        for name, target in targets.items() if measured else ():
            mean, std = mean_std(list(measured.values()), name)
            notes = {"deviation": short(std)} if len(measured) > 1 else {}
            title = f"{run} on an accelerator, seeds {', '.join(measured)}: {name}"
            yield claim(title, mean, *target, **notes)


def accelerator_figures(run: str) -> dict[str, dict[str, float]]:
    """Return by seed the figures of a run of `python -m benchmarks.gpu`; a dry run is no measurement."""
    found = {}
    for path in sorted((RESULTS / "gpu").glob(f"{run}-*.json")):
        page = from_json(path.read_text())
        if "--toy" in page["command"]:
            continue
        results = page["results"]
        coherence = [entry["mean"] for entry in results["all_subsets_coherence"].values()]
        distances = [e["mean"] for e in results["all_subsets_frechet_classifier_features"].values()]
        found[path.stem.removeprefix(f"{run}-")] = figures(results) | {
            RISE: float(np.min(np.diff(coherence))),
            GROWTH: distances[-1] / distances[0] - 1,
            "seconds in all": page["seconds_in_all"],
        }
    return found


def draw_growth(page: Page) -> Figure:
    """Draw each cost over that of the fewest modalities."""
    figure, rows = Figure(figsize=(5.2, 3.8), layout="tight"), page["growth"]["rows"]
    axes, numbers = figure.add_subplot(), np.array(list(map(int, rows)))
    for name in next(iter(rows.values())):
        values = np.array([row[name] for row in rows.values()])
        axes.plot(numbers, values / values[0], marker="o", label=name)
    axes.plot(numbers, numbers / numbers[0], "k--", label="linear")
    label = f"cost, over that of {numbers[0]}"
    axes.set(xscale="log", yscale="log", xlabel="modalities", ylabel=label)
    axes.set_xticks(numbers, rows)
    axes.minorticks_off()
    axes.legend(fontsize=7)
    return figure


REPORT = Report(
    "polymnist",
    [
        ("runs", of_runs), ("networks", of_networks),
        flops_claim("reference", "ten modalities, one sample: FLOPs over the reference's", 1 / 100),
        ("growth", of_growth), ("runs", of_accelerator),
    ],
    {
        "polymnist.runs": ("runs", lambda p: figures_table(over_seeds(p["runs"]["runs"], figures), CPU)),
        "polymnist.five": (
            "runs", lambda _: figures_table(over_seeds(accelerator_figures("polymnist-five")), FIVE)
        ),
        "polymnist.networks": part_table("networks", title="score network"),
        "polymnist.autoencoders": part_table("autoencoders", title="autoencoder"),
        "polymnist.samplers": part_table("samplers", title="sampling"),
        "polymnist.growth": part_table("growth", title="modalities"),
    },
    {"polymnist_growth.png": ("growth", draw_growth)},
)  # fmt: skip
