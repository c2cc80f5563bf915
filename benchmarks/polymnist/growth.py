"""What training and sampling cost by the number of modalities, of the networks for two cores."""

from typing import Any

import numpy as np

from benchmarks import cost
from benchmarks.runner import Options
from benchmarks.runs import count, forget_compiled
from configs import polymnist
from sbmae_jax.training import sharding

NUMBERS = (2, 4, 8, 16, 32)


def measure_growth(options: Options) -> dict[str, Any]:
    """Return costs by the number of modalities, and the slope of log cost over log number: 1 is linear."""
    numbers = NUMBERS[:2] if options.smoke else NUMBERS
    rows = {str(num): costs(num, 0.01 if options.smoke else 0.5) for num in numbers}
    growth = {
        name: float(np.polyfit(np.log(numbers), np.log([r[name] for r in rows.values()]), 1)[0])
        for name in rows[str(numbers[0])]
    }
    return {"rows": rows, "growth": growth}


def costs(num_modalities: int, at_least: float) -> dict[str, float]:
    """Measure training and sampling with a number of modalities."""
    config = polymnist.get_config("cpu").to_dict()
    (first, *_) = config["modalities"].values()
    config["modalities"] = {f"m{m:02}": first for m in range(num_modalities)}
    for training in ("autoencoder_training", "score_training"):
        config[training]["steps_per_call"] = 10  # of a hundred a call would take minutes
    parts, num_rows = cost.parts_of(config), 200
    group, (task, z), training = parts.groups[0], cost.score_of(parts), parts.score_training
    step = cost.lower_step(task, training, z, sharding.make_mesh()).compile().memory_analysis()
    one = cost.step_seconds(group.task, group.training, {"x": cost.PICTURE}, at_least)
    model = cost.untrained(parts)
    sampling = cost.sampling_seconds(model, num_rows, at_least)
    found = {
        "autoencoder step of all, seconds": num_modalities * one,
        "score step, seconds": cost.step_seconds(task, training, z, at_least),
        "score step, MiB": (step.temp_size_in_bytes + step.argument_size_in_bytes) / 2**20,
        "score parameters": count(model.params["score"]),
        "1,000 samples, seconds": 1000 * sampling / num_rows,
        "score of one sample, MFLOP": cost.score_cost(model, num_rows)["flops"] / num_rows / 1e6,
    }
    forget_compiled()
    return found
