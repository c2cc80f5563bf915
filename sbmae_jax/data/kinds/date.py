"""The kind of dates and times: ISO strings, as numbers of days, seconds or parts of these, and back."""

import math
import re
from typing import Any

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind

_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}(?P<day>-\d{2})?)"
    r"(?:(?P<join>[T ])(?P<time>\d{2}:\d{2}(?::\d{2}(?:\.(?P<parts>\d{1,9}))?)?))?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)
_SECONDS = (("s", 0), ("ms", 3), ("us", 6), ("ns", 9))  # and the digits after the point
_PER_DAY = {
    "M": 12 / 365.2425, "D": 1, "m": 24 * 60, "s": 86400, "ms": 86400 * 10**3, "us": 86400 * 10**6,
    "ns": 86400 * 10**9,
}  # fmt: skip


class Date(ValueKind):
    """A date or a time, which the networks see as a standardised number.

    `details` has the `format` of the training rows; their first and last one, `origin` and `last`, as numbers
    of units since 1970; and a `step`: all training rows are a multiple of it after `origin`, and so is what
    is generated.
    """

    is_date = True
    is_coded = True

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare strings [B]; raises ValueError for a string that is no date in the format of training."""
        form = fitted.details["format"]
        values = []
        for row, word in enumerate(raw.ravel().tolist()):
            try:
                values.append(_number(str(word).strip(), form))
            except ValueError:
                raise ValueError(
                    f"{word!r} in row {row:,} is no date written as {example(form)}: write it like that"
                ) from None
        numbers = np.array([value - fitted.details["origin"] for value in values], np.float64)
        return ((numbers - fitted.shift) / fitted.scale).astype(np.float32).reshape(len(raw), 1)

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the nearest dates as strings."""
        details = fitted.details
        numbers = np.where(fitted.constant, fitted.shift, x * fitted.scale + fitted.shift)[..., 0]
        steps = np.round(numbers.astype(np.float64) / details["step"])
        words = [
            _string(details["origin"] + int(n) * details["step"], details["format"])
            for n in steps.ravel()
        ]
        return np.array(words, str).reshape(steps.shape)

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the means [K] of dates [K, S]."""
        x = self.prepare(fitted, samples.ravel()).reshape(*samples.shape, 1)
        return self.restore(fitted, x.mean(axis=1, dtype=np.float64))

    def std_in_days(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return the standard deviations [K] of dates [K, S], in days."""
        x = self.prepare(fitted, samples.ravel()).reshape(samples.shape).astype(np.float64)
        per_day = _PER_DAY[_unit(fitted.details["format"])]
        return (x * fitted.scale).std(axis=1, ddof=1) / per_day

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False: `fit_dates` measures them."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))


def format_of(words: np.ndarray) -> str:
    """Return the format that all strings have, as "T:s:Z"; "" if they are not dates of one format.

    The format is what joins date and time, the unit with the digits of parts of seconds, and the time zone.
    """
    found = ""
    for word in words.ravel().tolist():
        form = _format(str(word).strip())
        if not form or (found and form != found):
            return ""
        found = form
    return found


def fit_dates(words: np.ndarray, form: str) -> dict[str, Any]:
    """Return shift, scale and details of training strings [N]."""
    numbers = [_number(word.strip(), form) for word in words.tolist()]
    origin = min(numbers)
    gaps = np.array([number - origin for number in numbers], np.float64)
    step = math.gcd(*(number - origin for number in numbers)) or 1
    std = float(gaps.std())
    return {
        "shift": np.array([gaps.mean()]), "scale": np.array([std or 1.0]), "constant": np.array([std == 0]),
        "details": {"format": form, "origin": origin, "step": step, "last": max(numbers)},
    }  # fmt: skip


def span_of(fitted: Fitted) -> str:
    """Return the first and the last date of the training rows, in words."""
    first, last = (
        _string(fitted.details[end], fitted.details["format"]) for end in ("origin", "last")
    )
    return f"{first} to {last}"


def example(form: str) -> str:
    """Return a date in a format."""
    return _string(int(np.datetime64("2024-12-31T15:30:00", _unit(form)).astype(np.int64)), form)


def _format(word: str) -> str:
    match = _ISO.fullmatch(word)
    if (
        match is None
        or (match["time"] and not match["day"])
        or (match["zone"] and not match["time"])
    ):
        return ""
    unit = "D" if match["day"] else "M"
    if match["time"]:
        digits = len(match["parts"] or "")
        seconds = next(name for name, most in _SECONDS if digits <= most)
        unit = "m" if len(match["time"]) == 5 else f"{seconds}{digits}"
    form = f"{match['join'] or ''}|{unit}|{match['zone'] or ''}"
    try:
        _number(word, form)
    except ValueError:  # a day that the calendar does not have
        return ""
    return form


def _unit(form: str) -> Any:
    """Return the unit of a format, as NumPy names it."""
    return form.split("|")[1].rstrip("0123456789")


def _number(word: str, form: str) -> int:
    """Return a string as a number of units since 1970, of local time; raises ValueError for other formats."""
    join, _, zone = form.split("|")
    match = _ISO.fullmatch(word)
    if match is None or (match["zone"] or "") != zone:
        raise ValueError(word)
    plain = word.removesuffix(zone).replace(join or "T", "T")
    return int(np.datetime64(plain, _unit(form)).astype(np.int64))


def _string(number: int, form: str) -> str:
    """Return a number of units since 1970 as a string, within the years 1 to 9999."""
    join, unit, zone = form.split("|")
    name, digits = _unit(form), unit.lstrip("DMmsun")
    low, high = (
        int(np.datetime64(end, name).astype(np.int64))
        for end in (("1678-01-01", "2262-01-01") if name == "ns" else ("0001-01-01", "9999-12-31"))
    )
    word = str(np.datetime64(min(max(number, low), high), name))
    if digits and digits != "0":  # NumPy writes 3, 6 or 9
        whole, _, parts = word.partition(".")
        word = f"{whole}.{parts[: int(digits)]}"
    return word.replace("T", join or "T") + zone
