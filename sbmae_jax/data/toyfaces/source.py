"""ToyFaces as a data set of a run: drawn once into a folder, then read as CelebAMask-HQ is."""

from collections.abc import Sequence

import numpy as np

from sbmae_jax._check import require_seed
from sbmae_jax.data.celebahq.source import MODALITIES, celebahq
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.prepared import explain_full_disk
from sbmae_jax.data.source import ArraySource, Source
from sbmae_jax.data.toyfaces.captions import CAPTION, captions_as_tokens, draw_captions
from sbmae_jax.data.toyfaces.faces import write_toyfaces

DATA_SEED = 0  # of the drawings, so that runs with different seeds share the folder
_FEW_FACES = 1000  # one process draws them before others have started


def toyfaces(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] = MODALITIES,
    seed: int = 0,
    num_faces: int = 8000,
    side: int = 64,
    num_workers: int = 2,
) -> Source:
    """Open one split; the first time, this draws the faces, twice as large as they are read.

    Args:
        split: "train", "valid" or "test".
        num_rows: How many rows, of an order drawn from the seed; None or 0 for all.
        names: The arrays, as in `celebahq`, and maybe "caption": tokens of strings that say of a face
            whether it is a man's, smiles, and wears glasses and a hat, with a scaling that turns them into
            strings and back. With captions, all arrays are read into memory.
        seed: Decides the order of the rows. The faces do not depend on it.
        num_faces: The number of faces in all splits, 1..100,000.
        side: The side of images and masks in pixels, 8..512.
        num_workers: How many processes draw and prepare. They are spawned, so a script needs its `__main__`
            guard.

    Returns:
        The data set, as that of `celebahq`.

    Raises:
        ValueError: If an argument is out of range, or the folder `toyfaces-NUMBER-SIDE` in `data_dir()` holds
            anything else, or the disk is full.

    Example:
        A thousand faces in $SBMAE_DATA_DIR/toyfaces-1000-128, drawn in some seconds::

            source = toyfaces("train", num_faces=1000)
            source.shapes  # {"image": (64, 64, 3), "mask": (64, 64, 1), "attributes": (18,)}
    """
    require_seed("seed", seed)
    if num_faces <= _FEW_FACES:
        num_workers = 1
    folder = data_dir() / f"toyfaces-{num_faces}-{2 * side}"
    with explain_full_disk(data_dir(), num_faces * (2 * side) ** 2):
        write_toyfaces(folder, num_faces, DATA_SEED, 2 * side, num_processes=num_workers)
    others = [name for name in names if name != CAPTION]
    if len(others) == len(names):
        return celebahq(
            split, num_rows, names, seed, folder, side, official=False, num_workers=num_workers
        )
    needed = tuple(dict.fromkeys((*others, "index", "all_attributes")))
    source = celebahq(
        split, num_rows, needed, seed, folder, side, official=False, num_workers=num_workers
    )
    source.load(needed)
    arrays = {name: np.asarray(source.arrays[name]) for name in needed}
    captions = draw_captions(DATA_SEED, arrays["index"], arrays["all_attributes"])
    scaling = captions_as_tokens()
    tokens = scaling.prepare(np.array(captions))
    arrays = {name: arrays[name] for name in others} | {CAPTION: tokens}
    return ArraySource(arrays, source.entries, {CAPTION: scaling})
