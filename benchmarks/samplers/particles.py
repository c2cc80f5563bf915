"""The error of the twisted sampler as particles grow, and where dimensions are many."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.runner import Options
from benchmarks.samplers.accuracy import OBSERVED, SDE, distributions, shared_factors
from sbmae_jax import log_snr_times, twisted_sample
from tests import analytic

NUM_STEPS = 256


def measure_particles(options: Options) -> dict[str, Any]:
    """Return the error of the conditional mean by the number of particles, given 4 of 10 coordinates."""
    rng = np.random.default_rng(1)
    # Five modalities of two coordinates that share three factors.
    truth, mask = analytic.gaussian(np.zeros(10), shared_factors(rng, 10, 3)), jnp.arange(10) < 4
    score, times = truth.score(SDE), log_snr_times(SDE, NUM_STEPS)
    value = truth.sample(jax.random.key(3), 1)[0]
    exact = truth.given(value, np.asarray(mask)).mean
    counts, repeats = ((8, 32), 20) if options.smoke else ((4, 8, 16, 32, 64, 128, 256, 512), 100)

    def mean(key, num):
        found = twisted_sample(key, SDE, score, value, mask, times, num)
        return jnp.exp(found.log_weights) @ found.x, found.ess.min()

    errors, sizes = [], []
    for num in counts:
        keys = jax.random.split(jax.random.key(num), repeats)

        def run(keys, num=num):
            return jax.lax.map(lambda key: mean(key, num), keys, batch_size=20)

        means, ess = jax.jit(run)(keys)
        errors.append(float(np.sqrt(((np.asarray(means)[:, 4:] - exact) ** 2).mean())))
        sizes.append(float(ess.mean()))
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    return {
        "steps": NUM_STEPS, "repeats": repeats, "particles": list(counts), "errors": errors,
        "smallest_ess": sizes, "slope": float(slope), "at_size": at_size(options.smoke),
    }  # fmt: skip


def at_size(quick: bool) -> list[dict[str, Any]]:
    """Return error and effective sample size with 320 coordinates of the mixture, 128 of them observed."""
    truth = distributions()["mixture"]
    score, times = truth.score(SDE), log_snr_times(SDE, 100)
    rows = []
    for num in (8,) if quick else (16, 64, 256):
        args = jnp.asarray(OBSERVED), times, num
        run = jax.jit(lambda key, value, args=args: twisted_sample(key, SDE, score, value, *args))
        gaps, sizes = [], []
        for i, value in enumerate(truth.sample(jax.random.key(7), 4)):
            found, part = run(jax.random.key(i), value), truth.given(value, OBSERVED)
            mean = np.exp(found.log_weights) @ np.asarray(found.x)[:, ~OBSERVED]
            gaps.append((((mean - part.mean) ** 2) / np.diag(part.covariance)).mean())
            sizes.append(float(found.ess.min()))
        error = float(np.sqrt(np.mean(gaps)))
        rows.append({"particles": num, "error": error, "smallest_ess": float(np.mean(sizes))})
    return rows
