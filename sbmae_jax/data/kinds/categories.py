"""The kind of categories: one of some classes, which are found by their values whatever type these have."""

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind, abbreviate
from sbmae_jax.data.names import as_name
from sbmae_jax.data.numbers import parse_bit, parse_number


class Category(ValueKind):
    """One of some classes, as a one-hot vector."""

    is_category = True
    has_mean = False
    is_coded = True

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return the number of classes."""
        return (len(fitted.classes),)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare classes [B]."""
        code = class_codes(fitted, raw)
        unknown = np.flatnonzero(code < 0)
        if len(unknown):
            raise ValueError(
                f"unknown class {raw[unknown[0]].item()!r} in row {unknown[0]}: choose from "
                f"{abbreviate(fitted.classes)}"
            )
        return np.eye(len(fitted.classes), dtype=np.float32)[code]

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the most probable classes."""
        return class_values(fitted)[x.argmax(axis=-1)]

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False, as classes are not scaled."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))


def class_values(fitted: Fitted) -> np.ndarray:
    """Return the classes [C], in the user's dtype."""
    return np.asarray(fitted.classes, None if fitted.dtype == "str" else fitted.dtype)


def class_codes(fitted: Fitted, raw: np.ndarray) -> np.ndarray:
    """Return the index of each value [N] among the classes; -1 for unknown ones."""
    known = np.asarray(fitted.classes)
    found = _like_classes(raw, known)
    code = np.searchsorted(known, found).clip(0, len(known) - 1)
    return np.where(known[code] == found, code, -1)


def _as_word(value: float) -> str:
    """Return a number as people write a class: 2.0 is 2."""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)


def _like_classes(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return class values as strings or numbers, whichever the known classes are."""
    if raw.dtype.kind not in "buifUS":
        raise ValueError(f"classes must be numbers or strings, got {raw.dtype}")
    words = np.char.decode(raw, "utf-8") if raw.dtype.kind == "S" else raw
    if known.dtype.kind == "U":
        words = (
            words if words.dtype.kind == "U" else np.array(list(map(_as_word, raw.tolist())), str)
        )
        others = np.setdiff1d(words, known).tolist()
        named = {word: _find_class(word, known.tolist()) for word in others}
        return np.array([named.get(word, word) for word in words.tolist()], str)
    if words.dtype.kind == "U":
        parse = parse_bit if np.isin(known, (0, 1)).all() else parse_number
        numbers = [parse(word) for word in words.tolist()]
        return np.array([np.nan if number is None else number for number in numbers])
    return raw


def _find_class(word: str, known: list[str]) -> str:
    """Return the one class that is the same name, number or truth value as a word; the word if none is."""
    keys = [as_name, parse_number]
    if all(parse_bit(name) is not None for name in known):
        keys.append(parse_bit)
    for key in keys:
        same = [name for name in known if key(name) == key(word)]
        if len(same) == 1 and key(word) is not None:
            return same[0]
    return word
