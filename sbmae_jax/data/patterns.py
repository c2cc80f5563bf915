"""Which modalities rows have: how they are connected, and how often each row should be drawn.

A row with one modality says nothing of how modalities go together. Where most rows are of that kind, uniform
batches hardly ever show a pair, and a score learns from them that all modalities are independent. So rows
that couple modalities are drawn more often.

Of the rows that have modality m, let f_m be the share that has another modality as well. A row that couples
modalities gets the weight

    w = c max over m in the row of  max(1, (1 - f_m) / f_m),                                          (1)

and a row with a single modality the weight 1. With c = 1, at least half of what is drawn of each modality
that is ever measured beside another one comes with another one. Rows with many modalities are then still
few, so c is raised, if need be, until half of all drawn rows couple modalities. For complete rows, and for
most data that lack some modalities here and there, all weights are 1.
"""

import itertools
from collections.abc import Sequence

import numpy as np

FEW_ROWS = 500
"""Rows that couple two modalities, below which the user is told: a rule of thumb."""

MAX_LISTED = 6
"""Pairs of modalities that are named in one sentence."""


def weigh_rows(present: np.ndarray) -> np.ndarray:
    """Return how often to draw each row, relative to the others, by (1).

    Args:
        present: `[N, M]` bool, the modalities that each row has.

    Returns:
        Weights `[N]`, at least 1.

    Example:
        One complete row beside eight with the first modality, or the second:

        >>> present = np.repeat([[True, True], [True, False], [False, True]], [1, 8, 8], axis=0)
        >>> weigh_rows(present)[:2].tolist()
        [16.0, 1.0]
    """
    coupled = present.sum(axis=1) > 1
    together = present[coupled].sum(axis=0)
    alone = present[~coupled].sum(axis=0)
    factors = np.maximum(1.0, alone / np.maximum(together, 1))
    weights = np.max(np.where(present & coupled[:, None], factors[None], 1.0), axis=1)
    total = weights[coupled].sum()
    scale = max(1.0, np.sum(~coupled) / total) if total else 1.0
    return np.where(coupled, scale * weights, 1.0)


def count_pairs(present: np.ndarray) -> np.ndarray:
    """Count the rows that have two modalities, for all pairs.

    Args:
        present: `[N, M]` bool, the modalities that each row has.

    Returns:
        `[M, M]` integers; on the diagonal, the rows that have a modality.

    Example:
        >>> count_pairs(np.array([[True, True], [True, False]])).tolist()
        [[2, 1], [1, 1]]
    """
    numbers = present.astype(np.int64)
    return numbers.T @ numbers


def connected_groups(pairs: np.ndarray, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groups of modalities that rows connect, directly or through other modalities.

    Args:
        pairs: As `count_pairs` returns it.
        names: Of the modalities.

    Returns:
        One group if all are connected. No row has modalities of two groups.

    Example:
        >>> pairs = count_pairs(np.array([[True, True, False], [False, False, True]]))
        >>> connected_groups(pairs, ["a", "b", "c"])
        [('a', 'b'), ('c',)]
    """
    reached = pairs > 0
    for _ in names:
        reached = (reached.astype(int) @ reached.astype(int)) > 0
    groups = {
        tuple(np.flatnonzero(row).tolist()) for row in reached | np.eye(len(names), dtype=bool)
    }
    return [tuple(names[m] for m in group) for group in sorted(groups)]


def describe_coupling(present: np.ndarray, names: Sequence[str]) -> list[str]:
    """Say what rows that lack modalities leave open, in sentences for the user.

    Args:
        present: `[N, M]` bool, the modalities that each training row has.
        names: Of the modalities.

    Returns:
        No sentence if all pairs of modalities are measured together in enough rows.

    Example:
        >>> present = np.repeat([[True, True], [True, False]], [3, 900], axis=0)
        >>> print(describe_coupling(present, ["photo", "sound"])[0])
        photo and sound: only 3 training rows have both; how they go together is learned from these alone
    """
    pairs = count_pairs(present)
    groups = connected_groups(pairs, names)
    sentences = []
    if len(groups) > 1:
        listed = " | ".join(", ".join(group) for group in groups)
        sentences.append(
            f"no training row connects these groups of modalities, which will be generated independently "
            f"of each other: {listed}"
        )
    apart, few = [], []
    limit = min(FEW_ROWS, len(present) // 2)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        number = int(pairs[i, j])
        if number == 0 and group_of[first] == group_of[second]:
            apart.append(f"{first} and {second}")
        elif 0 < number < limit:
            few.append((number, f"{first} and {second}"))
    if apart:
        more = f" and {len(apart) - MAX_LISTED} more pairs" if len(apart) > MAX_LISTED else ""
        sentences.append(
            f"never measured together: {'; '.join(apart[:MAX_LISTED])}{more}. How they go together is known "
            "only as far as modalities say it that each was measured with"
        )
    if few:
        number, rarest = min(few)
        others = f", and {len(few) - 1} more pairs have fewer than {limit}" if len(few) > 1 else ""
        rows = "row has" if number == 1 else "rows have"
        sentences.append(
            f"{rarest}: only {number:,} training {rows} both{others}; how they go together is learned from "
            "these alone"
        )
    return sentences
