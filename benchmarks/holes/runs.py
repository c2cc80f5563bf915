"""Whole runs on PolyDigits whose rows lack pictures."""

from typing import Any

from benchmarks.runner import Options
from benchmarks.runs import changed, nested_figures, results_of
from configs import polydigits

PATTERNS = {
    "none": {}, "half missing": {"missing": 0.5}, ".7 missing": {"missing": 0.7},
    "pairs": {"holes": "pairs"}, "1 % complete, else single": {"holes": "single", "missing": 0.99},
}  # fmt: skip
TRAININGS: dict[str, dict[str, Any]] = {
    "available": {}, "completed": {"score": {"completed_share": 0.5}},
    "dropping": {"data": {"complete_only": True}},
}  # fmt: skip


def measure_polydigits(options: Options) -> dict[str, Any]:
    """Train the demo on each pattern in each way that it allows."""
    config = polydigits.get_config("smoke" if options.smoke else "default").to_dict()
    rows = []
    for seed in options.seeds:
        for pattern, data in PATTERNS.items():
            for training, changes in TRAININGS.items():
                if (pattern == "none" and changes) or (pattern == "pairs" and "data" in changes):
                    continue
                name = f"holes-{pattern.split()[0].strip('.')}-{training}-{seed}"
                own = changed(changed(config, {"seed": seed, "data": data}), changes)
                results = results_of(own, options.runs / name)
                found = nested_figures(results)
                found["total variation"] = results["label_total_variation"]["uniform"]
                found["seconds of the score"] = results["seconds"]["score"]
                found |= {"seed": seed, "pattern": pattern, "training": training}
                rows.append(found)
    return {"seeds": options.seeds, "rows": rows}
