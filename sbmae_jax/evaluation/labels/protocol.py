"""Modalities that share a class: coherence, as one classifier of all modalities sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import require_fields, require_int
from sbmae_jax.evaluation.base import Evaluator, Figure, Rows, Section
from sbmae_jax.evaluation.fid import check_weights, inception_extractor
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.labels import pages as classes_pages
from sbmae_jax.evaluation.labels.coherence import LabelledRows, measure_conditional, measures
from sbmae_jax.evaluation.labels.evaluators import (
    classes_and_features,
    compile_classifier,
    frechet_distances,
)
from sbmae_jax.metrics.coherence import all_agree, at_least_k, estimate
from sbmae_jax.metrics.diversity import label_shares, total_variation
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.task import Params
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.sharding import batched
from sbmae_jax.types import Key


@dataclass(frozen=True)
class SharedLabelProtocol:
    """Evaluation of modalities of one shape that show the same class; the data have a `label`.

    num_rows: test examples; each is used once for every number of observed modalities, and by
        "all_subsets" once for every subset.
    num_unconditional: joint samples drawn from nothing.
    batch_size: rows in one call of the generator.
    protocols: how conditional coherence is measured, some of "nested", "prefix" and "all_subsets".
    subsets_per_size: for "all_subsets", the most subsets of one size that are observed.
    inception: file of Inception weights, made by `evaluation.inception`; without one there is no FID.
        With one, each Fréchet distance is also measured on its features, which takes seconds for each.

    Raises ValueError for a protocol that there is not, for a value out of its range or of another type, and
    for a missing file.
    """

    names: tuple[str, ...]
    classifier: Classifier
    training: TrainingConfig
    num_rows: int = 1000
    num_unconditional: int = 1000
    batch_size: int = 500
    protocols: tuple[str, ...] = ("nested",)
    subsets_per_size: int = 10
    inception: str = ""

    def __post_init__(self):
        require_fields(self)
        require_int("num_rows", self.num_rows)
        require_int("num_unconditional", self.num_unconditional, 2)
        require_int("batch_size", self.batch_size, 1)
        require_int("subsets_per_size", self.subsets_per_size, 1)
        known = tuple(measures(self.subsets_per_size))
        if not set(self.protocols) <= set(known):
            raise ValueError(
                f"protocols must be a tuple of some of {known}, got {self.protocols!r}"
            )
        check_weights(self.inception)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the classifier, trained on the pictures of all modalities."""
        views = tuple({"x": name, "label": "label"} for name in self.names)
        return {"classifier": Evaluator(self.classifier.task, self.training, views)}

    def measure(
        self,
        key: Key,
        rows: Arrays,
        generator: Generator,
        evaluators: Mapping[str, Params],
        train: Rows,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all figures and the samples that the report shows."""
        del train
        key, picture_key = jax.random.split(key)
        classify = compile_classifier(self.classifier, evaluators["classifier"])
        read = classes_and_features(self.names, classify, inception_extractor(self.inception))
        results = measure_all(
            key, rows, generator.reading(read),
            self.num_unconditional, self.protocols, self.subsets_per_size,
        )  # fmt: skip
        return results, classes_pages.draw_samples(picture_key, rows, generator)

    def figures(self, results: Mapping[str, Any]) -> list[Figure]:
        """Return the main figures of the results."""
        return classes_pages.figures(results)

    def sections(
        self, results: Mapping[str, Any], samples: Mapping[str, np.ndarray], folder: Path
    ) -> list[Section]:
        """Write the pictures of the report into a folder, and return its sections."""
        return classes_pages.sections(results, samples, list(self.names), folder)


def measure_all(
    key: Key,
    rows: Arrays,
    generator: Generator,
    num_unconditional: int,
    protocols: tuple[str, ...] = ("nested",),
    subsets_per_size: int = 10,
) -> dict[str, Any]:
    """Return all figures of one generator on the rows of a test split.

    rows: {name: [N, *shape]} and `label` [N].  The rest as in `SharedLabelProtocol`.
    """
    names, label = generator.names, np.asarray(rows["label"])
    given_key, none_key, *more_keys = jax.random.split(key, 4)
    given_keys = given_key, *more_keys
    pictures = {name: rows[name] for name in names}
    real = batched(generator.read, generator.batch_size)(pictures)
    test = LabelledRows(pictures, label, real)
    rebuilt = generator.reconstruct_rows(pictures)["class"]
    made = generator.complete_rows(none_key, *blank_rows(rows, names, num_unconditional))
    return {
        "num_rows": len(label),
        "num_unconditional": num_unconditional,
        "classifier_accuracy": accuracy(names, real["class"], label),
        "reconstruction_accuracy": accuracy(names, rebuilt, label),
        **measure_conditional(given_keys, generator, test, protocols, subsets_per_size),
        **measure_unconditional(names, made, label, real),
    }


def measure_unconditional(
    names: tuple[str, ...],
    made: Mapping[str, np.ndarray],
    label: np.ndarray,
    real: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Return the results of joint samples."""
    num_classes = int(label.max()) + 1
    shares = label_shares(made["class"], num_classes)
    by_name = {name: frechet_distances(made, real, m) for m, name in enumerate(names)}
    return {
        "unconditional_coherence": {
            "all_agree": all_agree(made["class"])._asdict(),
            "at_least_k": {str(k): share for k, share in at_least_k(made["class"]).items()},
        },
        "label_total_variation": {
            "uniform": total_variation(shares, np.full(num_classes, 1 / num_classes)),
            "real": total_variation(shares, label_shares(label, num_classes)),
        },
        **{
            figure: mean_over(
                {name: found[figure] for name, found in by_name.items()},
                num_samples=min(len(made["class"]), len(label)),
            )
            for figure in by_name[names[0]]
        },
    }


def mean_over(by_name: Mapping[str, float], **more: int) -> dict[str, float]:
    """Return the mean over modalities, what else is to be said, and the values."""
    return {"mean": float(np.mean(list(by_name.values()))), **more, **by_name}


def accuracy(names: tuple[str, ...], classes: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Return the share of right classes [N, M]: the mean with its standard error, and by modality."""
    correct = classes == label[:, None]
    by_modality = {name: float(correct[:, m].mean()) for m, name in enumerate(names)}
    return estimate(correct.mean(axis=1))._asdict() | by_modality
