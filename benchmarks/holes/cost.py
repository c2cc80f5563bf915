"""What completing rows in training costs."""

import time
from typing import Any

import jax
import numpy as np

from benchmarks.holes.latents import LAYOUT, SDE, draw
from benchmarks.runner import Options
from sbmae_jax.data.holes import draw_present
from sbmae_jax.models.score import ScoreMatchingConfig, score_task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import compile_training

SHARES = {"available": 0.0, "completed": 0.5}


def measure_cost(options: Options) -> dict[str, Any]:
    """Time steps of a score of the demo's widths, compiled before; the median of calls that alternate."""
    num_calls, num_steps = (1, 2) if options.smoke else (11, 50)
    z, label = draw(8000, 100)
    present = draw_present(np.random.default_rng(0), "pairs", 0.0, label, len(LAYOUT.sizes))
    settings = TrainingConfig(num_steps=10_000, batch_size=256, learning_rate=1e-3)
    mesh, key = sharding.make_mesh(1), jax.random.key(0)
    batches = resident(key, {"z": z, "present": present}, settings.batch_size, mesh)
    network = HubScore(sizes=LAYOUT.sizes, width=128, hub_width=192, num_blocks=2)
    runs, states, took = {}, {}, {name: [] for name in SHARES}
    for name, share in SHARES.items():
        config = ScoreMatchingConfig(
            conditioning_prob=0.5, completed_share=share, completion_start=0.0
        )
        init, runs[name] = compile_training(
            score_task(network, SDE, LAYOUT, config), settings, mesh
        )
        states[name] = init(jax.random.key(1), batches(0, 1))
    for call in range(num_calls + 1):
        chunk = jax.block_until_ready(batches(call * num_steps, num_steps))
        for name, run in runs.items():
            start = time.perf_counter()
            states[name], _ = jax.block_until_ready(run(jax.random.key(2), states[name], chunk))
            if call:  # the first one compiles
                took[name].append((time.perf_counter() - start) / num_steps)
    return {"milliseconds": {name: 1e3 * float(np.median(times)) for name, times in took.items()}}
