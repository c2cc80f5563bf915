"""Inception features of pictures: the Fréchet distance on them, and only that, is called FID.

Without the weights, which the user downloads and converts, no FID is measured.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from sbmae_jax.evaluation import inception as inception_weights
from sbmae_jax.training.sharding import batched

FeatureExtractor = Callable[[np.ndarray], np.ndarray]
"""pictures [N, H, W, 3] -> features [N, 2048]"""


def check_weights(path: str) -> None:
    """Raise ValueError if a file of weights is named, and there is none."""
    if path and not is_file(path):
        raise ValueError(
            f"inception: there is no file {path}: make it with {inception_weights.COMMAND}, "
            "or leave this empty, and no FID is measured"
        )


def is_file(path: str) -> bool:
    """Return whether there is a file; for what cannot be the name of one, too."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def inception_extractor(path: str, batch_size: int = 100) -> FeatureExtractor | None:
    """Return the function that gives the Inception features of pictures, or None without weights.

    Args:
        path: The file of converted weights, or an empty string.
        batch_size: Pictures that are read together, each as 299x299 floats.
    """
    if not path:
        return None
    params, apply = inception_weights.load(Path(path)), jax.jit(inception_weights.features)
    return batched(lambda pictures: apply(params, pictures), batch_size)
