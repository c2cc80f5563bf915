"""CelebAMask-HQ (Lee et al., 2020): photographs of faces, masks and attributes, read where they are.

The data come from their authors and may not be passed on, so nothing of them is part of this
project. The folder is read once, into records under `prepared/`, and those are read at random.
A record set belongs to one folder, one list of its files and one size: where any of these changes,
another one is made. A picture that is overwritten by another of the same name goes unnoticed;
delete `prepared/` after that.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sbmae_jax._check import require_int
from sbmae_jax.data.celebahq.check import PAGE, Face, check_folder
from sbmae_jax.data.celebahq.convert import RULE, Chunk, convert, features
from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    FIRST_ORIGINAL,
    FOLDER,
    MAPPING_FILE,
    USED_ATTRIBUTES,
)
from sbmae_jax.data.celebahq.tables import Problems
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.prepared import Shard, digest, only_one, publish
from sbmae_jax.data.records import RecordSource, open_records

MODALITIES = ("image", "mask", "attributes")
ENTRIES = {
    "attributes": tuple(ATTRIBUTES[i] for i in USED_ATTRIBUTES), "all_attributes": ATTRIBUTES,
}  # fmt: skip
SPLITS = tuple(FIRST_ORIGINAL)
TABLES = (ATTRIBUTE_FILE, MAPPING_FILE)
MAX_WORKERS = 1000
CHUNK_SIZE = 256  # faces: a shard of 15 MB; an interruption costs no more than one
VERSION = 1  # of the preparation: to be raised when other records come from the same files


def celebahq(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] = MODALITIES,
    seed: int = 0,
    folder: str | Path | None = None,
    side: int = 128,
    official: bool = True,
    num_workers: int = 2,
) -> RecordSource:
    """Open one split, and prepare the records first if that has not been done.

    num_rows: the first of an order drawn from the seed; None or 0 for the whole split.
    names: `image` [side, side, 3] uint8; `mask` [side, side, 1] uint8, 255 where any part but the skin
    is, grey at edges; `attributes` [18] float32 0 / 1, in the order of USED_ATTRIBUTES; and also
    `all_attributes` [40] uint8 0 / 1 and `index` int32, the number of the face.
    folder: by default `CelebAMask-HQ` in `data_dir()`.  official: as in `check_folder`.
    num_workers: processes that prepare, spawned, so that a script needs its `__main__` guard.

    Resizing is by Pillow's antialiased bilinear filter; the whole rule is in the records' description.

    Raises ValueError for arguments out of range, and where the data are absent or damaged.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 8 <= side <= 512:
        raise ValueError(f"side must be 8..512 pixels, got {side}")
    require_int("num_workers", num_workers, 1, MAX_WORKERS)
    unknown = set(names) - set(features(side))
    if unknown or not names:
        raise ValueError(f"names must be of {', '.join(features(side))}, got {', '.join(names)}")
    directory = prepare(Path(folder or data_dir() / FOLDER), side, official, num_workers)
    source = open_records(directory, split, names, num_rows, seed)
    return dataclasses.replace(source, entries=ENTRIES)


def prepare(folder: Path, side: int, official: bool = True, num_workers: int = 2) -> Path:
    """Return the directory of the records of a folder; make it, or go on making it, if need be.

    Raises ValueError as `check_folder`, and for all picture files that cannot be read: the others are
    kept, so that after mending only what is missing is read.
    """
    faces = check_folder(folder, official)
    root = data_dir() / "prepared"
    own = digest(VERSION, RULE, side, folder.resolve())
    target = root / f"celebahq-{side}-{digest(own, *state_of(folder, faces), faces)}"
    if target.exists():
        return target
    work = root / f"celebahq-{side}-{own}.part"
    with only_one(work):
        if not target.exists():
            shards = shards_of(work, folder.resolve(), faces, side)
            write_shards(folder, shards, num_workers)
            finish(work, target, shards, side)
    return target


def state_of(folder: Path, faces: list[Face]) -> list[object]:
    """Return what shows that files were changed: the tables, and when files came or went."""
    tables = [table for name in TABLES if (table := folder / name).exists()]
    contents = [hashlib.sha256(table.read_bytes()).hexdigest() for table in tables]
    files = (file for face in faces for file in (face.image, *face.masks))
    folders = sorted({os.path.dirname(file) for file in files})
    return [*contents, *((folder / name).stat().st_mtime_ns for name in folders)]


def shards_of(work: Path, folder: Path, faces: list[Face], side: int) -> dict[str, list[Chunk]]:
    """Cut each split into chunks. The name of a shard depends on what is to be in it."""
    shards = {}
    for split in SPLITS:
        members = [face for face in faces if face.split == split]
        chunks = [members[i : i + CHUNK_SIZE] for i in range(0, len(members), CHUNK_SIZE)]
        shards[split] = [
            Chunk(str(folder), chunk, side, str(work / f"{split}-{i:05d}-{digest(chunk)}"))
            for i, chunk in enumerate(chunks)
        ]
    return shards


def write_shards(folder: Path, shards: dict[str, list[Chunk]], num_workers: int) -> None:
    """Write the shards that are not there. Raises ValueError for all files that cannot be read."""
    chunks = [chunk for split in shards.values() for chunk in split]
    open_chunks = [chunk for chunk in chunks if not Path(chunk.path).exists()]
    total = sum(len(chunk.faces) for chunk in chunks)
    initial = total - sum(len(chunk.faces) for chunk in open_chunks)
    problems = Problems()
    with tqdm(
        total=total, initial=initial, desc=f"preparing {folder.name}", unit="face", disable=None
    ) as bar:

        def done(chunk: Chunk, damaged: list[str]) -> None:
            bar.update(len(chunk.faces))
            for file in damaged:
                problems.add("files that cannot be read", file)

        convert(open_chunks, num_workers, done)
    problems.raise_any(folder, f"Get them again from {PAGE}; what could be read is kept.")


def finish(work: Path, target: Path, shards: dict[str, list[Chunk]], side: int) -> None:
    """Turn finished shards into a data set of TFDS; it gets its name when it is whole."""
    whole = {
        split: [Shard(Path(chunk.path), len(chunk.faces)) for chunk in chunks]
        for split, chunks in shards.items()
    }
    publish(
        work, target, whole, features(side), "celebahq",
        description=f"CelebAMask-HQ at {side} pixels, by {RULE}.", homepage=PAGE,
        license="Non-commercial research only; not to be redistributed.",
    )  # fmt: skip
