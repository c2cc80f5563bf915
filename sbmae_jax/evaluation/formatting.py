"""Numbers as the report writes them."""

from collections.abc import Mapping


def with_error(entry: Mapping[str, float]) -> str:
    """Write a mean with its standard error: "0.912 ± 0.004"."""
    return f"{entry['mean']:.3f} ± {entry['se']:.3f}"


def percent(value: float) -> str:
    """Write a share in percent: "91.2 %"."""
    return f"{100 * value:.1f} %"


def percent_with_error(entry: Mapping[str, float]) -> str:
    """Write a share with its standard error in percent: "91.2 ± 0.4 %"."""
    return f"{100 * entry['mean']:.1f} ± {100 * entry['se']:.1f} %"


def explained(error: Mapping[str, float]) -> dict[str, float]:
    """Turn an error over that of the training mean into the share explained, with its standard error."""
    return {"mean": 1 - error["mean"], "se": error["se"]}
