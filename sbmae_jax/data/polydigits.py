"""PolyDigits: handwritten digits on photographs, one photograph per modality.

The recipe is PolyMNIST's (Sutter, Daunhawer and Vogt, 2021), with data that two libraries ship, so that
nothing is downloaded: the 1,797 digits of scikit-learn (Alpaydin and Kaynak, 1998, from the UCI repository),
enlarged from 8x8 to 28x28, on random crops of photographs of scikit-image. All modalities of an example show
the same class, each by another instance of the digit and on its own photograph, so the class is all they
share. Training, validation and test use disjoint instances.

Two more modalities may be asked for. `digit` is the class itself, one-hot. `caption` is text about the first
photograph: its digit, whether its strokes are bold, and whether its background is light; to have these, that
photograph is made darker or lighter, and half of its digits bolder.
"""

import functools
from collections.abc import Sequence

import numpy as np
from skimage.transform import resize
from sklearn.datasets import load_digits

from sbmae_jax._check import require_one_of, require_seed
from sbmae_jax.data.backgrounds import PHOTOGRAPHS, SIDE, paste, photograph
from sbmae_jax.data.captions import DIGITS, grammar_as_tokens
from sbmae_jax.data.holes import draw_present
from sbmae_jax.data.scaling import Scaling
from sbmae_jax.data.source import PRESENT, SPLITS, ArraySource

NUM_CLASSES = 10
CAPTION, DIGIT = "caption", "digit"
"""The modalities that are not photographs."""


def polydigits(
    split: str,
    num_rows: int,
    names: Sequence[str] = tuple(PHOTOGRAPHS)[:5],
    seed: int = 0,
    missing: float = 0.0,
    complete_only: bool = False,
    holes: str = "random",
) -> ArraySource:
    """Build one split in memory; the same arguments give the same bytes.

    Args:
        split: "train", "valid" or "test".
        num_rows: How many rows to draw, any number.
        names: The modalities: photographs of `backgrounds.PHOTOGRAPHS`, at least one, and maybe "digit" and
            "caption".
        seed: Decides which instances are in which split, and everything that is drawn.
        missing: How much training rows lack, in [0, 1): for holes "random", the probability that a modality
            is missing, independently. Rows that have none are dropped. Test rows are complete.
        complete_only: Whether to drop every training row that lacks a modality.
        holes: Which modalities are missing together, see `holes.draw_present`: "random", "pairs", "chain",
            "single" or "by_value".

    Returns:
        Images [N, 28, 28, 3] uint8 under the photographs' names, and `label` [N] int32 in 0..9; also
        `present` [N, M] bool if modalities are missing and incomplete rows are kept. `digit` is [N, 10]
        float32, and `caption` the tokens of strings, with a scaling that turns them into strings and back. N
        is `num_rows` less the rows that are dropped, and may be 0. Before that, classes are equally frequent
        up to one row.

    Raises:
        ValueError: If a split or a photograph is unknown, `missing` is out of range, or
            the holes are unknown.

    Example:
        >>> source = polydigits("test", 20, ("hubble", "coffee"))
        >>> source.shapes
        {'hubble': (28, 28, 3), 'coffee': (28, 28, 3), 'label': ()}
        >>> source = polydigits("test", 20, ("caption", "coffee"))
        >>> source.scalings["caption"].restore(source.arrays["caption"][:1]).tolist()
        ['a bold five on a bright photograph']
    """
    require_one_of("split", split, SPLITS)
    seed = require_seed("seed", seed)
    shown = [name for name in names if name not in (CAPTION, DIGIT)]
    for name in shown:
        if name not in PHOTOGRAPHS:
            raise ValueError(f"unknown photograph {name!r}: choose from {', '.join(PHOTOGRAPHS)}")
    if not shown:
        raise ValueError("names must have at least one photograph, on which digits are shown")
    masks, classes = digit_masks()
    members = split_instances(classes, seed)[split]
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    label = rng.permutation(np.arange(num_rows) % NUM_CLASSES).astype(np.int32)
    instance = draw_instances(rng, label, classes, members, len(shown))
    factors = draw_factors(seed, split, label) if CAPTION in names else None
    arrays = {
        name: paste_at_random(rng, masks[instance[:, m]], photograph(name), None if m else factors)
        for m, name in enumerate(shown)
    }
    scalings = {}
    if factors is not None:
        scalings[CAPTION] = captions_as_tokens()
        arrays[CAPTION] = scalings[CAPTION].prepare(np.array(draw_captions(seed, split, factors)))
    if DIGIT in names:
        arrays[DIGIT] = np.eye(NUM_CLASSES, dtype=np.float32)[label]
    arrays["label"] = label
    if missing or holes != "random":
        present = draw_present(rng, holes, missing, label, len(names))
        arrays = _drop_rows(arrays | {PRESENT: present | (split != "train")}, complete_only)
    names_of_classes = tuple(map(str, range(NUM_CLASSES)))
    entries = {name: names_of_classes for name in (DIGIT, "label") if name in arrays}
    return ArraySource(arrays, entries, scalings)


def _drop_rows(arrays: dict[str, np.ndarray], complete_only: bool) -> dict[str, np.ndarray]:
    """Drop the rows that have no modality or, if only complete ones are wanted, that lack any."""
    present = arrays[PRESENT]
    kept = np.flatnonzero(present.all(axis=1) if complete_only else present.any(axis=1))
    chosen = {name: array[kept] for name, array in arrays.items()}
    if complete_only:
        del chosen[PRESENT]
    return chosen


@functools.cache  # enlarging takes half a second
def digit_masks(side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits as masks [1797, side, side] bool, and their classes [1797]."""
    digits = load_digits()
    images = digits.images / 16  # pyright: ignore
    large = resize(images, (len(images), side, side), order=3)
    return large > 0.5, digits.target  # pyright: ignore


def split_instances(classes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Split the instances of each class into 70 % training, 10 % validation and 20 % test."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for c in range(NUM_CLASSES):
        members = rng.permutation(np.flatnonzero(classes == c))
        cuts = [round(0.7 * len(members)), round(0.8 * len(members))]
        for split, part in zip(SPLITS, np.split(members, cuts), strict=True):
            parts[split].append(part)
    return {split: np.concatenate(part) for split, part in parts.items()}


def draw_instances(
    rng: np.random.Generator,
    label: np.ndarray,
    classes: np.ndarray,
    members: np.ndarray,
    num_modalities: int,
) -> np.ndarray:
    """Draw for each row distinct instances of its class, one per modality.

    Args:
        rng: Draws them.
        label: The class of each row: [N].
        classes: The class of each instance.
        members: The instances to draw from.
        num_modalities: The number of modalities, M.

    Returns:
        Instances: [N, M] int64.
    """
    instance = np.empty((len(label), num_modalities), np.int64)
    for c in range(NUM_CLASSES):
        rows = np.flatnonzero(label == c)
        pool = members[classes[members] == c]
        order = rng.random((len(rows), len(pool))).argsort(axis=1)
        instance[rows] = pool[order[:, :num_modalities]]
    return instance


def paste_at_random(
    rng: np.random.Generator,
    masks: np.ndarray,
    background: np.ndarray,
    factors: list[dict[str, str]] | None = None,
) -> np.ndarray:
    """Invert random crops of a background inside masks [N, H, W]: [N, H, W, 3] uint8.

    The factors of captions decide which digits are bolder, and which crops are darker or lighter.
    """
    height, width, _ = background.shape
    y = rng.integers(height - masks.shape[1] + 1, size=len(masks))
    x = rng.integers(width - masks.shape[2] + 1, size=len(masks))
    if factors is None:
        return paste(masks, background, y, x)
    is_bold = np.array([some["stroke"] == "bold" for some in factors], bool)
    is_light = np.array([some["background"] == "light" for some in factors], bool)
    masks = np.where(is_bold[:, None, None], _bolder(masks), masks)
    crops = paste(np.zeros_like(masks), background, y, x) // 2
    crops = np.where(is_light[:, None, None, None], crops + np.uint8(128), crops)
    return np.where(masks[..., None], 255 - crops, crops)


def _bolder(masks: np.ndarray) -> np.ndarray:
    """Return masks [N, H, W] with a pixel more on all sides."""
    wide = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    tall = wide[:, 1:-1, 1:-1] | wide[:, :-2, 1:-1] | wide[:, 2:, 1:-1]
    return tall | wide[:, 1:-1, :-2] | wide[:, 1:-1, 2:]


def draw_factors(seed: int, split: str, label: np.ndarray) -> list[dict[str, str]]:
    """Draw what the captions of rows say, given their classes [N]."""
    rng = np.random.default_rng((seed, SPLITS.index(split), 1))
    others = {factor: list(values) for factor, values in DIGITS.words.items() if factor != "digit"}
    return [
        {"digit": str(c)} | {f: values[rng.integers(len(values))] for f, values in others.items()}
        for c in label.tolist()
    ]


def draw_captions(seed: int, split: str, factors: list[dict[str, str]]) -> list[str]:
    """Draw a caption of each row, of all that say the same."""
    rng = np.random.default_rng((seed, SPLITS.index(split), 2))
    return [DIGITS.caption(some, rng) for some in factors]


@functools.cache
def captions_as_tokens() -> Scaling:
    """Return how captions become tokens."""
    return grammar_as_tokens(DIGITS, "PolyDigits")
