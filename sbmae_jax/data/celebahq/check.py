"""What a folder of CelebAMask-HQ holds, and whether it is complete, before any image is read.

Two layouts are known: the original one (`layout`), and `{train,val,test}_img/{N}.jpg` with
`{train,val,test}_mask/{N}.png`, where masks are already united and the folders are the splits. Everything
that is wrong is reported at once; images that cannot be decoded are found only later.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTES,
    IMAGE_FOLDER,
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
_TOY_COMMAND = "python launch.py --config=configs/celebahq.py:toy --workdir=runs/toy"
_NUM_MALE = 11_057  # of the official data
_SPLIT_FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # of the second layout


class Face(NamedTuple):
    """The files of one face.

    Attributes:
        n: Its number.
        split: Its split.
        attributes: Its 40 attributes, as bytes 0 or 1.
        image: The path of its image, relative to the folder.
        masks: The paths of the masks whose union is the mask modality; none if all these parts are absent.
    """

    n: int
    split: str
    attributes: bytes
    image: str
    masks: tuple[str, ...]


def check_folder(folder: Path, official: bool = True) -> list[Face]:
    """Check the tables and the file names of a folder, and list its faces.

    Args:
        folder: The folder, in either layout.
        official: Whether the data must be as their authors publish them, with the official number of faces
            in each split; otherwise the first line of the attribute file says how many there are.

    Returns:
        The faces, ordered by number.

    Raises:
        ValueError: If there are no data, or one that reports everything that is wrong with them.
    """
    original = (folder / IMAGE_FOLDER).is_dir()
    if not original and not (folder / "train_img").is_dir():
        raise ValueError(
            f"no CelebAMask-HQ data in {folder}: download them from {PAGE} (for non-commercial research "
            "only, not to be redistributed) and put the folder there, or set SBMAE_DATA_DIR to its parent; "
            f"to try everything without them: {_TOY_COMMAND}"
        )
    problems = Problems()
    advice = f"Fix these, or download the data again from {PAGE}."
    attributes = read_attributes(folder, official, problems)
    if not attributes:  # without them, every file would be unexpected
        problems.raise_any(folder, advice)
    list_files = _list_original if original else _list_split
    faces = list_files(folder, attributes, problems)
    if official:
        _check_official(attributes, faces, problems)
    problems.raise_any(folder, advice)
    return faces


def _list_original(folder: Path, attributes: dict[int, bytes], problems: Problems) -> list[Face]:
    """List the faces of the original layout."""
    mapping = read_mapping(folder, problems)
    _compare("the mapping", mapping, attributes, problems)
    images = _numbered_files(folder / IMAGE_FOLDER, ".jpg", problems)
    _compare(IMAGE_FOLDER, images, attributes, problems)
    masks = _list_masks(folder, attributes, problems)
    return [
        Face(n, split_of(mapping[n]), attributes[n], images[n], tuple(masks.get(n, ())))
        for n in sorted(attributes.keys() & mapping.keys() & images.keys())
    ]


def _list_masks(
    folder: Path, attributes: dict[int, bytes], problems: Problems
) -> dict[int, list[str]]:
    """Return the masks of each face without that of the skin. A part without a file is absent."""
    root = mask_path(folder, 0, "skin").parents[1]
    masks: dict[int, list[str]] = {}
    for group in _names_in(root, problems):
        for name in _names_in(root / group, problems):
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


def _list_split(folder: Path, attributes: dict[int, bytes], problems: Problems) -> list[Face]:
    """List the faces of the layout with one folder for each split and united masks."""
    faces: dict[int, Face] = {}
    for split, name in _SPLIT_FOLDERS.items():
        images = _numbered_files(folder / f"{name}_img", ".jpg", problems)
        masks = _numbered_files(folder / f"{name}_mask", ".png", problems)
        for n in sorted(images.keys() - masks.keys()):
            problems.add("faces without any mask", f"{name}_img/{n}.jpg")
        for n in sorted(masks.keys() - images.keys()):
            problems.add("masks without an image", f"{name}_mask/{n}.png")
        for n in sorted(images.keys() & masks.keys()):
            if n in faces:
                problems.add("faces in two splits", n)
            faces[n] = Face(n, split, attributes.get(n, b""), images[n], (masks[n],))
    _compare("the image folders", faces, attributes, problems)
    return [faces[n] for n in sorted(faces)]


def _check_official(attributes: dict[int, bytes], faces: list[Face], problems: Problems) -> None:
    """Compare with the numbers that the published data have."""
    male = sum(row[ATTRIBUTES.index("Male")] for row in attributes.values())
    if len(attributes) == NUM_FACES and male != _NUM_MALE:
        problems.add("wrong counts of an attribute", f"Male {male:,}, not {_NUM_MALE:,}")
    if len(faces) == NUM_FACES and not faces[0].image.startswith("train_img"):
        for split, wanted in OFFICIAL_COUNTS.items():
            found = sum(face.split == split for face in faces)
            if found != wanted:
                problems.add("wrong sizes of splits", f"{split} {found:,}, not {wanted:,}")


def _compare(
    where: str, found: Iterable[int], attributes: dict[int, bytes], problems: Problems
) -> None:
    """Report the faces that are in only one of two places."""
    numbers = set(found)
    for n in sorted(attributes.keys() - numbers):
        problems.add(f"faces missing in {where}", n)
    for n in sorted(numbers - attributes.keys()):
        problems.add(f"faces in {where} that have no row of attributes", n)


def _numbered_files(folder: Path, suffix: str, problems: Problems) -> dict[int, str]:
    """Return the files `{N}{suffix}` of a folder by their numbers."""
    pattern, files = re.compile(NUMBER + re.escape(suffix)), {}
    for name in _names_in(folder, problems):
        if match := pattern.fullmatch(name):
            files[int(match[1])] = f"{folder.name}/{name}"
        else:
            problems.add("misnamed or misplaced files", f"{folder.name}/{name}")
    return files


def _names_in(folder: Path, problems: Problems) -> list[str]:
    """Return the names in a folder, sorted, without hidden ones, which the desktop makes."""
    if not folder.is_dir():
        problems.add("folders missing", folder.name)
        return []
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
