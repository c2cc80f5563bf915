"""Conditional coherence: is what was generated of the class of what was observed?"""

from typing import Any

import jax
import numpy as np

from sbmae_jax.metrics.coherence import conditional_coherence
from sbmae_jax.metrics.diversity import spread_ratio
from sbmae_jax.protocols.judging import Trial
from sbmae_jax.protocols.subsets import nested_subsets
from sbmae_jax.types import Key


def measure_nested(key: Key, trial: Trial) -> dict[str, Any]:
    """Return coherence by number of observed modalities, and the diversity of what one leaves open.

    Each row observes growing subsets of its own, and all other modalities are targets.
    """
    gain_key, again_key = jax.random.split(key)
    label, nested = trial.label, nested_subsets(len(trial.label), len(trial.subject.names))
    # One key for all: what one more modality adds is then not hidden by fresh noise.
    first = trial.completed(gain_key, nested[0])
    classes = [first["class"], *(trial.completed(gain_key, more)["class"] for more in nested[1:])]
    coherence = {
        str(num_observed): conditional_coherence(predicted, label, observed)._asdict()
        for num_observed, (predicted, observed) in enumerate(zip(classes, nested, strict=True), 1)
    }
    again = trial.completed(again_key, nested[0])
    ratios = []
    for m, seen in enumerate(nested[0].T):
        # A sample of a wrong class is an error, not diversity.
        right = (first["class"][:, m] == label) & (again["class"][:, m] == label) & ~seen
        pair = first["features"][right, m], again["features"][right, m]
        ratios.append(spread_ratio(*pair, trial.real_features[:, m], label))
    return {"conditional_coherence": coherence, "conditional_diversity": float(np.mean(ratios))}
