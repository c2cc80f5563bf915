"""Numbers that people write in tables and on command lines, read without guessing."""

import re

_PLAIN = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE | re.ASCII
)
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", re.ASCII)
_GROUPED_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)

BITS = {"true": "1", "false": "0"}


def parse_bit(word: str) -> float | None:
    """Return 1 or 0 for a word that says true or false in any case, or is that number; None for others.

    Example:
        >>> parse_bit("TRUE"), parse_bit("0"), parse_bit("yes")
        (1.0, 0.0, None)
    """
    number = parse_number(BITS.get(word.strip().lower(), word))
    return number if number in (0, 1) else None


def parse_number(word: str) -> float | None:
    """Return the number that a word is, or None.

    Unlike Python's `float`, this takes no underscores and no NaN: `1_1` is a name, not eleven.

    Example:
        >>> parse_number(" -1.5e3"), parse_number("1_1"), parse_number("1,234")
        (-1500.0, None, None)
    """
    word = word.strip()
    return float(word) if _PLAIN.fullmatch(word) else None


def parse_formatted(word: str, decimal_comma: bool = False) -> float | None:
    """Return the number that a word with a per cent sign or with commas is, or None.

    Args:
        word: A word that `parse_number` does not take. 5% is 5: the unit of a column stays per cent.
        decimal_comma: Whether 1,5 is one and a half. Otherwise commas may only separate thousands.

    Example:
        >>> parse_formatted("5%"), parse_formatted("1,234"), parse_formatted("1,5", decimal_comma=True)
        (5.0, 1234.0, 1.5)
    """
    word = word.strip().removesuffix("%").rstrip()
    if decimal_comma:
        word = word.replace(",", ".") if _DECIMAL_COMMA.fullmatch(word) else word
    elif _GROUPED.fullmatch(word):
        word = word.replace(",", "")
    return parse_number(word)


def has_decimal_comma(word: str) -> bool | None:
    """Return whether the comma in a word is a decimal one; None if it has none, or may be either.

    Example:
        >>> has_decimal_comma("1,5"), has_decimal_comma("1,234,567"), has_decimal_comma("1,234")
        (True, False, None)
    """
    word = word.strip().removesuffix("%").rstrip()
    grouped, decimal = bool(_GROUPED.fullmatch(word)), bool(_DECIMAL_COMMA.fullmatch(word))
    return None if grouped == decimal else decimal


def is_grouped_by_points(word: str) -> bool:
    """Return whether all points in a word may separate thousands; if there is one, it may be a decimal point.

    Example:
        >>> [is_grouped_by_points(word) for word in ("1.234", "1.234.567", "1.5", "1234")]
        [True, True, False, False]
    """
    return bool(_GROUPED_BY_POINTS.fullmatch(word.strip()))
