"""Captions made from factors by a small grammar with paraphrases, and read back: text whose content is known.

A caption says the value of each factor by one of several words, in one of several sentences, so that equal
factors have many captions. Each word stands for one value of one factor, so that whatever is written, also
by a model, can be read: `Grammar.parse` finds the words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from sbmae_jax._extras import require_extra
from sbmae_jax.data.kinds.text import fit_text
from sbmae_jax.data.scaling import Scaling


@dataclass(frozen=True, eq=False)
class Grammar:
    """Sentences with a place for the value of each factor.

    Attributes:
        words: {factor: {value: the words that say it}}. No word says two things.
        sentences: What is said, with `{factor}` where its word stands.

    Raises:
        ValueError: If a word says two things, or a sentence lacks a factor.

    Example:
        >>> grammar = Grammar(
        ...     {"digit": {"0": ("zero",), "1": ("one",)}, "ink": {"black": ("black", "dark")}},
        ...     ("a {ink} {digit}", "{digit}, written in {ink} ink"),
        ... )
        >>> grammar.parse("one, written in dark ink")
        {'digit': '1', 'ink': 'black'}
        >>> len(list(grammar.captions({"digit": "1", "ink": "black"})))
        4
    """

    words: Mapping[str, Mapping[str, Sequence[str]]]
    sentences: Sequence[str]

    def __post_init__(self):
        said = [word for values in self.words.values() for some in values.values() for word in some]
        twice = {word for word in said if said.count(word) > 1}
        if twice:
            raise ValueError(f"the word {sorted(twice)[0]!r} says two things: use it for one value")
        for sentence in self.sentences:
            for factor in self.words:
                if f"{{{factor}}}" not in sentence:
                    raise ValueError(f"the sentence {sentence!r} does not say {factor!r}: add it")

    @cached_property
    def _meaning(self) -> dict[str, tuple[str, str]]:
        """{word: (factor, value)}."""
        return {
            word: (factor, value)
            for factor, values in self.words.items()
            for value, some in values.items()
            for word in some
        }

    def caption(self, factors: Mapping[str, str], rng: np.random.Generator) -> str:
        """Return one of the captions of some factors, all equally probable."""
        chosen = {
            factor: self.words[factor][value][int(rng.integers(len(self.words[factor][value])))]
            for factor, value in factors.items()
        }
        return self.sentences[int(rng.integers(len(self.sentences)))].format(**chosen)

    def captions(self, factors: Mapping[str, str]) -> Iterator[str]:
        """Yield all captions of some factors."""
        some = [self.words[factor][value] for factor, value in factors.items()]
        for sentence, chosen in product(self.sentences, product(*some)):
            yield sentence.format(**dict(zip(factors, chosen, strict=True)))

    def all_factors(self) -> Iterator[dict[str, str]]:
        """Yield all combinations of the factors' values."""
        for values in product(*self.words.values()):
            yield dict(zip(self.words, values, strict=True))

    def parse(self, caption: str) -> dict[str, str]:
        """Return the factors that a caption says.

        Args:
            caption: Any string.

        Returns:
            {factor: value}, in the order of `words`, without the factors of which the caption says nothing,
            or says two values.
        """
        said: dict[str, set[str]] = {}
        for word in re.findall(r"[\w-]+", caption.lower()):
            if word in self._meaning:
                factor, value = self._meaning[word]
                said.setdefault(factor, set()).add(value)
        return {f: next(iter(said[f])) for f in self.words if len(said.get(f, ())) == 1}

    def share_right(self, caption: str, factors: Mapping[str, str]) -> float:
        """Return the share of some factors that a caption says as they are."""
        said = self.parse(caption)
        return sum(said.get(factor) == value for factor, value in factors.items()) / len(factors)

    def values_said(self, captions: Sequence[str]) -> np.ndarray:
        """Return the number of each factor's value that captions say, `[N, F]`, with -1 for none."""
        numbers = [list(values) for values in self.words.values()]
        found = np.full((len(captions), len(numbers)), -1)
        for row, caption in enumerate(captions):
            said = self.parse(caption)
            for f, factor in enumerate(self.words):
                if factor in said:
                    found[row, f] = numbers[f].index(said[factor])
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what `Grammar(**values)` needs, as values of JSON."""
        return {
            "words": {
                factor: {value: list(some) for value, some in values.items()}
                for factor, values in self.words.items()
            },
            "sentences": list(self.sentences),
        }


DIGITS = Grammar(
    {
        "digit": {
            str(i): (word, str(i))
            for i, word in enumerate(
                ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
            )
        },
        "stroke": {"thin": ("thin", "fine", "slender"), "bold": ("bold", "thick", "heavy")},
        "background": {"dark": ("dark", "dim", "gloomy"), "light": ("light", "bright", "pale")},
    },
    (
        "a {stroke} {digit} on a {background} photograph",
        "on a {background} background, the digit {digit} in {stroke} strokes",
        "this is a {digit}, {stroke}; what lies behind it is {background}",
        "{background} picture with the number {digit}, which is {stroke}",
    ),
)
"""Of one picture of PolyDigits: its digit, how much of it is stroke, and how light its photograph is."""

FACES = Grammar(
    {
        "person": {"man": ("man", "gentleman", "fellow"), "woman": ("woman", "lady")},
        "face": {
            "smiling": ("smiling", "cheerful", "happy"),
            "serious": ("serious", "earnest", "unsmiling"),
        },
        "glasses": {
            "worn": ("spectacled", "bespectacled"),
            "none": ("unspectacled", "bare-eyed"),
        },
        "hat": {"worn": ("hatted", "capped"), "none": ("hatless", "bareheaded")},
    },
    (
        "a {face} {person}, {glasses} and {hat}",
        "the {person} is {hat}, {glasses} and {face}",
        "{hat} and {glasses}, a {person} who looks {face}",
    ),
)
"""Of one face of ToyFaces: four of its attributes."""


def grammar_as_tokens(grammar: Grammar, data: str) -> Scaling:
    """Return how captions become tokens: those of all captions that a grammar has, which goes with them.

    Args:
        grammar: The grammar.
        data: Whose captions these are, for the message.

    Raises:
        ImportError: Without `tokenizers`, as bytes would be other tokens than those of a trained model.
    """
    require_extra(f"captions of {data}", "text", "tokenizers")
    captions = [c for factors in grammar.all_factors() for c in grammar.captions(factors)]
    details = fit_text(captions) | {"grammar": grammar.to_json()}
    return Scaling("text", (), "str", details=details)
