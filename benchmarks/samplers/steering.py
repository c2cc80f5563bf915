"""Conditioning from a joint score on targets of unequal widths, at no more than 200 evaluations.

Two targets in 12 dimensions (`tests/analytic.py`), whose modes differ in width. Of `two_width` we observe
two noisy sums, y = A x + .3 n: both modes predict the same y, zero, and differ only in how far it scatters;
the sums share four coordinates, so what is unknown of them is correlated, and how strongly is by the mode.
Of `three_widths` we observe 4 of 12 coordinates exactly.

500 samples for each of 8 observations, against exact ones. A product of a vector with the Jacobian of the
score counts as one evaluation, so guidance by a fixed covariance costs 2, and by the Jacobian of m observed
numbers 2 (m + 1), or m + 1 below `frozen_below`. The particles of an observation are 500, each a sample.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import sbmae_jax as sbm
from benchmarks.runner import Options
from benchmarks.samplers.accuracy import errors, floor
from benchmarks.samplers.paths import ANCESTRAL, corrected, repainted
from tests import analytic

SEED, POINTS, ROWS, BUDGET, SIZE = 25, 8, 500, 200, 12
DECIDED = 0.3  # sigma / alpha below which a row stays in its mode
SDE = sbm.VP()


@dataclasses.dataclass(frozen=True)
class Target:
    """A distribution, what is observed of it, and the exact conditionals.

    matrix: [m, D].  noise: of the observation.  values: [P, m].  truths: of the unobserved, one per value.
    free: [D], the coordinates that were not observed exactly.
    """

    data: analytic.Mixture
    matrix: np.ndarray
    noise: float
    values: np.ndarray
    truths: list[analytic.Mixture]
    free: np.ndarray


def make_target(data: analytic.Mixture, matrix: np.ndarray, noise: float) -> Target:
    """Observe `matrix` of a few draws, and condition x and y together on y."""
    x = np.asarray(data.sample(jax.random.key(SEED), POINTS), np.float64)
    error = np.random.default_rng(SEED).normal(size=(POINTS, len(matrix)))
    values = x @ matrix.T + noise * error
    if noise == 0:  # rows of the unit matrix
        seen = matrix.any(0)
        return Target(data, matrix, noise, values, [data.given(row, seen) for row in x], ~seen)
    both = np.concatenate([np.eye(SIZE), matrix])
    spread = np.diag(np.r_[np.zeros(SIZE), np.full(len(matrix), noise**2)])
    joint = analytic.Mixture(data.weights, data.means @ both.T, both @ data.covs @ both.T + spread)
    seen = np.arange(len(both)) >= SIZE
    truths = [joint.given(np.r_[np.zeros(SIZE), value], seen) for value in values]
    return Target(data, matrix, noise, values, truths, np.ones(SIZE, bool))


def targets() -> dict[str, Target]:
    """Return both targets."""
    sums = np.zeros((2, SIZE))
    sums[0, :4] = sums[1, 4:8] = 8**-0.5
    sums[0, 4:8] = sums[1, 8:] = -(8**-0.5)
    return {
        "two widths, two noisy sums": make_target(analytic.two_width(), sums, 0.3),
        "three widths, 4 of 12": make_target(analytic.three_widths(), np.eye(SIZE)[:4], 0.0),
    }


def level_times(high: float, low: float, num: int) -> jax.Array:
    """Return times that are equally spaced in the logarithm of sigma / alpha."""
    return SDE.time(-2 * jnp.log(jnp.geomspace(high, low, num + 1)))


def coverage(truths: list[analytic.Mixture], groups: list[np.ndarray]) -> float:
    """Return the share of samples in the central 90 % of the exact conditional, along each coordinate."""
    shares = []
    for truth, x in zip(truths, groups, strict=True):
        scale = np.sqrt(np.diagonal(truth.covs, axis1=1, axis2=2))[:, None]
        parts = scipy.stats.norm.cdf((x[None] - truth.means[:, None]) / scale)
        shares.append(np.abs(np.tensordot(truth.weights, parts, 1) - 0.5) < 0.45)
    return float(np.mean(shares))


# ---------------------------------------------------------------- paths


def restoring(make: Callable, cost: int, noised: bool) -> Callable:
    """Return a path that puts observed coordinates back."""

    def run(target: Target, key, value):
        mask = jnp.asarray(~target.free)
        row = jnp.zeros((len(value), SIZE)).at[:, :4].set(value)
        put = sbm.renoise(SDE, row, mask) if noised else sbm.clamp(row, mask)
        score = target.data.score(SDE)
        prior_key, loop_key = jax.random.split(key)
        times = sbm.log_snr_times(SDE, (BUDGET - 1) // cost)
        last = sbm.chain(put, sbm.denoise(SDE, score), sbm.clamp(row, mask))
        x = SDE.prior(prior_key, row.shape)
        return sbm.sample(loop_key, make(SDE, score, put), x, times, last=last)

    return run


def guiding(covariance: Any, frozen_below: float = 0.0) -> Callable:
    """Return a path of guidance: the ODE while modes are decided, then the reverse SDE."""

    def run(target: Target, key, value):
        matrix = jnp.asarray(target.matrix, jnp.float32)
        assumed = (
            jnp.asarray(target.data.covariance, jnp.float32) if covariance == "data" else covariance
        )
        options = {"noise": target.noise, "covariance": assumed, "frozen_below": frozen_below}
        score = sbm.reconstruction_guidance(SDE, target.data.score(SDE), value, matrix, **options)
        early, late = 2, 2
        if covariance == "jacobian":
            early = late = 2 * (len(matrix) + 1)
            late = late // 2 if frozen_below else late
            early = late if frozen_below > 1e3 else early
        # Of the logarithm of 20 / .02, three fifths are above .3.
        num = int((BUDGET - late - early) // (0.6 * early + 0.4 * late))
        first, second = round(0.6 * num), num - round(0.6 * num)
        prior_key, early_key, late_key = jax.random.split(key, 3)
        x = SDE.prior(prior_key, (len(value), SIZE))
        times = jnp.concatenate([jnp.ones(1), level_times(20.0, DECIDED, first)])
        x = sbm.sample(early_key, sbm.dpm_solver(SDE, score), x, times)
        step, last = sbm.dpm_solver(SDE, score, eta=1.0), sbm.denoise(SDE, score)
        return sbm.sample(late_key, step, x, level_times(DECIDED, 0.02, second), last=last)

    return run


def by_particles(target: Target, key, value):
    """Draw each group of rows from as many particles."""
    score, matrix = target.data.score(SDE), jnp.asarray(target.matrix, jnp.float32)
    times = jnp.concatenate([jnp.ones(1), level_times(20.0, 0.02, BUDGET // 2 - 2)])

    def group(row):
        run_key, pick_key = jax.random.split(jax.random.fold_in(key, row[0]))
        args = SDE, score, row[1], matrix, times, ROWS
        return sbm.draw_particles(
            pick_key, sbm.twisted_sample(run_key, *args, noise=target.noise), ROWS
        )

    values = value[::ROWS]
    return jax.lax.map(group, (jnp.arange(len(values)), values)).reshape(-1, SIZE)


PATHS = {
    "clamp, ancestral + 4": restoring(corrected(4, 0.3), 5, noised=False),
    "renoise, ancestral + 4": restoring(corrected(4, 0.3), 5, noised=True),
    "RePaint, 5 visits": restoring(repainted, 5, noised=True),
    "clamp, ancestral": restoring(ANCESTRAL, 1, noised=False),
    "reconstruction": guiding(1.0),
    "reconstruction, covariance": guiding("data"),
    "reconstruction, Jacobian frozen": guiding("jacobian", 1e9),
    "reconstruction, Jacobian": guiding("jacobian", DECIDED),
    "particles": by_particles,
}


def measure_steering(options: Options) -> dict[str, Any]:
    """Measure each way to condition on both targets, or with --smoke a few."""
    rows = []
    for name, target in targets().items():
        exact = floor(target.truths, [ROWS] * POINTS)
        value = jnp.repeat(jnp.asarray(target.values, jnp.float32), ROWS, axis=0)
        for path, run in list(PATHS.items())[:: 4 if options.smoke else 1]:
            if target.noise and list(PATHS).index(path) < 4:
                continue  # nothing can be put back into coordinates
            made = jax.jit(lambda key, run=run, target=target, value=value: run(target, key, value))
            groups = np.split(np.asarray(made(jax.random.key(SEED + 1)))[:, target.free], POINTS)
            row = errors(target.truths, groups, np.random.default_rng(SEED))
            row |= {"ratio": row["wasserstein"] / exact["wasserstein"]}
            row |= {"coverage_90": coverage(target.truths, groups)}
            rows.append({"target": name, "conditioning": path, "evaluations": BUDGET, **row})
    return {"seeds": [SEED], "rows_per_observation": ROWS, "observations": POINTS, "rows": rows}
