"""ToyFaces as a data set of a run: drawn once into a folder, then read as CelebAMask-HQ is."""

from collections.abc import Sequence

from sbmae_jax.data.celebahq.source import MODALITIES, celebahq
from sbmae_jax.data.folder import data_dir
from sbmae_jax.data.records import RecordSource
from sbmae_jax.data.toyfaces.faces import write_toyfaces

DATA_SEED = 0  # of the drawings, so that runs with other seeds share the folder
FEW = 1000  # faces that are drawn before other processes have started


def toyfaces(
    split: str,
    num_rows: int | None = None,
    names: Sequence[str] = MODALITIES,
    seed: int = 0,
    num_faces: int = 8000,
    side: int = 64,
    num_workers: int = 2,
) -> RecordSource:
    """Open one split; draw the faces first if that has not been done, twice as large as they are read.

    Arguments and errors as `celebahq`; the folder is `toyfaces-NUMBER-SIDE` in `data_dir()`.
    """
    if num_faces <= FEW:
        num_workers = 1
    folder = data_dir() / f"toyfaces-{num_faces}-{2 * side}"
    write_toyfaces(folder, num_faces, DATA_SEED, 2 * side, num_processes=num_workers)
    return celebahq(
        split, num_rows, names, seed, folder, side, official=False, num_workers=num_workers
    )
