"""Any paired data, of any kinds of values, with or without labels and gaps: one's own, above all.

What is measured needs no label: reconstruction, prediction of held-out modalities against simple rivals, the
calibration of draws, and joint samples. Where rows have a `label`, coherence is measured as well; where the
data have an array `present`, only what was measured is observed and scored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import require_fields, require_int
from sbmae_jax.evaluation.base import Evaluator, Figure, Section
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.paired import figures as paired_figures
from sbmae_jax.evaluation.paired import pages as paired_pages
from sbmae_jax.evaluation.paired.consistency import measure_consistency, measure_distances
from sbmae_jax.evaluation.paired.eval_data import fit_baselines, make_eval_data
from sbmae_jax.evaluation.paired.labels import measure_labels
from sbmae_jax.evaluation.paired.predicting import (
    measure_given_one,
    measure_given_the_rest,
    measure_reconstruction,
)  # fmt: skip
from sbmae_jax.evaluation.paired.samples import draw_samples
from sbmae_jax.models.task import Params
from sbmae_jax.types import Key


@dataclass(frozen=True)
class PairedProtocol:
    """Evaluation of paired modalities.

    likelihoods: of the modalities by name, in the order of the model.
    num_rows: test examples; 0 takes all.  batch_size: rows in one call of the generator.
    num_unconditional: joint samples drawn from nothing.
    num_samples: K, draws for each question; the range of 19 is to hold the truth nine times in ten.

    Raises ValueError for fewer than three draws, whose range says nothing, or than two joint samples, and for
    any other value out of its range or of another type.
    """

    likelihoods: Mapping[str, str]
    num_rows: int = 0
    num_unconditional: int = 500
    batch_size: int = 500
    num_samples: int = 19

    def __post_init__(self):
        require_fields(self)
        require_int("num_rows", self.num_rows)
        require_int("num_unconditional", self.num_unconditional, 2)
        require_int("batch_size", self.batch_size, 1)
        require_int("num_samples", self.num_samples, 3)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in their order."""
        return tuple(self.likelihoods)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return nothing: what judges is fitted when a run is evaluated."""
        return {}

    def measure(
        self,
        key: Key,
        rows: Arrays,
        generator: Generator,
        evaluators: Mapping[str, Params],
        train: Callable[[], Arrays],
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all figures and the samples that the report shows.

        rows: {name: [N, *shape]} as the model sees them, and maybe `present` [N, M] and `label` [N].
        """
        joint_key, rest_key, again_key, one_key, label_key, show_key = jax.random.split(key, 6)
        eval_data = make_eval_data(self.likelihoods, rows, train())
        made = generator.draw_rows(joint_key, *blank_rows(rows, self.names, self.num_unconditional))
        figures: dict[str, Any] = {
            "value_types": dict(eval_data.value_types),
            "num_rows": len(eval_data.present),
            "num_unconditional": self.num_unconditional,
            "num_samples": self.num_samples,
            "reconstruction": measure_reconstruction(eval_data, generator),
            "frechet_features": measure_distances(eval_data, made),
        }
        if eval_data.label is not None:
            figures |= measure_labels(label_key, eval_data, generator, made)
        samples = draw_samples(show_key, rows, eval_data.present, generator, self.num_samples)
        if len(self.names) == 1:
            return figures, samples
        baselines = [fit_baselines(eval_data, m) for m in range(len(self.names))]
        prediction, calibration = measure_given_the_rest(
            (rest_key, again_key), eval_data, generator, self.num_samples, baselines
        )
        return figures | {
            "prediction": prediction,
            "prediction_given_one": measure_given_one(one_key, eval_data, generator),
            "calibration": calibration,
            "consistency": measure_consistency(eval_data, made, baselines),
        }, samples

    def figures(self, results: Mapping[str, Any]) -> list[Figure]:
        """Return the main figures of the results."""
        return paired_figures.figures(results)

    def sections(
        self, results: Mapping[str, Any], samples: Mapping[str, np.ndarray], folder: Path
    ) -> list[Section]:
        """Write the pictures of the report into a folder, and return its sections."""
        return paired_pages.sections(results, samples, self.names, folder)
