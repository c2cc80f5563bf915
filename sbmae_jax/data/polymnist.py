"""Extended PolyMNIST (Sutter et al., 2021; Palumbo et al., 2023): MNIST on one background per modality.

All modalities of an example show the same class, each by another hand and on crops of its own picture:
the class is the only thing they share. The examples are made once from MNIST, into records under
`prepared/`. By default the backgrounds are photographs of scikit-image: results on them cannot be
compared with published ones, for which `backgrounds` must name a folder with the pictures used there.

What an example shows does not depend on how many modalities there are: five of them are the first five
of ten.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from sbmae_jax.data import mnist
from sbmae_jax.data.backgrounds import SIDE, paste
from sbmae_jax.data.backgrounds import backgrounds as load_backgrounds
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.prepared import (
    Shard,
    checksum,
    digest,
    only_one,
    publish,
    tensor,
    told_of_full_disk,
    write_records,
)
from sbmae_jax.data.records import RecordSource, open_records

NUM_CLASSES = 10
PARTS = {"train": "train", "valid": "train", "test": "test"}  # of MNIST, by split
SPLITS = tuple(PARTS)
SIZES = (50_000, 10_000, 10_000)
MAX_MODALITIES = 100  # as their names have two digits
THRESHOLD = 128  # a pixel above it belongs to the digit
DATA_SEED = 0  # of the examples, so that runs with other seeds share the records
SHARD_SIZE = 2000  # rows: 50 MB of ten modalities; an interruption costs no more than one
VERSION = 1  # of the preparation: to be raised when other records come from the same files


class Tuples(NamedTuple):
    """Which digits stand together: label [rows] int32, instance [rows, modalities] int32."""

    label: np.ndarray
    instance: np.ndarray

    def part(self, rows: slice) -> "Tuples":
        """Return some of the rows."""
        return Tuples(self.label[rows], self.instance[rows])


def polymnist(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    num_modalities: int = 10,
    backgrounds: str | Path = "",
    sizes: Sequence[int] = SIZES,
) -> RecordSource:
    """Open one split, and prepare the records first if that has not been done.

    num_rows: the first of an order drawn from the seed; None or 0 for the whole split.
    names: `m00`, `m01`, ... [28, 28, 3] uint8, by default all; and also `instance` [modalities] int32,
    which digit of its part of MNIST each modality shows. `label` [] int32, 0..9, is always there.
    backgrounds: a folder of pictures, sorted by name, one for each modality; "" for photographs.
    sizes: rows of train, valid and test. The digits of valid are held out of MNIST's train part.

    Raises ValueError for arguments out of range, and as `mnist` and `backgrounds`.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 1 <= num_modalities <= MAX_MODALITIES:
        raise ValueError(f"num_modalities must be 1..{MAX_MODALITIES}, got {num_modalities}")
    modalities = modality_names(num_modalities)
    names = modalities if names is None else tuple(names)
    unknown = [name for name in names if name not in (*modalities, "label", "instance")]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} not in these data: names must be of {modalities[0]}..{modalities[-1]} "
            f"(num_modalities is {num_modalities}), label and instance"
        )
    directory = prepare(num_modalities, backgrounds, sizes)
    source = open_records(directory, split, tuple(dict.fromkeys((*names, "label"))), num_rows, seed)
    return dataclasses.replace(source, entries={"label": tuple(map(str, range(NUM_CLASSES)))})


def modality_names(num_modalities: int) -> tuple[str, ...]:
    """Return the names of modalities; their alphabetical order is that of their numbers."""
    return tuple(f"m{m:02d}" for m in range(num_modalities))


def features(num_modalities: int) -> tfds.features.FeaturesDict:
    """Return what a record holds."""
    pictures = {name: tensor((SIDE, SIDE, 3), np.uint8) for name in modality_names(num_modalities)}
    numbers = {"label": tensor((), np.int32), "instance": tensor((num_modalities,), np.int32)}
    return tfds.features.FeaturesDict({**pictures, **numbers})


def prepare(
    num_modalities: int = 10, backgrounds: str | Path = "", sizes: Sequence[int] = SIZES
) -> Path:
    """Return the directory of the records; make them, or go on making them, if need be.

    It keeps the checksums of its contents, which `prepared.verify` compares.

    Raises ValueError as `polymnist`, and where the disk is full.
    """
    sizes = check_sizes(sizes)
    pictures = list(load_backgrounds(num_modalities, backgrounds).values())
    root = data_dir() / "prepared"
    pixels = checksum({str(m): picture for m, picture in enumerate(pictures)})
    digits = [file.sha256 for files in mnist.FILES.values() for file in files]
    own = digest(VERSION, DATA_SEED, SHARD_SIZE, sizes, digits, pixels)
    target = root / f"polymnist-{num_modalities}-{own}"
    if target.exists():
        return target
    work = target.with_name(f"{target.name}.part")
    with told_of_full_disk(root, sum(sizes) * num_modalities * SIDE**2 * 3), only_one(work):
        if not target.exists():
            build(work, target, pictures, sizes)
    return target


def check_sizes(sizes: Sequence[int]) -> tuple[int, int, int]:
    """Raise ValueError for sizes that MNIST does not have."""
    most = {part: files[0].shape[0] for part, files in mnist.FILES.items()}
    fits = len(sizes) == 3 and min(sizes) > 0
    if not (fits and sizes[0] + sizes[1] <= most["train"] and sizes[2] <= most["test"]):
        raise ValueError(
            f"sizes must be rows of train, valid and test, the first two together at most "
            f"{most['train']:,} and the last at most {most['test']:,}, got {tuple(sizes)}"
        )
    train, valid, test = map(int, sizes)
    return train, valid, test


def build(
    work: Path, target: Path, pictures: Sequence[np.ndarray], sizes: tuple[int, int, int]
) -> None:
    """Write the shards that are not there yet, and turn all into a data set."""
    digits = {part: mnist.mnist(part) for part in mnist.FILES}
    chosen = split_digits({part: labels for part, (_, labels) in digits.items()}, sizes)
    shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}
    checksums: dict[str, list[str]] = {split: [] for split in SPLITS}
    with tqdm(total=sum(sizes), desc="preparing PolyMNIST", unit="row", disable=None) as bar:
        for split in SPLITS:
            images, labels = digits[PARTS[split]]
            tuples = pair(split, labels, chosen[split], len(pictures))
            for i, start in enumerate(range(0, len(tuples.label), SHARD_SIZE)):
                part = tuples.part(slice(start, start + SHARD_SIZE))
                arrays = draw(split, i, part, images, pictures)
                shards[split].append(write_shard(work / f"{split}-{i:05d}", arrays))
                checksums[split].append(checksum(arrays))
                bar.update(len(part.label))
    about = f"MNIST on {len(pictures)} backgrounds, as PolyMNIST; seed {DATA_SEED}."
    publish(
        work, target, shards, features(len(pictures)), "polymnist", checksums, description=about
    )


def generator(*purpose: object) -> np.random.Generator:
    """Return the generator of one purpose: no drawing depends on how much was drawn for another."""
    name = " ".join(map(str, ("polymnist", DATA_SEED, *purpose)))
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def split_digits(
    labels: Mapping[str, np.ndarray], sizes: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Choose the digits of each split, as numbers in its part of MNIST.

    labels: of the parts of MNIST.  sizes: of train, valid and test.

    Each split has the classes as frequent as its part has. No digit is in two splits.
    """
    everything = {part: np.arange(len(classes)) for part, classes in labels.items()}
    valid = choose("valid", labels["train"], everything["train"], sizes[1])
    rest = np.setdiff1d(everything["train"], valid)
    return {
        "train": choose("train", labels["train"], rest, sizes[0]),
        "valid": valid,
        "test": choose("test", labels["test"], everything["test"], sizes[2]),
    }


def choose(split: str, labels: np.ndarray, pool: np.ndarray, num: int) -> np.ndarray:
    """Choose `num` digits of a pool at random, so many of each class that its share stays."""
    counts = np.bincount(labels[pool], minlength=NUM_CLASSES)
    parts = []
    for c, share in enumerate(shares(counts, num)):
        members = pool[labels[pool] == c]
        parts.append(generator("split", split, c).permutation(members)[:share])
    return np.sort(np.concatenate(parts))


def shares(counts: np.ndarray, num: int) -> np.ndarray:
    """Divide a number in proportion to counts, by largest remainders; no share exceeds its count."""
    whole, remainder = np.divmod(num * counts, counts.sum())
    largest = np.argsort(-remainder, kind="stable")[: num - whole.sum()]
    whole[largest] += 1
    return whole


def pair(split: str, labels: np.ndarray, chosen: np.ndarray, num_modalities: int) -> Tuples:
    """Put the digits of a split together, by class: each stands once in each modality.

    The orders of two modalities are independent, so that by chance a few examples show the same digit
    twice, as in PolyMNIST.
    """
    columns = []
    for m in range(num_modalities):
        classes = (chosen[labels[chosen] == c] for c in range(NUM_CLASSES))
        shuffled = [generator("pair", split, m, c).permutation(x) for c, x in enumerate(classes)]
        columns.append(np.concatenate(shuffled))
    rows = generator("rows", split).permutation(len(chosen))
    instance = np.stack(columns, axis=1)[rows].astype(np.int32)
    return Tuples(labels[instance[:, 0]].astype(np.int32), instance)


def draw(
    split: str, shard: int, tuples: Tuples, images: np.ndarray, pictures: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Draw the examples of one shard: arrays as the features say, with the rows as first axis."""
    arrays = {"label": tuples.label, "instance": tuples.instance}
    for m, (name, picture) in enumerate(zip(modality_names(len(pictures)), pictures, strict=True)):
        rng = generator("crops", split, shard, m)
        height, width, _ = picture.shape
        y = rng.integers(height - SIDE, size=len(tuples.label))  # 0..height - 29, as in PolyMNIST
        x = rng.integers(width - SIDE, size=len(tuples.label))
        arrays[name] = paste(images[tuples.instance[:, m]] > THRESHOLD, picture, y, x)
    return arrays


def write_shard(path: Path, arrays: Mapping[str, np.ndarray]) -> Shard:
    """Write one shard, unless it is there."""
    shard = Shard(path, len(arrays["label"]))
    if not path.exists():
        kinds = features(arrays["instance"].shape[1])
        rows = ({name: array[i] for name, array in arrays.items()} for i in range(shard.num_rows))
        write_records(path, map(kinds.serialize_example, rows))
    return shard
