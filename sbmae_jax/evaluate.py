"""Measure a generator on held-out examples: what it makes, as a classifier sees it.

Generator and classifier are functions, so that this model and any baseline are measured by the same lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from sbmae_jax.data.source import map_batches
from sbmae_jax.metrics.coherence import all_agree, at_least_k, conditional_coherence, estimate
from sbmae_jax.metrics.diversity import label_shares, spread_ratio, total_variation
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.types import Array, Generate, Key

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """How much is measured.

    num_rows: test examples; each is used once for every number of observed modalities.
    num_unconditional: joint samples drawn from nothing.
    batch_size: rows in one call of the generator.
    """

    num_rows: int = 1000
    num_unconditional: int = 1000
    batch_size: int = 500


@dataclass(frozen=True)
class Subject:
    """What is measured, and who judges. All functions work on batches of `batch_size`.

    complete: the generator, as `Model.complete`.
    reconstruct: batch -> all modalities, each encoded and decoded.
    classify: x [B, *shape] -> (class [B], features [B, F]).
    """

    names: tuple[str, ...]
    complete: Generate
    reconstruct: Callable[[Arrays], Mapping[str, Array]]
    classify: Callable[[Any], tuple[Array, Array]]
    batch_size: int

    def judged(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the classes [N, M] and the features [N, M, F] of all modalities."""

        def judge(_, batch):
            judgements = [self.classify(batch[name]) for name in self.names]
            classes, features = zip(*judgements, strict=True)
            return {"class": np.stack(classes, axis=1), "features": np.stack(features, axis=1)}

        return map_batches(judge, {name: rows[name] for name in self.names}, self.batch_size)

    def reconstructed(self, rows: Arrays) -> dict[str, np.ndarray]:
        """Encode and decode rows [N, ...]."""
        pictures = {name: rows[name] for name in self.names}
        return map_batches(lambda _, batch: self.reconstruct(batch), pictures, self.batch_size)

    def completed(self, key: Key, rows: Arrays, observed: np.ndarray) -> dict[str, np.ndarray]:
        """Generate what is not observed [N, M] of rows [N, ...]."""

        def complete(i, batch):
            mask = batch.pop("observed")
            return self.complete(jax.random.fold_in(key, i), batch, mask)

        pictures = {name: rows[name] for name in self.names}
        return map_batches(complete, pictures | {"observed": observed}, self.batch_size)


def evaluate(key: Key, rows: Arrays, subject: Subject, num_unconditional: int) -> dict[str, Any]:
    """Return all figures of one generator on the rows of a test split.

    rows: {name: [N, *shape]} and `label` [N].
    """
    names, label = subject.names, np.asarray(rows["label"])
    given_key, none_key = jax.random.split(key)
    real = subject.judged(rows)
    rebuilt = subject.judged(subject.reconstructed(rows))
    made = subject.judged(subject.completed(none_key, *nothing(rows, names, num_unconditional)))
    return {
        "num_rows": len(label),
        "num_unconditional": num_unconditional,
        "classifier_accuracy": accuracy(names, real["class"], label),
        "reconstruction_accuracy": accuracy(names, rebuilt["class"], label),
        **measure_conditional(given_key, rows, label, real["features"], subject),
        **measure_unconditional(names, made, label, real["features"]),
    }


def measure_conditional(
    key: Key, rows: Arrays, label: np.ndarray, real_features: np.ndarray, subject: Subject
) -> dict[str, Any]:
    """Return coherence by number of observed modalities, and the diversity of what one leaves open."""
    gain_key, again_key = jax.random.split(key)
    nested, coherence = nested_subsets(len(label), len(subject.names)), {}
    made = []
    for num_observed, observed in enumerate(nested, 1):
        # One key for all: what one more modality adds is then not hidden by fresh noise.
        made.append(subject.judged(subject.completed(gain_key, rows, observed)))
        estimated = conditional_coherence(made[-1]["class"], label, observed)
        coherence[str(num_observed)] = estimated._asdict()
    again = subject.judged(subject.completed(again_key, rows, nested[0]))
    ratios = []
    for m, seen in enumerate(nested[0].T):
        # A sample of a wrong class is an error, not diversity.
        right = (made[0]["class"][:, m] == label) & (again["class"][:, m] == label) & ~seen
        pair = made[0]["features"][right, m], again["features"][right, m]
        ratios.append(spread_ratio(*pair, real_features[:, m], label))
    return {"conditional_coherence": coherence, "conditional_diversity": float(np.mean(ratios))}


def measure_unconditional(
    names: tuple[str, ...],
    made: dict[str, np.ndarray],
    label: np.ndarray,
    real_features: np.ndarray,
) -> dict[str, Any]:
    """Return the figures of joint samples: classes [N, M] and features [N, M, F]."""
    num_classes = int(label.max()) + 1
    shares = label_shares(made["class"], num_classes)
    num = min(len(made["class"]), len(label))  # the distance depends on the count: take equal ones
    distances = {
        name: frechet_distance(made["features"][:num, m], real_features[:num, m])
        for m, name in enumerate(names)
    }
    return {
        "unconditional_coherence": {
            "all_agree": all_agree(made["class"])._asdict(),
            "at_least_k": {str(k): share for k, share in at_least_k(made["class"]).items()},
        },
        "label_total_variation": {
            "uniform": total_variation(shares, np.full(num_classes, 1 / num_classes)),
            "real": total_variation(shares, label_shares(label, num_classes)),
        },
        "frechet_classifier_features": {
            "mean": float(np.mean(list(distances.values()))), "num_samples": num, **distances,
        },
    }  # fmt: skip


def nothing(rows: Arrays, names: tuple[str, ...], num: int) -> tuple[Arrays, np.ndarray]:
    """Return `num` blank rows like `rows`, with nothing observed [num, M]."""
    blank = {name: np.zeros((num, *rows[name].shape[1:]), rows[name].dtype) for name in names}
    return blank, np.zeros((num, len(names)), bool)


def nested_subsets(num_rows: int, num_modalities: int) -> list[np.ndarray]:
    """Return for 1, 2, .. M-1 observed modalities which ones each row observes: [num_rows, M] bool.

    Each row adds modalities in an order of its own, drawn uniformly from a fixed seed; so the subsets of
    a size are equally likely, and those of a row grow.
    """
    draws = np.random.default_rng(0).random((num_rows, num_modalities))
    rank = draws.argsort(axis=1).argsort(axis=1)
    return [rank < num_observed for num_observed in range(1, num_modalities)]


def accuracy(names: tuple[str, ...], classes: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Return the share of right classes [N, M]: the mean with its standard error, and by modality."""
    correct = classes == label[:, None]
    by_modality = {name: float(correct[:, m].mean()) for m, name in enumerate(names)}
    return estimate(correct.mean(axis=1))._asdict() | by_modality
