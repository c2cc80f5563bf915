"""PolyDigits-D-Q: PolyMNIST-D-Q from data that two libraries ship, so that nothing is downloaded.

Every view of a row shows the same digit in the same quadrant, by another instance of the digit and on crops
of its own photograph. Digit and quadrant are modalities too. So each label leaves the other one open, and
views that are generated together must agree on what no input says. `quadrants` has the recipe.
"""

from collections.abc import Sequence

import numpy as np

from sbmae_jax._check import require_one_of, require_seed, require_type
from sbmae_jax.data.backgrounds import PHOTOGRAPHS, photograph
from sbmae_jax.data.polydigits import (
    digit_masks,
    draw_instances,
    paste_at_random,
    split_instances,
)
from sbmae_jax.data.quadrants import (
    DIGIT,
    ENTRIES,
    QUADRANT,
    draw_factors,
    draw_holes,
    one_hot,
    place,
)
from sbmae_jax.data.source import PRESENT, SPLITS, ArraySource

DIGIT_SIDE, MARGIN = 14, 1  # in pixels: quadrants of 16x16, views of 32x32


def polydigits_dq(
    split: str,
    num_rows: int,
    names: Sequence[str] = ("coffee", DIGIT, "hubble", QUADRANT, "retina"),
    seed: int = 0,
    holes: bool = False,
) -> ArraySource:
    """Build one split in memory; the same arguments give the same bytes.

    Args:
        split: "train", "valid" or "test". No instance of a digit is in two splits.
        num_rows: How many rows to draw, any number.
        names: The modalities: photographs of `backgrounds.PHOTOGRAPHS`, at least one, and maybe "digit" and
            "quadrant".
        seed: Decides which instances are in which split, and everything that is drawn.
        holes: Whether training rows lack views as in PolyMNIST-D-Q, see `quadrants.HOLES`; this needs three
            photographs. Labels are always there, and other splits are complete.

    Returns:
        Views [N, 32, 32, 3] uint8 under the photographs' names, and always the labels `digit` [N, 10] and
        `quadrant` [N, 4], one-hot float32; with holes also `present` [N, M] bool, in the order of `names`.
        Every pair of digit and quadrant is equally frequent up to one row.

    Raises:
        ValueError: If a split or a photograph is unknown, or there are holes without three photographs.

    Example:
        >>> source = polydigits_dq("test", 80)
        >>> {name: shape for name, shape in source.shapes.items() if name in ("coffee", "quadrant")}
        {'coffee': (32, 32, 3), 'quadrant': (4,)}
        >>> source.arrays["quadrant"].mean(axis=0).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    require_one_of("split", split, SPLITS)
    seed = require_seed("seed", seed)
    require_type("holes", holes, bool)
    shown = [name for name in names if name not in (DIGIT, QUADRANT)]
    for name in shown:
        if name not in PHOTOGRAPHS:
            raise ValueError(f"unknown photograph {name!r}: choose from {', '.join(PHOTOGRAPHS)}")
    if not shown:
        raise ValueError("names must have at least one photograph, on which digits are shown")
    masks, classes = digit_masks(DIGIT_SIDE)
    members = split_instances(classes, seed)[split]
    rng = np.random.default_rng((seed, SPLITS.index(split), 3))
    digit, quadrant = draw_factors(rng, num_rows)
    instance = draw_instances(rng, digit, classes, members, len(shown))
    arrays = {
        name: paste_at_random(rng, place(masks[instance[:, m]], quadrant, MARGIN), photograph(name))
        for m, name in enumerate(shown)
    }
    arrays |= {DIGIT: one_hot(digit, DIGIT), QUADRANT: one_hot(quadrant, QUADRANT)}
    if holes:
        present = np.ones((num_rows, len(names)), bool)
        columns = [m for m, name in enumerate(names) if name in shown]
        drawn = draw_holes(rng, num_rows, len(columns))
        if split == "train":
            present[:, columns] = drawn
        arrays[PRESENT] = present
    return ArraySource(arrays, ENTRIES)
