"""The bias of estimates of information, and how often their intervals hold the truth.

Pairs of Gaussians a and b of one or eight coordinates each, a = r b + noise, coordinate by coordinate. All
scores are exact, so that what is left is the estimator: rows, noise, levels and truncation. Each repeat draws
rows of its own.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims import Claim, claim
from benchmarks.runner import Options, Page
from benchmarks.tables import table
from sbmae_jax import VP, mutual_information, total_correlation

SDE, SEED, REPEATS = VP(), 0, 200
NATS, SIZES, ROWS = (0.1, 1.0, 5.0), (1, 8), (100, 1000)
ESTIMATORS = ("a given b", "a and b")


def estimate(nats: float, size: int, num_rows: int, key: jax.Array) -> jax.Array:
    """Estimate the information of one pair from new rows, by both estimators: values and errors, [2, 2]."""
    rows_key, noise_key, *keys = jax.random.split(key, 4)
    r2 = -np.expm1(-2 * nats / size)
    r, left = np.sqrt(r2), np.exp(-2 * nats / size)  # 1 - r^2, without cancelling
    b = jax.random.normal(rows_key, (num_rows, size))
    a = r * b + np.sqrt(left) * jax.random.normal(noise_key, (num_rows, size))

    def told(x, t):  # of a given b: var(a_t | b) is alpha^2 left + sigma^2
        alpha = SDE.alpha(t)
        return (alpha * r * b - x) / (alpha**2 * left + SDE.sigma(t) ** 2)

    def joint(x, t):  # the inverse of [[1, c], [c, 1]], whose determinant is 1 - c^2
        c = SDE.alpha(t) ** 2 * r
        first, second = x[:, :size], x[:, size:]
        determinant = (1 - c) * (1 + c)
        return -jnp.concatenate([first - c * second, second - c * first], axis=1) / determinant

    found = (
        mutual_information(keys[0], SDE, lambda x, t: -x, told, a),
        total_correlation(keys[1], SDE, joint, lambda x, t: -x, jnp.concatenate([a, b], axis=1)),
    )
    return jnp.stack([jnp.stack([one.value, one.se]) for one in found])


def measure_information(options: Options) -> dict[str, Any]:
    """Estimate the information of each pair in many repeats."""
    repeats, rows = (20 if options.smoke else REPEATS), []
    for nats in NATS:
        for size in SIZES:
            for num_rows in ROWS:
                keys = jax.random.split(jax.random.key(SEED), repeats)

                def run(keys, nats=nats, size=size, num_rows=num_rows):
                    return jax.lax.map(lambda key: estimate(nats, size, num_rows, key), keys)

                for name, found in zip(
                    ESTIMATORS, np.moveaxis(jax.jit(run)(keys), 1, 0), strict=True
                ):
                    value, se = found.T
                    rows.append({
                        "nats": nats, "coordinates": size, "rows": num_rows, "scores": name,
                        "mean": float(value.mean()), "deviation": float(value.std(ddof=1)),
                        "se": float(se.mean()), "bias": float(value.mean() / nats - 1),
                        "coverage": float((np.abs(value - nats) < 1.96 * se).mean()),
                    })  # fmt: skip
    return {"seeds": [SEED], "repeats": repeats, "levels": 32, "rows": rows}


def of_information(page: Page) -> Iterator[Claim]:
    """Compare bias and coverage, of the worst case of each."""
    rows = page["information"]["rows"]
    for nats in NATS:
        some = [row for row in rows if row["nats"] == nats]
        bias = max(abs(row["bias"]) for row in some)
        yield claim(f"information of {nats:g} nats: largest |bias|, relative", bias, "<=", 0.03)
        held = [row["coverage"] for row in some]
        name = f"information of {nats:g} nats: coverage of 95 % intervals"
        yield claim(f"{name}, lowest", min(held), "within", (0.9, 1))
    errors = {
        name: next(
            row["deviation"] for row in rows
            if (row["nats"], row["coordinates"], row["rows"], row["scores"]) == (0.1, 8, 1000, name)
        )
        for name in ESTIMATORS
    }  # fmt: skip
    ratio = errors["a and b"] / errors["a given b"]
    yield claim(
        "information of .1 nats: deviation of total correlation over the other", ratio, "<=", 0.7
    )


def information_table(page: Page) -> str:
    """Return bias, standard error and coverage of each case."""
    part, lines = page["information"], []
    for nats in NATS:
        for size in SIZES:
            for num in ROWS:
                cells = [f"{nats:g}", str(size), str(num)]
                for name in ESTIMATORS:
                    row = next(
                        row for row in part["rows"]
                        if (row["nats"], row["coordinates"], row["rows"], row["scores"])
                        == (nats, size, num, name)
                    )  # fmt: skip
                    cells += [
                        f"{100 * row['bias']:+.1f} %", f"{100 * row['deviation'] / nats:.1f} %",
                        f"{row['coverage']:.2f}",
                    ]  # fmt: skip
                lines.append(cells)
    head = ["nats", "coordinates", "rows"]
    for name in ESTIMATORS:
        head += [f"bias, {name}", "deviation", "coverage"]
    return table(head, lines)
