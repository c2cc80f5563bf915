"""Data sets that are prepared once, as records in TFDS's format.

Each data set has its own folder, whose name depends on what it was made from. Its shards are written to a
working folder beside it, each under another name until it is complete. So an interruption loses one shard,
and nothing half-built is ever read. Where a data set keeps checksums of its content, `verify` reads and
compares everything.
"""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from etils import epath
from tqdm import tqdm

from sbmae_jax._io import checksum, one_line
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.records import open_records

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
CHECKSUMS = "checksums.json"  # {split: the checksum of each shard, in order}


class Shard(NamedTuple):
    """A complete file of records.

    Attributes:
        path: The file.
        num_rows: How many records it holds.
    """

    path: Path
    num_rows: int


def digest(*what: object) -> str:
    """Return a short name that depends on all arguments, by their `repr`."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def tensor(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
    """Return the TFDS feature of an array, stored as bytes: as integers, it would take 64 bits a value."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")


def verify(directory: Path) -> None:
    """Read all records of a data set that keeps checksums, and compare them.

    Args:
        directory: The folder of the data set.

    Raises:
        ValueError: If a shard is damaged.
    """
    info = tfds.builder_from_directory(directory).info
    features: Any = info.features
    for split, expected in json.loads((directory / CHECKSUMS).read_text()).items():
        ends = np.cumsum(info.splits[split].shard_lengths)
        source = open_records(directory, split, tuple(features))
        for i, rows in enumerate(np.split(np.arange(len(source)), ends[:-1])):
            shard = dataclasses.replace(source, rows=rows, loaded={})
            try:
                shard.load(shard.names)
                found = checksum(shard.loaded)
            except Exception as error:  # decoders document no types
                found = one_line(error)
            if found != expected[i]:
                raise ValueError(
                    f"{directory} is damaged: shard {i} of {split} should have the checksum {expected[i]} "
                    f"({found}); delete the folder, and the next run will prepare it again"
                )


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write records to one file, which gets its name when it is complete and was read back.

    Raises:
        OSError: What is read back is not what was written.
    """
    part = path.with_name(path.name + ".writing")
    writer = ArrayRecordWriter(str(part), "group_size:1")  # as TFDS writes them, for random access
    written = []
    for record in records:
        writer.write(record)
        written.append(hashlib.sha256(record).digest())
    writer.close()
    reader = ArrayRecordReader(str(part))
    if [hashlib.sha256(record).digest() for record in reader.read_all()] != written:
        raise OSError(f"{part} is read back with other content than was written: check the disk")
    reader.close()
    os.replace(part, path)


def generator(*purpose: object) -> np.random.Generator:
    """Return the generator of one purpose, so that no draw depends on how much was drawn for another."""
    name = " ".join(map(str, purpose))
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def prepare_once(name: str, num_bytes: int, build: Callable[[Path, Path], None]) -> Path:
    """Prepare a data set, unless it is there; one process at a time does, and resumes what it finds.

    Args:
        name: The name of its folder, which says what it was made from.
        num_bytes: About how many bytes are needed.
        build: `(working folder, folder of the data set)`: writes the shards, and publishes them.

    Returns:
        The folder of the data set.

    Raises:
        ValueError: If the disk is full.
    """
    root = data_dir() / "prepared"
    target = root / name
    if target.exists():
        return target
    work = target.with_name(f"{name}.part")
    with explain_full_disk(root, num_bytes), lock(work):
        if not target.exists():
            build(work, target)
    return target


def build_shards(
    work: Path,
    target: Path,
    sizes: Mapping[str, int],
    shard_size: int,
    draw: Callable[[str, int, slice], Mapping[str, np.ndarray]],
    features: tfds.features.FeaturesDict,
    name: str,
    description: str,
) -> None:
    """Write the shards that are not there yet, and publish them all as one data set.

    Args:
        work: The working folder.
        target: The folder of the data set.
        sizes: The number of rows of each split.
        shard_size: The number of rows of a shard. An interruption loses no more than one.
        draw: `(split, number of the shard, its rows) -> arrays`, with rows as the first axis.
        features: What a record holds.
        name: The name of the data set, for its file names.
        description: TFDS's description of it.
    """
    shards: dict[str, list[Shard]] = {split: [] for split in sizes}
    checksums: dict[str, list[str]] = {split: [] for split in sizes}
    with tqdm(total=sum(sizes.values()), desc=f"preparing {name}", unit="row", disable=None) as bar:
        for split, num_rows in sizes.items():
            for i, start in enumerate(range(0, num_rows, shard_size)):
                end = min(start + shard_size, num_rows)
                arrays = draw(split, i, slice(start, end))
                shard = Shard(work / f"{split}-{i:05d}", end - start)
                if not shard.path.exists():
                    rows = ({n: a[r] for n, a in arrays.items()} for r in range(shard.num_rows))
                    write_records(shard.path, map(features.serialize_example, rows))
                shards[split].append(shard)
                checksums[split].append(checksum(arrays))
                bar.update(shard.num_rows)
    publish(work, target, shards, features, name, checksums, description=description)


def publish(
    work: Path,
    target: Path,
    shards: Mapping[str, Sequence[Shard]],
    features: tfds.features.FeaturesDict,
    name: str,
    checksums: Mapping[str, Sequence[str]] | None = None,
    **about: str,
) -> None:
    """Publish finished shards as a data set of TFDS, and remove the working folder.

    Args:
        work: The working folder.
        target: The folder of the data set.
        shards: The shards of each split, in order; a split without any is omitted.
        features: What a record holds.
        name: The name of the data set, for its file names.
        checksums: The checksum of each shard, if they are kept.
        **about: TFDS's metadata: `description`, `homepage` and `license`.
    """
    whole = work / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(whole), dataset_name=name, filetype_suffix="array_record"
    )
    infos = [
        _rename_shards(split, parts, template.replace(split=split))
        for split, parts in shards.items()
        if parts
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=whole, features=features, split_infos=infos, check_data=False, **about
    )
    if checksums:
        (whole / CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n")
    os.replace(whole, target)
    shutil.rmtree(work)


def _rename_shards(
    split: str, shards: Sequence[Shard], template: tfds.core.ShardedFileTemplate
) -> tfds.core.SplitInfo:
    """Give the shards of one split the names that TFDS expects."""
    paths = template.sharded_filepaths(num_shards=len(shards))
    for shard, path in zip(shards, paths, strict=True):
        os.replace(shard.path, path)
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[shard.num_rows for shard in shards],
        num_bytes=sum(Path(path).stat().st_size for path in paths),
        filename_template=template,
    )


@contextmanager
def lock(work: Path) -> Iterator[None]:
    """Let one process at a time prepare a data set; the others wait until it has finished.

    Args:
        work: The working folder, which is made if it does not exist.
    """
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logging.warning("waiting for another process, which is preparing %s", work)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def explain_full_disk(root: Path, size: int) -> Iterator[None]:
    """Turn the errors of a full disk into one sentence.

    Args:
        root: The folder that is written to.
        size: About how many bytes are needed.

    Raises:
        ValueError: If the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter from the writer of records
        if not any(os.strerror(number) in str(error) for number in _DISK_FULL):
            raise
        raise ValueError(
            f"no space is left for {root}, which needs about {size / 1e9:.1f} GB: free some, or set "
            "SBMAE_DATA_DIR to a folder on another disk; what has been written is kept"
        ) from None
