"""Questions to a generator: rows of a test split, what is observed of each, and what is asked for.

Each question is answered by several samples, which are scored at once and not kept: the samples for all
questions need not fit into memory.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.columns import flatten, num_values
from sbmae_jax.types import Key

CHUNK_BYTES = 2**27  # of the samples that are in memory at once

Answer = Callable[[Key, Arrays, np.ndarray], dict[str, np.ndarray]]
"""`Generator.complete_rows` or `Generator.draw_rows`."""

Score = Callable[[str, np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""`(modality, truth [N, F], samples [N, K, F]) -> {score: [N, ...]}`"""

Answers = dict[str, dict[str, np.ndarray]]
"""`{modality: {score: [Q, ...]}}`, with NaN for what was not asked."""


class Questions(NamedTuple):
    """Questions about rows.

    Attributes:
        row: The number of the row of each question, `[Q]`.
        observed: The modalities that are observed, `[Q, M]` bool.
        asked: The modalities that are asked for, `[Q, M]` bool.
    """

    row: np.ndarray
    observed: np.ndarray
    asked: np.ndarray


def given_the_rest(present: np.ndarray) -> Questions:
    """Ask for each modality that a row has, given all its others.

    Args:
        present: What each row has, `[N, M]` bool. Rows that have a single modality are left out.
    """
    rows, targets = np.nonzero(present & (present.sum(axis=1, keepdims=True) > 1))
    asked = np.eye(present.shape[1], dtype=bool)[targets]
    return Questions(rows, present[rows] & ~asked, asked)


def given_one(present: np.ndarray) -> Questions:
    """Ask for all other modalities of a row, given each that it has alone; rows as in `given_the_rest`."""
    turned = given_the_rest(present)
    return Questions(turned.row, turned.asked, turned.observed)


def ask(
    key: Key, answer: Answer, rows: Arrays, names: tuple[str, ...], questions: Questions,
    num_samples: int, score: Score,
) -> Answers:  # fmt: skip
    """Draw samples for each question that asks for something, and score what was asked for.

    Args:
        key: A typed key.
        answer: Draws the samples.
        rows: The rows that the questions are about, `{name: [N, ...]}`.
        names: The modalities, in their order.
        questions: What to ask.
        num_samples: K, the samples for each question.
        score: Scores the samples of a modality.
    """
    found: Answers = {name: {} for name in names}
    wanted = np.flatnonzero(questions.asked.any(axis=1))
    for i, some in enumerate(chunks(rows, names, len(wanted), num_samples)):
        chosen = wanted[some]
        row = questions.row[chosen]
        repeated = np.repeat(row, num_samples)
        batch = {name: np.asarray(rows[name])[repeated] for name in names}
        observed = np.repeat(questions.observed[chosen], num_samples, axis=0)
        made = answer(jax.random.fold_in(key, i), batch, observed)
        for name, asked in zip(names, questions.asked[chosen].T, strict=True):
            if not asked.any():
                continue
            truth = flatten(np.asarray(rows[name])[row[asked]])
            samples = flatten(made[name]).reshape(len(asked), num_samples, -1)[asked]
            for title, values in score(name, truth, samples).items():
                shape = (len(questions.row), *values.shape[1:])
                kept = found[name].setdefault(title, np.full(shape, np.nan))
                kept[chosen[asked]] = values
    return found


def chunks(
    rows: Arrays, names: tuple[str, ...], num: int, num_samples: int = 1
) -> Iterator[np.ndarray]:
    """Split the numbers 0 .. num-1 into chunks whose samples fit into CHUNK_BYTES as floats.

    Args:
        rows: Rows whose shapes count.
        names: The modalities that count.
        num: How many numbers there are.
        num_samples: Samples for each number.
    """
    size = sum(num_values(rows[name]) for name in names)
    length = max(CHUNK_BYTES // (4 * size * num_samples), 1)
    for start in range(0, num, length):
        yield np.arange(start, min(start + length, num))
