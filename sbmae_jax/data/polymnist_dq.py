"""PolyMNIST-D-Q: MNIST digits in a quadrant of three larger views, with digit and quadrant as modalities.

Each view of a row shows a digit of the same class in the same quadrant, by another hand and on a 64x64 crop
of its own background. So each label leaves the other one open, and views that are generated together must
agree on what no input says. `quadrants` has the recipe, and which views training rows lack.

The examples are made once from MNIST, as records in `prepared/`. Digits of MNIST's training part are for
training and, others, for validation; test rows show digits of its test part. Published figures (MUNI,
arXiv 2606.16408) are on mixed parts, where digits may recur, and on other backgrounds: this is harder.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax._check import require_one_of, require_seed, require_type
from sbmae_jax._io import checksum
from sbmae_jax.data import mnist
from sbmae_jax.data.backgrounds import backgrounds as load_backgrounds
from sbmae_jax.data.backgrounds import paste
from sbmae_jax.data.polymnist import MNIST_PARTS, THRESHOLD, modality_names
from sbmae_jax.data.prepared import (
    build_shards,
    digest,
    generator,
    prepare_once,
    tensor,
)
from sbmae_jax.data.quadrants import (
    DIGIT,
    ENTRIES,
    NUM_DIGITS,
    NUM_QUADRANTS,
    QUADRANT,
    draw_factors,
    draw_holes,
    one_hot,
    place,
)
from sbmae_jax.data.records import RecordSource, open_records
from sbmae_jax.data.source import PRESENT, SPLITS

NUM_VIEWS = 3
VIEWS = modality_names(NUM_VIEWS)
MODALITIES = (DIGIT, *VIEWS, QUADRANT)  # in the order of their names
INSTANCE = "instance"
SIDE, MARGIN = 64, 2  # of a view, and between a digit and the sides of its quadrant, in pixels
SIZES = (60_000, 5_000, 10_000)
MAX_ROWS = 1_000_000  # of a split
VALID_SHARE = 0.1  # of MNIST's training digits
DATA_SEED = 0  # of the examples, so that runs with different seeds share the records
SHARD_SIZE = 1000  # rows: 37 MB; an interruption loses no more than one shard
VERSION = 1  # of the preparation: increase it when the same files give different records


def polymnist_dq(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] = MODALITIES,
    seed: int = 0,
    holes: bool = False,
    backgrounds: str | Path = "",
    sizes: Sequence[int] = SIZES,
) -> RecordSource:
    """Open one split; the first time, this prepares the records.

    Args:
        split: "train", "valid" or "test". No digit of MNIST is in two splits.
        num_rows: How many rows, of an order drawn from the seed; None or 0 for all.
        names: The arrays: the views `m00`, `m01` and `m02`, `digit`, `quadrant`, and `instance` [3] int32,
            which digit of its part of MNIST each view shows. The two labels are always included.
        seed: Decides the order of the rows. The examples do not depend on it.
        holes: Whether training rows lack views as in the published data, see `quadrants.HOLES`. Labels are
            always there, and other splits are complete. The run must then learn all five modalities.
        backgrounds: A folder of images larger than 64 pixels, one per view, sorted by name; "" for
            photographs of scikit-image.
        sizes: The rows of train, valid and test. Digits recur where there are more rows than digits.

    Returns:
        The data set: views [64, 64, 3] uint8, and the labels `digit` [10] and `quadrant` [4], one-hot
        float32; with holes also `present` [5] bool, in the order of the names of the modalities. Every pair
        of digit and quadrant is equally frequent up to one row.

    Raises:
        ValueError: If an argument is out of range, and as `load_mnist` and `backgrounds`.

    Example:
        With the files of MNIST in the folder that `SBMAE_DATA_DIR` names::

            data = polymnist_dq("train", num_rows=1000, holes=True)
            data[0]["m00"].shape  # (64, 64, 3)
    """
    require_one_of("split", split, SPLITS)
    require_seed("seed", seed)
    require_type("holes", holes, bool)
    for name in names:
        require_one_of("names", name, (*MODALITIES, INSTANCE))
    if holes and not set(MODALITIES) <= set(names):
        lacking = [name for name in MODALITIES if name not in names]
        raise ValueError(
            f"holes are drawn for all five modalities, but {', '.join(lacking)} is not learned: add it, or "
            "set holes to False"
        )
    directory = prepare(backgrounds, sizes)
    arrays = dict.fromkeys((*names, DIGIT, QUADRANT, *[PRESENT] * holes))
    source = open_records(directory, split, tuple(arrays), num_rows, seed)
    return dataclasses.replace(source, entries=ENTRIES)


def prepare(backgrounds: str | Path = "", sizes: Sequence[int] = SIZES) -> Path:
    """Prepare the records, or resume preparing them; nothing is done if they are complete.

    Args:
        backgrounds: As in `polymnist_dq`.
        sizes: As in `polymnist_dq`.

    Returns:
        The folder of the records. It keeps checksums of its content, which `prepared.verify` compares.

    Raises:
        ValueError: As `polymnist_dq`, and if the disk is full.
    """
    if len(sizes) != len(SPLITS) or not all(0 < size <= MAX_ROWS for size in sizes):
        raise ValueError(
            f"sizes must be the rows of train, valid and test, each 1 to {MAX_ROWS:,}, got {tuple(sizes)}"
        )
    images = load_backgrounds(NUM_VIEWS, backgrounds)
    for name, image in images.items():
        if min(image.shape[:2]) <= SIDE:
            raise ValueError(
                f"the background {name} must be larger than {SIDE}x{SIDE} pixels, got "
                f"{image.shape[1]}x{image.shape[0]}: replace it"
            )
    pixels = checksum({str(m): image for m, image in enumerate(images.values())})
    digits = [file.sha256 for files in mnist.FILES.values() for file in files]
    own = digest(VERSION, DATA_SEED, SHARD_SIZE, tuple(map(int, sizes)), digits, pixels)

    def build_all(work: Path, target: Path) -> None:
        build(work, target, list(images.values()), dict(zip(SPLITS, sizes, strict=True)))

    num_bytes = sum(sizes) * NUM_VIEWS * SIDE**2 * 3
    return prepare_once(f"polymnist_dq-{own}", num_bytes, build_all)


def build(
    work: Path, target: Path, backgrounds: Sequence[np.ndarray], sizes: dict[str, int]
) -> None:
    """Write the shards that are not there yet, and publish them all as one data set."""
    digits = {part: mnist.load_mnist(part) for part in mnist.FILES}
    labels = {}
    for split, num_rows in sizes.items():
        digit, quadrant = draw_factors(_generator("factors", split), num_rows)
        pools = _pools(split, digits[MNIST_PARTS[split]][1])
        present = np.ones((num_rows, len(MODALITIES)), bool)
        if split == "train":
            present[:, 1:-1] = draw_holes(_generator("holes"), num_rows, NUM_VIEWS)
        labels[split] = digit, quadrant, _draw_instances(split, digit, pools), present

    def draw(split: str, shard: int, rows: slice) -> dict[str, np.ndarray]:
        digit, quadrant, instance, present = (column[rows] for column in labels[split])
        arrays = {
            DIGIT: one_hot(digit, DIGIT), QUADRANT: one_hot(quadrant, QUADRANT), INSTANCE: instance,
            PRESENT: present,
        }  # fmt: skip
        images, _ = digits[MNIST_PARTS[split]]
        for m, (name, background) in enumerate(zip(VIEWS, backgrounds, strict=True)):
            rng = _generator("crops", split, shard, m)
            height, width, _ = background.shape
            y = rng.integers(height - SIDE + 1, size=len(digit))
            x = rng.integers(width - SIDE + 1, size=len(digit))
            masks = place(images[instance[:, m]] > THRESHOLD, quadrant, MARGIN)
            arrays[name] = paste(masks, background, y, x)
        return arrays

    build_shards(
        work, target, sizes, SHARD_SIZE, draw, _features(), "polymnist_dq",
        f"MNIST digits in quadrants of {NUM_VIEWS} views, as PolyMNIST-D-Q; seed {DATA_SEED}.",
    )  # fmt: skip


def _generator(*purpose: object) -> np.random.Generator:
    """Return the generator of one purpose in these data."""
    return generator("polymnist_dq", DATA_SEED, *purpose)


def _features() -> tfds.features.FeaturesDict:
    """Return what a record holds."""
    return tfds.features.FeaturesDict(
        {
            **{name: tensor((SIDE, SIDE, 3), np.uint8) for name in VIEWS},
            DIGIT: tensor((NUM_DIGITS,), np.float32),
            QUADRANT: tensor((NUM_QUADRANTS,), np.float32),
            INSTANCE: tensor((NUM_VIEWS,), np.int32),
            PRESENT: tensor((len(MODALITIES),), np.bool_),
        }
    )


def _pools(split: str, classes: np.ndarray) -> list[np.ndarray]:
    """Return the digits of a split by class, as numbers in its part of MNIST."""
    pools = []
    for c in range(NUM_DIGITS):
        members = np.flatnonzero(classes == c)
        if MNIST_PARTS[split] == "train":
            members = _generator("split", c).permutation(members)
            num_valid = max(round(VALID_SHARE * len(members)), 1)
            members = members[:num_valid] if split == "valid" else members[num_valid:]
        pools.append(members)
    return pools


def _draw_instances(split: str, digit: np.ndarray, pools: Sequence[np.ndarray]) -> np.ndarray:
    """Draw which digit each view shows, [N, 3] int32: all of a class once before any comes again."""
    instance = np.empty((len(digit), NUM_VIEWS), np.int32)
    for c, pool in enumerate(pools):
        rows = np.flatnonzero(digit == c)
        for m in range(NUM_VIEWS):
            rng = _generator("instances", split, c, m)
            rounds = -(-len(rows) // len(pool))
            order = np.concatenate([rng.permutation(pool) for _ in range(max(rounds, 1))])
            instance[rows, m] = order[: len(rows)]
    return instance
