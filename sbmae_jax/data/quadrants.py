"""Two shared factors, a digit and the quadrant that it stands in, and rows that lack some views of them.

The recipe is that of PolyMNIST-D-Q (MUNI, arXiv 2606.16408), which builds on PolyMNIST-Quadrant: digit and
quadrant are independent and uniform, and every view shows both, by another hand and on a background of its
own. Which of the three views a training row has is drawn by `HOLES`; its two labels are always there.
"""

import numpy as np

DIGIT, QUADRANT = "digit", "quadrant"
NUM_DIGITS, NUM_QUADRANTS = 10, 4
ENTRIES = {
    DIGIT: tuple(map(str, range(NUM_DIGITS))),
    QUADRANT: ("top left", "top right", "bottom left", "bottom right"),
}
"""The classes of both factors, by the name of the factor."""

HOLES = {
    (1, 1, 1): 1 / 4,
    (1, 1, 0): 1 / 12, (1, 0, 1): 1 / 12, (0, 1, 1): 1 / 12,
    (1, 0, 0): 1 / 6, (0, 1, 0): 1 / 6, (0, 0, 1): 1 / 6,
}  # fmt: skip
"""The share of the training rows that have these views."""


def draw_factors(rng: np.random.Generator, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the digit and the quadrant of rows, [N] int32 each; every pair is as frequent up to one row."""
    pair = rng.permutation(np.arange(num_rows) % (NUM_DIGITS * NUM_QUADRANTS))
    digit, quadrant = np.divmod(pair, NUM_QUADRANTS)
    return digit.astype(np.int32), quadrant.astype(np.int32)


def place(masks: np.ndarray, quadrant: np.ndarray, margin: int) -> np.ndarray:
    """Put digits into quadrants.

    Args:
        masks: The digits: [N, S, S] bool.
        quadrant: Which quadrant each stands in, in the order of `ENTRIES`: [N] integers in 0..3.
        margin: The pixels between a digit and the sides of its quadrant.

    Returns:
        [N, H, H] bool, with H = 2 (S + 2 margin).
    """
    num, side, _ = masks.shape
    half = side + 2 * margin
    placed = np.zeros((num, 2, half, 2, half), bool)
    inside = slice(margin, margin + side)
    placed[np.arange(num), quadrant // 2, inside, quadrant % 2, inside] = masks
    return placed.reshape(num, 2 * half, 2 * half)


def draw_holes(rng: np.random.Generator, num_rows: int, num_views: int) -> np.ndarray:
    """Draw which of three views each row has, [N, 3] bool, by `HOLES`."""
    patterns = np.array(list(HOLES), bool)
    if num_views != patterns.shape[1]:
        raise ValueError(f"holes are known for three views, got {num_views}: set holes to False")
    return patterns[rng.choice(len(patterns), size=num_rows, p=list(HOLES.values()))]


def one_hot(factor: np.ndarray, name: str) -> np.ndarray:
    """Return the classes of a factor as vectors, [N, C] float32."""
    return np.eye(len(ENTRIES[name]), dtype=np.float32)[factor]
