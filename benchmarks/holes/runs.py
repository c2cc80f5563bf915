"""Whole runs on PolyDigits whose rows lack pictures, one part for each pattern."""

from typing import Any

from benchmarks.runner import Options
from benchmarks.runs import changed, nested_figures, results_of
from configs import polydigits

PATTERNS: dict[str, dict[str, Any]] = {
    "complete": {}, "half": {"missing": 0.5}, "most": {"missing": 0.7}, "pairs": {"holes": "pairs"},
    "single": {"holes": "single", "missing": 0.99},
}  # fmt: skip
TRAININGS: dict[str, dict[str, Any]] = {
    "available": {},
    "completed": {"score": {"completed_share": 0.5}},
    "dropping": {"data": {"complete_only": True}},
}


def measure_complete(options: Options) -> dict[str, Any]:
    return measure(options, "complete", ("available",))


def measure_half(options: Options) -> dict[str, Any]:
    return measure(options, "half", ("available", "completed"))


def measure_most(options: Options) -> dict[str, Any]:
    return measure(options, "most", ("available", "completed"))


def measure_pairs(options: Options) -> dict[str, Any]:
    return measure(options, "pairs", ("available", "completed"))


def measure_single(options: Options) -> dict[str, Any]:
    return measure(options, "single", ("available", "completed", "dropping"))


def measure(options: Options, pattern: str, trainings: tuple[str, ...]) -> dict[str, Any]:
    """Train the demo on rows of a pattern in several ways; the same rows have the same autoencoders."""
    config = polydigits.get_config("smoke" if options.smoke else "default").to_dict()
    rows = []
    for seed in options.seeds:
        first = options.runs / f"holes-{pattern}-available-{seed}"
        for training in trainings:
            own = changed(config, {"seed": seed, "data": PATTERNS[pattern]})
            own = changed(own, TRAININGS[training])
            if training == "completed":
                own["autoencoders_from"] = str(first)
            workdir = options.runs / f"holes-{pattern}-{training}-{seed}"
            results = results_of(own, workdir)
            found = nested_figures(results)
            found["total variation"] = results["label_total_variation"]["uniform"]
            rows.append({"seed": seed, "pattern": pattern, "training": training, **found})
    return {"seeds": options.seeds, "rows": rows}
