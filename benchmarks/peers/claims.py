"""What the comparison with other methods was to show."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims import Claim, claim, short
from benchmarks.runner import Page
from benchmarks.tables import mean_std

LOW_TEMPERATURE, FEW_STEPS = "ours, low temperature", "ours, few steps"
HALF = "ours, half the operations"
HALF_LOW_TEMPERATURE = f"{HALF}, low temperature"
OURS = ("ours", LOW_TEMPERATURE, FEW_STEPS, HALF, HALF_LOW_TEMPERATURE)
BASELINES = ("mld", "mvtcae", "mmvae_plus", "mopoe", "mmvae", "mvae")
SINGLE_PASS = BASELINES[1:]
WORDS = {
    "mld": "MLD", "mvae": "MVAE", "mmvae": "MMVAE", "mopoe": "MoPoE",
    "mvtcae": "MVTCAE", "mmvae_plus": "MMVAE+", **{name: name for name in OURS},
}  # fmt: skip
GIVEN = ("given 1", "given 2", "given 3", "given 4")
COMPARED = (*GIVEN[1:], "all agree", "Fréchet distance")
LOWER = ("Fréchet distance", "label variation")  # is better
MAX_FALL = 0.03  # of coherence over the classifier's accuracy, with the most modalities
MAX_TIMES = 2.0  # how often a single pass's time ours in few steps may take
AFTERWARDS = " (set afterwards)"
BY_NUMBER = {
    "first two, given the other": lambda row, num: first_two(row, "given the other"),
    "first two, given all others": lambda row, num: first_two(row, "given all others"),
    "all, given one": lambda row, num: row["given 1"] / row["classifier"],
    "all, given all others": lambda row, num: row[f"given {num - 1}"] / row["classifier"],
}
Rows = Sequence[Mapping[str, float]]


def first_two(row: Mapping[str, Any], figure: str) -> float:
    """Return a coherence of the modalities that are there at each number, over the classifier's accuracy."""
    return row["first two"][figure] / row["first two"]["classifier"]


def levels(num: float) -> str:
    """Return the name of our sampler with some levels."""
    return f"ours, {num:.0f} level{'s' * (num > 1)}"


def best_baseline(rows: Mapping[str, Rows], figure: str) -> str:
    """Return the baseline with the best mean of a figure."""
    sign = -1 if figure in LOWER else 1
    present = [method for method in BASELINES if method in rows]
    return max(present, key=lambda method: sign * mean_std(rows[method], figure)[0])


def better(ours: Rows, theirs: Rows, figure: str, mine: str, other: str) -> Claim:
    """Compare a gain with the deviation of both."""
    gain, std = difference(ours, theirs, figure)
    name = f"{figure}: {mine} is better than {other}, by more than the deviation"
    return claim(name, -gain if figure in LOWER else gain, ">=", std, deviation=short(std))


def difference(ours: Rows, theirs: Rows, figure: str) -> tuple[float, float]:
    """Return the difference of two means, and its deviation."""
    (m1, d1), (m2, d2) = (mean_std(rows, figure) for rows in (ours, theirs))
    return m1 - m2, float(np.hypot(d1, d2))


def of_comparison(page: Page, part: str = "comparison") -> Iterator[Claim]:
    """Compare ours with the best baseline in each figure, with half the operations, and in seconds."""
    rows = page[part]["rows"]
    for method, figure in itertools.product(OURS[:3], COMPARED):
        other = best_baseline(rows, figure)
        if len(rows[method]) > 1:  # one seed alone has no deviation
            what = f"the best baseline, {WORDS[other]}"
            yield better(rows[method], rows[other], figure, method, what)
    for method in OURS[:2]:
        name = f"baselines at least as coherent given 1 to 4 and as diverse as {method}"
        yield claim(name + AFTERWARDS, len(dominating(rows, method)), "<=", 0)
    for method, figure in itertools.product(OURS[3:], (*GIVEN, "all agree")):
        other = best_baseline(rows, figure)
        gain, _ = difference(rows[method], rows[other], figure)
        yield claim(f"{figure}: {method}, less the best baseline, {WORDS[other]}", gain, ">=", 0.0)
    other = best_baseline(rows, "given 2")
    half, whole = (mean_std(rows[m], "training seconds")[0] for m in (HALF, other))
    name = f"seconds of training ours at half the operations over {WORDS[other]}"
    yield claim(name, half / whole, "<=", 0.5)
    times = page[part]["sampling"]["seconds per 1,000, given 1"]
    if timed := [method for method in SINGLE_PASS if method in times]:
        fastest = min(timed, key=lambda method: times[method])
        few = levels(page[part]["chosen"][FEW_STEPS]["value"])
        name = f"1,000 samples given 1: seconds of {few} over {WORDS[fastest]}, the fastest"
        yield claim(name, times[few] / times[fastest], "<=", MAX_TIMES)


def of_large(page: Page) -> Iterator[Claim]:
    """Compare what was measured in large batches in the same way."""
    for found in of_comparison(page, "large"):
        yield found | {"name": f"large batches: {found['name']}"}


def dominating(rows: Mapping[str, Rows], ours: str = "ours") -> list[str]:
    """Return the baselines that are at least as coherent given others and at least as diverse."""

    def both(method):
        given = np.mean([mean_std(rows[method], figure)[0] for figure in GIVEN])
        return np.array([given, mean_std(rows[method], "diversity")[0]])

    return [m for m in BASELINES if m in rows and (both(m) >= both(ours)).all()]


def of_choices(page: Page) -> Iterator[Claim]:
    """Compare ours, at a low temperature, with baselines with what validation rows have put second."""
    for method, rows in page["choices"]["rows"].items():
        what = f"{WORDS[method]} with its second choice, {page['choices']['values'][method]}"
        for figure in COMPARED if len(rows) > 1 else ():
            ours = page["comparison"]["rows"][LOW_TEMPERATURE]
            found = better(ours, rows, figure, LOW_TEMPERATURE, what)
            yield found | {"name": found["name"] + AFTERWARDS}


def of_modalities(page: Page) -> Iterator[Claim]:
    """Compare how much coherence falls as modalities are added, ours and that of how many baselines."""
    rows = page["modalities"]["rows"]
    few, *_, many = sorted(rows["ours"], key=int)
    for figure, value in BY_NUMBER.items():
        falls = {m: value(r[few], int(few)) - value(r[many], int(many)) for m, r in rows.items()}
        afterwards = AFTERWARDS if figure.startswith("first two") else ""
        for method in [method for method in OURS if method in falls]:
            name = f"{figure}: fall of {method} from {few} to {many} modalities"
            name += ", over the classifier's accuracy"
            yield claim(name + afterwards, falls.pop(method), "<=", MAX_FALL)
        num = sum(fall > MAX_FALL for fall in falls.values())
        name = f"{figure}: baselines of {len(falls)} that fall more than {MAX_FALL}"
        yield claim(name + afterwards, num, ">=", 2)
