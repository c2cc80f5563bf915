"""The error of each sampler and conditioning at each budget.

Two distributions of five modalities with 64 coordinates each: a Gaussian with factors that all modalities
share, and a mixture of ten such Gaussians. All coordinates have unit variance. Scores, conditionals and
conditional scores are exact, so every error belongs to the sampler or to the conditioning.

2,000 samples each. Conditional runs observe two modalities of four held-out points, 500 samples per
point; calibration instead observes 2,000 different points and takes one sample for each, whose rank in the
exact conditional, along fixed directions, must be uniform (Kolmogorov-Smirnov).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from benchmarks.runner import Options
from benchmarks.samplers.paths import CONDITIONAL, UNCONDITIONAL
from sbmae_jax import VP
from tests import analytic

SEED, SIZE, ROWS, POINTS, DIRECTIONS = 0, 320, 2_000, 4, 64
BUDGETS = (8, 16, 40, 100, 512)
OBSERVED = np.arange(SIZE) < 128
SDE = VP()
Row = dict[str, Any]


def shared_factors(rng: np.random.Generator, size: int, num_factors: int) -> np.ndarray:
    """Return the covariance of coordinates of unit variance, .7 of which comes from common factors."""
    factors = rng.normal(size=(size, num_factors))
    factors *= np.sqrt(0.7) / np.linalg.norm(factors, axis=1, keepdims=True)
    return factors @ factors.T + 0.3 * np.eye(size)


def distributions() -> dict[str, analytic.Mixture]:
    """Return the two truths, in 320 dimensions."""
    rng = np.random.default_rng(SEED)
    cov = shared_factors(rng, SIZE, 24)
    means = 0.3 * rng.normal(size=(10, SIZE))
    means -= means.mean(0)
    left = np.sqrt(1 - (means**2).mean(0))  # what the means leave of unit variance
    mixture = analytic.Mixture(np.full(10, 0.1), means, cov * np.outer(left, left))
    return {"gaussian": analytic.gaussian(np.zeros(SIZE), cov), "mixture": mixture}


def mean_row(rows: list[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def errors(truths, groups, rng) -> Row:
    """Compare each group of samples with its truth, and return the mean over groups.

    `covariance` and `variance` are pooled over a group: the error, and the trace over the true one.
    `variation` is that of the shares of the components.
    """
    rows = []
    directions = rng.normal(size=(groups[0].shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    for truth, x in zip(truths, groups, strict=True):
        x = np.asarray(x, np.float64)
        key, expected = jax.random.key(int(rng.integers(2**31))), truth.covariance
        exact = np.asarray(truth.sample(key, len(x)), np.float64)
        # Sliced 2-Wasserstein: between equally many points.
        gap = np.sort(x @ directions, axis=0) - np.sort(exact @ directions, axis=0)
        standardised, cov = (x.mean(0) - truth.mean) / np.sqrt(np.diag(expected)), np.cov(x.T)
        shares = truth.responsibilities(x).mean(0)
        row = {
            "mean": np.sqrt((standardised**2).mean()),
            "covariance": np.linalg.norm(cov - expected) / np.linalg.norm(expected),
            "variance": np.trace(cov) / np.trace(expected),
            "wasserstein": np.sqrt((gap**2).mean()),
            "variation": 0.5 * np.abs(shares - truth.weights).sum(),
        }
        rows.append(row)
    return mean_row(rows)


def floor(truths, sizes, repeats=8) -> Row:
    """Return the errors of exact samples: what the number of samples alone costs."""
    rng = np.random.default_rng(SEED + 1)
    rows = []
    for _ in range(repeats):
        keys = [jax.random.key(int(rng.integers(2**31))) for _ in truths]
        exact = [t.sample(k, n) for t, k, n in zip(truths, keys, sizes, strict=True)]
        rows.append(errors(truths, exact, rng))
    return mean_row(rows)


def ranks(truth, x, mask, directions) -> np.ndarray:
    """Return the rank of each row's unobserved part in its exact conditional, along directions: [B, K]."""
    x = np.asarray(x, np.float64)
    seen, free, gains, covs = truth.conditionals(mask)
    gap = x - truth.means[:, None]  # [K, B, D]
    along = gap[..., free] @ directions - gap[..., seen] @ np.swapaxes(gains, -1, -2) @ directions
    scale = np.sqrt(np.einsum("dj,...de,ej->...j", directions, covs, directions))[..., None, :]
    return np.einsum(
        "bk,kbj->bj", truth.responsibilities(x, seen), scipy.stats.norm.cdf(along / scale)
    )


def calibration(truth, x, mask=OBSERVED) -> Row:
    """Return the p-value of uniform ranks over four directions, and the coverage of central intervals."""
    free = int((~mask).sum())
    rng = np.random.default_rng(SEED + 2)
    directions = np.concatenate([np.ones((free, 1)), rng.normal(size=(free, 3))], axis=1)
    u = ranks(truth, x, mask, directions / np.linalg.norm(directions, axis=0))
    p_values = [scipy.stats.kstest(column, "uniform").pvalue for column in u.T]
    covered = {f"coverage_{q}": float((np.abs(u - 0.5) < q / 200).mean()) for q in (50, 90)}
    return {"p_value": float(min(1.0, 4 * min(p_values))), **covered}  # Bonferroni


def measured(path, budget, truths, groups, exact) -> Row:
    """Return the errors of a path, and its distance over that of exact samples."""
    row = errors(truths, groups, np.random.default_rng(SEED))
    ratio = row["wasserstein"] / exact["wasserstein"]
    return {**path.names(), "evaluations": budget, **row, "ratio": ratio}


def unconditional(truth, budgets, paths) -> Iterator[Row]:
    """Measure samples from nothing."""
    exact = floor([truth], [ROWS])
    for path in paths:
        for budget in budgets:
            run = jax.jit(functools.partial(path.run, SDE, truth.score(SDE), budget, (ROWS, SIZE)))
            yield measured(path, budget, [truth], [run(jax.random.key(SEED))], exact)


def conditional(truth, budgets, paths) -> Iterator[Row]:
    """Measure samples given two modalities; with the two largest budgets their calibration, too."""
    points = truth.sample(jax.random.key(SEED + 10), POINTS)
    repeated = jnp.repeat(points, ROWS // POINTS, axis=0)
    different = truth.sample(jax.random.key(SEED + 11), ROWS)
    truths = [truth.given(p, OBSERVED) for p in np.asarray(points)]
    exact = floor(truths, [ROWS // POINTS] * POINTS)
    names = {"sampler": "exact samples", "conditioning": "exact", "evaluations": 0}
    yield {**names, **exact, **calibration(truth, different)}
    scores = truth.score(SDE), truth.conditional_score(SDE, OBSERVED)
    fixed = jnp.asarray(OBSERVED), jnp.asarray(truth.covariance, jnp.float32)
    for path in paths:
        for budget in budgets:
            run = jax.jit(functools.partial(path.run_given, SDE, *scores, *fixed, budget))
            x = np.asarray(run(jax.random.key(SEED), repeated))[:, ~OBSERVED]
            row = measured(path, budget, truths, np.split(x, POINTS), exact)
            if budget in budgets[-2:]:
                row |= calibration(truth, run(jax.random.key(SEED + 1), different))
            yield row


def measure_accuracy(options: Options) -> dict[str, Any]:
    """Measure all paths, or with --smoke a few."""
    budgets, rows, floors = (16, 32) if options.smoke else BUDGETS, [], {}
    most = 2 if options.smoke else None
    for name, truth in distributions().items():
        floors[name] = floor([truth], [ROWS])
        for task, found in (
            ("unconditional", unconditional(truth, budgets, UNCONDITIONAL[:most])),
            ("conditional", conditional(truth, budgets, CONDITIONAL[:most])),
        ):
            rows += [{"distribution": name, "task": task, **row} for row in found]
    return {"seeds": [SEED], "rows_per_run": ROWS, "floor": floors, "rows": rows}
