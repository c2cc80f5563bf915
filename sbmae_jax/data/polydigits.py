"""PolyDigits: handwritten digits on photographs, one photograph per modality.

The recipe of PolyMNIST (Sutter et al., 2021) with data that two libraries ship, so that nothing is
downloaded: the 1,797 digits of scikit-learn, enlarged from 8x8 to 28x28, over random crops of
photographs of scikit-image. All modalities of an example show the same class, each by a different
digit instance and on its own photograph: the class is the only thing they share. Train, validation
and test use disjoint digit instances.
"""

from collections.abc import Sequence

import numpy as np
from skimage.transform import resize
from sklearn.datasets import load_digits

from sbmae_jax.data.backgrounds import PHOTOGRAPHS, SIDE, paste, photograph
from sbmae_jax.data.source import PRESENT, ArraySource

NUM_CLASSES = 10

SPLITS = ("train", "valid", "test")


def polydigits(
    split: str,
    num_rows: int,
    names: Sequence[str] = tuple(PHOTOGRAPHS)[:5],
    seed: int = 0,
    missing: float = 0.0,
    complete_only: bool = False,
) -> ArraySource:
    """Build one split in memory; the same arguments give the same bytes.

    names: of photographs, one for each modality.
    missing: share of the pictures that are taken out of the training rows, each with the same probability;
        rows that have none left are left out. Tests are complete.
    complete_only: leave out every training row that lacks a picture.

    Returns images [N, 28, 28, 3] uint8 under the photographs' names, and `label` [N] int32 in 0..9; where
    pictures are missing, and rows are not left out for it, also `present` [N, M] bool. N is num_rows but
    for what is left out, which may be all. Classes are equally frequent up to one row.

    Raises ValueError for an unknown split or photograph, or a share that is not in 0..1.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    for name in names:
        if name not in PHOTOGRAPHS:
            raise ValueError(f"unknown photograph {name!r}: choose from {', '.join(PHOTOGRAPHS)}")
    masks, classes = digit_masks()
    members = split_instances(classes, seed)[split]
    rng = np.random.default_rng((seed, SPLITS.index(split)))
    label = rng.permutation(np.arange(num_rows) % NUM_CLASSES).astype(np.int32)
    instance = draw_instances(rng, label, classes, members, len(names))
    arrays = {
        name: paste_at_random(rng, masks[instance[:, m]], photograph(name))
        for m, name in enumerate(names)
    }
    arrays["label"] = label
    if missing:
        present = draw_present(rng, (num_rows, len(names)), missing if split == "train" else 0.0)
        arrays = leave_out(arrays | {PRESENT: present}, complete_only)
    return ArraySource(arrays, {"label": tuple(map(str, range(NUM_CLASSES)))})


def draw_present(rng: np.random.Generator, shape: tuple[int, int], missing: float) -> np.ndarray:
    """Draw which modalities each row has [N, M] bool, each missing with the same probability."""
    if not 0 <= missing < 1:
        raise ValueError(f"missing must be at least 0 and less than 1, got {missing}")
    return rng.random(shape) >= missing


def leave_out(arrays: dict[str, np.ndarray], complete_only: bool) -> dict[str, np.ndarray]:
    """Leave out the rows that have no modality or, where only complete ones are wanted, not all."""
    present = arrays[PRESENT]
    kept = np.flatnonzero(present.all(axis=1) if complete_only else present.any(axis=1))
    chosen = {name: array[kept] for name, array in arrays.items()}
    if complete_only:
        del chosen[PRESENT]
    return chosen


def digit_masks() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits as masks [1797, 28, 28] bool, and their classes [1797]."""
    digits = load_digits()
    images = digits.images / 16  # pyright: ignore
    large = resize(images, (len(images), SIDE, SIDE), order=3)
    return large > 0.5, digits.target  # pyright: ignore


def split_instances(classes: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Split digit instances by class, 70 / 10 / 20 per cent, into train, validation and test."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for c in range(NUM_CLASSES):
        members = rng.permutation(np.flatnonzero(classes == c))
        cuts = [round(0.7 * len(members)), round(0.8 * len(members))]
        for split, part in zip(SPLITS, np.split(members, cuts), strict=True):
            parts[split].append(part)
    return {split: np.concatenate(part) for split, part in parts.items()}


def draw_instances(rng, label, classes, members, num_modalities) -> np.ndarray:
    """Draw for each row different instances of its class, one per modality: [rows, modalities]."""
    instance = np.empty((len(label), num_modalities), np.int64)
    for c in range(NUM_CLASSES):
        rows = np.flatnonzero(label == c)
        pool = members[classes[members] == c]
        order = rng.random((len(rows), len(pool))).argsort(axis=1)
        instance[rows] = pool[order[:, :num_modalities]]
    return instance


def paste_at_random(
    rng: np.random.Generator, masks: np.ndarray, background: np.ndarray
) -> np.ndarray:
    """Invert random crops of a background inside the masks [N, 28, 28]: [N, 28, 28, 3] uint8."""
    height, width, _ = background.shape
    y = rng.integers(height - SIDE + 1, size=len(masks))
    x = rng.integers(width - SIDE + 1, size=len(masks))
    return paste(masks, background, y, x)
