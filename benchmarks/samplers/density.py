"""The error of log-densities by grid, and by the number of probes, on modes of unequal widths.

The target is `two_width` of the tests, with an exact score. Densities are those at the last time of a grid.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sbmae_jax as sbm
from benchmarks.runner import Options
from benchmarks.samplers.accuracy import SDE, SEED
from tests import analytic

ROWS, STEPS, T_MIN = 2_000, 50, 1e-3
GRIDS = {"edm": sbm.edm_times, "log-SNR": sbm.log_snr_times, "vp": sbm.vp_times}
PROBES = (4, 16, 64)


def measure_density(options: Options) -> dict[str, Any]:
    """Return the bias of `log_density` in nats on each grid, and the error of one density by its probes."""
    truth, rows = analytic.two_width(), 50 if options.smoke else ROWS
    noised, score = truth.noised(SDE, T_MIN), truth.score(SDE)
    x = noised.sample(jax.random.key(SEED), rows)
    exact = noised.log_prob(np.asarray(x, np.float64))
    found, by_grid = [], {}
    for name, grid in GRIDS.items():
        times = grid(SDE, STEPS, T_MIN)[::-1]
        by_grid[name] = np.asarray(jax.jit(lambda x, t=times: sbm.log_density(SDE, score, x, t))(x))
        gaps = by_grid[name] - exact
        found.append({"grid": name, "bias": float(gaps.mean()), "rms": rms(gaps)})
    times, key = sbm.vp_times(SDE, STEPS, T_MIN)[::-1], jax.random.key(SEED + 1)
    probes = []
    for num in PROBES[: 1 if options.smoke else None]:

        def probed(x, num=num):
            return sbm.log_density(SDE, score, x, times, key=key, num_probes=num)

        error = rms(np.asarray(jax.jit(probed)(x)) - by_grid["vp"])
        probes.append({"probes": num, "rms": error})
    return {"rows": found, "probes": probes, "steps": STEPS, "num_rows": rows}


def rms(gaps: Any) -> float:
    """Return the root of the mean square."""
    return float(jnp.sqrt(jnp.mean(jnp.square(gaps))))
