"""Figures as strict JSON, which has no NaN: what is undefined becomes null, with the reason beside it."""

import json
import math
from collections.abc import Mapping
from typing import Any

UNDEFINED = "undefined"
"""The key, at the top, of the reasons why figures are null: `{"error.se": "a standard error ..."}`."""


def to_json(values: Mapping[str, Any], **options: Any) -> str:
    """Write figures as strict JSON: those that are not finite become null, and `undefined` says why.

    Args:
        values: Plain values, nested in dicts and lists.
        **options: Of `json.dumps`.

    Example:
        >>> to_json({"se": float("nan"), "mean": 0.5})
        '{"se": null, "mean": 0.5, "undefined": {"se": "a standard error needs two rows"}}'
    """
    reasons: dict[str, str] = {}

    def strict(value: Any, place: tuple[str, ...], beside: Mapping[str, Any]) -> Any:
        if isinstance(value, Mapping):
            return {key: strict(inner, (*place, str(key)), value) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [strict(inner, (*place, str(i)), {}) for i, inner in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            reasons[".".join(place)] = _reason(place[-1], value, beside)
            return None
        return value

    found = strict({key: value for key, value in values.items() if key != UNDEFINED}, (), {})
    return json.dumps(found | ({UNDEFINED: reasons} if reasons else {}), allow_nan=False, **options)


def from_json(text: str) -> dict[str, Any]:
    """Read what `to_json` wrote; undefined figures become NaN.

    Raises:
        ValueError: The string is not JSON, or not an object.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    undefined = values.pop(UNDEFINED, {})

    def restore(value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return {key: restore(inner, (*place, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [restore(inner, (*place, str(i))) for i, inner in enumerate(value)]
        return math.nan if value is None and ".".join(place) in undefined else value

    return restore(values, ())


def _reason(name: str, value: float, beside: Mapping[str, Any]) -> str:
    """Return why a figure of this name, beside others, has no finite value."""
    if name == "se" or (name in ("low", "high") and "se" in beside):
        mean = beside.get("mean")
        defined = isinstance(mean, float) and math.isfinite(mean)
        what = "a standard error" if name == "se" else "an interval"
        return f"{what} needs two rows" if defined else "its mean is undefined"
    if math.isinf(value):
        return "infinite: something is divided by 0"
    return "too few rows, or values that do not vary"
