"""Measure samplers and conditionings against distributions whose conditionals are exact.

    python benchmarks/samplers.py            # results/samplers.json and .png, tables of docs/sampling.md
    python benchmarks/samplers.py --quick    # a few rows of each, to see that it runs

Two distributions of five modalities with 64 coordinates each: a Gaussian with factors that all modalities
share, and a mixture of ten such Gaussians. All coordinates have unit variance. Scores, conditionals and
conditional scores are exact, so every error belongs to the sampler or to the conditioning.

2,000 samples each. Conditional runs observe two modalities of four held-out points, 500 samples per
point; calibration instead observes 2,000 different points and takes one sample for each, whose rank in the
exact conditional, along fixed directions, must be uniform (Kolmogorov-Smirnov).
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import analytic  # noqa: E402
import sampler_claims  # noqa: E402
import sampler_limits  # noqa: E402
import sampler_paths  # noqa: E402

from sbmae_jax import VP  # noqa: E402

SEED, ROWS, POINTS, DIRECTIONS = 0, 2_000, 4, 64
BUDGETS = (8, 16, 40, 100, 512)
OBSERVED = np.arange(320) < 128
SDE = VP()


def distributions():
    """Return the two truths, in 320 dimensions."""
    rng = np.random.default_rng(SEED)
    factors = rng.normal(size=(320, 24))
    factors *= np.sqrt(0.7) / np.linalg.norm(factors, axis=1, keepdims=True)
    cov = factors @ factors.T + 0.3 * np.eye(320)
    means = 0.3 * rng.normal(size=(10, 320))
    means -= means.mean(0)
    spread = np.sqrt(1 - (means**2).mean(0))  # what the means leave of unit variance
    mixture = analytic.Mixture(np.full(10, 0.1), means, cov * np.outer(spread, spread))
    return {"gaussian": analytic.gaussian(np.zeros(320), cov), "mixture": mixture}


def wasserstein(x, y, directions):
    """Sliced 2-Wasserstein distance between equally many points."""
    gap = np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)
    return float(np.sqrt((gap**2).mean()))


def frequencies(truth, x):
    """Mean posterior probability of each component: their frequencies, for exact samples."""
    log_joint = truth.log_joint(x)
    return np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=1)[:, None]).mean(0)


def errors(truths, groups, rng):
    """Compare each group of samples with its truth; averages over groups, covariance pooled."""
    rows = []
    directions = rng.normal(size=(groups[0].shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    for truth, x in zip(truths, groups, strict=True):
        x = np.asarray(x, np.float64)
        exact = np.asarray(
            truth.sample(jax.random.key(int(rng.integers(2**31))), len(x)), np.float64
        )
        scale = np.sqrt(np.diag(truth.covariance))
        gap = np.linalg.norm(np.cov(x.T) - truth.covariance) / np.linalg.norm(truth.covariance)
        rows.append(
            {
                "mean": float(np.sqrt((((x.mean(0) - truth.mean) / scale) ** 2).mean())),
                "covariance": float(gap),
                "spread": float(np.trace(np.cov(x.T)) / np.trace(truth.covariance)),
                "wasserstein": wasserstein(x, exact, directions),
                "variation": float(0.5 * np.abs(frequencies(truth, x) - truth.weights).sum()),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def floor(truths, sizes, repeats=8):
    """The same errors of exact samples: what the number of samples alone costs."""
    rng = np.random.default_rng(SEED + 1)
    rows = []
    for _ in range(repeats):
        keys = [jax.random.key(int(rng.integers(2**31))) for _ in truths]
        exact = [t.sample(k, n) for t, k, n in zip(truths, keys, sizes, strict=True)]
        rows.append(errors(truths, exact, rng))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def ranks(truth, x, directions):
    """Rank of each row's unobserved part in its exact conditional, along directions: [B, directions]."""
    x = np.asarray(x, np.float64)
    free, seen = np.flatnonzero(~OBSERVED), np.flatnonzero(OBSERVED)
    gain = truth.cov[np.ix_(free, seen)] @ np.linalg.inv(truth.cov[np.ix_(seen, seen)])
    cov = truth.cov[np.ix_(free, free)] - gain @ truth.cov[np.ix_(seen, free)]
    log_joint = truth.log_joint(x, seen)
    weights = np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=1)[:, None])
    centred = x[:, free] - x[:, seen] @ gain.T
    offsets = (truth.means[:, free] - truth.means[:, seen] @ gain.T) @ directions
    gap = (centred @ directions)[:, None] - offsets[None]
    scale = np.sqrt(np.einsum("dk,de,ek->k", directions, cov, directions))
    return (weights[..., None] * scipy.stats.norm.cdf(gap / scale)).sum(1)


def calibration(truth, x):
    """Kolmogorov-Smirnov over four directions, Bonferroni; coverage of the central 50 and 90 %."""
    free = int((~OBSERVED).sum())
    rng = np.random.default_rng(SEED + 2)
    directions = np.concatenate([np.ones((free, 1)), rng.normal(size=(free, 3))], axis=1)
    u = ranks(truth, x, directions / np.linalg.norm(directions, axis=0))
    p_values = [scipy.stats.kstest(column, "uniform").pvalue for column in u.T]
    covered = {f"coverage_{q}": float((np.abs(u - 0.5) < q / 200).mean()) for q in (50, 90)}
    return {"p_value": float(min(1.0, 4 * min(p_values))), **covered}


def unconditional(name, truth, budgets, paths):
    exact = floor([truth], [ROWS])
    for path in paths:
        for budget in budgets:
            run = jax.jit(functools.partial(path.run, SDE, truth.score(SDE), budget, ROWS))
            x = run(jax.random.key(SEED))
            row = errors([truth], [x], np.random.default_rng(SEED))
            yield {
                "distribution": name,
                "task": "unconditional",
                **path.names(),
                **_row(row, budget, exact),
            }


def conditional(name, truth, budgets, paths, calibrated):
    points = truth.sample(jax.random.key(SEED + 10), POINTS)
    repeated = jnp.repeat(points, ROWS // POINTS, axis=0)
    different = truth.sample(jax.random.key(SEED + 11), ROWS)
    truths = [truth.given(p, OBSERVED) for p in np.asarray(points)]
    exact = floor(truths, [ROWS // POINTS] * POINTS)
    scores = truth.score(SDE), truth.conditional_score(SDE, OBSERVED)
    yield {
        "distribution": name, "task": "conditional", "sampler": "exact samples", "conditioning": "exact",
        "evaluations": 0, **exact, **calibration(truth, different),
    }  # fmt: skip
    fixed = jnp.asarray(OBSERVED), jnp.asarray(truth.covariance, jnp.float32)
    for path in paths:
        for budget in budgets:
            run = jax.jit(functools.partial(path.run_given, SDE, *scores, *fixed, budget))
            x = np.asarray(run(jax.random.key(SEED), repeated))[:, ~OBSERVED]
            groups = np.split(x, POINTS)
            row = _row(errors(truths, groups, np.random.default_rng(SEED)), budget, exact)
            if budget in calibrated:
                row |= calibration(truth, run(jax.random.key(SEED + 1), different))
            yield {"distribution": name, "task": "conditional", **path.names(), **row}


def _row(row, budget, exact):
    return {"evaluations": budget, **row, "ratio": row["wasserstein"] / exact["wasserstein"]}


def table(rows):
    """Print the ratio to the floor, one line per path, one column per budget."""
    lines = {}
    for row in rows:
        if "ratio" in row:
            key = row["distribution"], row["task"], row["sampler"], row["conditioning"]
            lines.setdefault(key, {})[row["evaluations"]] = row["ratio"]
    for key, line in lines.items():
        cells = " ".join(f"{ratio:7.2f}" for ratio in line.values())
        print(" | ".join(f"{part:14s}" for part in key), cells, sep=" | ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows, nothing written")
    quick = parser.parse_args().quick
    budgets, start, rows, floors = ((16, 32) if quick else BUDGETS), time.time(), [], {}
    where = environment()  # before the work: the commit may move on during it
    for name, truth in distributions().items():
        floors[name] = floor([truth], [ROWS])
        for found in unconditional(name, truth, budgets, sampler_paths.UNCONDITIONAL):
            rows.append(found)
        for found in conditional(name, truth, budgets, sampler_paths.CONDITIONAL, budgets[-2:]):
            rows.append(found)
        print(f"{name}: {time.time() - start:.0f} s", flush=True)
    table(rows)
    extra = sampler_limits.measure(quick)
    extra["particles_at_size"] = sampler_limits.particles_at_size(truth, OBSERVED, quick)
    result = {
        "command": "python benchmarks/samplers.py",
        "seed": SEED,
        "rows_per_run": ROWS,
        "floor": floors,
        "rows": rows,
        **extra,
        "claims": sampler_claims.claims(rows, extra),
        "minutes": round((time.time() - start) / 60, 1),
        **where,
    }
    for claim in result["claims"]:
        print(claim)
    if not quick:
        (ROOT / "results" / "samplers.json").write_text(json.dumps(result, indent=1) + "\n")
        sampler_claims.picture(result, ROOT / "results" / "samplers.png")
        sampler_claims.fill(ROOT / "docs" / "sampling.md", rows)


def environment():
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    device = jax.devices()[0]
    return {
        "commit": commit,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
        "device": f"{device.platform} ({device.device_kind}), {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()
