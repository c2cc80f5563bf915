"""Inception features of images. The Fréchet distance on them, and only that one, is called FID.

FID needs the weights of the network, which the user downloads and converts with `evaluation.inception`.
"""

import math
from collections.abc import Callable

import jax
import numpy as np

from sbmae_jax._io import as_path
from sbmae_jax.evaluation import inception as inception_weights
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.training.sharding import batched

FeatureExtractor = Callable[[np.ndarray], np.ndarray]
"""`images [N, H, W, 3] -> features [N, 2048]`"""


def check_weights(path: str) -> None:
    """Raise ValueError if a file of weights is named but does not exist."""
    if path and not _is_file(path):
        raise ValueError(
            f"inception: there is no file {path}: make it with {inception_weights.COMMAND}, or leave this "
            "option empty to measure no FID"
        )


def _is_file(path: str) -> bool:
    """Return whether a path is that of a file, also where it cannot be one, as with a null byte."""
    try:
        return as_path(path).is_file()
    except (OSError, ValueError):
        return False


def inception_extractor(path: str, batch_size: int = 100) -> FeatureExtractor | None:
    """Return the function that gives the Inception features of images, or None without weights.

    Args:
        path: The file of converted weights, or an empty string.
        batch_size: Images that are read together, each as 299x299 floats.
    """
    if not path:
        return None
    params, apply = inception_weights.load(as_path(path)), jax.jit(inception_weights.features)
    return batched(lambda images: apply(params, images), batch_size)


def distance_of(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of features, `[N, F]` each; NaN for one row, which has no covariance."""
    return math.nan if min(len(a), len(b)) < 2 else frechet_distance(a, b)
