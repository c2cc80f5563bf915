"""Strings as numbers of tokens, and back: pieces of words that are learned from training strings, or bytes.

Token 0 ends a string and fills what follows. The others are byte-level pieces (byte-pair encoding on UTF-8:
Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019), learned by the library `tokenizers`. All 256
bytes are among them, so that every string has tokens, of whatever characters. Nothing is normalised: where
no string is cut, strings come back as they were. Without the library the tokens are the bytes themselves.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sbmae_jax._extras import require_extra

END = 0
MAX_VOCABULARY = 1024
MAX_LENGTH = 256
"""The most tokens of a string; longer ones are cut."""

MAX_CHARACTERS = 10_000
"""Longer strings are almost certainly documents, of which a latent cannot hold much."""

FULL_SHARE = 0.999
"""Of the training strings, at least so many are not cut."""

_NUM_BYTES = 256


@dataclass(frozen=True)
class Tokenizer:
    """What turns strings into tokens.

    Attributes:
        length: T, the tokens of each string; longer strings are cut.
        pieces: The pieces of words, as the JSON of the library `tokenizers`; "" for bytes.
        characters: All characters of the training strings, ascending.

    Example:
        >>> tokenizer = Tokenizer(length=4)
        >>> tokenizer.encode(["ab", ""]).tolist()
        [[98, 99, 0, 0], [0, 0, 0, 0]]
        >>> tokenizer.decode(tokenizer.encode(["ab", ""])).tolist()
        ['ab', '']
    """

    length: int
    pieces: str = ""
    characters: str = ""

    @property
    def size(self) -> int:
        """The number of different tokens, V."""
        return 1 + (self._library.get_vocab_size() if self.pieces else _NUM_BYTES)

    def encode(self, strings: Iterable[str]) -> np.ndarray:
        """Return the tokens of strings, `[N, T]` uint16.

        Raises:
            ValueError: For a string that is no valid Unicode.
        """
        strings = list(map(str, strings))
        tokens = np.full((len(strings), self.length), END, np.uint16)
        for row, found in enumerate(self._tokens_of(strings)):
            kept = found[: self.length]
            while len(kept) < len(found) and kept and not strings[row].startswith(self._text(kept)):
                kept = kept[:-1]  # a character was cut in two
            tokens[row, : len(kept)] = np.asarray(kept, np.int64) + 1
        return tokens

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """Return the strings of tokens `[..., T]`: what stands before the first end."""
        flat = np.asarray(tokens).astype(np.int64).reshape(-1, self.length)
        lengths = np.where((flat == END).any(axis=1), (flat == END).argmax(axis=1), self.length)
        strings = [self._text((row[:n] - 1).tolist()) for row, n in zip(flat, lengths, strict=True)]
        return np.array(strings, str).reshape(np.shape(tokens)[:-1])

    def num_cut(self, strings: Iterable[str]) -> int:
        """Return how many of some strings have more than T tokens."""
        return sum(len(found) > self.length for found in self._tokens_of(list(strings)))

    def new_characters(self, strings: Iterable[str]) -> list[str]:
        """Return the characters of strings that no training string has, sorted."""
        return sorted(set().union(*strings) - set(self.characters))

    def _tokens_of(self, strings: list[str]) -> list[list[int]]:
        """Return the tokens of whole strings, without their ends and counted from 0."""
        _check_unicode(strings)
        if not self.pieces:
            return [list(string.encode()) for string in strings]
        return [found.ids for found in self._library.encode_batch(strings)]

    def _text(self, tokens: list[int]) -> str:
        """Return the string of tokens, with a replacement character for bytes that are no UTF-8."""
        if not self.pieces:
            return bytes(tokens).decode("utf-8", "replace")
        return self._library.decode(tokens)

    @cached_property
    def _library(self) -> Any:
        require_extra("text in pieces of words", "text", "tokenizers")
        from tokenizers import Tokenizer as Library

        return Library.from_str(self.pieces)


def count_tokens(tokens: np.ndarray) -> np.ndarray:
    """Return how often each token stands in strings, `[N, T]` -> `[N, MAX_VOCABULARY]` float32.

    Ends are not counted.
    """
    num, places = len(tokens), np.minimum(tokens, MAX_VOCABULARY - 1).astype(np.int64)
    flat = (places + MAX_VOCABULARY * np.arange(num)[:, None]).ravel()
    found = np.bincount(flat, minlength=num * MAX_VOCABULARY).reshape(num, MAX_VOCABULARY)
    found[:, END] = 0
    return found.astype(np.float32)


def fit_tokenizer(strings: Iterable[str]) -> Tokenizer:
    """Learn pieces of words, and how many tokens strings have, from training strings.

    Args:
        strings: The strings; at least one.

    Returns:
        The tokenizer: pieces of words if the library `tokenizers` is installed, else bytes. At least 99.9 %
        of the strings are not cut, unless they have more than `MAX_LENGTH` tokens.

    Raises:
        ValueError: For a string that is no valid Unicode.
    """
    strings = list(map(str, strings))
    _check_unicode(strings)
    characters = "".join(sorted(set().union(*strings)))
    pieces = _learn_pieces(strings) if importlib.util.find_spec("tokenizers") else ""
    whole = Tokenizer(1, pieces, characters)
    lengths = [len(found) for found in whole._tokens_of(strings)]
    length = int(np.quantile(lengths, FULL_SHARE, method="higher"))
    return Tokenizer(min(max(length, 1), MAX_LENGTH), pieces, characters)


def _check_unicode(strings: list[str]) -> None:
    """Raise ValueError for a string that has half of a character."""
    for row, string in enumerate(strings):
        try:
            string.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"the string in row {row:,} is not valid Unicode: save it as UTF-8"
            ) from None


def _learn_pieces(strings: list[str]) -> str:
    """Return byte-level pieces of words as JSON."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers

    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY - 1, min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    library.train_from_iterator(strings, trainer)
    return library.to_str()
