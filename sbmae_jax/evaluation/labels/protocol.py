"""Modalities that share a class: coherence, as one classifier of all modalities sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.base import Evaluator, LoadArrays, Report, check_counts
from sbmae_jax.evaluation.fid import check_weights, inception_extractor
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.labels import pages
from sbmae_jax.evaluation.labels.ceilings import shared_label_ceilings
from sbmae_jax.evaluation.labels.coherence import (
    LabelledRows,
    measure_accuracy,
    measure_joint,
    measures,
)
from sbmae_jax.evaluation.labels.evaluators import (
    compile_classifier,
    frechet_distances,
    make_reader,
)
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.task import Params
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.sharding import batched
from sbmae_jax.types import Key


@dataclass(frozen=True, kw_only=True)
class SharedLabelProtocol:
    """Evaluate modalities of one shape that show the same class. The data must have a `label`.

    Attributes:
        names: The modalities, in the order of the model.
        classifier: The network that reads the class of an image, one for all modalities.
        training: How it is trained.
        num_rows: How many test rows are measured; 0 takes all. Each is used once for every number of observed
            modalities, and by "all_subsets" once for every subset.
        num_unconditional: How many joint samples are drawn from nothing.
        batch_size: Rows in one call of the generator.
        protocols: How conditional coherence is measured: some of "nested", "prefix" and "all_subsets"; see
            `coherence`.
        subsets_per_size: For "all_subsets": at most so many subsets of one size are observed.
        fine_levels: Ancestral steps that draw what the score has learned, for the table of what binds; 0
            leaves the score out of it.
        inception: The file of Inception weights that `evaluation.inception` made. Without it there is no FID.
            With it each Fréchet distance is also measured on Inception features, which takes seconds.

    Raises:
        ValueError: For an unknown protocol, a number out of its range, or a missing file.
    """

    names: tuple[str, ...]
    classifier: Classifier
    training: TrainingConfig
    num_rows: int = 1000
    num_unconditional: int = 1000
    batch_size: int = 500
    protocols: tuple[str, ...] = ("nested",)
    subsets_per_size: int = 10
    fine_levels: int = 256
    inception: str = ""

    report = Report(pages.headlines, pages.sections)

    def __post_init__(self):
        check_counts(
            self, num_rows=0, num_unconditional=2, batch_size=1, subsets_per_size=1, fine_levels=0
        )
        known = tuple(measures(self.subsets_per_size))
        if not isinstance(self.protocols, tuple) or not set(self.protocols) <= set(known):
            raise ValueError(
                f"protocols must be a tuple of some of {known}, got {self.protocols!r}"
            )
        check_weights(self.inception)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the classifier, which is trained on the images of all modalities."""
        views = tuple({"x": name, "label": "label"} for name in self.names)
        return {"classifier": Evaluator(self.classifier.task, self.training, views)}

    def measure(
        self, key: Key, rows: Arrays, generator: Generator, evaluators: Mapping[str, Params],
        train: LoadArrays,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
        """Measure a generator; see `EvaluationProtocol.measure`."""
        del train
        key, sample_key = jax.random.split(key)
        classify = compile_classifier(self.classifier, evaluators["classifier"])
        read = make_reader(self.names, classify, inception_extractor(self.inception))
        results = measure_labelled(
            key, rows, generator.reading(read),
            self.num_unconditional, self.protocols, self.subsets_per_size, self.fine_levels,
        )  # fmt: skip
        return results, pages.draw_samples(sample_key, rows, generator)


def measure_labelled(
    key: Key,
    rows: Arrays,
    generator: Generator,
    num_unconditional: int,
    protocols: tuple[str, ...] = ("nested",),
    subsets_per_size: int = 10,
    fine_levels: int = 0,
) -> dict[str, Any]:
    """Measure a generator on labelled rows.

    Args:
        key: A typed key.
        rows: Test rows, `{name: [N, *shape]}` and `label`, `[N]`.
        generator: A generator whose `read` is made by `evaluators.make_reader`.
        num_unconditional: As in `SharedLabelProtocol`.
        protocols: As in `SharedLabelProtocol`.
        subsets_per_size: As in `SharedLabelProtocol`.
        fine_levels: As in `SharedLabelProtocol`.

    Returns:
        All results, ready for JSON.
    """
    names, label = generator.names, np.asarray(rows["label"])
    conditional = measures(subsets_per_size)
    joint_key, *keys = jax.random.split(key, 1 + len(conditional))
    images = {name: rows[name] for name in names}
    real = batched(generator.read, generator.batch_size)(images)
    test, everything = LabelledRows(images, label, real), np.ones((len(label), len(names)), bool)
    rebuilt = generator.reconstruct_rows(images)["class"]
    made = generator.complete_rows(joint_key, *blank_rows(rows, names, num_unconditional))
    results = {
        "num_rows": len(label),
        "num_unconditional": num_unconditional,
        "classifier_accuracy": measure_accuracy(names, real["class"], label, everything),
        "reconstruction_accuracy": measure_accuracy(names, rebuilt, label, everything),
        **measure_joint(made["class"], label),
        **_joint_distances(names, made, real),
    }
    for measure_key, (name, measure) in zip(keys, conditional.items(), strict=True):
        if name in protocols:
            results |= measure(measure_key, generator, test)
    read = {"classifiers": real["class"], "autoencoders": rebuilt}
    results["ceilings"] = shared_label_ceilings(
        jax.random.fold_in(joint_key, 1),
        generator,
        images,
        label,
        read,
        num_unconditional,
        fine_levels,
    )
    return results


def _joint_distances(
    names: tuple[str, ...], made: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return the Fréchet distances of joint samples: the mean over modalities, and by modality."""
    by_name = {name: frechet_distances(made, real, m) for m, name in enumerate(names)}
    num_samples = min(len(made["class"]), len(real["class"]))
    results = {}
    for distance in by_name[names[0]]:
        values = {name: found[distance] for name, found in by_name.items()}
        results[distance] = {
            "mean": float(np.mean(list(values.values()))), "num_samples": num_samples, **values,
        }  # fmt: skip
    return results
