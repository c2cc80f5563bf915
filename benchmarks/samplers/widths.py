"""Weights of modes of unequal widths, and the distance to exact samples, at few evaluations.

The targets are `two_width` and `three_widths` of the tests, in 12 dimensions with exact scores. Each path
draws 80,000 rows, and with corrections 40,000, so that the standard error of a weight is at most .0018 and
.0025; the distance is the mean over groups of 2,000. Exact samples in the place of a path's are the floor:
they are compared with the same references, as the few broad rows of one reference move all distances to it
by a tenth. Corrections follow `adams` at 50 levels. Adaptive steps are given tolerances in the place of
evaluations, and these are counted.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sbmae_jax as sbm
from benchmarks.runner import Options
from benchmarks.samplers.accuracy import DIRECTIONS, SDE, SEED, Row
from benchmarks.samplers.paths import ANCESTRAL, Path, dpm, wrapped
from tests import analytic

ROWS, CORRECTED, GROUP, LEVELS = 80_000, 40_000, 2_000, 50
REPEATS = 6  # of exact samples, for the floor
BUDGETS = (10, 20, 40)
TARGETS = {"two widths": analytic.two_width, "three widths": analytic.three_widths}
PATHS = (
    Path("Adams", wrapped(sbm.adams), grid=sbm.vp_times),
    Path("DPM++(2M)", dpm(0.0), grid=sbm.vp_times),
    Path("DPM++(2M), log-SNR", dpm(0.0)),
    Path("DPM++(2M) SDE", dpm(1.0), grid=sbm.vp_times),
    Path("DPM++(2M) SDE, log-SNR", dpm(1.0)),
    Path("Heun", wrapped(sbm.heun), 2, sbm.vp_times),
    Path("ancestral, log-SNR", ANCESTRAL),
    Path("Euler-Maruyama", wrapped(sbm.euler_maruyama), grid=sbm.uniform_times),
)
TOLERANCES = (1e-2, 3e-3, 1e-3)
CORRECTORS = {
    "adjusted": functools.partial(sbm.hamiltonian, SDE),
    "Langevin, snr 0.16": functools.partial(sbm.langevin, SDE, snr=0.16),
    "Langevin, snr 0.4": functools.partial(sbm.langevin, SDE, snr=0.4),
}


def corrected(score: Any, corrector: str, num: Any, times: Any, key: Any) -> Any:
    """Draw rows with a number of corrections at each level, which may be traced."""
    step = CORRECTORS[corrector](score=score)

    def correct(key, x, t, t_next):
        def again(j, x):
            return step(jax.random.fold_in(key, j), x, t, t_next)

        return jax.lax.fori_loop(0, num, again, x)

    prior_key, loop_key = jax.random.split(key)
    x = SDE.prior(prior_key, (CORRECTED, 12))
    step_of_both = sbm.chain(sbm.adams(SDE, score), correct)
    return sbm.sample(loop_key, step_of_both, x, times, last=sbm.denoise(SDE, score))


def by_tolerance(score: Any, tolerance: float, key: Any) -> tuple[Any, Any]:
    """Draw rows by adaptive steps, and return the evaluations of each, the last denoising included."""
    x = SDE.prior(key, (ROWS, 12))
    found = sbm.sample_adaptive(SDE, score, x, rtol=tolerance, atol=tolerance)
    t = jnp.asarray(1e-3)
    return SDE.denoised_from_score(score(found.x, t), found.x, t), found.num_evaluations + 1


class Exact:
    """Exact samples, with which the samples of all paths are compared, group by group."""

    def __init__(self, truth: analytic.Mixture):
        self.truth = truth
        directions = np.random.default_rng(SEED).normal(size=(ROWS // GROUP, 12, DIRECTIONS))
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        self.sorted = self.along(truth.sample(jax.random.key(SEED + 100), ROWS))
        exact = [truth.sample(jax.random.key(SEED + 101 + i), ROWS) for i in range(REPEATS)]
        floors = [self.distances(x) for x in exact]
        self.floors = np.mean(floors, axis=0)

    def along(self, x: Any) -> np.ndarray:
        """Return groups of rows along their directions, sorted."""
        groups = np.asarray(x).reshape(-1, GROUP, 12)
        return np.sort(groups @ self.directions[: len(groups)], axis=1)

    def distances(self, x: Any) -> np.ndarray:
        """Return the sliced 2-Wasserstein distance of each group."""
        found = self.along(x)
        return np.sqrt(((found - self.sorted[: len(found)]) ** 2).mean((1, 2)))

    def compared(self, x: Any) -> Row:
        """Return the ratio of a path's distance to that of exact samples, and the weights of the modes."""
        found = self.distances(x)
        weights = np.mean(
            [self.truth.responsibilities(g) for g in np.split(np.asarray(x), len(found))], (0, 1)
        )
        return {
            "ratio": float(found.mean() / self.floors[: len(found)].mean()),
            "weights": weights.tolist(),
            "worst": float(np.abs(weights - self.truth.weights).max()),
        }


def measure_widths(options: Options) -> dict[str, Any]:
    """Measure paths by their evaluations, and correctors by their corrections."""
    rows: list[Row] = []
    for target, make in TARGETS.items():
        truth = make()
        score, exact = truth.score(SDE), Exact(truth)
        for budget in BUDGETS:  # what chance alone makes of the figures
            x = truth.sample(jax.random.key(SEED + budget), ROWS)
            names = {"sampler": "exact samples", "evaluations": budget}
            rows.append({"target": target, **names, **exact.compared(x)})
        for path in PATHS[: 1 if options.smoke else None]:
            for budget in BUDGETS[: 1 if options.smoke else None]:
                run = functools.partial(path.run, SDE, score, budget, (ROWS, 12))
                found = exact.compared(jax.jit(run)(jax.random.key(SEED)))
                rows.append({"target": target, **path.names(), "evaluations": budget, **found})
        for tolerance in TOLERANCES[: 1 if options.smoke else None]:
            run = jax.jit(functools.partial(by_tolerance, score, tolerance))
            x, num = run(jax.random.key(SEED))
            row = {"target": target, "tolerance": tolerance, **exact.compared(x)}
            rows.append(row | {"mean": float(num.mean()), "most": int(num.max())})
        for name in list(CORRECTORS)[: 1 if options.smoke else None]:
            run = jax.jit(functools.partial(corrected, score, name))
            for num in (1,) if options.smoke else (1, 4, 16):
                x = run(num, sbm.vp_times(SDE, LEVELS), jax.random.key(SEED))
                names = {"target": target, "corrector": name, "corrections": num}
                rows.append({**names, **exact.compared(x)})
    return {"seeds": [SEED], "rows_per_run": [ROWS, CORRECTED], "levels": LEVELS, "rows": rows}
