"""What the figures of one's own data were to show, their tables and their plot."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims import Claim, claim
from benchmarks.own_data.nonlinear import GAUSSIAN
from benchmarks.runner import Page, Report
from benchmarks.tables import part_table, rows_table

COVERED = "within", (0.87, 0.93)  # of the 90 % intervals
COLUMNS = ("given 1", "given 2", "given 3", "given 4", "all agree", "diversity", "Fréchet distance")
EXACT, RIDGE = "of the exact conditional mean", "of ridge"
NONLINEAR = ("pixels", "fourier")  # views of the digits that are no linear functions of the others


def of_linear(page: Page) -> Iterator[Claim]:
    ratios = [row["error"] / row[EXACT] for row in page["linear"]["rows"].values()]
    name = "linear: error over that of the exact conditional mean, mean of six"
    yield claim(name, float(np.mean(ratios)), "<=", 1.02)
    yield claim("linear: the same, largest of six", max(ratios), "<=", 1.04)
    yield from of_intervals(page, "linear")
    name = "2,000 rows, six vectors, from file to report: seconds"
    yield claim(name, page["linear"]["whole_seconds"], "<=", 180)


def of_nonlinear(page: Page) -> Iterator[Claim]:
    part = page["nonlinear"]
    worse = [
        name for name, row in part["rows"].items()
        if row["error"] > min(row[RIDGE], row[GAUSSIAN]) + row["its standard error"]
    ]  # fmt: skip
    name = (
        f"nonlinear: cells of {len(part['rows'])} worse than linear by more than a standard error"
    )
    yield claim(name, len(worse), "<=", 0)
    ratios = [row["error"] / min(row[RIDGE], row[GAUSSIAN]) for row in part["columns"].values()]
    name = (
        "nonlinear: error of columns that are not linear over the best linear one, largest of six"
    )
    yield claim(name, max(ratios), "<=", 1.0)


def of_digits(page: Page) -> Iterator[Claim]:
    for name in NONLINEAR:
        row = page["digits"]["rows"][name]
        ratio = row["error"] / row[RIDGE]
        yield claim(f"digits: error of {name} over that of ridge", ratio, "<=", 0.7)
    yield from of_intervals(page, "digits")


def of_intervals(page: Page, part: str) -> Iterator[Claim]:
    for name, row in page[part]["rows"].items():
        value = row["90 % intervals hold"]
        yield claim(f"{part}: 90 % intervals of {name} hold the truth", value, *COVERED)


def of_missing(page: Page) -> Iterator[Claim]:
    """Compare training on incomplete rows with all data, and with dropping them."""
    rows = page["missing"]["rows"]
    full, half, dropped = (rows[f"{n} rows"] for n in ("0%, all", "50%, all", "50%, complete"))
    for key in COLUMNS[:5]:
        ratio = half[key] / max(full[key], 1e-9)  # which a smoke run may have at 0
        yield claim(f"half missing, {key}: over that of all data", ratio, ">=", 0.9)
    for key in ("given 1", "all agree"):
        gain = half[key] - dropped[key]
        yield claim(f"half missing, {key}: gain over dropping incomplete rows", gain, ">=", 0.1)
    # What follows was added when the figures of the above were known.
    afterwards = [("50%", "diversity")]
    if "70%, complete rows" in rows:
        afterwards += [("70%", key) for key in ("given 1", "all agree", "diversity")]
    for share, key in afterwards:
        gain = rows[f"{share}, all rows"][key] - rows[f"{share}, complete rows"][key]
        yield claim(f"set afterwards: {share} missing, {key}: gain over dropping", gain, ">=", 0.1)


def vectors_table(page: Page) -> str:
    named = {"linear": "linear-Gaussian", "digits": "digits"}
    rows = {f"{named[p]}, {n}": row for p in named for n, row in page[p]["rows"].items()}
    return rows_table(rows, ("error", EXACT, RIDGE, "90 % intervals hold"), "data, target")


def nonlinear_table(page: Page) -> str:
    part = page["nonlinear"]
    rows = {name: row for name, row in part["rows"].items() if name.endswith("given all")}
    rows |= {f"{name}, columns that are not linear": row for name, row in part["columns"].items()}
    return rows_table(rows, ("error", RIDGE, GAUSSIAN), "target")


def draw_missing(page: Page) -> Figure:
    """Draw coherence against the share of pictures that training rows lack."""
    figure = Figure(figsize=(5.6, 3.6), layout="tight")
    axes = figure.add_subplot()
    for words, style in (("all rows", "o-"), ("complete rows", "x--")):
        names = [n for n in page["missing"]["rows"] if n.endswith(words) or n.startswith("0%")]
        for number, key in enumerate(("given 1", "given 4", "all agree")):
            points = sorted((int(n.split("%")[0]), page["missing"]["rows"][n][key]) for n in names)
            label = f"{key}, {words}"
            axes.plot(*zip(*points, strict=True), style, color=f"C{number}", label=label)
    axes.set(xlabel="pictures missing in training, %", ylabel="coherence", ylim=(0, 1))
    axes.legend(fontsize=7)
    return figure


REPORT = Report(
    "own_data",
    [
        ("linear", of_linear),
        ("nonlinear", of_nonlinear),
        ("digits", of_digits),
        ("missing", of_missing),
    ],
    {
        "own_data.vectors": ("digits", vectors_table),
        "own_data.nonlinear": ("nonlinear", nonlinear_table),
        "own_data.missing": part_table("missing", COLUMNS, "missing, trained on"),
    },
    {"own_data_missing.png": ("missing", draw_missing)},
)
