"""The figures of Extended PolyMNIST that have targets, the targets, and the tables made of them."""

import json
import operator
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le}
# Coherence is that of the protocol of all subsets.
CPU = {
    "coherence, given 1": (">=", 0.70), "coherence, given 2": (">=", 0.85),
    "coherence, given 3": (">=", 0.90), "coherence, given 4": (">=", 0.93),
    "all agree": (">=", 0.60), "minutes of all stages": ("<=", 45),
}  # fmt: skip
FIVE = {
    "coherence, given 1": (">=", 0.85), "coherence, given 2": (">=", 0.93),
    "coherence, given 3": (">=", 0.96), "coherence, given 4": (">=", 0.97),
    "all agree": (">=", 0.90), "label total variation": ("<=", 0.05),
}  # fmt: skip
RISE, GROWTH = "least rise of coherence with one more observed", "growth of the Fréchet distance"
TEN = {
    "coherence, given 1": (">=", 0.85), "coherence, given 9": (">=", 0.97), RISE: (">", 0.0),
    "all agree": (">=", 0.75), GROWTH: ("<=", 0.05), "seconds in all": ("<=", 600.0),
}  # fmt: skip
ON_ACCELERATOR = {"polymnist-five": FIVE, "polymnist-ten": TEN}
FLOPS = 1 / 100  # of the reference's for one sample
SHORT = (
    *(f"coherence, given {n}" for n in range(1, 5)),
    "all agree",
    "minutes of all stages",
)  # README
SHOWN = ("given 1", "given 9", "all agree")  # against the reference
# The parts whose rows are compared, and of what the rows are.
TITLES = {
    "networks": "score network", "encoder_decoders": "autoencoder", "samplers": "sampling", "cost":
    "modalities",
}  # fmt: skip

Claim = dict[str, Any]


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the main figures of one run."""
    given = {
        f"{words}, given {n}": entry["mean"]
        for words, key in (
            ("coherence", "all_subsets_coherence"), ("coherence by prefix", "prefix_coherence"),
        )
        for n, entry in results[key].items()
    }  # fmt: skip
    distances = {
        f"Fréchet distance (classifier features), given {n}": entry["mean"]
        for n, entry in results["all_subsets_frechet_classifier_features"].items()
    }
    return {
        "classifier accuracy": results["classifier_accuracy"]["mean"],
        "reconstruction accuracy": results["reconstruction_accuracy"]["mean"],
        **given,
        "all agree": results["unconditional_coherence"]["all_agree"]["mean"],
        "label total variation": results["label_total_variation"]["uniform"],
        "conditional diversity": results["conditional_diversity"],
        **distances,
        "seconds per 1,000 samples": results["seconds_per_1000_samples"],
        "minutes of all stages": sum(results["seconds"].values()) / 60,
        "peak memory, GiB": results["peak_memory_bytes"] / 2**30,
    }


def claim(name: str, value: float, sign: str, bound: float, **more: Any) -> Claim:
    """Compare a value with its target."""
    return {
        "name": name, "value": round(value, 4), "bound": f"{sign} {round(bound, 4)}",
        "holds": bool(COMPARISONS[sign](value, bound)), **more,
    }  # fmt: skip


def claims(page: Mapping[str, Any], folder: Path) -> list[Claim]:
    """Return one claim for each target.

    page: what was measured on two cores.  folder: of what was measured on an accelerator.
    """
    found = []
    for seed, run in page.get("runs", {}).get("runs", {}).items():
        values = figures(run)
        found += [
            claim(f":cpu, seed {seed}: {name}", values[name], *target)
            for name, target in CPU.items()
        ]
    if "networks" in page:
        found += network_claims(page["networks"]["rows"])
    if "reference" in page:
        cost = page["reference"]["gflop_of_one_sample"]
        name = "ten modalities, one sample: FLOPs over the reference's"
        found.append(claim(name, cost["ours"] / cost["theirs"], "<=", FLOPS))
    for name, slope in page.get("cost", {}).get("growth", {}).items():
        found.append(
            claim(f"growth with the number of modalities, as a power: {name}", slope, "<=", 1.0)
        )
    return found + accelerator_claims(folder)


def network_claims(rows: Mapping[str, Mapping[str, float]]) -> list[Claim]:
    """Compare the default score network, on the validation split, with the others."""
    return [
        claim(f"score network hub against {name}: {figure}", rows["hub"][figure], ">=", row[figure])
        for name, row in rows.items()
        if not name.startswith("hub")
        for figure in ("given 1", "all agree")
    ]


def accelerator_claims(folder: Path) -> list[Claim]:
    """Return the claims of the runs on an accelerator that are there, by mean and deviation over seeds."""
    found = []
    for run, targets in ON_ACCELERATOR.items():
        values = {seed: accelerator_figures(page) for seed, page in pages(folder, run).items()}
        seeds = ", ".join(values)
        for name, target in targets.items() if values else ():
            each = [value[name] for value in values.values()]
            spread = {"deviation": round(float(np.std(each, ddof=1)), 4)} if len(each) > 1 else {}
            title = f"{run} on an accelerator, seeds {seeds}: {name}"
            found.append(claim(title, float(np.mean(each)), *target, **spread))
    for seed, page in pages(folder, "polymnist-reference").items():
        ours, theirs = page["rows"]["ours"], page["rows"]["the reference's"]
        title = f"against the reference's network and sampler, seed {seed}"
        found += [claim(f"{title}: {name}", ours[name], ">=", theirs[name]) for name in SHOWN]
        ratio = ours["GFLOP of one sample"] / theirs["GFLOP of one sample"]
        found.append(claim(f"{title}: FLOPs of one sample", ratio, "<=", FLOPS))
    return found


def pages(folder: Path, run: str) -> dict[str, Any]:
    """Return by seed what `benchmarks/gpu/run.py` wrote of a run; a dry run is no measurement."""
    read = {
        path.stem.removeprefix(f"{run}-"): json.loads(path.read_text())
        for path in sorted(folder.glob(f"{run}-*.json"))
    }
    return {seed: page for seed, page in read.items() if "--toy" not in page["command"]}


def accelerator_figures(page: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one run on an accelerator that have targets."""
    results = page["results"]
    coherence = [entry["mean"] for entry in results["all_subsets_coherence"].values()]
    distances = [e["mean"] for e in results["all_subsets_frechet_classifier_features"].values()]
    return figures(results) | {
        RISE: float(np.min(np.diff(coherence))),
        GROWTH: distances[-1] / distances[0] - 1,
        "seconds in all": page["seconds_in_all"],
    }


def summary(runs: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and deviation of the figures of runs, which are kept by seed."""
    values = [figures(run) for run in runs.values()]
    return {
        "mean": collect(np.mean, values),
        "std": collect(partial(np.std, ddof=1), values) if len(values) > 1 else {},
    }


def collect(reduce: Any, values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Reduce each figure over the seeds."""
    return {name: float(reduce([v[name] for v in values])) for name in values[0]}


def table(page: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """Return the figures of the runs, all or some, as a table of Markdown."""
    runs = page["runs"]
    seeds = ", ".join(map(str, runs["seeds"]))
    title = f"{'seed' if len(runs['seeds']) == 1 else 'mean ± deviation of seeds'} {seeds}"
    lines = [f"| | target | {title} |", "|---|---|---|"]
    for name in names or runs["mean"]:
        sign, bound = CPU.get(name, ("", ""))
        target = f"{sign.replace('>=', '≥').replace('<=', '≤')} {bound}".strip()
        digits = 1 if name.startswith(("seconds", "minutes")) else 3
        spread = f" ± {runs['std'][name]:.{digits}f}" if runs["std"] else ""
        lines.append(f"| {name} | {target} | {runs['mean'][name]:.{digits}f}{spread} |")
    return "\n".join(lines)


def rows_table(rows: Mapping[str, Mapping[str, float]], title: str = "") -> str:
    """Return rows of figures as a table of Markdown, each figure a column."""
    names = list(next(iter(rows.values())))
    lines = [f"| {title} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row_name, row in rows.items():
        lines.append(f"| {row_name} | {' | '.join(written(row[name]) for name in names)} |")
    return "\n".join(lines)


def written(value: float) -> str:
    """Write a number of any size for a table: shares with three digits, counts in full."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
