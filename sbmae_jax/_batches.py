"""Rows in batches of few sizes, so that few executables serve any number of rows."""

from collections.abc import Iterator

import numpy as np


def padded_batches(
    num_rows: int, batch_size: int, *, multiple: int = 1, powers_of_two: bool = False
) -> Iterator[tuple[np.ndarray, int]]:
    """Cut rows into batches of one size. A short batch repeats its last row.

    Args:
        num_rows: Number of rows, at least 1.
        batch_size: Most rows in a batch.
        multiple: A number that the size must be a multiple of; repetitions fill what is missing.
        powers_of_two: Whether fewer rows than `batch_size` make a batch of the next power of two, rather
            than one of `batch_size`.

    Returns:
        For each batch the numbers of its rows `[size]`, and how many of them count. The rest are repetitions:
        drop what is made of them.

    Example:
        >>> [(rows.tolist(), num) for rows, num in padded_batches(5, 3)]
        [([0, 1, 2], 3), ([3, 4, 4], 2)]
        >>> [(rows.tolist(), num) for rows, num in padded_batches(3, 512, powers_of_two=True)]
        [([0, 1, 2, 2], 3)]
    """
    num_rows = int(num_rows)
    if powers_of_two:
        batch_size = min(batch_size, 1 << (num_rows - 1).bit_length())
    size = -(-batch_size // multiple) * multiple
    for start in range(0, num_rows, batch_size):
        stop = min(start + batch_size, num_rows)
        yield np.minimum(np.arange(start, start + size), stop - 1), stop - start
