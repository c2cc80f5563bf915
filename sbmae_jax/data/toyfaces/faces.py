"""ToyFaces: drawn faces in CelebAMask-HQ's layout on disk, to try everything without that data set.

No face is a picture of a person. Each is drawn from a few random choices (`character`), and its image, its
part masks and its 40 attributes all follow from them, so that they agree. A face depends on (seed, index)
alone: a larger folder begins with the faces of a smaller one.
"""

import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from sbmae_jax._check import require_int, require_seed
from sbmae_jax._io import as_path, write_atomically
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
from sbmae_jax.data.source import apportion
from sbmae_jax.data.toyfaces.character import Character, random_character
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

# From the back to the front. Brows are drawn over bangs, as in cartoons, so that they always show.
_LAYERS = (
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
# The parts that the mask of the skin covers.
_ON_SKIN = tuple(part for part in PARTS[: PARTS.index("hair")] if part not in ("l_ear", "r_ear"))

_MARKER_FILE = "toyfaces.json"
VERSION = 1  # of the drawing: increase it when the same arguments give different images
MAX_FACES = 100_000  # since file names have five digits


class DrawnFace(NamedTuple):
    """One face, with its parts and attributes.

    Attributes:
        image: [side, side, 3] uint8.
        parts: What is seen of each of PARTS: {name: [mask_side, mask_side] bool}. Absent or hidden parts are
            not there.
        attributes: [40] bool, in the order of ATTRIBUTES.
        character: What was chosen for it.
    """

    image: np.ndarray
    parts: dict[str, np.ndarray]
    attributes: np.ndarray
    character: Character


def character_of(seed: int, index: int) -> Character:
    """Return the character of one face of a folder."""
    return random_character(np.random.default_rng((seed, index)))


def attributes_of(c: Character) -> np.ndarray:
    """Return the attributes of a character [40] bool, in the order of ATTRIBUTES."""
    return np.array([name in c.traits for name in ATTRIBUTES])


def draw_face(seed: int, index: int, side: int, mask_side: int | None = None) -> DrawnFace:
    """Draw one face.

    Args:
        seed: In 0..2**32 - 1.
        index: 0 or more.
        side: The side of the image, in pixels. Another side shows the same face.
        mask_side: The side of the masks, by default half of `side`. Below 32, a small part can be lost.

    Returns:
        The face; the same arguments give the same bytes.

    Example:
        >>> face = draw_face(seed=0, index=1, side=64)
        >>> face.image.shape, face.parts["skin"].shape, face.attributes.shape
        ((64, 64, 3), (32, 32), (40,))
    """
    require_int("index", index)
    c = character_of(require_seed("seed", seed), index)
    strokes = [stroke for layer in _LAYERS for stroke in layer(c)]
    image, labels = paint(c, strokes, side, mask_side or side // 2)
    present = np.bincount(labels.ravel(), minlength=len(PARTS) + 1) > 0
    parts = {part: labels == k for k, part in enumerate(PARTS, 1) if present[k]}
    parts["skin"] = np.array([False, *(part in _ON_SKIN for part in PARTS)])[labels]
    return DrawnFace(image, parts, attributes_of(c), c)


def write_toyfaces(
    folder: str | Path,
    num_faces: int,
    seed: int = 0,
    side: int = 1024,
    mask_side: int | None = None,
    num_processes: int = 1,
) -> None:
    """Write the faces 0..num_faces-1 to a folder in CelebAMask-HQ's layout.

    Only one process may call this for a folder at a time. An interrupted call is resumed by the next one, and
    a complete folder is left alone: the table of attributes is written last, so where it exists, all is
    there.

    Args:
        folder: The folder.
        num_faces: The number of faces, 1..100,000.
        seed: In 0..2**32 - 1.
        side: The side of the images, in pixels.
        mask_side: The side of the masks, by default half of `side`.
        num_processes: How many processes draw. They are spawned, so a script needs its `__main__` guard.

    Raises:
        ValueError: If a number is out of range, or the folder holds anything else.
    """
    require_int("num_faces", num_faces, 1, MAX_FACES)
    require_int("side", side, 2)
    seed = require_seed("seed", seed)
    root, mask_side = as_path(folder), mask_side or side // 2
    _claim(root, num_faces=num_faces, seed=seed, side=side, mask_side=mask_side)
    if (root / ATTRIBUTE_FILE).exists():
        return
    for n in range(0, num_faces, 2000):
        mask_path(root, n, "skin").parent.mkdir(parents=True, exist_ok=True)
    image_path(root, 0).parent.mkdir(exist_ok=True)
    write_one = functools.partial(_write_face, root, seed, side, mask_side)
    if num_processes == 1:
        for n in range(num_faces):
            write_one(n)
    else:  # spawned, since a fork of a process that runs JAX can hang
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
            for _ in pool.map(write_one, range(num_faces), chunksize=64):
                pass
    write_tables(root, num_faces, seed)


def _claim(root: Path, **parameters: int) -> None:
    """Mark a new folder with its parameters; raises ValueError for one that holds anything else."""
    marker, wanted = root / _MARKER_FILE, {"version": VERSION, **parameters}
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
    write_atomically(marker, lambda file: file.write(json.dumps(wanted).encode()))


def _write_face(root: Path, seed: int, side: int, mask_side: int, n: int) -> None:
    """Write face n, unless it is there; its image is written last, after all masks."""
    if image_path(root, n).exists():
        return
    face = draw_face(seed, n, side, mask_side)
    for part, mask in face.parts.items():
        channel = Image.fromarray(mask.astype(np.uint8) * 255)
        merged = Image.merge("RGB", [channel] * 3)
        save = functools.partial(merged.save, format="PNG", compress_level=3)
        write_atomically(mask_path(root, n, part), save)
    image = Image.fromarray(face.image)
    save = functools.partial(image.save, format="JPEG", quality=92, subsampling=0)
    write_atomically(image_path(root, n), save)


def write_tables(root: Path, num_faces: int, seed: int) -> None:
    """Write the mapping, the poses and, last, the attributes of the faces 0..num_faces-1."""
    originals = original_indices(num_faces, seed)
    attributes, poses = [str(num_faces), " ".join(ATTRIBUTES)], [str(num_faces), "Yaw Pitch Raw"]
    for n in range(num_faces):
        c = character_of(seed, n)
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
        content = "".join(line + "\n" for line in lines).encode()
        write_atomically(root / name, lambda file, content=content: file.write(content))


def split_counts(num_faces: int) -> dict[str, int]:
    """Return how many faces each split gets, in the official shares, by largest remainders."""
    counts = apportion(np.array(list(OFFICIAL_COUNTS.values())), num_faces)
    return dict(zip(OFFICIAL_COUNTS, counts.tolist(), strict=True))


def original_indices(num_faces: int, seed: int) -> np.ndarray:
    """Invent the number in CelebA of each face, which decides its split: [num_faces], all distinct."""
    # Three numbers, unlike the two of a face's generator.
    rng = np.random.default_rng((seed, num_faces, 1))
    firsts = [*FIRST_ORIGINAL.values(), NUM_ORIGINALS]
    drawn = [
        first + rng.choice(end - first, count, replace=False)
        for first, end, count in zip(
            firsts[:-1], firsts[1:], split_counts(num_faces).values(), strict=True
        )
    ]
    return rng.permutation(np.concatenate(drawn))
