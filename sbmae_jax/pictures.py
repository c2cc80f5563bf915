"""The samples that a report shows."""

from collections.abc import Mapping

import jax
import numpy as np

from sbmae_jax.evaluate import Subject, nothing
from sbmae_jax.types import Key

NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 16  # columns of the unconditional grid
NUM_SAMPLES = 3  # samples of each target in the conditional grid


def draw_samples(
    key: Key, rows: Mapping[str, np.ndarray], subject: Subject
) -> dict[str, np.ndarray]:
    """Return what the report shows, as arrays under `kind/modality`.

    kind "real", "reconstruction": [NUM_REAL, *shape].  "joint": [NUM_JOINT, *shape].
    "conditional": [subsets, NUM_SAMPLES, *shape], with "observed" [subsets, M] and the true example of
    each subset under "true/modality": each modality alone, then growing subsets.
    """
    names, (joint_key, given_key) = subject.names, jax.random.split(key)
    observed = shown_subsets(len(names))
    examples = {name: rows[name][NUM_REAL : NUM_REAL + len(observed)] for name in names}
    repeated = {name: np.repeat(x, NUM_SAMPLES, axis=0) for name, x in examples.items()}
    conditional = subject.completed(given_key, repeated, np.repeat(observed, NUM_SAMPLES, axis=0))
    joint = subject.completed(joint_key, *nothing(rows, names, NUM_JOINT))
    head = {name: rows[name][:NUM_REAL] for name in names}
    rebuilt = subject.reconstructed(head)
    drawn = {"observed": observed}
    for name in names:
        shape = (len(observed), NUM_SAMPLES, *conditional[name].shape[1:])
        drawn[f"real/{name}"] = head[name]
        drawn[f"reconstruction/{name}"] = rebuilt[name]
        drawn[f"true/{name}"] = examples[name]
        drawn[f"conditional/{name}"] = conditional[name].reshape(shape)
        drawn[f"joint/{name}"] = joint[name]
    return drawn


def shown_subsets(num_modalities: int) -> np.ndarray:
    """Return the observed sets of the conditional grid [S, M]: single ones, then the first 2, 3, .. M-1."""
    singles = np.eye(num_modalities, dtype=bool)
    growing = [np.arange(num_modalities) < n for n in range(2, num_modalities)]
    return np.array([*singles, *growing])
