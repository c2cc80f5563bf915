"""A claim: a target that was set before measuring, the value that was measured, and whether it holds."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

Claim = dict[str, Any]
"""name, value, bound as text, holds, and notes"""
Target = tuple[str, Any]
"""A sign of `SIGNS`, and the bound."""

SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "within": lambda value, bounds: bounds[0] <= value <= bounds[1],
}


def claim(name: str, value: float, sign: str, bound: Any, **notes: Any) -> Claim:
    """Compare a value with a bound; the numbers are kept with four significant digits."""
    said = " to ".join(map(str, bound)) if sign == "within" else f"{sign} {short(bound)}"
    holds = bool(SIGNS[sign](value, bound))
    return {"name": name, "value": short(value), "bound": said, "holds": holds, **notes}


def flops_claim(part: str, name: str, bound: float) -> tuple[str, Callable[[Any], list[Claim]]]:
    """Return the entry of a report for the operations of a sample, over the reference's."""

    def compare(page):
        cost = page[part]["gflop_of_one_sample"]
        return [claim(name, cost["ours"] / cost["theirs"], "<=", bound)]

    return part, compare


def short(number: float) -> float:
    """Round a number to four significant digits; an integer stays as it is."""
    return int(number) if isinstance(number, int) else float(f"{number:.4g}")


def show(claims: Iterable[Claim]) -> None:
    for found in claims:
        word = "holds " if found["holds"] else "MISSED"
        print(f"{word} {found['name']}: {found['value']}, target {found['bound']}")
