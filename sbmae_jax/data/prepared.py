"""Record sets that are prepared once: shards are written aside, and get their name when all are there.

A record set lies in TFDS's format in a directory of its own, whose name says of what it was made. Its
shards are written into a working directory beside it, each under another name until it is whole, so
that an interruption costs one shard and nothing half-built is ever read.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

FULL = (errno.ENOSPC, errno.EDQUOT)


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
    files: Mapping[str, bytes] | None = None,
    **about: str,
) -> None:
    """Turn finished shards into a data set of TFDS at `target`, and remove the working directory.

    shards: of each split, in order; a split without any is left out.
    files: what else lies in the data set, by name.
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
    for file, content in (files or {}).items():
        (whole / file).write_bytes(content)
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
    """Keep a second process from preparing the same records at the same time."""
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is preparing {work}: wait until it is done, and call again"
            ) from None
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
