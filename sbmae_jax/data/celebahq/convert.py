"""From the picture files of faces to records: read, unite the masks, resize, write one shard.

JPEGs are decoded by Pillow, which skips detail that the resizing would remove anyway. Nearly all
files are masks, and most of the time goes into inflating their PNGs: TensorStore does that about
four times as fast as Pillow, and where it declines a file, Pillow reads it.
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

from sbmae_jax.data.celebahq.check import Face
from sbmae_jax.data.celebahq.layout import ATTRIBUTES, USED_ATTRIBUTES
from sbmae_jax.data.prepared import tensor, write_records

RULE = (
    "Pillow's bilinear filter, antialiased, on 8-bit channels; a JPEG is first decoded at the smallest of "
    "1/1, 1/2, 1/4 or 1/8 of its size that is at least twice the side wanted; masks are united first"
)
BILINEAR = Image.Resampling.BILINEAR


class Chunk(NamedTuple):
    """Faces that become one shard, at a path that is there when the shard is whole."""

    folder: str
    faces: list[Face]
    side: int
    path: str


def features(side: int) -> tfds.features.FeaturesDict:
    """Return what a record holds."""
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
    chunks: list[Chunk], num_workers: int, done: Callable[[Chunk, list[str]], None]
) -> None:
    """Write the shards; `done` gets each chunk with the files that could not be read.

    A chunk with such files leaves no shard. num_workers: processes; with one, all is done in this one.
    """
    num_workers = min(num_workers, len(chunks))
    if num_workers <= 1:
        for chunk in chunks:
            done(chunk, write_shard(chunk))
        return
    # Spawned: a fork of a process in which JAX runs can hang.
    pool = ProcessPoolExecutor(num_workers, get_context("spawn"), initializer=follow_parent)
    with pool:
        futures = {pool.submit(write_shard, chunk): chunk for chunk in chunks}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        finally:
            pool.shutdown(cancel_futures=True)


def follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_shard(chunk: Chunk) -> list[str]:
    """Write the shard of a chunk, or return which of its files cannot be read, and why."""
    kinds, records, damaged = features(chunk.side), [], []
    for face in chunk.faces:
        example = read_face(Path(chunk.folder), face, chunk.side, damaged)
        if not damaged:
            records.append(kinds.serialize_example(example))
    if damaged:
        return damaged
    write_records(Path(chunk.path), records)
    return []


def read_face(folder: Path, face: Face, side: int, damaged: list[str]) -> dict[str, np.ndarray]:
    """Return the record of a face; what cannot be read is added to `damaged`."""
    image, union = np.zeros((side, side, 3), np.uint8), None
    try:
        image = read_image(folder / face.image, side)
    except Exception as error:  # a decoder raises what it likes
        damaged.append(describe(face.image, error))
    for name in face.masks:
        try:
            mask = read_png(folder / name)
            union = mask if union is None else unite(union, mask)
        except Exception as error:
            damaged.append(describe(name, error))
    bits = np.frombuffer(face.attributes, np.uint8)
    return {
        "image": image,
        "mask": resize_mask(union, side),
        "attributes": bits[list(USED_ATTRIBUTES)].astype(np.float32),
        "all_attributes": bits,
        "index": np.array(face.n, np.int32),
    }


def describe(name: str, error: Exception) -> str:
    """Say in a few words what is the matter with a file."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{name}: {reason[:60]}"


def read_image(path: Path, side: int) -> np.ndarray:
    """Read a picture as [side, side, 3] uint8."""
    with Image.open(path) as image:
        check_square(image.size)
        image.draft("RGB", (2 * side, 2 * side))
        return np.asarray(image.convert("RGB").resize((side, side), BILINEAR))


def read_png(path: Path) -> np.ndarray:
    """Read a mask as [height, width, channels] uint8, where all channels are equal."""
    spec = {"driver": "png", "kvstore": {"driver": "file", "path": str(path)}}
    try:
        png = tensorstore.open(spec, read=True, open=True, context=one_thread()).result()
        array = png.read().result()
    except Exception:  # it is for Pillow to say that a file is damaged
        array = None
    if array is None or array.dtype != np.uint8 or array.shape[2] not in (1, 3):
        with Image.open(path) as image:
            array = np.array(image.convert("L"))[..., None]
    check_square(array.shape[:2])
    return array


@functools.cache
def one_thread() -> tensorstore.Context:
    """Return the setting under which TensorStore uses one core, as there are as many processes."""
    one = {"limit": 1}
    return tensorstore.Context({"data_copy_concurrency": one, "file_io_concurrency": one})


def unite(union: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Add a mask to a union, in place where the channels allow it."""
    if union.shape[:2] != mask.shape[:2]:
        raise ValueError(f"its size {mask.shape[:2]} is not that of other masks, {union.shape[:2]}")
    if union.shape != mask.shape:
        union, mask = np.ascontiguousarray(union[..., :1]), mask[..., :1]
    return np.maximum(union, mask, out=union)


def resize_mask(union: np.ndarray | None, side: int) -> np.ndarray:
    """Return [side, side, 1] uint8, 255 where any part is and grey at the edges."""
    if union is None:
        return np.zeros((side, side, 1), np.uint8)
    binary = np.where(union[..., 0] > 127, np.uint8(255), np.uint8(0))
    return np.asarray(Image.fromarray(binary).resize((side, side), BILINEAR))[..., None]


def check_square(size: tuple[int, ...]) -> None:
    """Raise ValueError for a picture that resizing would distort."""
    if size[0] != size[1]:
        raise ValueError(f"its size is {size[0]}x{size[1]}, not square")
