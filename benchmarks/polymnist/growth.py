"""What training and sampling cost by the number of modalities, of the networks for two cores."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cost import (
    PICTURE,
    parts_of,
    sampling_seconds,
    score_cost,
    score_of,
    step_seconds,
)
from benchmarks.runner import Options
from benchmarks.runs import count
from configs import polymnist
from sbmae_jax.training import sharding
from sbmae_jax.training.step import compile_training

NUMBERS = (2, 4, 8, 16, 32)


def measure_growth(options: Options) -> dict[str, Any]:
    """Return costs by the number of modalities, and the slope of log cost over log number: 1 is linear."""
    numbers = NUMBERS[:2] if options.smoke else NUMBERS
    rows = {str(num): cost(num, 0.01 if options.smoke else 0.5) for num in numbers}
    growth = {
        name: float(np.polyfit(np.log(numbers), np.log([r[name] for r in rows.values()]), 1)[0])
        for name in rows[str(numbers[0])]
    }
    return {"rows": rows, "growth": growth}


def cost(num_modalities: int, at_least: float) -> dict[str, float]:
    """Measure training and sampling with a number of modalities."""
    config = polymnist.get_config("cpu").to_dict()
    (first, *_) = config["modalities"].values()
    config["modalities"] = {f"m{m:02}": first for m in range(num_modalities)}
    for training in ("autoencoder_training", "score_training"):
        config[training]["steps_per_call"] = 10  # of a hundred a call would take minutes
    parts, num_rows = parts_of(config), 200
    task, z = score_of(parts)
    training, key = parts.score_training, jax.random.key(0)
    init, run = compile_training(task, training, sharding.make_mesh())
    chunk = {"z": jax.ShapeDtypeStruct((1, training.batch_size, parts.layout.size), jnp.float32)}
    state = jax.eval_shape(init, key, chunk)
    memory = run.lower(key, state, chunk).compile().memory_analysis()
    group = parts.groups[0]
    one = step_seconds(group.task, group.training, {"x": PICTURE}, at_least)
    model, sampling = sampling_seconds(parts, num_rows, at_least)
    return {
        "autoencoder step of all, seconds": num_modalities * one,
        "score step, seconds": step_seconds(task, training, z, at_least),
        "score step, MiB": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**20,
        "score parameters": count(state.params),
        "1,000 samples, seconds": 1000 * sampling / num_rows,
        "score of one sample, MFLOP": score_cost(model, num_rows)["flops"] / num_rows / 1e6,
    }
