"""Read classes and features from pictures, real or generated, a batch at a time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from sbmae_jax.classifier import Classifier
from sbmae_jax.data.source import map_batches
from sbmae_jax.evaluate import Arrays, Subject
from sbmae_jax.task import Params
from sbmae_jax.types import Array, Key

Classify = Callable[[Any], tuple[Array, Array]]
"""x [B, *shape] -> (class [B], features [B, F])"""


class Trial(NamedTuple):
    """A generator, the test rows that it completes, and the classifier that judges.

    rows: {name: [N, *shape]}.  label: [N].  real_features: [N, M, F] of the rows.
    """

    subject: Subject
    classify: Classify
    rows: Arrays
    label: np.ndarray
    real_features: np.ndarray

    def completed(self, key: Key, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Judge all modalities where only `observed` [N, M] or [M] is given; no picture is kept."""
        read = partial(judge, self.subject.names, self.classify)
        return self.subject.completed(key, self.rows, observed, read)


def classifying(classifier: Classifier, params: Params) -> Classify:
    """Return the compiled judge."""
    apply = jax.jit(classifier.apply)

    def classify(x):
        logits, features = apply(params, x)
        return logits.argmax(axis=-1), features

    return classify


def judge(
    names: tuple[str, ...], classify: Classify, batch: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return `class` [B, M] and `features` [B, M, F] of all modalities of a batch."""
    classes, features = zip(*(classify(batch[name]) for name in names), strict=True)
    return {"class": np.stack(classes, axis=1), "features": np.stack(features, axis=1)}


def judged(subject: Subject, classify: Classify, rows: Arrays) -> dict[str, np.ndarray]:
    """Return `class` [N, M] and `features` [N, M, F] of all modalities of rows."""
    pictures = {name: rows[name] for name in subject.names}
    return map_batches(
        lambda _, batch: judge(subject.names, classify, batch), pictures, subject.batch_size
    )
