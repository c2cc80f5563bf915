"""Questions to a generator: rows of a test split, what is observed of each, and what is asked for.

Each question is answered by several draws, which are scored at once and not kept: those of all questions
need not fit into memory.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.columns import flat
from sbmae_jax.types import Key

CHUNK_BYTES = 2**27  # of the draws that are in memory at once

Answer = Callable[[Key, Arrays, np.ndarray], dict[str, np.ndarray]]
"""`Generator.complete_rows` or `Generator.draw_rows`"""
Score = Callable[[str, np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""(modality, truth [N, F], draws [N, K, F]) -> figures with one row each"""
Answers = dict[str, dict[str, np.ndarray]]
"""{modality: {figure: [Q, ...]}}; what was not asked for is NaN"""


class Questions(NamedTuple):
    """row: [Q], its number.  observed, asked: [Q, M] bool, of a row's modalities."""

    row: np.ndarray
    observed: np.ndarray
    asked: np.ndarray

    def take(self, chosen: np.ndarray) -> "Questions":
        """Return some of the questions."""
        return Questions(*(x[chosen] for x in self))


def given_the_rest(present: np.ndarray) -> Questions:
    """Ask for each modality that a row has, given all its others: present [N, M].

    Rows that have one modality alone are left out.
    """
    rows, targets = np.nonzero(present & (present.sum(axis=1, keepdims=True) > 1))
    asked = np.eye(present.shape[1], dtype=bool)[targets]
    return Questions(rows, present[rows] & ~asked, asked)


def given_one(present: np.ndarray) -> Questions:
    """Ask for all other modalities of a row, given each that it has alone: present [N, M].

    Rows that have one modality alone are left out.
    """
    turned = given_the_rest(present)
    return Questions(turned.row, turned.asked, turned.observed)


def ask(
    key: Key, answer: Answer, rows: Arrays, names: tuple[str, ...], questions: Questions,
    num_draws: int, score: Score,
) -> Answers:  # fmt: skip
    """Draw `num_draws` answers to each question, and score what was asked for."""
    found: Answers = {name: {} for name in names}
    for i, chosen in enumerate(chunks(rows, names, len(questions.row), num_draws)):
        part = questions.take(chosen)
        repeated = np.repeat(part.row, num_draws)
        batch = {name: np.asarray(rows[name])[repeated] for name in names}
        observed = np.repeat(part.observed, num_draws, axis=0)
        made = answer(jax.random.fold_in(key, i), batch, observed)
        for name, asked in zip(names, part.asked.T, strict=True):
            if not asked.any():
                continue
            truth = flat(np.asarray(rows[name])[part.row[asked]])
            draws = flat(made[name]).reshape(len(asked), num_draws, -1)[asked]
            for figure, values in score(name, truth, draws).items():
                shape = (len(questions.row), *values.shape[1:])
                kept = found[name].setdefault(figure, np.full(shape, np.nan))
                kept[chosen[asked]] = values
    return found


def chunks(
    rows: Arrays, names: tuple[str, ...], num: int, num_draws: int = 1
) -> Iterator[np.ndarray]:
    """Return 0 .. num-1 in parts, such that floats of all modalities of one part fit into CHUNK_BYTES."""
    size = sum(int(np.prod(rows[name].shape[1:])) for name in names)
    length = max(CHUNK_BYTES // (4 * size * num_draws), 1)
    for start in range(0, num, length):
        yield np.arange(start, min(start + length, num))
