"""The claims that `samplers.py` tests, its tables for the documentation, and its picture."""

import re

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt


def claims(rows, extra):
    """Return every claim with its value and bound; one that does not hold stays, and says so."""

    def best(task, most, amortised):
        ends = [
            r for r in rows
            if r["task"] == task and 0 < r["evaluations"] <= most
            and (r["conditioning"] == "amortised") == amortised
        ]  # fmt: skip
        paths = {(r["sampler"], r["conditioning"], r["evaluations"]) for r in ends}
        worst = {
            p: max(
                r["ratio"] for r in ends if (r["sampler"], r["conditioning"], r["evaluations"]) == p
            )
            for p in paths
        }
        path = min(worst, key=worst.get)
        return path, worst[path]

    found = []

    def claim(name, value, bound, below=True, **notes):
        holds = bool(value <= bound if below else value >= bound)
        found.append({"name": name, "value": value, "bound": bound, "holds": holds, **notes})

    path, value = best("unconditional", 40, False)
    claim(
        "unconditional, at most 40 evaluations: Wasserstein over floor, worse of two",
        value,
        1.5,
        path=path,
    )
    path, value = best("conditional", 100, True)
    claim(
        "conditional, at most 100 evaluations, exact amortised score: same", value, 1.5, path=path
    )
    path, value = best("conditional", 100, False)
    claim("conditional, at most 100 evaluations, joint score: same", value, 1.5, path=path)
    for name in ("Heun", "DPM++(2M)"):
        claim(f"order of convergence of {name}", extra["order"][name]["order"], 1.9, below=False)
    slope = extra["particles"]["slope"]
    claim("particles: |slope of log error + 1/2|", abs(slope + 0.5), 0.1, slope=slope)
    claim(
        "particles: calibration p-value",
        extra["particles"]["calibration_p_value"],
        0.01,
        below=False,
    )
    most = max(r["evaluations"] for r in rows)
    judged = [r for r in rows if "p_value" in r and r["evaluations"] in (0, most)]
    exact = [r for r in judged if r["conditioning"] in ("exact", "amortised")]
    names = [f"{r['sampler']}, {r['conditioning']}" for r in judged if r["p_value"] < 0.01]
    worst = min(r["p_value"] for r in exact)
    claim(
        "exact methods: smallest calibration p-value", worst, 0.01, False, failing=sorted({*names})
    )
    for kind, sampler in (
        ("renoise", "ancestral"),
        ("clamp", "ancestral"),
        ("clamp", "ancestral + 3"),
    ):
        row = [r for r in judged if (r["conditioning"], r["sampler"]) == (kind, sampler)]
        p_value = max(r["p_value"] for r in row)
        claim(f"{kind} with {sampler} is seen to be biased: p-value", p_value, 0.01)
        spread = max(r["spread"] for r in row)
        if kind == "clamp":
            claim(
                f"clamp with {sampler} is over-confident: variance over the exact one", spread, 0.99
            )
    large = extra["particles_at_size"][-1]
    name = f"particles, 320 dimensions, {large['particles']}: error of the mean over its deviation"
    claim(name, large["error"], 0.1, smallest_ess=large["smallest_ess"])
    shares = [extra["speed"]["share_few_step"], extra["speed"]["share_conditional"]]
    claim("share of time in the network, worse of two samplers", min(shares), 0.85, below=False)
    claim(
        "compile seconds, worse of two samplers",
        max(extra["speed"]["compile_seconds"].values()),
        5.0,
    )
    return found


def picture(result, path):
    """Draw distance over floor against evaluations, and the particles' error."""
    figure, axes = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    for axis, task in zip(axes, ("unconditional", "conditional"), strict=False):
        lines = {}
        for row in result["rows"]:
            if row["task"] == task and row["distribution"] == "mixture" and "ratio" in row:
                name = row["sampler"] + (
                    "" if task == "unconditional" else f", {row['conditioning']}"
                )
                lines.setdefault(name, []).append((row["evaluations"], row["ratio"]))
        for i, (name, points) in enumerate(lines.items()):
            style = ("-", "--", ":")[i // 10 % 3]
            axis.plot(*zip(*points, strict=True), style, marker=".", label=name)
        axis.axhline(1.5, color="black", linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlabel="score evaluations", title=f"mixture, {task}")
        axis.set_ylabel("sliced Wasserstein distance / floor")
        axis.legend(fontsize=7)
    counts, errors = result["particles"]["particles"], np.asarray(result["particles"]["errors"])
    axes[2].loglog(counts, errors, "o-", label=f"slope {result['particles']['slope']:.2f}")
    theory = errors[0] * np.sqrt(counts[0] / np.asarray(counts, float))
    axes[2].loglog(counts, theory, "k:", label="slope -1/2")
    axes[2].set(xlabel="particles", ylabel="error of the conditional mean", title="twisted sampler")
    axes[2].legend()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def tables(rows):
    """Return {name: Markdown} for the mixture: distance over floor at each budget."""
    rows = [r for r in rows if r["distribution"] == "mixture" and "ratio" in r]
    budgets = sorted({r["evaluations"] for r in rows})
    found = {}
    for task, names, extra in (
        ("unconditional", ("sampler",), ()),
        ("conditional", ("sampler", "conditioning"), ("coverage_90", "spread")),
    ):
        paths = {}
        for row in rows:
            if row["task"] == task:
                paths.setdefault(tuple(row[n] for n in names), []).append(row)
        head = [*names, *map(str, budgets), *(n.replace("_", " ") for n in extra)]
        lines = [head, ["---"] * len(head)]
        for path, path_rows in paths.items():
            at = {r["evaluations"]: f"{r['ratio']:.2f}" for r in path_rows}
            ratios = [at.get(budget, "-") for budget in budgets]
            lines.append([*path, *ratios, *(f"{path_rows[-1][n]:.2f}" for n in extra)])
        found[task] = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return found


def fill(page, rows):
    """Put the tables between their marks in a page of the documentation."""
    text = page.read_text()
    for name, table in tables(rows).items():
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = f"{marks[0]}.*?{marks[1]}"
        block = f"{marks[0]}\n{table}\n{marks[1]}"
        text = re.sub(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
    page.write_text(text)
