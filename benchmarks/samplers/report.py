"""What the comparison of samplers was to show, its tables and its plot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims import Claim, claim
from benchmarks.runner import Page, Report
from benchmarks.samplers.advice import of_corrections, of_guidance, of_samplers
from benchmarks.samplers.information import information_table, of_information
from benchmarks.tables import table

RECOMMENDED = ("adjusted", "Langevin, snr 0.16")
DEFAULT_TOLERANCE = 1e-3  # of `sample_adaptive`
Rows = Sequence[Mapping[str, Any]]


def of_particles(page: Page) -> Iterator[Claim]:
    """Compare how the twisted sampler's error falls with particles, and its error in many dimensions."""
    slope, large = page["particles"]["slope"], page["particles"]["at_size"][-1]
    yield claim("particles: |slope of log error + 1/2|", abs(slope + 0.5), "<=", 0.1)
    name = f"particles, 320 dimensions, {large['particles']}: error of the mean over its deviation"
    yield claim(name, large["error"], "<=", 0.1, smallest_ess=large["smallest_ess"])


def of_overhead(page: Page) -> Iterator[Claim]:
    """Compare `sample` with a scan that is written by hand."""
    for row in page["overhead"]["rows"]:
        name = f"{row['sampler']} over a hand-written scan"
        yield claim(f"{name}: processor time", row["run"], "<=", 1.05)
        yield claim(f"{name}: time to compile", row["compile"], "<=", 2)


def of_density(page: Page) -> Iterator[Claim]:
    """Compare the recommended grid with the others, and few probes with none."""
    bias = {row["grid"]: abs(row["bias"]) for row in page["density"]["rows"]}
    for grid in ("edm", "log-SNR"):
        ratio = bias[grid] / bias["vp"]
        yield claim(f"log_density: bias on the grid {grid} over that on vp", ratio, ">=", 1)
    few = page["density"]["probes"][0]
    name = f"log_density: error of one density with {few['probes']} probes, nats"
    yield claim(name, few["rms"], ">=", 0.3)


def density_table(page: Page) -> str:
    """Return bias and error by grid, and the error by probes."""
    part = page["density"]
    lines = [
        [row["grid"], "exact", f"{row['bias']:+.3f}", f"{row['rms']:.3f}"] for row in part["rows"]
    ]
    lines += [["vp", str(row["probes"]), "", f"{row['rms']:.2f}"] for row in part["probes"]]
    return table(["grid", "probes", "bias, nats", "error of one density, nats"], lines)


def steering_rows(page: Page) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return for each target the row of each conditioning."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in page["steering"]["rows"]:
        found.setdefault(row["target"], {})[row["conditioning"]] = row
    return found


def of_steering(page: Page) -> Iterator[Claim]:
    """Compare conditionings from a joint score on targets of unequal widths."""
    best = "reconstruction, Jacobian"
    for target, rows in steering_rows(page).items():
        if best in rows and "particles" in rows:
            name = f"{target}, 200 evaluations: Wasserstein over floor"
            yield claim(f"{name}, without particles", rows[best]["ratio"], "<=", 2.5, path=best)
            covered = rows[best]["coverage_90"]
            name = f"{target}, 200 evaluations: coverage of 90 % without particles"
            yield claim(name, covered, "within", (0.88, 0.92), path=best)
            ratio = rows["particles"]["ratio"]
            name = f"{target}, 200 evaluations: Wasserstein over floor, particles"
            yield claim(name, ratio, "<=", 1.3)
            for path in ("reconstruction", "reconstruction, covariance"):
                name = f"{target}: distance of {path} over that of particles"
                yield claim(name, rows[path]["ratio"] / ratio, ">=", 2)
            frozen = rows["reconstruction, Jacobian frozen"]["ratio"] / rows[best]["ratio"]
            yield claim(
                f"{target}: the gradient of the covariance gains a factor", frozen, ">=", 1.5
            )
        if "clamp, ancestral + 4" in rows and "renoise, ancestral + 4" in rows:
            lost = rows["renoise, ancestral + 4"]["ratio"] / rows["clamp, ancestral + 4"]["ratio"]
            yield claim(f"{target}: renoise + 4 over clamp + 4", lost, ">", 1)


def steering_table(page: Page) -> str:
    """Return distance over floor and coverage on each target."""
    found = steering_rows(page)
    paths = dict.fromkeys(path for rows in found.values() for path in rows)
    head = [f"{target}: {figure}" for target in found for figure in ("distance", "coverage")]
    lines = []
    for path in paths:
        cells = [
            f"{rows[path][figure]:.{digits}f}" if path in rows else "-"
            for rows in found.values()
            for figure, digits in (("ratio", 2), ("coverage_90", 3))
        ]
        lines.append([path, *cells])
    return table(["conditioning", *head], lines)


def of_accuracy(page: Page) -> Iterator[Claim]:
    """Compare distances to exact samples, and calibration."""
    rows = page["accuracy"]["rows"]
    for name, task, most, amortised in (
        ("unconditional, at most 40 evaluations", "unconditional", 40, False),
        ("conditional, at most 100 evaluations, exact amortised score", "conditional", 100, True),
        ("conditional, at most 100 evaluations, joint score", "conditional", 100, False),
    ):
        if ratios := worst_ratios(rows, task, most, amortised):
            path = min(ratios, key=lambda path: ratios[path])
            name += ": Wasserstein over floor, worse of two"
            yield claim(name, ratios[path], "<=", 1.5, path=list(path))
    found = mixture_rows(page, "conditional")
    clamped, noised = (found.get(f"ancestral + 3, {put}") for put in ("clamp", "renoise"))
    if clamped and noised:
        least = min(noised[n]["ratio"] / clamped[n]["ratio"] for n in clamped if n in noised)
        yield claim("mixture: renoise + 3 over clamp + 3, least of all budgets", least, ">", 1)
    most = max(row["evaluations"] for row in rows)
    judged = [row for row in rows if "p_value" in row and row["evaluations"] in (0, most)]
    exact = [row["p_value"] for row in judged if row["conditioning"] in ("exact", "amortised")]
    failing = sorted({", ".join(path_of(row)) for row in judged if row["p_value"] < 0.01})
    name = "exact methods: smallest calibration p-value"
    yield claim(name, min(exact), ">=", 0.01, failing=failing)
    for path in (("ancestral", "renoise"), ("ancestral", "clamp"), ("ancestral + 3", "clamp")):
        some = [row for row in judged if path_of(row) == path]
        name = "{1} with {0}".format(*path)
        if some:
            p_value = max(row["p_value"] for row in some)
            yield claim(f"{name} is seen to be biased: p-value", p_value, "<=", 0.01)
        if some and path[1] == "clamp":
            variance = max(row["variance"] for row in some)
            name += " is over-confident: variance over the exact one"
            yield claim(name, variance, "<=", 0.99)


def of_widths(page: Page) -> Iterator[Claim]:
    """Compare the recommended sampler and corrector on modes of unequal widths."""
    rows = page["widths"]["rows"]
    for evaluations, most in ((20, 1.1), (10, 1.5)):
        some = [
            row
            for row in rows
            if row.get("sampler") == "Adams" and row["evaluations"] == evaluations
        ]
        if some:
            name = f"unequal widths, Adams, {evaluations} evaluations"
            ratio = max(row["ratio"] for row in some)
            yield claim(f"{name}: Wasserstein over floor, worse of two", ratio, "<=", most)
            worst = max(row["worst"] for row in some)
            yield claim(f"{name}: error of the weights, worse of two", worst, "<=", 0.01)
    for row in rows:
        if row.get("corrector") in RECOMMENDED and row["target"] == "two widths":
            name = f"two widths, {row['corrections']} corrections, {row['corrector']}: error of the weights"
            yield claim(name, row["worst"], "<=", 0.01)
        elif row.get("tolerance") == DEFAULT_TOLERANCE:
            name = f"{row['target']}, adaptive steps with the default tolerance"
            yield claim(f"{name}: Wasserstein over floor", row["ratio"], "<=", 1.02)
            yield claim(f"{name}: error of the weights", row["worst"], "<=", 0.005)


def adaptive_table(page: Page) -> str:
    """Return distance and weights by tolerance, and the evaluations that it took."""
    lines = [
        [
            row["target"], f"{row['tolerance']:g}", f"{row['mean']:.0f}", str(row["most"]),
            f"{row['ratio']:.2f} ({row['worst']:.3f})",
        ]
        for row in page["widths"]["rows"]
        if "tolerance" in row
    ]  # fmt: skip
    head = ("target", "rtol and atol", "evaluations, mean", "most of a row", "distance (weights)")
    return table(head, lines)


def widths_table(page: Page) -> str:
    """Return distance over floor and the largest error of a weight, by path and evaluations."""
    rows = [row for row in page["widths"]["rows"] if "sampler" in row]
    budgets = sorted({row["evaluations"] for row in rows})
    return _target_table(rows, "sampler", "evaluations", budgets)


def corrections_table(page: Page) -> str:
    """Return the same by corrector and number of corrections."""
    rows = [row for row in page["widths"]["rows"] if "corrector" in row]
    return _target_table(rows, "corrector", "corrections", [1, 4, 16])


def _target_table(rows: Rows, name: str, column: str, values: Sequence[int]) -> str:
    lines: dict[tuple[str, str], dict[int, str]] = {}
    for row in rows:
        said = f"{row['ratio']:.2f} ({row['worst']:.3f})"
        lines.setdefault((row["target"], row[name]), {})[row[column]] = said
    filled = ([*names, *(cells.get(v, "-") for v in values)] for names, cells in lines.items())
    return table(["target", name, *map(str, values)], filled)


def worst_ratios(rows: Rows, task: str, most: int, amortised: bool) -> dict[tuple, float]:
    """Return for each path and budget up to `most` the larger of the ratios of the two distributions."""
    worst: dict[tuple[str, str, int], float] = {}
    for row in rows:
        same = row["task"] == task and (row["conditioning"] == "amortised") == amortised
        if same and 0 < row["evaluations"] <= most:
            path = (*path_of(row), row["evaluations"])
            worst[path] = max(row["ratio"], worst.get(path, 0.0))
    return worst


def path_of(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["sampler"], row["conditioning"]


def mixture_rows(page: Page, task: str) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Return for each path on the mixture its rows by budget."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in page["accuracy"]["rows"]:
        if row["distribution"] == "mixture" and row["task"] == task and "ratio" in row:
            name = ", ".join(path_of(row)).removesuffix(", none")
            found.setdefault(name, {})[row["evaluations"]] = row
    return found


def ratio_table(page: Page, task: str, more: Sequence[str] = ()) -> str:
    """Return the distance over floor at each budget, and more figures at the largest one."""
    paths = mixture_rows(page, task)
    budgets = sorted({budget for rows in paths.values() for budget in rows})
    lines = []
    for name, rows in paths.items():
        ratios = (f"{rows[n]['ratio']:.2f}" if n in rows else "-" for n in budgets)
        lines.append([name, *ratios, *(f"{rows[max(rows)][figure]:.2f}" for figure in more)])
    return table(["sampler", *map(str, budgets), *(n.replace("_", " ") for n in more)], lines)


def draw(page: Page) -> Figure:
    """Draw distance over floor against evaluations, and the particles' error."""
    figure = Figure(figsize=(16, 5), layout="constrained")
    *both, third = figure.subplots(1, 3)
    for axis, task in zip(both, ("unconditional", "conditional"), strict=True):
        for i, (name, rows) in enumerate(mixture_rows(page, task).items()):
            ratios = [row["ratio"] for row in rows.values()]
            axis.plot(list(rows), ratios, ("-", "--", ":")[i // 10 % 3], marker=".", label=name)
        axis.axhline(1.5, color="black", linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlabel="score evaluations", title=f"mixture, {task}")
        axis.set_ylabel("sliced Wasserstein distance / floor")
        axis.legend(fontsize=7)
    particles = page["particles"]
    counts, found = np.asarray(particles["particles"], float), np.asarray(particles["errors"])
    third.loglog(counts, found, "o-", label=f"slope {particles['slope']:.2f}")
    third.loglog(counts, found[0] * np.sqrt(counts[0] / counts), "k:", label="slope -1/2")
    third.set(xlabel="particles", ylabel="error of the conditional mean", title="twisted sampler")
    third.legend()
    return figure


REPORT = Report(
    "samplers",
    [
        ("accuracy", of_accuracy),
        ("accuracy", of_samplers),
        ("accuracy", of_guidance),
        ("widths", of_widths),
        ("widths", of_corrections),
        ("particles", of_particles),
        ("information", of_information),
        ("overhead", of_overhead),
        ("steering", of_steering),
        ("density", of_density),
    ],
    {
        "samplers.information": ("information", information_table),
        "samplers.unconditional": ("accuracy", lambda page: ratio_table(page, "unconditional")),
        "samplers.widths": ("widths", widths_table),
        "samplers.corrections": ("widths", corrections_table),
        "samplers.adaptive": ("widths", adaptive_table),
        "samplers.conditional": (
            "accuracy",
            lambda page: ratio_table(page, "conditional", ("coverage_90", "variance")),
        ),
        "samplers.density": ("density", density_table),
        "samplers.steering": ("steering", steering_table),
    },
    {"samplers.png": ("particles", draw)},
)
