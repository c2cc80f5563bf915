"""Which modalities are observed."""

import itertools
import math

import numpy as np


def nested_subsets(num_rows: int, num_modalities: int) -> list[np.ndarray]:
    """Choose growing subsets for each row.

    Each row adds modalities in an order of its own, drawn uniformly from a fixed seed, so that all subsets of
    a size are equally likely.

    Args:
        num_rows: N.
        num_modalities: M.

    Returns:
        For 1, 2, .. M-1 observed modalities which ones each row observes, `[N, M]` bool.
    """
    return [seen for _, seen in nested_of_present(np.ones((num_rows, num_modalities), bool))]


def nested_of_present(present: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Choose growing subsets of what each row has; as `nested_subsets` where nothing is missing.

    Args:
        present: The modalities that each row has, `[N, M]` bool.

    Returns:
        For 1, 2, .. M-1 observed modalities the rows that have so many, `[R]`, and which ones each of these
        observes, `[R, M]` bool.
    """
    num_rows, num_modalities = present.shape
    draws = np.random.default_rng(0).random((num_rows, num_modalities)) + ~present
    rank = draws.argsort(axis=1).argsort(axis=1)
    found = []
    for num_observed in range(1, num_modalities):
        rows = np.flatnonzero(present.sum(axis=1) >= num_observed)
        found.append((rows, rank[rows] < num_observed))
    return found


def prefixes(num_modalities: int) -> list[np.ndarray]:
    """Return the first 1, 2, .. M-1 modalities as observed, each `[M]` bool."""
    return [np.arange(num_modalities) < n for n in range(1, num_modalities)]


def subsets_by_size(num_modalities: int, per_size: int) -> list[np.ndarray]:
    """List the subsets of each size, or some of them where there are many.

    Args:
        num_modalities: M.
        per_size: How many subsets of one size to return at most. Of more, so many different ones are chosen
            that observe every modality about equally often. They depend on nothing but these two numbers.

    Returns:
        For 1, 2, .. M-1 observed modalities the subsets, `[S, M]` bool.
    """
    return [
        _every_subset(num_modalities, size)
        if math.comb(num_modalities, size) <= per_size
        else _balanced_subsets(num_modalities, size, per_size)
        for size in range(1, num_modalities)
    ]


def _every_subset(num_modalities: int, size: int) -> np.ndarray:
    """Return all subsets of a size in lexical order, [S, M] bool."""
    chosen = itertools.combinations(range(num_modalities), size)
    return np.array([np.isin(np.arange(num_modalities), c) for c in chosen])


def _balanced_subsets(num_modalities: int, size: int, num: int) -> np.ndarray:
    """Return `num` different subsets of a size, fewer than there are, [num, M] bool, from a fixed seed.

    Each takes the modalities that were observed least often so far, with ties broken at random. A subset that
    was chosen before is drawn again, ever more loosely, until it is new. A longer list begins with the
    shorter one.
    """
    rng = np.random.default_rng([num_modalities, size])
    chosen = np.zeros((0, num_modalities), bool)
    slack = 1
    while len(chosen) < num:
        rank = (chosen.sum(axis=0) + slack * rng.random(num_modalities)).argsort().argsort()
        subset = rank < size
        is_new = not (chosen == subset).all(axis=1).any()
        slack = 1 if is_new else slack + 1
        chosen = np.concatenate([chosen, subset[None]]) if is_new else chosen
    return chosen
