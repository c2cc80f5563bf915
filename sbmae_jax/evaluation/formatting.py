"""Numbers as the report writes them; NaN is written "undefined", as `results.json` says why."""

import math
from collections.abc import Mapping


def number(value: float, form: str = ".3f") -> str:
    """Write a number in a format, such as ".3f": "0.912"."""
    return "undefined" if math.isnan(value) else f"{value:{form}}"


def with_error(entry: Mapping[str, float], form: str = ".3f") -> str:
    """Write a mean with its standard error, "0.912 ± 0.004", or of few rows with its interval."""
    if has_wide_interval(entry):
        return f"{entry['mean']:{form}} ({entry['low']:{form}} to {entry['high']:{form}})"
    error = entry["se"]
    return number(entry["mean"], form) + ("" if math.isnan(error) else f" ± {error:.3f}")


def percent(value: float) -> str:
    """Write a share in percent: "91.2 %"."""
    return "undefined" if math.isnan(value) else f"{100 * value:.1f} %"


def percent_with_error(entry: Mapping[str, float]) -> str:
    """Write a share with its standard error in percent, "91.2 ± 0.4 %", or of few rows with its interval.

    The estimate of a share that is corrected for the number of samples may be above 100 % by chance.
    """
    text = percent(entry["mean"])
    if has_wide_interval(entry):
        text = (
            f"{100 * entry['mean']:.1f} % ({100 * entry['low']:.0f} to {100 * entry['high']:.0f} %)"
        )
    elif not math.isnan(entry["se"]):
        text = f"{100 * entry['mean']:.1f} ± {100 * entry['se']:.1f} %"
    return f"100 % (estimate {text}: too few rows to tell)" if is_above_one(entry["mean"]) else text


def has_wide_interval(entry: Mapping[str, float]) -> bool:
    """Return whether few rows make the 95 % interval another one than two standard errors on each side."""
    width = entry.get("high", math.nan) - entry.get("low", math.nan)
    usual = 2 * 1.96 * entry["se"]
    return width > 0 and not abs(width - usual) <= 0.1 * usual


def is_above_one(share: float) -> bool:
    """Return whether a share is above 100 % as `percent` writes it."""
    return round(100 * share, 1) > 100


def over(numerator: float, denominator: float) -> float:
    """Divide; NaN where the denominator is 0."""
    return numerator / denominator if denominator else math.nan


def explained(error: Mapping[str, float]) -> dict[str, float]:
    """Turn an error over that of the training mean into the share explained, with its standard error."""
    share = {"mean": 1 - error["mean"], "se": error["se"]}
    ends = {"low": 1 - error["high"], "high": 1 - error["low"]} if "low" in error else {}
    return share | ends
