"""ToyFaces: drawn faces in CelebAMask-HQ's layout on disk, to try everything without its licence.

Never a picture of a person: each face is drawn from a few random choices (`toyfaces_choices`), and
its picture, its part masks and its 40 attributes all follow from them, so that they agree. A face
depends on (seed, index) alone: a larger folder begins with the faces of a smaller one.
"""

import functools
import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    FIRST_ORIGINAL,
    MAPPING_FILE,
    NUM_ORIGINALS,
    OFFICIAL_COUNTS,
    PARTS,
    POSE_FILE,
    image_path,
    mask_path,
)
from sbmae_jax.data.toyfaces.choices import Choices, choose
from sbmae_jax.data.toyfaces.features import (
    beard,
    body,
    brows,
    ears,
    eyes,
    face,
    glasses,
    mouth,
    mustache,
    nose,
)
from sbmae_jax.data.toyfaces.hair import bangs, bare, cap, earrings, hair_behind, hat, locks
from sbmae_jax.data.toyfaces.strokes import paint

# From the back to the front. Brows are drawn on bangs, as cartoons do, so that they always show.
LAYERS = (
    hair_behind,
    body,
    ears,
    face,
    bare,
    beard,
    nose,
    mouth,
    mustache,
    glasses,
    eyes,
    cap,
    bangs,
    brows,
    locks,
    hat,
    earrings,
)
FACE = PARTS[: PARTS.index("hair")]  # what the skin's mask covers, ...
EARS = ("l_ear", "r_ear")  # ... but for these

MARKER_FILE = "toyfaces.json"
VERSION = 1  # of the drawing: to be raised when other pictures come from the same arguments
MAX_FACES = 100_000  # file names have five digits


class Face(NamedTuple):
    """One face, its parts and attributes.

    image: [side, side, 3] uint8. parts: name -> [mask_side, mask_side] bool, of what is seen of each
    part of PARTS; an absent or hidden one is not there. attributes: [40] bool, as in ATTRIBUTES.
    """

    image: np.ndarray
    parts: dict[str, np.ndarray]
    attributes: np.ndarray
    choices: Choices


def choices_of(seed: int, index: int) -> Choices:
    return choose(np.random.default_rng((seed, index)))


def attributes_of(c: Choices) -> np.ndarray:
    """Return the attributes [40] bool, in the order of ATTRIBUTES."""
    return np.array([name in c.traits for name in ATTRIBUTES])


def draw_face(seed: int, index: int, side: int, mask_side: int | None = None) -> Face:
    """Draw one face; the same arguments give the same bytes, and other sides the same face.

    seed, index: 0 or more. side, mask_side: of picture and masks in pixels, by default half as many
    for the masks; with fewer than 32 a small part can be lost.
    """
    c = choices_of(seed, index)
    strokes = [stroke for layer in LAYERS for stroke in layer(c)]
    image, labels = paint(c, strokes, side, mask_side or side // 2)
    present = np.bincount(labels.ravel(), minlength=len(PARTS) + 1) > 0
    parts = {part: labels == k for k, part in enumerate(PARTS, 1) if present[k]}
    on_skin = [part in FACE and part not in EARS for part in PARTS]
    parts["skin"] = np.array([False, *on_skin])[labels]
    return Face(image, parts, attributes_of(c), c)


def write_toyfaces(
    folder: str | Path,
    num_faces: int,
    seed: int = 0,
    side: int = 1024,
    mask_side: int | None = None,
    num_processes: int = 1,
) -> None:
    """Write faces 0..num_faces-1 to a folder laid out as CelebAMask-HQ; for one writer at a time.

    num_faces: 1..100,000. side: of the pictures in pixels; mask_side: of the masks, by default half.
    num_processes: that draw; they are spawned, so that a script needs its `__main__` guard.

    What was interrupted is taken up where it stopped, and a folder that is complete is left alone.
    The table of attributes is written last: where it stands, all is there.

    Raises ValueError for a number out of range, and for a folder that holds anything else.
    """
    if not 1 <= num_faces <= MAX_FACES:
        raise ValueError(f"num_faces must be 1..{MAX_FACES:,}, got {num_faces:,}")
    if side < 2 or seed < 0:
        raise ValueError(f"side must be at least 2 and seed at least 0, got {side} and {seed}")
    root, mask_side = Path(folder), mask_side or side // 2
    claim(root, num_faces=num_faces, seed=seed, side=side, mask_side=mask_side)
    if (root / ATTRIBUTE_FILE).exists():
        return
    for n in range(0, num_faces, 2000):
        mask_path(root, n, "skin").parent.mkdir(parents=True, exist_ok=True)
    image_path(root, 0).parent.mkdir(exist_ok=True)
    write = functools.partial(write_face, root, seed, side, mask_side)
    if num_processes == 1:
        for n in range(num_faces):
            write(n)
    else:  # spawned: a fork of a process in which JAX runs can hang
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
            for _ in pool.map(write, range(num_faces), chunksize=64):
                pass
    write_tables(root, num_faces, seed)


def claim(root: Path, **parameters: int) -> None:
    """Mark a new folder with its parameters; raise ValueError for one that holds anything else."""
    marker, wanted = root / MARKER_FILE, {"version": VERSION, **parameters}
    if marker.exists():
        found = json.loads(marker.read_text())
        if found != wanted:
            raise ValueError(
                f"{root} holds ToyFaces of {found}, not {wanted}: choose another folder"
            )
        return
    root.mkdir(parents=True, exist_ok=True)
    if any(path.suffix != ".part" for path in root.iterdir()):
        raise ValueError(f"{root} holds files that are not ToyFaces: choose another folder")
    write_whole(marker, json.dumps(wanted).encode())


def write_face(root: Path, seed: int, side: int, mask_side: int, n: int) -> None:
    """Write face n, unless it is there; the picture comes last, to say that the masks are there."""
    if image_path(root, n).exists():
        return
    face = draw_face(seed, n, side, mask_side)
    for part, mask in face.parts.items():
        channel = Image.fromarray(mask.astype(np.uint8) * 255)
        picture = Image.merge("RGB", [channel] * 3)
        write_whole(mask_path(root, n, part), encoded(picture, "PNG", compress_level=3))
    picture = encoded(Image.fromarray(face.image), "JPEG", quality=92, subsampling=0)
    write_whole(image_path(root, n), picture)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that under its own it is never cut short."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def write_tables(root: Path, num_faces: int, seed: int) -> None:
    """Write mapping, poses and, last, attributes."""
    originals = original_indices(num_faces, seed)
    attributes, poses = [str(num_faces), " ".join(ATTRIBUTES)], [str(num_faces), "Yaw Pitch Raw"]
    for n in range(num_faces):
        c = choices_of(seed, n)
        signs = ("1" if holds else "-1" for holds in attributes_of(c))
        attributes.append(f"{n}.jpg  {' '.join(signs)}")
        angles = (25 * c.pose.yaw, 12 * c.pose.pitch, np.degrees(c.pose.roll))
        poses.append(f"{n}.jpg {' '.join(f'{angle:.6f}' for angle in angles)}")
    mapping = [f"{n} {o} {o + 1:06d}.jpg" for n, o in enumerate(originals)]
    for name, lines in (
        (MAPPING_FILE, ["idx orig_idx orig_file", *mapping]),
        (POSE_FILE, poses),
        (ATTRIBUTE_FILE, attributes),
    ):
        write_whole(root / name, "".join(line + "\n" for line in lines).encode())


def split_counts(num_faces: int) -> dict[str, int]:
    """Return how many faces each split gets: the official shares, by largest remainders."""
    total = sum(OFFICIAL_COUNTS.values())
    counts = {name: num_faces * count // total for name, count in OFFICIAL_COUNTS.items()}
    by_remainder = sorted(counts, key=lambda name: -(num_faces * OFFICIAL_COUNTS[name] % total))
    for name in by_remainder[: num_faces - sum(counts.values())]:
        counts[name] += 1
    return counts


def original_indices(num_faces: int, seed: int) -> np.ndarray:
    """Invent for each face its number in CelebA, by which it is split: [num_faces], all different."""
    rng = np.random.default_rng((seed, num_faces, 1))  # no face's generator has three numbers
    firsts = [*FIRST_ORIGINAL.values(), NUM_ORIGINALS]
    drawn = [
        first + rng.choice(end - first, count, replace=False)
        for first, end, count in zip(
            firsts[:-1], firsts[1:], split_counts(num_faces).values(), strict=True
        )
    ]
    return rng.permutation(np.concatenate(drawn))
