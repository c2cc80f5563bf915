"""Image files of faces to records: read them, unite the masks, resize, and write one shard.

JPEGs are decoded by Pillow, which skips detail that resizing would remove anyway. Nearly all files are masks,
and most of the time is spent decompressing their PNGs. TensorStore does that about four times as fast as
Pillow, which reads only the files that TensorStore declines.
"""

import functools
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
import tensorstore
from PIL import Image

from sbmae_jax._io import one_line
from sbmae_jax.data.celebahq.check import Face
from sbmae_jax.data.celebahq.layout import ATTRIBUTES, USED_ATTRIBUTES
from sbmae_jax.data.prepared import tensor, write_records

RULE = (
    "Pillow's bilinear filter, antialiased, on 8-bit channels; a JPEG is first decoded at the smallest of "
    "1/1, 1/2, 1/4 or 1/8 of its size that is at least twice the side wanted; masks are united first"
)
_BILINEAR = Image.Resampling.BILINEAR


class PendingShard(NamedTuple):
    """Faces that are to become one shard.

    Attributes:
        folder: The folder of the data.
        faces: The faces.
        side: The side of images and masks, in pixels.
        path: The file of the shard; it exists when the shard is complete.
    """

    folder: str
    faces: list[Face]
    side: int
    path: str


def record_features(side: int) -> tfds.features.FeaturesDict:
    """Return what a record holds, with images and masks of so many pixels a side."""
    return tfds.features.FeaturesDict(
        {
            "image": tensor((side, side, 3), np.uint8),
            "mask": tensor((side, side, 1), np.uint8),
            "attributes": tensor((len(USED_ATTRIBUTES),), np.float32),
            "all_attributes": tensor((len(ATTRIBUTES),), np.uint8),
            "index": tensor((), np.int32),
        }
    )


def convert(
    shards: list[PendingShard], num_workers: int, done: Callable[[PendingShard, list[str]], None]
) -> None:
    """Write shards, in parallel.

    Args:
        shards: What to write.
        num_workers: The number of processes; with one, this process does everything.
        done: Called for each shard with the files that could not be read. A shard with such files is not
            written.
    """
    num_workers = min(num_workers, len(shards))
    if num_workers <= 1:
        for shard in shards:
            done(shard, write_shard(shard))
        return
    # Spawned, since a fork of a process that runs JAX can hang.
    pool = ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=_follow_parent)
    with pool:
        futures = {pool.submit(write_shard, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it ends, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_shard(shard: PendingShard) -> list[str]:
    """Write a shard, or return which of its files cannot be read and why."""
    features, records, damaged = record_features(shard.side), [], []
    for face in shard.faces:
        example = _read_face(Path(shard.folder), face, shard.side, damaged)
        if not damaged:
            records.append(features.serialize_example(example))
    if damaged:
        return damaged
    write_records(Path(shard.path), records)
    return []


def _read_face(folder: Path, face: Face, side: int, damaged: list[str]) -> dict[str, np.ndarray]:
    """Return the record of a face; add what cannot be read to `damaged`."""
    image, union = np.zeros((side, side, 3), np.uint8), None
    try:
        image = read_image(folder / face.image, side)
    except Exception as error:  # decoders document no types
        damaged.append(f"{face.image}: {one_line(error, 60)}")
    for name in face.masks:
        try:
            mask = read_png(folder / name)
            union = mask if union is None else _unite(union, mask)
        except Exception as error:
            damaged.append(f"{name}: {one_line(error, 60)}")
    bits = np.frombuffer(face.attributes, np.uint8)
    return {
        "image": image,
        "mask": resize_mask(union, side),
        "attributes": bits[list(USED_ATTRIBUTES)].astype(np.float32),
        "all_attributes": bits,
        "index": np.array(face.n, np.int32),
    }


def read_image(path: Path, side: int) -> np.ndarray:
    """Read a square image as [side, side, 3] uint8."""
    with Image.open(path) as image:
        _check_square(image.size)
        image.draft("RGB", (2 * side, 2 * side))
        return np.asarray(image.convert("RGB").resize((side, side), _BILINEAR))


def read_png(path: Path) -> np.ndarray:
    """Read a square mask as [height, width, channels] uint8; all channels are equal."""
    spec = {"driver": "png", "kvstore": {"driver": "file", "path": str(path)}}
    try:
        png = tensorstore.open(spec, read=True, open=True, context=_one_thread()).result()
        array = png.read().result()
    except Exception:  # Pillow decides whether the file is damaged
        array = None
    if array is None or array.dtype != np.uint8 or array.shape[2] not in (1, 3):
        with Image.open(path) as image:
            array = np.array(image.convert("L"))[..., None]
    _check_square(array.shape[:2])
    return array


@functools.cache
def _one_thread() -> tensorstore.Context:
    """Return the context in which TensorStore uses one core, since there is a process for each."""
    one = {"limit": 1}
    return tensorstore.Context({"data_copy_concurrency": one, "file_io_concurrency": one})


def _unite(union: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Add a mask to a union, in place where the channels allow it."""
    if union.shape[:2] != mask.shape[:2]:
        raise ValueError(f"its size {mask.shape[:2]} differs from other masks, {union.shape[:2]}")
    if union.shape != mask.shape:
        union, mask = np.ascontiguousarray(union[..., :1]), mask[..., :1]
    return np.maximum(union, mask, out=union)


def resize_mask(union: np.ndarray | None, side: int) -> np.ndarray:
    """Resize a union of masks to [side, side, 1] uint8: 255 inside, grey at the edges."""
    if union is None:
        return np.zeros((side, side, 1), np.uint8)
    binary = np.where(union[..., 0] > 127, np.uint8(255), np.uint8(0))
    return np.asarray(Image.fromarray(binary).resize((side, side), _BILINEAR))[..., None]


def _check_square(size: tuple[int, ...]) -> None:
    """Raise ValueError for an image that resizing would distort."""
    if size[0] != size[1]:
        raise ValueError(f"its size is {size[0]}x{size[1]}, not square")
