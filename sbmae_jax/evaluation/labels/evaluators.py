"""What networks read from images, real or generated: classes, and features to compare two sets by."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.fid import FeatureExtractor, distance_of
from sbmae_jax.evaluation.generator import Read
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.task import Params
from sbmae_jax.types import Array

FRECHET_FEATURES = {"frechet_classifier_features": "features", "fid": "inception"}
"""`{name of a Fréchet distance: what it is measured on}`, as `make_reader` names it."""

Classify = Callable[[Any], tuple[Array, Array]]
"""`x [B, *shape] -> (class [B], features [B, F])`"""


def compile_classifier(classifier: Classifier, params: Params) -> Classify:
    """Bind a classifier to its parameters, and compile it."""
    apply = jax.jit(classifier.apply)

    def classify(x):
        logits, features = apply(params, x)
        return logits.argmax(axis=-1), features

    return classify


def make_reader(
    names: tuple[str, ...], classify: Classify, inception: FeatureExtractor | None = None
) -> Read:
    """Return the function that reads the images of all modalities.

    Args:
        names: The modalities, in their order.
        classify: Reads the class and the features of an image.
        inception: The network of FID, if its weights are there.

    Returns:
        A function `{name: [B, *shape]} -> {"class": [B, M], "features": [B, M, F]}`, and with `inception`
        also `{"inception": [B, M, 2048]}`.
    """

    def read(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        classes, features = zip(*(classify(batch[name]) for name in names), strict=True)
        found = {"class": np.stack(classes, axis=1), "features": np.stack(features, axis=1)}
        if inception is not None:
            by_name = [inception(np.asarray(batch[name])) for name in names]
            found["inception"] = np.stack(by_name, axis=1)
        return found

    return read


def frechet_distances(
    made: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], m: int
) -> dict[str, float]:
    """Return the Fréchet distances between two sets of images of modality number `m`.

    They depend on the number of images: of both sets as many are taken as the smaller one has. They are NaN
    for one image.

    Args:
        made: What the function of `make_reader` reads from generated images.
        real: The same of real ones.
        m: The number of the modality.
    """
    num = min(len(made["class"]), len(real["class"]))
    return {
        distance: distance_of(made[kind][:num, m], real[kind][:num, m])
        for distance, kind in FRECHET_FEATURES.items()
        if kind in real
    }
