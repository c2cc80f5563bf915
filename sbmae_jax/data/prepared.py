"""Record sets that are prepared once: shards are written aside, and get their name when all are there.

A record set lies in TFDS's format in a directory of its own, whose name says of what it was made. Its
shards are written into a working directory beside it, each under another name until it is whole, so
that an interruption costs one shard and nothing half-built is ever read. Where a data set keeps the
checksums of its contents, `verify` reads everything and compares.
"""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from sbmae_jax.data.records import open_records

FULL = (errno.ENOSPC, errno.EDQUOT)
CHECKSUMS = "checksums.json"  # {split: the checksum of each shard, in order}


class Shard(NamedTuple):
    """A file of records that is whole, and how many it holds."""

    path: Path
    num_rows: int


def digest(*what: object) -> str:
    """Return a short name for what is given."""
    return hashlib.sha256(repr(what).encode()).hexdigest()[:12]


def tensor(shape: tuple[int, ...], dtype: Any) -> tfds.features.Tensor:
    """Return the feature of an array, kept as bytes, as TFDS would store integers in 64 bits."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays and their names, however they are stored."""
    sha256 = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha256.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        sha256.update(array.data)
    return sha256.hexdigest()


def verify(directory: Path) -> None:
    """Read all records of a data set that keeps checksums. Raises ValueError if one does not fit."""
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
            except Exception as error:  # a decoder raises what it likes
                found = " ".join(str(error).split())
            if found != expected[i]:
                raise ValueError(
                    f"{directory} is damaged: shard {i} of {split} should have the checksum {expected[i]} "
                    f"({found}); delete the folder, and it is made again"
                )


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write records into one file; it gets its name when it is whole."""
    part = path.with_name(path.name + ".writing")
    writer = ArrayRecordWriter(str(part), "group_size:1")  # as TFDS writes them, for random access
    for record in records:
        writer.write(record)
    writer.close()
    os.replace(part, path)


def publish(
    work: Path,
    target: Path,
    shards: Mapping[str, Sequence[Shard]],
    features: tfds.features.FeaturesDict,
    name: str,
    checksums: Mapping[str, Sequence[str]] | None = None,
    **about: str,
) -> None:
    """Turn finished shards into a data set of TFDS at `target`, and remove the working directory.

    shards: of each split, in order; a split without any is left out.
    checksums: of each shard, where they are kept.
    about: what TFDS's metadata say: `description`, `homepage`, `license`.
    """
    whole = work / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    template = tfds.core.ShardedFileTemplate(
        data_dir=epath.Path(whole), dataset_name=name, filetype_suffix="array_record"
    )
    infos = [
        move(split, parts, template.replace(split=split))
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


def move(
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
def only_one(work: Path) -> Iterator[None]:
    """Let one process at a time prepare the same records: of the processes of one run, for instance.

    Who had to wait finds them prepared.
    """
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logging.warning("waiting for another process, which is preparing %s", work)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def told_of_full_disk(root: Path, size: int) -> Iterator[None]:
    """Say in one sentence that there is no room at `root`, where about `size` bytes are needed."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter by the writer of records
        if not any(os.strerror(number) in str(error) for number in FULL):
            raise
        raise ValueError(
            f"no space is left for {root}, where about {size / 1e9:.1f} GB are needed: free some, or set "
            "SBMAE_DATA_DIR to a folder on another disk; what has been written is kept"
        ) from None
