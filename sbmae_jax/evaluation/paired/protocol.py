"""Any paired data, with any types of values, with or without labels and gaps: above all a user's own.

Most of what is measured needs no label: reconstruction, the prediction of held-out modalities beside simple
baselines, the calibration of samples, and joint samples. Where rows have a `label`, coherence is measured as
well. Where the data have an array `present`, only what was measured is observed and scored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from sbmae_jax._check import require_number
from sbmae_jax.data.captions import Grammar
from sbmae_jax.evaluation.base import Evaluator, LoadArrays, Report, check_counts
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.images import colour_classes
from sbmae_jax.evaluation.paired.baselines import fit_baselines
from sbmae_jax.evaluation.paired.captions import measure_captions
from sbmae_jax.evaluation.paired.consistency import measure_consistency, measure_distances
from sbmae_jax.evaluation.paired.eval_data import make_eval_data
from sbmae_jax.evaluation.paired.headlines import headlines
from sbmae_jax.evaluation.paired.labels import measure_labels
from sbmae_jax.evaluation.paired.pages import sections
from sbmae_jax.evaluation.paired.predicting import (
    measure_given_one,
    measure_given_the_rest,
    measure_reconstruction,
)
from sbmae_jax.evaluation.paired.samples import draw_samples
from sbmae_jax.evaluation.paired.sound_pages import MAX_RATE
from sbmae_jax.evaluation.paired.texts import ToStrings, measure_texts
from sbmae_jax.models.task import Params
from sbmae_jax.types import Key

MIN_COMPLETE = 30  # rows with all modalities, for information between them


@dataclass(frozen=True, kw_only=True)
class PairedProtocol:
    """Evaluate paired modalities of any kind.

    Attributes:
        likelihoods: Those of the modalities by name, in the order of the model.
        num_rows: How many test rows are measured; 0 takes all.
        num_unconditional: How many joint samples are drawn from nothing.
        batch_size: Rows in one call of the generator.
        strings: How the tokens of text become strings, `{name: function [..., T] -> [...]}`. The report shows
            these; text without a function is not shown.
        grammars: What tells the content of strings, `{name: Grammar}`, of the text that has one.
        classes: The classes of pixels, `{name: (class, ...)}`, of modalities that have such.
        sampling_rates: Those of signals that are sounds, in values a second: the report plays them.
        num_samples: K, the samples for each question. Their range holds the truth (K - 1) / (K + 1) of the
            time if they are right: nine times in ten for 19.

    Raises:
        ValueError: For fewer than three samples, whose range says nothing, for fewer than two joint samples,
            and for any other number out of its range.
    """

    likelihoods: Mapping[str, str]
    strings: Mapping[str, ToStrings] = field(default_factory=dict)
    grammars: Mapping[str, Grammar] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sampling_rates: Mapping[str, float] = field(default_factory=dict)
    num_rows: int = 0
    num_unconditional: int = 500
    batch_size: int = 500
    num_samples: int = 19

    report = Report(headlines, sections)

    def __post_init__(self):
        check_counts(self, num_rows=0, num_unconditional=2, batch_size=1, num_samples=3)
        for name, rate in self.sampling_rates.items():
            require_number(f"sampling_rates: {name}", rate, 1, MAX_RATE)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return no networks: baselines and classifiers are fitted when a run is evaluated."""
        return {}

    def measure(
        self, key: Key, rows: Arrays, generator: Generator, evaluators: Mapping[str, Params],
        train: LoadArrays,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
        """Measure a generator; see `EvaluationProtocol.measure`."""
        del evaluators
        joint_key, rest_key, one_key, label_key, sample_key = jax.random.split(key, 5)
        text_key, information_key, caption_key = (jax.random.fold_in(key, i) for i in (5, 6, 7))
        eval_data = make_eval_data(self.likelihoods, rows, train())
        names, present = eval_data.names, eval_data.test.present
        made = generator.draw_rows(joint_key, *blank_rows(rows, names, self.num_unconditional))
        results: dict[str, Any] = {
            "value_types": {**eval_data.value_types, **dict.fromkeys(eval_data.texts, "text")},
            "num_rows": len(present),
            "num_unconditional": self.num_unconditional,
            "num_samples": self.num_samples,
            **({"sampling_rates": dict(self.sampling_rates)} if self.sampling_rates else {}),
            **({"classes": {n: list(c) for n, c in self.classes.items()}} if self.classes else {}),
            "reconstruction": measure_reconstruction(eval_data, generator),
            "frechet_features": measure_distances(eval_data, made),
        }
        if eval_data.test.label is not None:
            results |= measure_labels(label_key, eval_data, generator, made)
        colours = dict.fromkeys(self.classes, colour_classes)
        show = {**self.strings, **colours}
        samples = draw_samples(
            sample_key, rows, present, generator, self.num_samples, show, self.sampling_rates
        )
        if len(names) == 1:
            return results, samples
        baselines = [fit_baselines(eval_data, m) for m in range(len(names))]
        prediction, calibration = measure_given_the_rest(
            rest_key, eval_data, generator, self.num_samples, baselines
        )
        complete = present.all(axis=1)
        if generator.information is not None and complete.sum() >= MIN_COMPLETE:
            some = {name: np.asarray(rows[name])[complete] for name in names}
            results["information"] = generator.information(information_key, some)
        if eval_data.texts:
            results["texts"] = measure_texts(text_key, eval_data, generator)
            results["captions"] = {
                name: measure_captions(
                    caption_key, eval_data, generator, made, name, grammar, self.strings[name]
                )
                for name, grammar in self.grammars.items()
            }
        return results | {
            "prediction": prediction,
            "prediction_given_one": measure_given_one(one_key, eval_data, generator),
            "calibration": calibration,
            "consistency": measure_consistency(eval_data, made, baselines),
        }, samples
