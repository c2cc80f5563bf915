"""A folder in CelebAMask-HQ's layout with files of our own: coloured squares, never its data."""

import numpy as np
from PIL import Image

from sbmae_jax.data.celebahq.layout import (
    ATTRIBUTE_FILE,
    ATTRIBUTES,
    MAPPING_FILE,
    image_path,
    mask_path,
)
from sbmae_jax.data.celebahq.source import MODALITIES, celebahq

NUM_FACES, SIDE = 12, 8
ORIGINALS = [5, 162_770, 162_771, 182_637, 182_638, 202_598, *range(100, 106)]
SPLITS = {"train": {0, 1, *range(6, 12)}, "valid": {2, 3}, "test": {4, 5}}
BITS = np.random.default_rng(0).integers(0, 2, (NUM_FACES, len(ATTRIBUTES)))
# Which rows and columns of a face's 32x32 masks are set. The skin does not count.
MASKS = {"skin": np.s_[:, :], "hair": np.s_[:16, :], "nose": np.s_[16:, :16]}


def colour(n):
    return (20 * n, 255 - 20 * n, 100)


def save_mask(path, where):
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[where] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def write_tables(root):
    rows = [f"{n}.jpg  {' '.join('1' if b else '-1' for b in BITS[n])}" for n in range(NUM_FACES)]
    lines = [str(NUM_FACES), " ".join(ATTRIBUTES), *rows]
    (root / ATTRIBUTE_FILE).write_text("\n".join(lines) + "\n")
    rows = [f"{n}\t{o}\t{o + 1:06d}.jpg" for n, o in enumerate(ORIGINALS)]
    (root / MAPPING_FILE).write_text("\n".join(["idx\torig_idx\torig_file", *rows]) + "\n")


def write_folder(root):
    """Write a folder in the original layout. Face 3 has skin only."""
    image_path(root, 0).parent.mkdir(parents=True)
    for n in range(NUM_FACES):
        Image.new("RGB", (64, 64), colour(n)).save(image_path(root, n), quality=95)
        for part, where in MASKS.items():
            if n != 3 or part == "skin":
                save_mask(mask_path(root, n, part), where)
    write_tables(root)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def load(split, names=(*MODALITIES, "all_attributes", "index"), **kwargs):
    kwargs = {"num_workers": 1, "official": False, **kwargs}
    return celebahq(split, names=names, side=SIDE, **kwargs)
