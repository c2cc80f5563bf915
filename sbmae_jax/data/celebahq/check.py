"""What is in a folder of CelebAMask-HQ, and whether it is whole, before anything is read at length.

Two layouts are known: the original one (`celebahq_layout`), and `{train,val,test}_img/{N}.jpg` with
`{train,val,test}_mask/{N}.png`, where the masks are already united and the folder is the split.
Everything that is wrong is said at once. Pictures that cannot be decoded show only later.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTES,
    OFFICIAL_COUNTS,
    PARTS,
    mask_path,
    split_of,
)
from sbmae_jax.data.celebahq.tables import (
    NUM_FACES,
    NUMBER,
    Problems,
    read_attributes,
    read_mapping,
)

PAGE = "https://github.com/switchablenorms/CelebAMask-HQ"
TOY_COMMAND = "python launch.py --config=configs/celebahq.py:toy --workdir=runs/toy"
NUM_MALE = 11_057  # of the official data
IMAGES = "CelebA-HQ-img"
SPLIT_FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # of the second layout


class Face(NamedTuple):
    """One face: its number N, its split, its 40 attributes as bytes 0 / 1, and its files.

    image, masks: relative to the folder. masks: of the parts whose union is the mask modality; none
    where all of them are absent.
    """

    n: int
    split: str
    attributes: bytes
    image: str
    masks: tuple[str, ...]


def check_folder(folder: Path, official: bool = True) -> list[Face]:
    """Return the faces of a folder, ordered by number, after checking tables and file names.

    official: the data as their authors publish them, with the official number of faces in each split;
    otherwise the first line of the attribute file says how many faces there are.

    Raises ValueError where there are no data, and one for everything that is wrong with them.
    """
    original = (folder / IMAGES).is_dir()
    if not original and not (folder / "train_img").is_dir():
        raise ValueError(
            f"no CelebAMask-HQ data in {folder}: get them from {PAGE} (for non-commercial research "
            "only, not to be redistributed) and put the folder there, or name the folder around it in "
            f"SBMAE_DATA_DIR. To try everything without them: {TOY_COMMAND}"
        )
    problems = Problems()
    advice = f"Mend these, or get them again from {PAGE}."
    attributes = read_attributes(folder, official, problems)
    if not attributes:  # without them every file would be one too many
        problems.raise_any(folder, advice)
    list_files = list_original if original else list_split
    faces = list_files(folder, attributes, problems)
    if official:
        check_official(attributes, faces, problems)
    problems.raise_any(folder, advice)
    return faces


def list_original(folder: Path, attributes: dict[int, bytes], problems: Problems) -> list[Face]:
    """List the faces of the original layout."""
    mapping = read_mapping(folder, problems)
    compare("the mapping", mapping, attributes, problems)
    images = numbered(folder / IMAGES, ".jpg", problems)
    compare(IMAGES, images, attributes, problems)
    masks = list_masks(folder, attributes, problems)
    return [
        Face(n, split_of(mapping[n]), attributes[n], images[n], tuple(masks.get(n, ())))
        for n in sorted(attributes.keys() & mapping.keys() & images.keys())
    ]


def list_masks(
    folder: Path, attributes: dict[int, bytes], problems: Problems
) -> dict[int, list[str]]:
    """Return the masks of each face but the skin's. A part without a file is absent."""
    root = mask_path(folder, 0, "skin").parents[1]
    masks: dict[int, list[str]] = {}
    for group in names_in(root, problems):
        for name in names_in(root / group, problems):
            n, part = name[:5], name[6:-4]
            right = part in PARTS and n.isdigit() and f"{n}_{part}.png" == name
            if not right or str(int(n) // 2000) != group:
                problems.add("misnamed or misplaced files", f"{root.name}/{group}/{name}")
            elif int(n) not in attributes:
                problems.add("masks of unknown faces", f"{group}/{name}")
            else:
                of_face = masks.setdefault(int(n), [])
                if part != "skin":
                    of_face.append(f"{root.name}/{group}/{name}")
    for n in sorted(attributes.keys() - masks.keys()):
        problems.add("faces without any mask", n)
    return masks


def list_split(folder: Path, attributes: dict[int, bytes], problems: Problems) -> list[Face]:
    """List the faces of the layout with one folder for each split and united masks."""
    faces: dict[int, Face] = {}
    for split, name in SPLIT_FOLDERS.items():
        images = numbered(folder / f"{name}_img", ".jpg", problems)
        masks = numbered(folder / f"{name}_mask", ".png", problems)
        for n in sorted(images.keys() - masks.keys()):
            problems.add("faces without any mask", f"{name}_img/{n}.jpg")
        for n in sorted(masks.keys() - images.keys()):
            problems.add("masks without a picture", f"{name}_mask/{n}.png")
        for n in sorted(images.keys() & masks.keys()):
            if n in faces:
                problems.add("faces in two splits", n)
            faces[n] = Face(n, split, attributes.get(n, b""), images[n], (masks[n],))
    compare("the folders of pictures", faces, attributes, problems)
    return [faces[n] for n in sorted(faces)]


def check_official(attributes: dict[int, bytes], faces: list[Face], problems: Problems) -> None:
    """Compare with the numbers that the data have as published."""
    male = sum(row[ATTRIBUTES.index("Male")] for row in attributes.values())
    if len(attributes) == NUM_FACES and male != NUM_MALE:
        problems.add("wrong counts of an attribute", f"Male {male:,}, not {NUM_MALE:,}")
    if len(faces) == NUM_FACES and not faces[0].image.startswith("train_img"):
        for split, wanted in OFFICIAL_COUNTS.items():
            found = sum(face.split == split for face in faces)
            if found != wanted:
                problems.add("wrong sizes of splits", f"{split} {found:,}, not {wanted:,}")


def compare(
    where: str, found: Iterable[int], attributes: dict[int, bytes], problems: Problems
) -> None:
    """Report the faces that stand in one of two places only."""
    numbers = set(found)
    for n in sorted(attributes.keys() - numbers):
        problems.add(f"faces missing in {where}", n)
    for n in sorted(numbers - attributes.keys()):
        problems.add(f"faces in {where} that have no row of attributes", n)


def numbered(folder: Path, suffix: str, problems: Problems) -> dict[int, str]:
    """Return the files `{N}{suffix}` of a folder under their numbers."""
    pattern, files = re.compile(NUMBER + re.escape(suffix)), {}
    for name in names_in(folder, problems):
        if match := pattern.fullmatch(name):
            files[int(match[1])] = f"{folder.name}/{name}"
        else:
            problems.add("misnamed or misplaced files", f"{folder.name}/{name}")
    return files


def names_in(folder: Path, problems: Problems) -> list[str]:
    """Return the names in a folder, in order, but for the hidden ones, which are of the desktop."""
    if not folder.is_dir():
        problems.add("folders missing", folder.name)
        return []
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
