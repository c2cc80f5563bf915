"""CelebAMask-HQ (Lee, Liu, Wu and Luo, 2020): photographs of faces, with masks and attributes.

The data are for non-commercial research only and must not be redistributed, so none are part of this project:
download them from their authors (`check.PAGE`). The folder is read once, into records in `prepared/`, which
are then read at random. Records belong to one folder, one list of its files and one image size; others are
made if any of these changes. An image that is overwritten by another of the same name goes unnoticed: delete
`prepared/` after that.
"""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sbmae_jax._check import require_int, require_one_of, require_seed
from sbmae_jax._io import as_path
from sbmae_jax.data.celebahq.check import PAGE, Face, check_folder
from sbmae_jax.data.celebahq.convert import RULE, PendingShard, convert, record_features
from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    FOLDER,
    MAPPING_FILE,
    USED_ATTRIBUTES,
)
from sbmae_jax.data.celebahq.tables import Problems
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.prepared import Shard, digest, explain_full_disk, lock, publish
from sbmae_jax.data.records import RecordSource, open_records
from sbmae_jax.data.source import SPLITS

MODALITIES = ("image", "mask", "attributes")
_ENTRIES = {
    "attributes": tuple(ATTRIBUTES[i] for i in USED_ATTRIBUTES), "all_attributes": ATTRIBUTES,
}  # fmt: skip
_TABLES = (ATTRIBUTE_FILE, MAPPING_FILE)
MAX_WORKERS = 1000
SHARD_SIZE = 256  # faces: a shard of 15 MB; an interruption loses no more than one
VERSION = 1  # of the preparation: increase it when the same files give different records


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
    """Open one split; the first time, this prepares the records.

    Args:
        split: "train", "valid" or "test": the official splits.
        num_rows: How many rows, of an order drawn from the seed; None or 0 for all.
        names: The arrays: `image` [side, side, 3] uint8; `mask` [side, side, 1] uint8, 255 where any part
            but the skin is, grey at the edges; `attributes` [18] float32, 0 or 1, the paper's selection;
            and also `all_attributes` [40] uint8, and `index` int32, the number of the face.
        seed: Decides the order of the rows.
        folder: The folder of the data; None for `CelebAMask-HQ` in `data_dir()`.
        side: The side of images and masks in pixels, 8..512. They are resized by Pillow's antialiased
            bilinear filter; the records' description has the whole rule.
        official: As in `check_folder`.
        num_workers: How many processes prepare the records. They are spawned, so a script needs its
            `__main__` guard.

    Returns:
        The data set.

    Raises:
        ValueError: If an argument is out of range, or the data do not exist or are damaged.

    Example:
        Train images of 64 pixels, with the data in $SBMAE_DATA_DIR/CelebAMask-HQ::

            source = celebahq("train", side=64)
            source[0]["image"]  # [64, 64, 3] uint8
    """
    require_one_of("split", split, SPLITS)
    require_seed("seed", seed)
    require_int("side", side, 8, 512)
    require_int("num_workers", num_workers, 1, MAX_WORKERS)
    known = tuple(record_features(side))
    if not names or set(names) - set(known):
        raise ValueError(f"names must be of {', '.join(known)}, got {', '.join(names)}")
    directory = prepare(as_path(folder or data_dir() / FOLDER), side, official, num_workers)
    source = open_records(directory, split, names, num_rows, seed)
    return dataclasses.replace(source, entries=_ENTRIES)


def prepare(folder: Path, side: int, official: bool = True, num_workers: int = 2) -> Path:
    """Prepare the records of a folder, or resume preparing them; nothing is done if they are complete.

    Args:
        folder: The folder of the data.
        side: As in `celebahq`.
        official: As in `check_folder`.
        num_workers: As in `celebahq`.

    Returns:
        The folder of the records.

    Raises:
        ValueError: As `check_folder`, if the disk is full, and one that lists all image files that cannot be
            read. What could be read is kept, so that once these are fixed only they are read.
    """
    faces = check_folder(folder, official)
    root = data_dir() / "prepared"
    own = digest(VERSION, RULE, side, folder.resolve())
    target = root / f"celebahq-{side}-{digest(own, *_folder_state(folder, faces), faces)}"
    if target.exists():
        return target
    work = root / f"celebahq-{side}-{own}.part"
    size = 5 * side**2 * len(faces)  # an image and a mask, and some room
    with explain_full_disk(root, size), lock(work):
        if not target.exists():
            shards = _plan_shards(work, folder.resolve(), faces, side)
            _write_shards(folder, [*itertools.chain(*shards.values())], num_workers)
            _finish(work, target, shards, side)
    return target


def _folder_state(folder: Path, faces: list[Face]) -> list[object]:
    """Return what changes when files do: the content of the tables, and when files came or went."""
    tables = [table for name in _TABLES if (table := folder / name).exists()]
    contents = [hashlib.sha256(table.read_bytes()).hexdigest() for table in tables]
    files = (file for face in faces for file in (face.image, *face.masks))
    folders = sorted({os.path.dirname(file) for file in files})
    return [*contents, *((folder / name).stat().st_mtime_ns for name in folders)]


def _plan_shards(
    work: Path, folder: Path, faces: list[Face], side: int
) -> dict[str, list[PendingShard]]:
    """Cut each split into shards; the name of a shard depends on what is to be in it."""
    shards = {}
    for split in SPLITS:
        members = [face for face in faces if face.split == split]
        parts = [members[i : i + SHARD_SIZE] for i in range(0, len(members), SHARD_SIZE)]
        shards[split] = [
            PendingShard(str(folder), part, side, str(work / f"{split}-{i:05d}-{digest(part)}"))
            for i, part in enumerate(parts)
        ]
    return shards


def _write_shards(folder: Path, shards: list[PendingShard], num_workers: int) -> None:
    """Write the missing shards; raises one ValueError for all files that cannot be read."""
    missing = [shard for shard in shards if not Path(shard.path).exists()]
    total = sum(len(shard.faces) for shard in shards)
    initial = total - sum(len(shard.faces) for shard in missing)
    problems = Problems()
    with tqdm(
        total=total, initial=initial, desc=f"preparing {folder.name}", unit="face", disable=None
    ) as bar:

        def done(shard: PendingShard, damaged: list[str]) -> None:
            bar.update(len(shard.faces))
            for file in damaged:
                problems.add("files that cannot be read", file)

        convert(missing, num_workers, done)
    problems.raise_any(folder, f"Download them again from {PAGE}; what could be read is kept.")


def _finish(work: Path, target: Path, shards: dict[str, list[PendingShard]], side: int) -> None:
    """Publish finished shards as a data set of TFDS."""
    finished = {
        split: [Shard(Path(shard.path), len(shard.faces)) for shard in pending]
        for split, pending in shards.items()
    }
    publish(
        work, target, finished, record_features(side), "celebahq",
        description=f"CelebAMask-HQ at {side} pixels, by {RULE}.", homepage=PAGE,
        license="Non-commercial research only; not to be redistributed.",
    )  # fmt: skip
