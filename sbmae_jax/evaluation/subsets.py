"""Which modalities are observed."""

import itertools
import math

import numpy as np


def nested_subsets(num_rows: int, num_modalities: int) -> list[np.ndarray]:
    """Return for 1, 2, .. M-1 observed modalities which ones each row observes: [num_rows, M] bool.

    Each row adds modalities in an order of its own, drawn uniformly from a fixed seed; so the subsets of
    a size are equally likely, and those of a row grow.
    """
    draws = np.random.default_rng(0).random((num_rows, num_modalities))
    rank = draws.argsort(axis=1).argsort(axis=1)
    return [rank < num_observed for num_observed in range(1, num_modalities)]


def nested_of_present(present: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for 1, 2, .. M-1 observed modalities the rows that have so many, and what each observes.

    present: [N, M] bool, what was measured; only this is observed. The pairs are rows [R] and observed
    [R, M]. As `nested_subsets`, to which it comes down where nothing is missing.
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
    """Return the first 1, 2, .. M-1 modalities as observed: each [M] bool."""
    return [np.arange(num_modalities) < n for n in range(1, num_modalities)]


def subsets_by_size(num_modalities: int, per_size: int) -> list[np.ndarray]:
    """Return for 1, 2, .. M-1 observed modalities the observed subsets, each array [S, M] bool.

    Those are all subsets of a size if there are at most `per_size`, and else `per_size` different ones that
    observe every modality about equally often. They depend on nothing but the two numbers.
    """
    return [
        every_subset(num_modalities, size)
        if math.comb(num_modalities, size) <= per_size
        else balanced_subsets(num_modalities, size, per_size)
        for size in range(1, num_modalities)
    ]


def every_subset(num_modalities: int, size: int) -> np.ndarray:
    """Return all subsets of a size in lexical order, [S, M] bool."""
    chosen = itertools.combinations(range(num_modalities), size)
    return np.array([np.isin(np.arange(num_modalities), c) for c in chosen])


def balanced_subsets(num_modalities: int, size: int, num: int) -> np.ndarray:
    """Return `num` different subsets of a size, [num, M] bool, from a fixed seed.

    Each takes the modalities that were observed least often so far, ties being broken at random. What was
    there before is drawn again, ever more loosely, until it is new. A longer list begins with the shorter.

    `num` is to be less than the number of such subsets.
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
