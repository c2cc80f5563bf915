"""Extended PolyMNIST: MNIST digits, on one background per modality.

The recipe is that of Sutter, Daunhawer and Vogt (2021) and Palumbo, Daunhawer and Vogt (2023). All modalities
of an example show the same class, each by another digit and on crops of its own background, so the class is
all they share. The examples are made once from MNIST, as records in `prepared/`. The default backgrounds are
photographs of scikit-image; for results that can be compared with published ones, `backgrounds` must name a
folder with the images used there.

What an example shows does not depend on the number of modalities: five of them are the first five of ten.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from sbmae_jax._check import require_int, require_one_of, require_seed
from sbmae_jax._io import checksum
from sbmae_jax.data import mnist
from sbmae_jax.data.backgrounds import SIDE, paste
from sbmae_jax.data.backgrounds import backgrounds as load_backgrounds
from sbmae_jax.data.prepared import (
    build_shards,
    digest,
    generator,
    prepare_once,
    tensor,
)
from sbmae_jax.data.records import RecordSource, open_records
from sbmae_jax.data.source import SPLITS, apportion

NUM_CLASSES = 10
MNIST_PARTS = {"train": "train", "valid": "train", "test": "test"}  # by split
SIZES = (50_000, 10_000, 10_000)
MAX_MODALITIES = 100  # since their names have two digits
THRESHOLD = 128  # a brighter pixel belongs to the digit
DATA_SEED = 0  # of the examples, so that runs with different seeds share the records
SHARD_SIZE = 2000  # rows: 50 MB with ten modalities; an interruption loses no more than one shard
VERSION = 1  # of the preparation: increase it when the same files give different records


class Tuples(NamedTuple):
    """The digits of some examples.

    Attributes:
        label: The class of each example: [N] int32.
        instance: Which digit of its part of MNIST each modality shows: [N, M] int32.
    """

    label: np.ndarray
    instance: np.ndarray


def polymnist(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    num_modalities: int = 10,
    backgrounds: str | Path = "",
    sizes: Sequence[int] = SIZES,
) -> RecordSource:
    """Open one split; the first time, this prepares the records.

    Args:
        split: "train", "valid" or "test".
        num_rows: How many rows, of an order drawn from the seed; None or 0 for all.
        names: The arrays: of the modalities `m00`, `m01`, ..., by default all, and `instance` [M] int32,
            which digit of its part of MNIST each modality shows. `label` is always included.
        seed: Decides the order of the rows. The examples do not depend on it.
        num_modalities: The number of modalities, 1..100.
        backgrounds: A folder of images, one per modality, sorted by name; "" for photographs.
        sizes: The rows of train, valid and test. The digits of valid are held out of MNIST's train part.

    Returns:
        The data set: images [28, 28, 3] uint8, and `label` int32 in 0..9.

    Raises:
        ValueError: If an argument is out of range, and as `load_mnist` and `backgrounds`.

    Example:
        With the files of MNIST in the folder that `SBMAE_DATA_DIR` names::

            data = polymnist("train", num_rows=1000, names=("m00", "m01"), num_modalities=5)
            data[0]["m00"].shape  # (28, 28, 3)
    """
    require_one_of("split", split, SPLITS)
    require_seed("seed", seed)
    require_int("num_modalities", num_modalities, 1, MAX_MODALITIES)
    modalities = modality_names(num_modalities)
    names = modalities if names is None else tuple(names)
    unknown = [name for name in names if name not in (*modalities, "label", "instance")]
    if unknown:
        raise ValueError(
            f"the data have no array {', '.join(unknown)}: names must be of "
            f"{modalities[0]}..{modalities[-1]} (num_modalities is {num_modalities}), label and instance"
        )
    directory = prepare(num_modalities, backgrounds, sizes)
    source = open_records(directory, split, tuple(dict.fromkeys((*names, "label"))), num_rows, seed)
    return dataclasses.replace(source, entries={"label": tuple(map(str, range(NUM_CLASSES)))})


def modality_names(num_modalities: int) -> tuple[str, ...]:
    """Return the names of modalities; sorted, they are in the order of their numbers."""
    return tuple(f"m{m:02d}" for m in range(num_modalities))


def _features(num_modalities: int) -> tfds.features.FeaturesDict:
    """Return what a record holds."""
    images = {name: tensor((SIDE, SIDE, 3), np.uint8) for name in modality_names(num_modalities)}
    numbers = {"label": tensor((), np.int32), "instance": tensor((num_modalities,), np.int32)}
    return tfds.features.FeaturesDict({**images, **numbers})


def prepare(
    num_modalities: int = 10, backgrounds: str | Path = "", sizes: Sequence[int] = SIZES
) -> Path:
    """Prepare the records, or resume preparing them; nothing is done if they are complete.

    Args:
        num_modalities: As in `polymnist`.
        backgrounds: As in `polymnist`.
        sizes: As in `polymnist`.

    Returns:
        The folder of the records. It keeps checksums of its content, which `prepared.verify` compares.

    Raises:
        ValueError: As `polymnist`, and if the disk is full.
    """
    sizes = _check_sizes(sizes)
    images = list(load_backgrounds(num_modalities, backgrounds).values())
    pixels = checksum({str(m): image for m, image in enumerate(images)})
    digits = [file.sha256 for files in mnist.FILES.values() for file in files]
    own = digest(VERSION, DATA_SEED, SHARD_SIZE, sizes, digits, pixels)

    def build_all(work: Path, target: Path) -> None:
        build(work, target, images, sizes)

    num_bytes = sum(sizes) * num_modalities * SIDE**2 * 3
    return prepare_once(f"polymnist-{num_modalities}-{own}", num_bytes, build_all)


def _check_sizes(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Raise ValueError for sizes that MNIST does not have."""
    most = {part: files[0].shape[0] for part, files in mnist.FILES.items()}
    fits = len(sizes) == 3 and min(sizes) > 0
    if not (fits and sizes[0] + sizes[1] <= most["train"] and sizes[2] <= most["test"]):
        raise ValueError(
            f"sizes must be the rows of train, valid and test, at most {most['train']:,} for the first two "
            f"together and {most['test']:,} for the last, got {tuple(sizes)}"
        )
    train, valid, test = map(int, sizes)
    return train, valid, test


def build(
    work: Path, target: Path, backgrounds: Sequence[np.ndarray], sizes: tuple[int, int, int]
) -> None:
    """Write the shards that are not there yet, and publish them all as one data set."""
    digits = {part: mnist.load_mnist(part) for part in mnist.FILES}
    chosen = _split_digits({part: labels for part, (_, labels) in digits.items()}, sizes)
    num_modalities = len(backgrounds)
    tuples = {
        split: _pair_digits(split, digits[part][1], chosen[split], num_modalities)
        for split, part in MNIST_PARTS.items()
    }

    def draw(split: str, shard: int, rows: slice) -> dict[str, np.ndarray]:
        some = Tuples(*(column[rows] for column in tuples[split]))
        return _draw_shard(split, shard, some, digits[MNIST_PARTS[split]][0], backgrounds)

    build_shards(
        work, target, dict(zip(SPLITS, sizes, strict=True)), SHARD_SIZE, draw,
        _features(num_modalities), "polymnist",
        f"MNIST on {num_modalities} backgrounds, as PolyMNIST; seed {DATA_SEED}.",
    )  # fmt: skip


def _generator(*purpose: object) -> np.random.Generator:
    """Return the generator of one purpose in these data."""
    return generator("polymnist", DATA_SEED, *purpose)


def _split_digits(
    labels: Mapping[str, np.ndarray], sizes: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Choose the digits of each split, as numbers in its part of MNIST.

    Args:
        labels: The classes of MNIST's parts.
        sizes: The rows of train, valid and test.

    Returns:
        The digits of each split. No digit is in two, and classes are as frequent in each as in its part.
    """
    everything = {part: np.arange(len(classes)) for part, classes in labels.items()}
    valid = _choose_digits("valid", labels["train"], everything["train"], sizes[1])
    rest = np.setdiff1d(everything["train"], valid)
    return {
        "train": _choose_digits("train", labels["train"], rest, sizes[0]),
        "valid": valid,
        "test": _choose_digits("test", labels["test"], everything["test"], sizes[2]),
    }


def _choose_digits(split: str, labels: np.ndarray, pool: np.ndarray, num: int) -> np.ndarray:
    """Choose `num` digits of a pool at random, keeping the share of each class."""
    counts = np.bincount(labels[pool], minlength=NUM_CLASSES)
    parts = []
    for c, share in enumerate(apportion(counts, num)):
        members = pool[labels[pool] == c]
        parts.append(_generator("split", split, c).permutation(members)[:share])
    return np.sort(np.concatenate(parts))


def _pair_digits(split: str, labels: np.ndarray, chosen: np.ndarray, num_modalities: int) -> Tuples:
    """Group the digits of a split by class, each once in each modality.

    The orders of two modalities are independent, so that by chance a few examples show the same digit
    twice, as in PolyMNIST.
    """
    columns = []
    for m in range(num_modalities):
        classes = (chosen[labels[chosen] == c] for c in range(NUM_CLASSES))
        shuffled = [_generator("pair", split, m, c).permutation(x) for c, x in enumerate(classes)]
        columns.append(np.concatenate(shuffled))
    rows = _generator("rows", split).permutation(len(chosen))
    instance = np.stack(columns, axis=1)[rows].astype(np.int32)
    return Tuples(labels[instance[:, 0]].astype(np.int32), instance)


def _draw_shard(
    split: str, shard: int, tuples: Tuples, digits: np.ndarray, backgrounds: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Draw the examples of one shard: the arrays of `_features`, with rows as the first axis."""
    arrays = {"label": tuples.label, "instance": tuples.instance}
    for m, (name, image) in enumerate(
        zip(modality_names(len(backgrounds)), backgrounds, strict=True)
    ):
        rng = _generator("crops", split, shard, m)
        height, width, _ = image.shape
        y = rng.integers(height - SIDE, size=len(tuples.label))  # 0..height - 29, as in PolyMNIST
        x = rng.integers(width - SIDE, size=len(tuples.label))
        arrays[name] = paste(digits[tuples.instance[:, m]] > THRESHOLD, image, y, x)
    return arrays
