"""What two shared factors were to reach, on two cores and on an accelerator, and their tables."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.claims import Claim, Target, claim
from benchmarks.runner import RESULTS, Page, Report
from benchmarks.tables import figures_table, over_seeds
from sbmae_jax._json import from_json

NOTHING_D, NOTHING_Q = "from nothing, all views show the digit", "… all show the quadrant"
D_TO_M, Q_TO_M, DQ_TO_M = "digit → view", "quadrant → view", "digit, quadrant → view shows both"
D_AGREE, Q_AGREE = "digit → views agree in the quadrant", "quadrant → views agree in the digit"
D_VARY, Q_VARY = (
    "digit → total variation of the quadrant",
    "quadrant → total variation of the digit",
)
OVER = "{}, over that of exact draws"

CPU: dict[str, Target] = {
    NOTHING_D: (">=", 0.93), NOTHING_Q: (">=", 0.995),
    D_TO_M: (">=", 0.96), Q_TO_M: (">=", 0.995), DQ_TO_M: (">=", 0.955),
    D_AGREE: (">=", 0.99), Q_AGREE: (">=", 0.95),
    OVER.format(D_VARY): ("<=", 1.5), OVER.format(Q_VARY): ("<=", 1.5),
}  # fmt: skip
"""On rows with holes, on two cores."""
SHARES = (NOTHING_D, NOTHING_Q, D_TO_M, Q_TO_M, DQ_TO_M, D_AGREE, Q_AGREE)
MINUTES = "minutes of all stages"
MUNITE: dict[str, Target] = {
    NOTHING_D: (">", 0.983), NOTHING_Q: (">=", 1.0),
    D_AGREE: (">=", 1.0), Q_AGREE: (">", 0.99),
    D_VARY: ("<=", 0.034), Q_VARY: ("<=", 0.034),
}  # fmt: skip
"""On rows with holes, on an accelerator: the best published figures, on other backgrounds and digits."""


def figures(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the main figures of a run; one that was not measured, as no view shows the factor, is NaN."""
    given, nothing = results["given_labels"], results["unconditional"]

    def mean(*keys: str, inside: Mapping[str, Any]) -> float:
        found: Any = inside
        for key in keys:
            found = found.get(key, {})
        return float("nan") if found == {} else float(found)

    shown = partial(mean, inside=given)
    open_d, open_q = ("quadrant", "open", "digit"), ("digit", "open", "quadrant")
    both = "digit, quadrant"
    return {
        "verifier accuracy, digit": results["verifier_accuracy"]["digit"]["mean"],
        "verifier accuracy, quadrant": results["verifier_accuracy"]["quadrant"]["mean"],
        "reconstructions show the digit": results["reconstruction_accuracy"]["digit"]["mean"],
        "reconstructions show the quadrant": results["reconstruction_accuracy"]["quadrant"]["mean"],
        NOTHING_D: mean("digit", "show_label", "mean", inside=nothing),
        NOTHING_Q: mean("quadrant", "show_label", "mean", inside=nothing),
        D_TO_M: shown("digit", "shown", "digit", "mean"),
        Q_TO_M: shown("quadrant", "shown", "quadrant", "mean"),
        DQ_TO_M: shown(both, "shown", "all factors", "mean"),
        D_AGREE: shown(*open_q, "pairs_agree", "mean"),
        Q_AGREE: shown(*open_d, "pairs_agree", "mean"),
        D_VARY: shown(*open_q, "total_variation"),
        OVER.format(D_VARY): shown(*open_q, "total_variation") / shown(*open_q, "expected"),
        Q_VARY: shown(*open_d, "total_variation"),
        OVER.format(Q_VARY): shown(*open_d, "total_variation") / shown(*open_d, "expected"),
        **{
            f"Fréchet distance, features of the {name}": found["mean"]
            for name, found in results["frechet_verifier_features"].items()
        },
        **{
            f"diversity given both, features of the {name}": ratio
            for name, ratio in results["diversity"].items()
        },
    }


def minutes(results: Mapping[str, Any]) -> float:
    return sum(results["seconds"].values()) / 60


def of_holes(data: str, page: Page) -> Iterator[Claim]:
    """Compare rows with holes with the targets."""
    for seed, results in page[f"{data}_holes"]["runs"].items():
        values = figures(results)
        for name, target in CPU.items():
            yield claim(f"{data} with holes, seed {seed}: {name}", values[name], *target)
        if data == "polymnist":
            yield claim(f"{data} with holes, seed {seed}: {MINUTES}", minutes(results), "<=", 45)
    for seed, results in page[f"{data}_holes"].get("cooler", {}).items():
        values, temperature = figures(results), page[f"{data}_holes"]["temperature"]
        for name, target in CPU.items():
            title = f"{data} with holes at temperature {temperature}, seed {seed}: {name}"
            yield claim(title, values[name], *target)


def of_complete(data: str, page: Page) -> Iterator[Claim]:
    """Compare complete rows with rows with holes, of the seeds that both have."""
    with_holes = page.get(f"{data}_holes", {}).get("runs", {})
    for seed, results in page[f"{data}_complete"]["runs"].items():
        if seed in with_holes:
            whole, holes = figures(results), figures(with_holes[seed])
            for name in SHARES:
                title = f"{data}, holes less complete rows, seed {seed}: {name}"
                yield claim(title, holes[name] - whole[name], "within", (-0.02, 0.02))


def of_accelerator(page: Page, folder: Path = RESULTS / "gpu") -> Iterator[Claim]:
    """Compare runs on an accelerator with the best published figures; without any they are missing."""
    del page
    found = (from_json(path.read_text()) for path in sorted(folder.glob("polymnist-dq-*.json")))
    measured = [run for run in found if "--toy" not in run["command"]]
    for name, (sign, bound) in MUNITE.items():
        title = f"on an accelerator, with holes, against MUNITE: {name}"
        for run in measured:
            seed = run["results"]["seed"]
            yield claim(f"{title}, seed {seed}", figures(run["results"])[name], sign, bound)
        if not measured:
            yield claim(title, float("nan"), sign, bound) | {"value": "missing"}


def table(data: str, page: Page) -> str:
    """Return the figures on rows with holes and on complete ones, beside the targets."""
    columns = {}
    for way in ("holes", "complete"):
        part = page.get(f"{data}_{way}", {"runs": {}})
        if part["runs"]:
            columns |= over_seeds(part["runs"], figures, f"{way}, ")
        if "cooler" in part:
            words = f"{way}, temperature {part['temperature']}, "
            columns |= over_seeds(part["cooler"], figures, words)
    return figures_table(columns, CPU)


def _of(data: str) -> list[tuple[str, Callable[[Page], Iterator[Claim]]]]:
    return [
        (f"{data}_holes", partial(of_holes, data)),
        (f"{data}_complete", partial(of_complete, data)),
    ]


REPORT = Report(
    "dq",
    [*_of("digits"), *_of("polymnist"), ("digits_holes", of_accelerator)],
    {f"dq.{data}": (f"{data}_holes", partial(table, data)) for data in ("digits", "polymnist")},
)
