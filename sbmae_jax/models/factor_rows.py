"""Rows that lack modalities, sorted by the pattern of what they have, and reduced to what a fit needs.

Sums over the rows of one pattern depend on these rows through their second moments only. So the rows of a
pattern are replaced by the R of their QR decomposition, which has |P| + 1 rows or fewer for P coordinates.
Rows of rare patterns stay as they are, and are worked on many at a time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RARE = 3  # rows of one pattern, for which there is no loop over patterns
PIECE = 512  # of rows of rare patterns, each of which has a matrix [K, K]


class Group(NamedTuple):
    """The rows of one pattern.

    Attributes:
        num: How many rows there are.
        modalities: What they have, `[M]` bool.
        coordinates: The numbers of their P coordinates, `[P]`.
        r: The rows, or the R of their QR decomposition; the last column stands for the 1, `[m, P + 1]`.
    """

    num: int
    modalities: np.ndarray
    coordinates: np.ndarray
    r: np.ndarray


class Single(NamedTuple):
    """Rows whose patterns hardly any other row has.

    Attributes:
        z: Their latents, 0 where a row lacks a modality, `[n, D]`.
        modalities: What each row has, `[n, M]` bool.
    """

    z: np.ndarray
    modalities: np.ndarray


class SortedRows(NamedTuple):
    """Rows by their patterns, and the moments that no iteration changes.

    Attributes:
        groups: Rows of patterns that several rows have.
        single: The others, in pieces.
        blocks: The coordinates of each modality.
        squares: Sums of z z^T over the rows that have a modality, `[d, d]` for each.
        counts: Rows that have it, `[M]`.
    """

    groups: list[Group]
    single: list[Single]
    blocks: list[slice]
    squares: list[np.ndarray]
    counts: np.ndarray


def sort_rows(z: np.ndarray, present: np.ndarray, sizes: Sequence[int]) -> SortedRows:
    """Return rows [N, D] by their patterns, and the moments of each modality."""
    ends = np.cumsum((0, *sizes)).tolist()
    blocks = [slice(*ends[m : m + 2]) for m in range(len(sizes))]
    patterns, alone = by_pattern(present)
    groups = [group_rows(z[rows], pattern, blocks) for pattern, rows in patterns]
    single = [Single(z[rows], present[rows]) for rows in alone]
    squares = [
        z[here, block].T @ z[here, block] for here, block in zip(present.T, blocks, strict=True)
    ]
    return SortedRows(groups, single, blocks, squares, present.sum(axis=0))


def _patterns(present: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each pattern [M] with something present, and its rows."""
    patterns, numbers = np.unique(present, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(patterns)))[:-1]
    rows = np.split(order, ends)
    return [(p, some) for p, some in zip(patterns, rows, strict=True) if p.any()]


def by_pattern(
    present: np.ndarray,
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Return the patterns of several rows with these, and pieces of the rows of rare patterns."""
    patterns = _patterns(present)
    common = [(pattern, rows) for pattern, rows in patterns if len(rows) > RARE]
    rare = [rows for _, rows in patterns if len(rows) <= RARE]
    alone = np.concatenate([np.zeros(0, int), *rare])
    return common, [alone[i : i + PIECE] for i in range(0, len(alone), PIECE)]


def coordinates_of(modalities: np.ndarray, blocks: list[slice]) -> np.ndarray:
    """Return which coordinates rows have, `[n, M] -> [n, D]`."""
    return np.repeat(modalities, [block.stop - block.start for block in blocks], axis=1)


def group_rows(
    z: np.ndarray, pattern: np.ndarray, blocks: list[slice], compressed: bool = True
) -> Group:
    """Return rows of one pattern, by the R of their QR decomposition if that is smaller."""
    coordinates = np.concatenate([
        np.arange(block.start, block.stop) for block, here in zip(blocks, pattern, strict=True) if here
    ])  # fmt: skip
    rows = np.concatenate([z[:, coordinates], np.ones((len(z), 1))], axis=1)
    if compressed and len(rows) > rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    return Group(len(z), pattern, coordinates, rows)
