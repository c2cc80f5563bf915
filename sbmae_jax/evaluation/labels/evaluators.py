"""Read classes and features from pictures, real or generated, a batch at a time, and compare the latter."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from sbmae_jax.data.source import map_batches
from sbmae_jax.evaluation.fid import FeatureExtractor
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.task import Params
from sbmae_jax.types import Array, Key

# For each Fréchet distance the features that it is measured on.
DISTANCES = {"frechet_classifier_features": "features", "fid": "inception"}

Classify = Callable[[Any], tuple[Array, Array]]
"""x [B, *shape] -> (class [B], features [B, F])"""


class Eyes(NamedTuple):
    """What looks at pictures: the classifier that judges and, for FID, the Inception network."""

    classify: Classify
    inception: FeatureExtractor | None = None


class Trial(NamedTuple):
    """A generator, the test rows that it completes, and what looks at the pictures.

    rows: {name: [N, *shape]}.  label: [N].  real: what `judged` returns of the rows.
    """

    generator: Generator
    eyes: Eyes
    rows: Arrays
    label: np.ndarray
    real: Mapping[str, np.ndarray]

    def completed(self, key: Key, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Judge all modalities where only `observed` [N, M] or [M] is given; no picture is kept."""
        read = partial(evaluator, self.generator.names, self.eyes)
        return self.generator.completed(key, self.rows, observed, read)

    def distances(self, made: Mapping[str, np.ndarray], m: int) -> dict[str, float]:
        """Return the Fréchet distances of one modality to the real pictures of the same rows."""
        return distances(made, self.real, m)


def classifying(classifier: Classifier, params: Params) -> Classify:
    """Return the compiled judge."""
    apply = jax.jit(classifier.apply)

    def classify(x):
        logits, features = apply(params, x)
        return logits.argmax(axis=-1), features

    return classify


def evaluator(
    names: tuple[str, ...], eyes: Eyes, batch: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return `class` [B, M] and `features` [B, M, F], or those of Inception too, of a batch."""
    classes, features = zip(*(eyes.classify(batch[name]) for name in names), strict=True)
    seen = {"class": np.stack(classes, axis=1), "features": np.stack(features, axis=1)}
    if eyes.inception is None:
        return seen
    pictures = (eyes.inception(np.asarray(batch[name])) for name in names)
    return seen | {"inception": np.stack(list(pictures), axis=1)}


def judged(generator: Generator, eyes: Eyes, rows: Arrays) -> dict[str, np.ndarray]:
    """Return what `evaluator` does, of all rows [N, ...]."""
    pictures = {name: rows[name] for name in generator.names}
    return map_batches(
        lambda _, batch: evaluator(generator.names, eyes, batch), pictures, generator.batch_size
    )


def distances(
    made: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], m: int
) -> dict[str, float]:
    """Return the Fréchet distances between what was seen of modality m in two sets of pictures.

    They depend on the count: of both sets as many rows are taken as the smaller one has.
    """
    num = min(len(made["class"]), len(real["class"]))
    return {
        figure: frechet_distance(made[kind][:num, m], real[kind][:num, m])
        for figure, kind in DISTANCES.items()
        if kind in real
    }
