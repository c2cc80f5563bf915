"""What training and sampling cost by the number of modalities, and what a sample costs the reference."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polymnist  # of the configs
import reference
import speed
from matplotlib.figure import Figure

from sbmae_jax.training import sharding
from sbmae_jax.training.step import compile_training

NUMBERS = (2, 4, 8, 16, 32)
LEVELS = 100  # of the reference's sampler, with two evaluations at each
UNET = {
    "name": "unet",
    "dim": 128,
    "mults": (1, 2, 2, 2),
}  # the reference's, beyond five modalities


def gflop_of_one_sample() -> dict[str, float]:
    """Return the cost of a sample of ten modalities: ours, and by the reference's network and sampler."""
    config = polymnist.get_config().to_dict()
    return reference.gflop(config, speed.description(10), UNET, LEVELS)


def measure(at_least: float, plot: Path) -> dict[str, Any]:
    """Measure the cost against the number of modalities, and draw it.

    growth: the slope of the logarithm of a cost over that of the number; 1 is linear.
    """
    rows = {str(num): cost(num, at_least) for num in NUMBERS}
    growth = {
        name: float(np.polyfit(np.log(NUMBERS), np.log([r[name] for r in rows.values()]), 1)[0])
        for name in rows[str(NUMBERS[0])]
    }
    draw(rows, plot)
    return {"rows": rows, "growth": growth}


def cost(num_modalities: int, at_least: float) -> dict[str, float]:
    """Measure training and sampling with a number of modalities, of the networks for two cores."""
    config = polymnist.get_config("cpu").to_dict()
    (first, *_) = config["modalities"].values()
    config["modalities"] = {f"m{m:02}": first for m in range(num_modalities)}
    config["evaluation"] |= {"batch_size": 200}
    for training in ("autoencoder_training", "score_training"):
        config[training]["steps_per_call"] = (
            10  # a call of a hundred with 32 modalities takes minutes
        )
    parts = speed.parts_of(config)
    group = parts.groups[0]
    picture = {"x": jax.ShapeDtypeStruct(speed.SHAPE, np.uint8)}
    task = parts.score_task
    z = {"z": jax.ShapeDtypeStruct((parts.layout.size,), np.float32)}
    one = speed.step_seconds(group.task, group.training, picture, at_least)
    training, mesh, key = parts.score_training, sharding.make_mesh(), jax.random.key(0)
    init, run = compile_training(task, training, mesh)
    chunk = {"z": jax.ShapeDtypeStruct((1, training.batch_size, parts.layout.size), jnp.float32)}
    state = jax.eval_shape(init, key, chunk)
    memory = run.lower(key, state, chunk).compile().memory_analysis()
    found = {"float32": 1.0, "bytes": 1.0}  # only the seconds are wanted
    sampled = speed.sampling(parts, config["evaluation"]["batch_size"], found, at_least)
    return {
        "autoencoder step of all, seconds": num_modalities * one,
        "score step, seconds": speed.step_seconds(task, training, z, at_least),
        "score step, MiB": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**20,
        "score parameters": sum(p.size for p in jax.tree.leaves(state.params)),
        "1,000 samples, seconds": sampled["seconds_per_1000_samples"],
        "score of one sample, MFLOP": 1e3 * sampled["gflop"] / config["evaluation"]["batch_size"]
        / sampled["num_evaluations"],
    }  # fmt: skip


def draw(rows: dict[str, dict[str, float]], plot: Path) -> None:
    """Draw each cost over that of the fewest modalities."""
    figure = Figure(figsize=(5.2, 3.8))
    axes = figure.add_subplot()
    for name in rows[str(NUMBERS[0])]:
        values = np.array([row[name] for row in rows.values()])
        axes.plot(NUMBERS, values / values[0], marker="o", label=name)
    axes.plot(NUMBERS, np.array(NUMBERS) / NUMBERS[0], "k--", label="linear")
    axes.set(
        xscale="log", yscale="log", xlabel="modalities", ylabel=f"cost, over that of {NUMBERS[0]}"
    )
    axes.set_xticks(NUMBERS, map(str, NUMBERS))
    axes.minorticks_off()
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(plot, dpi=120)
