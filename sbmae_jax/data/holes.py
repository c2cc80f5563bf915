"""Patterns of missing modalities, to see what a model learns from rows that lack some."""

import numpy as np

from sbmae_jax._check import require_number, require_one_of

HOLES = ("random", "pairs", "chain", "single", "by_value")
"""Patterns of `draw_present`."""


def draw_present(
    rng: np.random.Generator, holes: str, missing: float, label: np.ndarray, num_modalities: int
) -> np.ndarray:
    """Draw which modalities each row has.

    Args:
        rng: Draws them.
        holes: "random": each modality is missing by itself with probability `missing`; a row may lack all.
            "pairs": a row has two modalities, each pair equally likely. "chain": it has two neighbours, the
            first and the second, the second and the third and so on. "single": it lacks all but one with
            probability `missing`, else none. "by_value": the first modality is always there, and each other
            one is missing with a probability that grows with the class that the first one shows, from 0 to
            twice `missing`: at random given what is observed, but not completely at random (Rubin 1976).
        missing: In 0..1, below 1; at most 0.5 for "by_value", and not used for "pairs" and "chain".
        label: Class of each row, `[N]`, in 0..C - 1.
        num_modalities: M, at least 2 unless `holes` is "random".

    Returns:
        `[N, M]` bool.

    Raises:
        ValueError: For an unknown pattern, a value out of range, or too few modalities.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draw_present(rng, "chain", 0.0, np.zeros(100, int), 3).sum(axis=1).tolist() == [2] * 100
        True
    """
    require_one_of("holes", holes, HOLES)
    require_number("missing", missing, 0, 0.5 if holes == "by_value" else None, below=1)
    num_rows = len(label)
    if holes == "random":
        return rng.random((num_rows, num_modalities)) >= missing
    if num_modalities < 2:
        raise ValueError(f"holes {holes!r} need at least two modalities, got {num_modalities}")
    present = np.zeros((num_rows, num_modalities), bool)
    rows, every = np.arange(num_rows), np.arange(num_modalities)
    if holes == "chain":
        first = rng.integers(num_modalities - 1, size=num_rows)
        present[rows, first] = present[rows, first + 1] = True
    elif holes == "by_value":
        chance = 2 * missing * label / max(label.max(initial=0), 1)
        present = (rng.random(present.shape) >= chance[:, None]) | (every == 0)[None]
    else:
        order = rng.permuted(np.tile(every, (num_rows, 1)), axis=1)
        present[rows, order[:, 0]] = True
        if holes == "pairs":
            present[rows, order[:, 1]] = True
        else:
            present |= rng.random((num_rows, 1)) >= missing
    return present
