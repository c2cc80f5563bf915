"""Scores of latents that are known, from rows that lack modalities.

Five modalities of eight latents share one of ten classes: z_m = A_m[c] + .45 n. So it is known which class
each generated latent shows, how often classes should occur, and how far apart latents of a class should be.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.runner import Options
from benchmarks.runs import forget_compiled
from sbmae_jax.data.holes import draw_present
from sbmae_jax.data.patterns import weigh_rows
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.score import ScoreMatchingConfig, score_fn, score_task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
from sbmae_jax.sampling.sde import VP
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import compile_training

LAYOUT = Layout(("a", "b", "c", "d", "e"), (8,) * 5)
NUM_CLASSES, WITHIN = 10, 0.45
SDE = VP()
SAMPLING = SamplingConfig("dpm_solver", num_levels=40)
GIVEN = (1, 2, 4)
PATTERNS = {
    "none": ("random", 0.0), "half missing": ("random", 0.5), "pairs": ("pairs", 0.0),
    "chain": ("chain", 0.0), "1 % complete, else single": ("single", 0.99),
    "by the class": ("by_value", 0.45),
}  # fmt: skip
TRAININGS = ("available", "uniform", "completed", "dropping")


def draw(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return latents [num, 40] and their classes [num]."""
    rng = np.random.default_rng(seed)
    label = rng.integers(NUM_CLASSES, size=num)
    noise = WITHIN * rng.normal(size=(num, len(LAYOUT.sizes), LAYOUT.sizes[0]))
    return (centres()[label] + noise).reshape(num, -1).astype(np.float32), label


@functools.cache
def centres() -> np.ndarray:
    """Return A, [classes, modalities, latents]; with the noise, each latent has variance 1."""
    shape = (NUM_CLASSES, len(LAYOUT.sizes), LAYOUT.sizes[0])
    return (1 - WITHIN**2) ** 0.5 * np.random.default_rng(0).normal(size=shape)


def classes(z: np.ndarray) -> np.ndarray:
    """Return the class that each modality of latents shows, [B, M]."""
    parts = z.reshape(len(z), 1, len(LAYOUT.sizes), -1)
    return np.sum((parts - centres()[None]) ** 2, axis=-1).argmin(axis=1)


def train(seed: int, pattern: str, training: str, num_steps: int) -> tuple[Any, Any]:
    """Train a score on rows that lack modalities; return its network and its averaged parameters."""
    z, label = draw(8000, seed + 100)
    holes, missing = PATTERNS[pattern]
    present = draw_present(np.random.default_rng(seed), holes, missing, label, len(LAYOUT.sizes))
    kept = present.all(axis=1) if training == "dropping" else present.any(axis=1)
    arrays = {"z": z[kept]} | ({} if present[kept].all() else {"present": present[kept]})
    weights = weigh_rows(present[kept]) if training != "uniform" else None
    network = HubScore(sizes=LAYOUT.sizes, width=64, hub_width=96, num_blocks=2)
    config = ScoreMatchingConfig(
        conditioning_prob=0.5, completed_share=0.5 if training == "completed" else 0.0
    )
    settings = TrainingConfig(num_steps=num_steps, batch_size=256, learning_rate=2e-3)
    mesh = sharding.make_mesh(1)
    task = score_task(network, SDE, LAYOUT, config)
    init, run = compile_training(task, settings, mesh)
    batches_key, init_key, key = jax.random.split(jax.random.key(seed), 3)
    batches = resident(batches_key, arrays, settings.batch_size, mesh, weights)
    state = init(init_key, batches(0, 1))
    for step in range(0, num_steps, settings.steps_per_call):
        state, _ = run(key, state, batches(step, min(settings.steps_per_call, num_steps - step)))
    return network, state.ema_params


def figures(network: Any, params: Any, seed: int, num: int) -> dict[str, float]:
    """Return coherence, class shares and spread of what a score generates."""
    z, label = draw(num, seed + 200)
    rng = np.random.default_rng(seed)

    @jax.jit
    def generate(key, value, observed):
        score = score_fn(LatentNetwork(network.apply, params, SDE, LAYOUT), observed)
        return generate_latents(key, SDE, score, SAMPLING, value, LAYOUT.expand(observed))

    def drawn(number):
        order = rng.permuted(np.tile(np.arange(len(LAYOUT.sizes)), (num, 1)), axis=1)
        observed = order < number
        key = jax.random.fold_in(jax.random.key(seed), number)
        x = generate(key, jnp.asarray(z), jnp.asarray(observed))
        return np.asarray(x), observed

    x, _ = drawn(0)
    shown = classes(x)
    parts = x.reshape(num, len(LAYOUT.sizes), -1)
    spread = [
        parts[shown[:, m] == c, m].var(axis=0).mean()
        for m in range(len(LAYOUT.sizes)) for c in range(NUM_CLASSES) if np.sum(shown[:, m] == c) > 10
    ]  # fmt: skip
    shares = np.bincount(shown.ravel(), minlength=NUM_CLASSES) / shown.size
    found = {
        "all agree": float(np.mean((shown == shown[:, :1]).all(axis=1))),
        "total variation": float(np.abs(shares - 1 / NUM_CLASSES).sum() / 2),
        "within": float(np.mean(spread)) / WITHIN**2,
    }
    for number in GIVEN:
        x, observed = drawn(number)
        right = (classes(x) == label[:, None]) & ~observed
        found[f"given {number}"] = float(right.sum() / (~observed).sum())
    return found


def measure_latents(options: Options) -> dict[str, Any]:
    """Train on each pattern in each way that it allows."""
    num_steps, num = (20, 200) if options.smoke else (2000, 2000)
    rows = []
    for seed in options.seeds:
        for pattern in PATTERNS:
            for training in TRAININGS:
                if not applies(pattern, training):
                    continue
                network, params = train(seed, pattern, training, num_steps)
                found = figures(network, params, seed, num)
                rows.append({"seed": seed, "pattern": pattern, "training": training, **found})
                forget_compiled()
    z, _ = draw(20_000, 1)
    agree = float(np.mean((classes(z) == classes(z)[:, :1]).all(axis=1)))
    return {"seeds": options.seeds, "rows": rows, "all agree in real rows": agree}


def applies(pattern: str, training: str) -> bool:
    """Return whether a training differs from the others on a pattern."""
    if training == "uniform":
        return "single" in pattern
    if training == "dropping":
        return pattern not in ("none", "pairs", "chain")  # where no row is complete
    return training == "available" or pattern != "none"
