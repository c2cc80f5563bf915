"""Claims: what docs/sampling.md advises, as comparisons of the rows that its tables show."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.claims import Claim, claim
from benchmarks.runner import Page

Found = Mapping[tuple[Any, ...], Mapping[str, Any]]


def of_samplers(page: Page) -> Iterator[Claim]:
    """Compare samplers and conditionings in 320 dimensions, as the page does in words."""
    rows: Found = {
        (row["sampler"], row["conditioning"], row["evaluations"]): row
        for row in page["accuracy"]["rows"]
        if row["distribution"] == "mixture" and "ratio" in row
    }

    def ratio(*path: Any) -> float | None:
        return rows[path]["ratio"] if path in rows else None

    def over(name: str, one: tuple, other: tuple, least: float = 1.0) -> Iterator[Claim]:
        if ratio(*one) and ratio(*other):
            yield claim(f"mixture: {name}", ratio(*one) / ratio(*other), ">=", least)

    solver, plain = "DPM++(2M)", "none"
    for evaluations in (16, 40):
        if found := ratio(solver, plain, evaluations):
            yield claim(f"mixture: {solver}, {evaluations} evaluations", found, "<=", 1.15)
    for name in ("Euler-Maruyama", "ancestral"):
        if found := ratio(name, plain, 100):
            yield claim(f"mixture: {name} is fine from 100 evaluations on", found, "<=", 1.15)
    at = (plain, 40)
    for name in ("ancestral, DDPM", "ancestral + 3", "Langevin only"):
        yield from over(f"{name} over ancestral, 40 evaluations", (name, *at), ("ancestral", *at))
    coarse = ("EM + norm rule", plain, 8), ("Euler-Maruyama", plain, 8)
    yield from over("EM + norm rule over Euler-Maruyama, 8 evaluations", *coarse, 10)
    exact = (solver, "amortised", 100)
    for name, put in (("DPM++(2M) SDE", "with covariance"), ("DPM++(2M) SDE", "reconstruction")):
        yield from over(f"{put} over an amortised score", (name, put, 100), exact)
    guided = "DPM++(2M) SDE"
    yield from over(
        "reconstruction over that with the covariance, 100 evaluations",
        (guided, "reconstruction", 100),
        (guided, "with covariance", 100),
    )
    fixed = ("Heun", "fixed noise", 100), ("RePaint, 5 visits", "renoise", 100)
    yield from over("fixed noise over RePaint, 100 evaluations", *fixed, 2)


def of_corrections(page: Page) -> Iterator[Claim]:
    """Compare what is recommended where modes differ in width with what is not."""
    rows = page["widths"]["rows"]
    worst: dict[tuple[str, int], float] = {}
    corrected: dict[tuple[str, str, int], Mapping[str, Any]] = {}
    for row in rows:
        if "sampler" in row:
            path = row["sampler"], row["evaluations"]
            worst[path] = max(row["worst"], worst.get(path, 0.0))
        elif "corrector" in row:
            corrected[row["target"], row["corrector"], row["corrections"]] = row
    for evaluations in (10, 20):
        others = [
            v
            for (name, n), v in worst.items()
            if n == evaluations and name not in ("Adams", "exact samples")
        ]
        if others and ("Adams", evaluations) in worst:
            name = f"unequal widths, {evaluations} evaluations: weights, the best other over Adams"
            yield claim(name, min(others) / worst["Adams", evaluations], ">=", 1)
    for name in ("ancestral, log-SNR", "Euler-Maruyama"):
        if (name, 40) in worst:
            said = f"unequal widths, {name}: weights are not right at 40 evaluations"
            yield claim(said, worst[name, 40], ">", 0.01)
    large, small = "Langevin, snr 0.4", "Langevin, snr 0.16"
    for target in dict.fromkeys(target for target, *_ in corrected):
        if (target, large, 16) not in corrected:
            continue
        more = corrected[target, large, 16]["worst"] / corrected[target, large, 1]["worst"]
        yield claim(f"{target}, {large}: weights, 16 corrections over 1", more, ">", 1)
        gains = [
            corrected[target, large, n]["worst"] / corrected[target, small, n]["worst"]
            for n in (1, 4, 16)
        ]
        yield claim(f"{target}: weights, {large} over {small}, least", min(gains), ">=", 5)
    target = "three widths"
    nearer = [
        corrected[target, small, n]["ratio"] / corrected[target, "adjusted", n]["ratio"]
        for n in (1, 4, 16)
        if (target, small, n) in corrected
    ]
    if nearer:
        yield claim(f"{target}: distance, {small} over adjusted, least", min(nearer), ">=", 1)


def of_guidance(page: Page) -> Iterator[Claim]:
    """Compare the mean given 128 of 320 coordinates by guidance with that by particles."""
    errors = [
        row["mean"]
        for row in page["accuracy"]["rows"]
        if (row["distribution"], row["conditioning"]) == ("mixture", "reconstruction")
        and row["evaluations"] == 512
    ]
    if errors and "particles" in page:
        most = page["particles"]["at_size"][-1]["error"]
        name = "320 dimensions: error of the mean, particles over reconstruction guidance"
        yield claim(name, most / max(errors), ">=", 5)
