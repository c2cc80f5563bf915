"""What the comparison with rivals was to show, as claims."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

COLDER, FEW_STEPS = "ours, colder", "ours, few steps"
HALF, HALF_COLDER = "ours, half the operations", "ours, half the operations, colder"
# What was made in batches of the demo's size; ablations, more modalities and MultiVae are beside that.
LARGE = "large batches"
OURS = ("ours", COLDER, FEW_STEPS, HALF, HALF_COLDER)
WORDS = {
    "mld": "MLD", "mvae": "MVAE", "mmvae": "MMVAE", "mopoe": "MoPoE",
    "mvtcae": "MVTCAE", "mmvae_plus": "MMVAE+", **{name: name for name in OURS},
}  # fmt: skip
RIVALS = ("mld", "mvae", "mmvae", "mopoe", "mvtcae", "mmvae_plus")
SINGLE_PASS = RIVALS[1:]
COMPARED = ("given 2", "given 3", "given 4", "all agree", "Fréchet distance")
LOWER = ("Fréchet distance", "label variation")
GIVEN = ("given 1", "given 2", "given 3", "given 4")
QUALITY = (
    "reconstruction",
    *GIVEN,
    "all agree",
    "Fréchet distance",
    "diversity",
    "label variation",
)
MAX_FALL = (
    0.03  # of coherence over the classifier's accuracy, from the fewest modalities to the most
)
BY_NUMBER = {
    "first two, given the other": lambda row, num: first_two(row, "given the other"),
    "first two, given all others": lambda row, num: first_two(row, "given all others"),
    "all, given one": lambda row, num: row["given 1"] / row["classifier"],
    "all, given all others": lambda row, num: row[f"given {num - 1}"] / row["classifier"],
}
MAX_TIMES = 2.0  # how often a single-pass rival's time ours in few steps may take


def spread(page: Mapping[str, Any], method: str, figure: str) -> tuple[float, float]:
    """Return mean and deviation of a figure over seeds."""
    return mean_and_deviation(page["rows"][method], figure)


def mean_and_deviation(rows: Sequence[Mapping[str, float]], figure: str) -> tuple[float, float]:
    """Return mean and deviation of a figure over rows."""
    values = [row[figure] for row in rows]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def best_rival(page: Mapping[str, Any], figure: str) -> str:
    """Return the rival with the best mean of a figure."""
    sign = -1 if figure in LOWER else 1
    present = [method for method in RIVALS if method in page["rows"]]
    return max(present, key=lambda method: sign * spread(page, method, figure)[0])


def claims(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured with its targets."""
    found = [*against_rivals(page), *against_other_choices(page), *cheaper_than_rivals(page)]
    if LARGE in page:
        large = [*against_rivals(page[LARGE]), *cheaper_than_rivals(page[LARGE])]
        found += [entry | {"name": f"{LARGE}: {entry['name']}"} for entry in large]
    return [*found, *of_ports(page), *of_more_modalities(page)]


def claim(
    name: str, value: float, bound: float, deviation: float | None = None, most: bool = False
) -> dict[str, Any]:
    """Return whether a value is at least, or at most, what it was to be."""
    holds = value <= bound if most else value >= bound
    said = {
        "name": name,
        "value": round(value, 4),
        "bound": f"{'<=' if most else '>='} {bound:.4g}",
    }
    return said | ({} if deviation is None else {"deviation": deviation}) | {"holds": bool(holds)}


def against_rivals(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield whether ours is better than the best rival in each figure, and with half the operations."""
    several = len(page["rows"]["ours"]) > 1  # one seed alone has no deviation
    mine_of = [method for method in ("ours", COLDER, FEW_STEPS) if method in page["rows"]]
    for method, figure in itertools.product(mine_of if several else (), COMPARED):
        rival = best_rival(page, figure)
        what = f"the best rival, {WORDS[rival]}"
        yield better(page["rows"][method], page["rows"][rival], figure, method, what)
    for method in mine_of[:2]:
        name = (
            f"rivals at least as coherent given 1 to 4 and as diverse as {method} (set afterwards)"
        )
        yield claim(name, len(dominating(page, method)), 0, most=True)
    halves = [method for method in (HALF, HALF_COLDER) if method in page["rows"]]
    for method, figure in itertools.product(halves, (*GIVEN, "all agree")):
        rival = best_rival(page, figure)
        gain = spread(page, method, figure)[0] - spread(page, rival, figure)[0]
        yield claim(f"{figure}: {method}, less the best rival, {WORDS[rival]}", gain, 0.0)


def against_other_choices(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield whether ours, colder, is better than rivals with what validation rows have put second."""
    choices = page.get("choices", {"rows": {}})
    several = {rival: rows for rival, rows in choices["rows"].items() if len(rows) > 1}
    for (rival, rows), figure in itertools.product(several.items(), COMPARED):
        what = f"{WORDS[rival]} with its second choice, {choices['values'][rival]}"
        found = better(page["rows"][COLDER], rows, figure, COLDER, what)
        yield found | {"name": f"{found['name']} (set afterwards)"}


def better(
    ours: Sequence[Mapping[str, float]],
    theirs: Sequence[Mapping[str, float]],
    figure: str,
    mine: str,
    rival: str,
) -> dict[str, Any]:
    """Return whether ours is better in a figure than a rival by more than the deviation."""
    (m1, d1), (m2, d2) = (mean_and_deviation(rows, figure) for rows in (ours, theirs))
    deviation = round(float(np.hypot(d1, d2)), 4)
    name = f"{figure}: {mine} is better than {rival}, by more than the deviation"
    return claim(name, m2 - m1 if figure in LOWER else m1 - m2, deviation, deviation)


def cheaper_than_rivals(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield whether training and sampling take little enough of the time of rivals."""
    rival = best_rival(page, "given 2")
    seconds = spread(page, HALF, "training seconds")[0] / spread(page, rival, "training seconds")[0]
    name = f"seconds of training ours at half the operations over {WORDS[rival]}"
    yield claim(name, seconds, 0.5, most=True)
    times = page.get("sampling", {}).get("seconds per 1,000, given 1", {})
    if timed := [method for method in SINGLE_PASS if method in times]:  # MLD alone is none
        single = min(timed, key=lambda method: times[method])
        few = levels(page["chosen"][FEW_STEPS]["value"])
        name = f"1,000 samples given 1: seconds of {few} over {WORDS[single]}, the fastest"
        yield claim(name, times[few] / times[single], MAX_TIMES, most=True)


def of_ports(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield whether our ports of rivals are as coherent as what they are ports of."""
    multivae = page.get("multivae", {"rows": {}})
    alike, large = multivae.get("ports", {}), page.get(LARGE, {"rows": {}})["rows"]
    for (method, theirs), figure in itertools.product(
        multivae["rows"].items(), (*GIVEN, "all agree")
    ):
        ports = {
            "our {} of as many operations as ours": large.get(method),
            "our {} trained as MultiVae's": alike.get(method),
        }
        for what, mine in ports.items():
            if mine:
                (m1, d1), (m2, d2) = (mean_and_deviation(rows, figure) for rows in (mine, theirs))
                deviation = float(np.hypot(d1, d2))
                name = f"{figure}: {what.format(WORDS[method])} less MultiVae's, at least minus the deviation"
                yield claim(name, m1 - m2, round(-deviation, 4), round(deviation, 4))


def of_more_modalities(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield by how much coherence falls as modalities are added, ours and that of how many rivals."""
    if "modalities" not in page:
        return
    rows = page["modalities"]["rows"]
    most = max(rows["ours"], key=int)
    for figure in BY_NUMBER:
        falls = {method: fall(by_number, figure) for method, by_number in rows.items()}
        afterwards = " (set afterwards)" if figure.startswith("first two") else ""
        for method in [method for method in OURS if method in falls]:
            name = f"{figure}: fall of {method} from 2 to {most} modalities, over the classifier's accuracy"
            yield claim(name + afterwards, falls.pop(method), MAX_FALL, most=True)
        num = sum(value > MAX_FALL for value in falls.values())
        name = f"{figure}: rivals of {len(falls)} that fall more than {MAX_FALL}"
        yield claim(name + afterwards, num, 2)


def first_two(row: Mapping[str, Any], figure: str) -> float:
    """Return a coherence of the modalities that are there at each number, over the classifier's accuracy."""
    return row["first two"][figure] / row["first two"]["classifier"]


def fall(by_number: Mapping[str, Any], figure: str) -> float:
    """Return by how much a figure is smaller with the most modalities than with the fewest."""
    few, *_, many = sorted(by_number, key=int)
    return BY_NUMBER[figure](by_number[few], int(few)) - BY_NUMBER[figure](
        by_number[many], int(many)
    )


def dominating(page: Mapping[str, Any], ours: str = "ours") -> list[str]:
    """Return the rivals that are at least as coherent given others and at least as diverse."""

    def both(method):
        given = np.mean([spread(page, method, figure)[0] for figure in GIVEN])
        return np.array([given, spread(page, method, "diversity")[0]])

    mine = both(ours)
    return [m for m in RIVALS if m in page["rows"] and (both(m) >= mine).all()]


def levels(num: float) -> str:
    """Return the name of our sampler with some levels."""
    return f"ours, {num:.0f} level{'s' * (num > 1)}"
