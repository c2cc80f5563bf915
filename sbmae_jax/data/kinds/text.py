"""The kind of text: strings as numbers of tokens, by a tokenizer that is fitted to training rows."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sbmae_jax.data.kinds.base import Fitted, ValueKind
from sbmae_jax.data.tokens import MAX_LENGTH, Tokenizer, fit_tokenizer


class Text(ValueKind):
    """Strings of up to some hundred characters, as tokens."""

    is_text = True
    has_mean = False

    def shape(self, fitted: Fitted) -> tuple[int, ...]:
        """Return the number of tokens of each string."""
        return (fitted.details["length"],)

    def prepared_dtype(self, fitted: Fitted) -> np.dtype:
        """Return uint16."""
        del fitted
        return np.dtype(np.uint16)

    def prepare(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Prepare strings [B]; longer ones than those of training are cut."""
        return tokenizer_of(fitted).encode(as_strings(raw))

    def restore(self, fitted: Fitted, x: np.ndarray) -> np.ndarray:
        """Return the strings of tokens [..., T]."""
        return tokenizer_of(fitted).decode(x)

    def best_guess(self, fitted: Fitted, samples: np.ndarray) -> np.ndarray:
        """Return of strings [K, S] for each hole the one that shares the most tokens with the others."""
        fill = []
        for strings in samples:
            tokens = self.prepare(fitted, strings)
            same = [(tokens == one).mean() for one in tokens]
            fill.append(strings[int(np.argmax(same))])
        return np.array(fill, str)

    def needs_moments(self, dtype: np.dtype) -> bool:
        """Return False, as tokens are not scaled."""
        del dtype
        return False

    def summarise(self, fitted: Fitted, raw: np.ndarray) -> np.ndarray:
        """Tell nothing, as there are no units."""
        return np.zeros((len(raw), 0))


def as_strings(raw: np.ndarray) -> list[str]:
    """Return values [B] as strings; raises ValueError if they are none."""
    if raw.dtype.kind == "S":
        raw = np.char.decode(raw, "utf-8")
    if raw.dtype.kind not in "U":
        raise ValueError(f"values must be strings, got {raw.dtype}")
    return raw.tolist()


def fit_text(strings: Sequence[str]) -> dict[str, Any]:
    """Fit a tokenizer to training strings, as the details of a `Scaling`."""
    found = fit_tokenizer(strings)
    return {
        "length": found.length,
        "pieces": found.pieces,
        "characters": found.characters,
        "num_cut": found.num_cut(strings),
    }


def tokenizer_of(fitted: Fitted) -> Tokenizer:
    """Return the tokenizer of a modality of text."""
    details = fitted.details
    return _tokenizer(details["length"], details["pieces"], details["characters"])


@functools.lru_cache(maxsize=32)  # reading the pieces takes milliseconds
def _tokenizer(length: int, pieces: str, characters: str) -> Tokenizer:
    return Tokenizer(length, pieces, characters)


def unlike_training(fitted: Fitted, raw: np.ndarray) -> str:
    """Say how many strings [B] are too long, or have characters that no training string has."""
    strings, tokenizer = as_strings(raw), tokenizer_of(fitted)
    found, new = [], tokenizer.new_characters(strings)
    if new:
        some = [string for string in strings if not set(new).isdisjoint(string)]
        shown = ", ".join(map(repr, new[:8])) + ", ..." * (len(new) > 8)
        found.append(
            f"{len(some):,} of {len(strings):,} strings have characters that no training string has: {shown}"
        )
    num_cut = tokenizer.num_cut(strings)
    if num_cut:
        found.append(
            f"{num_cut:,} of {len(strings):,} strings have more than {tokenizer.length} tokens, and were cut"
        )
    return "; ".join(found)


def notices_of(name: str, fitted: Fitted, num_rows: int) -> list[str]:
    """Return what a user may not expect of a modality of text; its tokenizer has seen `num_rows` rows."""
    details, found = fitted.details, []
    if details["num_cut"]:
        found.append(
            f"{name}: {details['num_cut']:,} of {num_rows:,} training strings have more than "
            f"{details['length']} tokens, and are cut"
            + (" there, the most that a model holds" if details["length"] == MAX_LENGTH else "")
        )
    if not details["pieces"]:
        found.append(
            f"{name}: its tokens are bytes, which are learned more slowly than pieces of words: install "
            "these by pip install 'sbmae_jax[text]'"
        )
    return found
