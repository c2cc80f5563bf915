"""What `sample` costs over a scan that is written by hand, in running and in compiling."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.runner import Options
from sbmae_jax import VP, ancestral, dpm_solver, log_snr_times, sample

SDE = VP()
ROWS, WIDTH, HIDDEN, STEPS = 2048, 32, 128, 100


def measure_overhead(options: Options) -> dict[str, Any]:
    """Return the ratios to the hand-written scan, each the median of paired measurements."""
    repeats, rows = (3, 64) if options.smoke else (15, ROWS)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (rows, WIDTH))
    first, second = (
        jax.random.normal(key, shape) / shape[0] ** 0.5
        for key, shape in zip(keys[1:], ((WIDTH, HIDDEN), (HIDDEN, WIDTH)), strict=True)
    )
    times = log_snr_times(SDE, STEPS)

    def score(x, t):
        return -x + 0.1 * jnp.tanh(x @ first + t) @ second

    pairs = {
        "ancestral": (by_hand_ancestral, ancestral(SDE, score)),
        "dpm_solver": (by_hand_solver, dpm_solver(SDE, score)),
    }
    found = []
    for name, (by_hand, step) in pairs.items():
        # A lambda of its own for each compilation, so that none is found in a cache.
        makers = (
            lambda by_hand=by_hand: jax.jit(lambda key, x: by_hand(key, score, x, times)),
            lambda step=step: jax.jit(lambda key, x: sample(key, step, x, times)),
        )
        compiled = np.array([[seconds(lambda m=m: m().lower(keys[0], x).compile()) for m in makers]
                             for _ in range(repeats)])  # fmt: skip
        runs = [make().lower(keys[0], x).compile() for make in makers]
        ends = [run(keys[0], x) for run in runs]
        ran = np.array([[seconds(lambda r=r: jax.block_until_ready(r(keys[0], x))) for r in runs]
                        for _ in range(repeats)])  # fmt: skip
        found.append(
            {
                "sampler": name,
                "difference": float(jnp.abs(ends[0] - ends[1]).max()),
                "run": float(np.median(ran[:, 1] / ran[:, 0])),
                "compile": float(np.median(compiled[:, 1] / compiled[:, 0])),
            }
        )
    return {"rows": found, "repeats": repeats, "batch": rows, "width": WIDTH, "steps": STEPS}


def seconds(call: Callable[[], Any]) -> float:
    """Return the processor time of a call in all threads, which other programs do not disturb."""
    start = time.process_time()
    call()
    return time.process_time() - start


def by_hand_ancestral(key, score, x, times):
    """Sample by ancestral steps, as one would write them down."""

    def advance(x, i):
        t, s = times[i], times[i + 1]
        a, sd, a_next, sd_next = SDE.alpha(t), SDE.sigma(t), SDE.alpha(s), SDE.sigma(s)
        kept = (a * sd_next) ** 2 / (a_next * sd) ** 2
        clean = (x + sd**2 * score(x, t)) / a
        noise = jax.random.normal(jax.random.fold_in(key, i), x.shape)
        mean = kept * a_next / a * x + a_next * (1 - kept) * clean
        return mean + sd_next * jnp.sqrt(1 - kept) * noise, None

    return jax.lax.scan(advance, x, jnp.arange(len(times) - 1))[0]


def by_hand_solver(key, score, x, times):
    """Sample by DPM-Solver++(2M), as one would write it down."""
    del key

    def advance(carry, i):
        x, before, half_before = carry
        t, s = times[i], times[i + 1]
        sd = SDE.sigma(t)
        half, half_next = 0.5 * SDE.log_snr(t), 0.5 * SDE.log_snr(s)
        h = half_next - half
        clean = (x + sd**2 * score(x, t)) / SDE.alpha(t)
        weight = jnp.where(i > 0, 0.5 * h / (half - half_before), 0.0)
        best = clean + weight * (clean - before)
        x = SDE.sigma(s) / sd * x - SDE.alpha(s) * jnp.expm1(-h) * best
        return (x, clean, half), None

    start = x, jnp.zeros_like(x), jnp.asarray(0.0)
    return jax.lax.scan(advance, start, jnp.arange(len(times) - 1))[0][0]
