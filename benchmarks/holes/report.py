"""What learning from rows with holes was to show, and its tables."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.claims import Claim, claim
from benchmarks.runner import Page, Report
from benchmarks.tables import Rows, mean_std, rows_table

FEW = "1 % complete, else single"
# Chosen on latents, before PolyDigits was measured: completing spreads what few rows couple, and errs more.
CHOSEN = {"half": "completed", "most": "completed", "pairs": "completed", "single": "available"}
RUNS = ("complete", "half", "most", "pairs", "single")


def grouped(page: Page, *parts: str) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Return the rows of parts by pattern and training."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in (row for part in parts if part in page for row in page[part]["rows"]):
        found.setdefault(row["pattern"], {}).setdefault(row["training"], []).append(row)
    return found


def mean(rows: Rows, figure: str) -> float:
    return mean_std(rows, figure)[0]


def of_cost(page: Page) -> Iterator[Claim]:
    """Compare a step that completes half of its rows with one that completes none."""
    took = page["cost"]["milliseconds"]
    name = "a step that completes half of its rows, over a plain one: time"
    yield claim(name, took["completed"] / took["available"], "<=", 2.5)


def cost_table(page: Page) -> str:
    """Return how long a step takes."""
    took = page["cost"]["milliseconds"]
    return rows_table({name: {"a step, ms": value} for name, value in took.items()}, title="rows")


def of_gaussian(page: Page) -> Iterator[Claim]:
    """Compare the errors of scores of rows that lack modalities with those of complete rows."""
    found = grouped(page, "gaussian")
    complete = found["factors, none"]["available"]
    for pattern in ("factors, pairs", "Markov, chain"):
        for figure in GAUSSIAN:
            over = mean(found[pattern]["completed"], figure) / mean(complete, figure)
            yield claim(f"{pattern}, completed: error {figure}, over complete rows", over, "<=", 2)


def of_latents(page: Page) -> Iterator[Claim]:
    """Compare trainings on latents of which all is known."""
    found = grouped(page, "latents")
    for pattern in ("pairs", "chain", "by the class"):
        value = mean(found[pattern]["completed"], "total variation")
        yield claim(f"latents, {pattern}, completed: total variation", value, "<=", 0.05)
    few = found[FEW]
    name = f"latents, {FEW}, available cases"
    for figure in ("all agree", "given 1"):
        bound = mean(few["dropping"], figure)
        yield claim(f"{name}: {figure}, of dropping", mean(few["available"], figure), ">=", bound)
    yield claim(f"{name}: spread within", mean(few["available"], "within"), ">=", 0.85)


BOUNDS: dict[str, dict[str, float]] = {
    "half": {"all agree": 0.95, **{f"given {k}": 0.97 for k in (1, 2, 3, 4)}},
    "most": {"all agree": 0.85, **{f"given {k}": 0.93 for k in (1, 2, 3, 4)}},
    "pairs": {"all agree": 0.85},
}


def of_pattern(pattern: str) -> tuple[str, Callable[[Page], Iterator[Claim]]]:
    """Return the entry of a report that compares PolyDigits with holes with complete data, at equal steps."""

    def compare(page):
        found = grouped(page, "complete", pattern)
        if "complete" not in found:
            return
        whole, some = found["complete"]["available"], found[pattern][CHOSEN[pattern]]
        for figure, bound in BOUNDS[pattern].items():
            name = f"PolyDigits, {pattern}, {CHOSEN[pattern]}: {figure} over complete data"
            yield claim(name, mean(some, figure) / mean(whole, figure), ">=", bound)

    return pattern, compare


def of_single(page: Page) -> Iterator[Claim]:
    """Compare few complete rows beside single pictures with those rows alone."""
    found = grouped(page, "single")["single"]
    some, name = found[CHOSEN["single"]], f"PolyDigits, single, {CHOSEN['single']}"
    for figure in ("all agree", "given 1"):
        bound = mean(found["dropping"], figure)
        yield claim(f"{name}: {figure}, of dropping", mean(some, figure), ">=", bound)
    yield claim(f"{name}: diversity", mean(some, "diversity"), ">=", 0.85)


def table_of(parts: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, Any]:
    """Return the entry of a report for the table of parts, of which the first must be measured."""

    def make(page: Page) -> str:
        rows = {
            f"{pattern}: {training}": some
            for pattern, trainings in grouped(page, *parts).items()
            for training, some in trainings.items()
        }
        return rows_table(rows, columns, "rows lack: training")

    return parts[0], make


LATENTS = ("all agree", "given 1", "given 2", "given 4", "total variation", "within")
GAUSSIAN = ("jointly", "given 1", "given 2", "given 3")
POLYDIGITS = (
    "all agree", "given 1", "given 2", "given 3", "given 4", "total variation", "diversity",
    "Fréchet distance",
)  # fmt: skip
REPORT = Report(
    "holes",
    [
        ("cost", of_cost),
        ("gaussian", of_gaussian),
        ("latents", of_latents),
        ("single", of_single),
        *map(of_pattern, BOUNDS),
    ],
    {
        "holes.cost": ("cost", cost_table),
        "holes.gaussian": table_of(("gaussian",), GAUSSIAN),
        "holes.latents": table_of(("latents",), LATENTS),
        "holes.polydigits": table_of(RUNS, POLYDIGITS),
    },
)
