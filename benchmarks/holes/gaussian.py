"""Scores of a Gaussian, whose joint and conditionals are known, from rows that lack modalities.

Four modalities of two latents each. Of "factors", all pairs are correlated by common factors. "Markov" has
the same correlations of neighbours, and given the modality between them two others are independent. So rows
with neighbours alone look the same for both, and what a model makes of them can be right for one at most.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.runner import Options
from benchmarks.runs import forget_compiled
from sbmae_jax.data.holes import draw_present
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.score import ScoreMatchingConfig, score_fn, score_task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.sampling.sde import VP
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import compile_training

LAYOUT = Layout(("a", "b", "c", "d"), (2,) * 4)
SDE = VP()
CASES = (
    ("factors", "none", "available"), ("factors", "pairs", "available"),
    ("factors", "pairs", "completed"), ("factors", "chain", "available"),
    ("factors", "chain", "completed"), ("Markov", "chain", "available"),
    ("Markov", "chain", "completed"),
)  # fmt: skip
LEVELS = (-2.0, 0.0, 2.0)  # ln snr at which scores are compared


def covariance(truth: str) -> np.ndarray:
    """Return the covariance [8, 8] of a truth, with ones on the diagonal."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(LAYOUT.size, 2))
    loadings *= 0.9**0.5 / np.linalg.norm(loadings, axis=1, keepdims=True)
    cov = loadings @ loadings.T
    np.fill_diagonal(cov, 1.0)
    if truth == "factors":
        return cov
    # Each next modality depends on the one before it alone.
    parts = [slice(2 * m, 2 * m + 2) for m in range(len(LAYOUT.sizes))]
    markov = cov.copy()
    for i, j in itertools.combinations(range(len(parts)), 2):
        if j > i + 1:
            between = parts[j - 1]
            step = np.linalg.solve(cov[between, between], cov[between, parts[j]])
            markov[parts[i], parts[j]] = markov[parts[i], between] @ step
            markov[parts[j], parts[i]] = markov[parts[i], parts[j]].T
    return markov


def exact(cov: np.ndarray) -> FactorGaussian:
    """Return the Gaussian as one with factors, of which the score is exact."""
    noise = 0.9 * np.linalg.eigvalsh(cov)[0]
    values, vectors = np.linalg.eigh(cov - noise * np.eye(len(cov)))
    loadings = vectors * np.sqrt(np.maximum(values, 0))
    return FactorGaussian(
        jnp.asarray(loadings, jnp.float32), jnp.full(len(cov), noise, jnp.float32)
    )


def train(cov: np.ndarray, holes: str, completed: bool, seed: int, num_steps: int) -> Any:
    """Train a score that starts from nothing; return its network and its averaged parameters."""
    rng, num = np.random.default_rng(seed), 20_000
    z = (rng.normal(size=(num, LAYOUT.size)) @ np.linalg.cholesky(cov).T).astype(np.float32)
    arrays = {"z": z}
    if holes != "none":
        arrays["present"] = draw_present(rng, holes, 0.0, np.zeros(num, int), len(LAYOUT.sizes))
    network = HubScore(sizes=LAYOUT.sizes, width=64, hub_width=96, num_blocks=2)
    config = ScoreMatchingConfig(conditioning_prob=0.5, completed_share=0.5 if completed else 0.0)
    settings = TrainingConfig(num_steps=num_steps, batch_size=256, learning_rate=2e-3)
    mesh = sharding.make_mesh(1)
    init, run = compile_training(score_task(network, SDE, LAYOUT, config), settings, mesh)
    batches_key, init_key, key = jax.random.split(jax.random.key(seed), 3)
    batches = resident(batches_key, arrays, settings.batch_size, mesh)
    state = init(init_key, batches(0, 1))
    for step in range(0, num_steps, settings.steps_per_call):
        state, _ = run(key, state, batches(step, min(settings.steps_per_call, num_steps - step)))
    return network, state.ema_params


def errors(network: Any, params: Any, cov: np.ndarray, num: int = 4000) -> dict[str, float]:
    """Return the error of the score, over that of a standard Gaussian's, jointly and given 1 to 3."""
    rng = np.random.default_rng(1)
    z = (rng.normal(size=(num, LAYOUT.size)) @ np.linalg.cholesky(cov).T).astype(np.float32)
    eps = rng.normal(size=z.shape).astype(np.float32)

    def silent(params, x, log_snr):
        return 0 * x

    @jax.jit
    def compare(log_snr, observed):
        t = SDE.time(log_snr)
        x = jnp.where(LAYOUT.expand(observed), z, SDE.perturb(z, eps, t))
        learned = LatentNetwork(network.apply, params, SDE, LAYOUT)
        found = score_fn(learned, observed)(x, t)
        truth = LatentNetwork(silent, None, SDE, LAYOUT)
        wanted = score_fn(truth, observed, exact(cov))(x, t)
        nothing = score_fn(truth, observed)(x, t)
        return jnp.mean((found - wanted) ** 2), jnp.mean((nothing - wanted) ** 2)

    found: dict[str, list[Any]] = {}
    modalities = range(len(LAYOUT.sizes))
    for number in range(len(LAYOUT.sizes)):
        for some in itertools.combinations(modalities, number):
            observed = np.tile([m in some for m in modalities], (num, 1))
            pairs = [compare(jnp.float32(level), jnp.asarray(observed)) for level in LEVELS]
            name = f"given {number}" if number else "jointly"
            found.setdefault(name, []).append(np.sum(pairs, axis=0))
    return {name: float(np.divide(*np.sum(some, axis=0))) for name, some in found.items()}


def measure_gaussian(options: Options) -> dict[str, Any]:
    """Compare what is learned with the truth, for each truth and pattern."""
    num_steps = 20 if options.smoke else 3000
    rows = []
    for seed in options.seeds:
        for truth, holes, training in CASES:
            cov = covariance(truth)
            network, params = train(cov, holes, training == "completed", seed, num_steps)
            found = errors(network, params, cov, 100 if options.smoke else 4000)
            pattern = f"{truth}, {holes}"
            rows.append({"seed": seed, "pattern": pattern, "training": training, **found})
            forget_compiled()
    return {"seeds": options.seeds, "rows": rows}
