"""Data with several shared factors: do views show the labels that are given, and agree in all others?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.base import Evaluator, LoadArrays, Report, check_counts
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.labels import factor_pages
from sbmae_jax.evaluation.labels.agreement import (
    ALL_FACTORS,
    FactorRows,
    Reading,
    measure_distances,
    measure_diversity,
    measure_open,
    measure_shown,
)
from sbmae_jax.evaluation.labels.ceilings import stated_factor_ceilings
from sbmae_jax.evaluation.labels.coherence import measure_accuracy
from sbmae_jax.evaluation.labels.factors import Factor, Verifier, make_factor_reader
from sbmae_jax.evaluation.paired.labels import find_judges
from sbmae_jax.evaluation.subsets import subsets_by_size
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.models.task import Params
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.sharding import batched
from sbmae_jax.types import Key

SUBSETS_PER_SIZE = 10  # of label modalities that are given together


@dataclass(frozen=True, kw_only=True)
class FactorProtocol:
    """Evaluate views that share several factors. Each factor is an array of labels, and may be a modality.

    A verifier of each factor is trained on real views of training rows. A view counts for a factor if its
    verifier is better than naming the most frequent class.

    Attributes:
        names: The modalities, in the order of the model.
        labels: The factors.
        verifiers: The networks that read them from views, one for each factor and shape of views.
        training: How these are trained.
        factors: The names of the factors: arrays of labels, and `ARRAY.ENTRY` for an entry of a vector of
            bits. Without any, `label` and all modalities that are categories or single bits.
        views: The modalities that may show the factors; without any, all that are no such labels.
        num_rows: How many test rows are measured; 0 takes all. Rows without one of the labels are left out.
        num_unconditional: How many joint samples are drawn from nothing.
        batch_size: Rows in one call of the generator.
        fine_levels: Ancestral steps that draw what the score has learned, for the table of what binds; 0
            leaves the score out of it.

    Raises:
        ValueError: For a number out of its range.
    """

    names: tuple[str, ...]
    labels: tuple[Factor, ...]
    verifiers: tuple[Verifier, ...]
    training: TrainingConfig
    factors: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    num_rows: int = 1000
    num_unconditional: int = 1000
    batch_size: int = 500
    fine_levels: int = 256

    report = Report(factor_pages.headlines, factor_pages.sections)

    def __post_init__(self):
        check_counts(self, num_rows=0, num_unconditional=2, batch_size=1, fine_levels=0)

    @property
    def stated(self) -> tuple[Factor, ...]:
        """The factors that are modalities, so that the model can be given them."""
        return tuple(factor for factor in self.labels if factor.array in self.names)

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the verifiers, each trained on all views of one shape."""
        return {
            v.stage: Evaluator(
                v.task, self.training,
                tuple({"x": view, "label": v.factor.array} for view in v.views),
            )
            for v in self.verifiers
        }  # fmt: skip

    def measure(
        self, key: Key, rows: Arrays, generator: Generator, evaluators: Mapping[str, Params],
        train: LoadArrays,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # fmt: skip
        """Measure a generator; see `EvaluationProtocol.measure`."""
        key, sample_key = jax.random.split(key)
        read = make_factor_reader(self.labels, self.views, self.verifiers, evaluators, self.stated)
        results = self.measure_factors(key, rows, generator.reading(read), train())
        samples = factor_pages.draw_samples(
            sample_key, rows, generator, self.stated, _pictures(rows, self.views)
        )
        return results, samples

    def measure_factors(
        self, key: Key, rows: Arrays, generator: Generator, train: Arrays
    ) -> dict[str, Any]:
        """Measure a generator that reads its samples as `make_factor_reader` does.

        Args:
            key: A typed key.
            rows: Test rows: all modalities, the arrays of the factors, and perhaps `present`.
            generator: The generator.
            train: The same arrays of training rows, of which the labels alone are read.

        Returns:
            All results, ready for JSON.
        """
        known = self._known(rows)
        if not known.any():
            names = ", ".join(factor.name for factor in self.labels)
            raise ValueError(f"no test row has all of the labels {names}: measure fewer factors")
        arrays = {name: np.asarray(rows[name])[known] for name in self.names}
        num_left_out = int((~known).sum())
        joint_key, given_key, again_key = jax.random.split(key, 3)
        test = self._factor_rows(rows, known, generator, train)
        made = generator.complete_rows(
            joint_key, *blank_rows(arrays, self.names, self.num_unconditional)
        )
        rebuilt = generator.reconstruct_rows(arrays)
        ceilings = stated_factor_ceilings(
            jax.random.fold_in(joint_key, 1), generator, arrays, rebuilt, test, self.stated,
            self.num_unconditional, self.fine_levels,
        )  # fmt: skip
        return {
            "num_rows": int(known.sum()),
            "num_rows_without_label": num_left_out,
            "num_unconditional": self.num_unconditional,
            "factors": {f.name: list(f.classes) for f in self.labels},
            "views_left_out": {
                name: [view for view, shows in zip(self.views, shown, strict=True) if not shows]
                for name, shown in test.shown.items()
            },
            "verifier_accuracy": self._accuracy(test.real, test),
            "reconstruction_accuracy": self._accuracy(rebuilt, test),
            "label_reconstruction": self._read_back(rebuilt, test.labels),
            "unconditional": self._joint(made, test),
            "frechet_verifier_features": measure_distances(made, test),
            **self._given_labels(given_key, again_key, generator, arrays, test),
            "given_view": self._given_views(given_key, generator, arrays, test),
            "ceilings": ceilings,
        }

    def _known(self, rows: Arrays) -> np.ndarray:
        """Return which rows have all labels, `[N]` bool."""
        known = []
        for factor in self.labels:
            known.append(factor.is_known(np.asarray(rows[factor.array])))
            if PRESENT in rows and factor.array in self.names:
                known.append(np.asarray(rows[PRESENT])[:, self.names.index(factor.array)])
        return np.all(known, axis=0)

    def _factor_rows(
        self, rows: Arrays, known: np.ndarray, generator: Generator, train: Arrays
    ) -> FactorRows:
        """Read the test rows, and the labels of the training rows."""
        shape = (len(known), len(self.names))
        present = np.asarray(rows[PRESENT]) if PRESENT in rows else np.ones(shape, bool)
        columns = [self.names.index(view) for view in self.views]
        present = present[known][:, columns]
        real = batched(generator.read, generator.batch_size)(
            {name: np.asarray(rows[name])[known] for name in self.names}
        )
        labels = {f.name: f.read(np.asarray(rows[f.array])[known]) for f in self.labels}
        shown = {name: find_judges(real[f"class/{name}"], labels[name], present) for name in labels}
        seen = self._known(train)
        return FactorRows(
            factors=self.labels, views=self.views, shown=shown, labels=labels, present=present,
            real=real,
            train_labels={f.name: f.read(np.asarray(train[f.array])[seen]) for f in self.labels},
        )  # fmt: skip

    def _accuracy(self, reading: Reading, test: FactorRows) -> dict[str, Any]:
        """Return how often verifiers read the true class, by factor."""
        return {
            name: measure_accuracy(
                self.views, reading[f"class/{name}"], label, test.present, test.shown[name]
            )
            for name, label in test.labels.items()
        }

    def _read_back(self, made: Reading, labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return how often the labels that are generated are those of their rows, by factor."""
        return {
            f.name: estimate(made[f"stated/{f.name}"] == labels[f.name])._asdict()
            for f in self.stated
        }

    def _joint(self, made: Reading, test: FactorRows) -> dict[str, Any]:
        """Measure samples from nothing: each factor, and under ALL_FACTORS all labels together."""
        found: dict[str, Any] = {f.name: measure_open(made, test, f, {}) for f in self.labels}
        shows = [
            (made[f"class/{f.name}"] == made[f"stated/{f.name}"][:, None])[:, test.shown[f.name]]
            for f in self.stated
        ]
        if len(shows) > 1 and all(right.size for right in shows):
            every = np.all([right.all(axis=1) for right in shows], axis=0)
            found[ALL_FACTORS] = {"show_label": estimate(every)._asdict()}
        return found

    def _given_labels(
        self, key: Key, again_key: Key, generator: Generator, arrays: Arrays, test: FactorRows
    ) -> dict[str, Any]:
        """Measure views given each subset of the labels, and their diversity given all."""
        sources = list(dict.fromkeys(f.array for f in self.stated))
        if not sources:
            return {"given_labels": {}, "diversity": {}}
        whole = np.ones((1, len(sources)), bool)
        subsets = np.concatenate([*subsets_by_size(len(sources), SUBSETS_PER_SIZE), whole])
        found, made, labels = {}, {}, {}
        for subset in subsets:
            chosen = [source for source, given in zip(sources, subset, strict=True) if given]
            observed = np.isin(self.names, chosen)
            labels = {f.name: test.labels[f.name] for f in self.stated if f.array in chosen}
            # One key for all, so that fresh noise does not hide what one more label adds.
            made = generator.complete_rows(key, arrays, observed)
            found[", ".join(chosen)] = {
                "shown": measure_shown(made, test, labels),
                "open": {
                    f.name: measure_open(made, test, f, labels)
                    for f in self.labels
                    if f.name not in labels
                },
            }
        again = generator.complete_rows(again_key, arrays, np.isin(self.names, sources))
        return {
            "given_labels": found, "diversity": measure_diversity(made, again, test, labels),
        }  # fmt: skip

    def _given_views(
        self, key: Key, generator: Generator, arrays: Arrays, test: FactorRows
    ) -> dict[str, Any]:
        """Measure labels and other views given each view alone, of the rows that have it."""
        found = {}
        for v, view in enumerate(self.views):
            seen = test.present[:, v]
            if not seen.any():
                continue
            some = {name: array[seen] for name, array in arrays.items()}
            labels = {name: label[seen] for name, label in test.labels.items()}
            made = generator.complete_rows(key, some, np.isin(self.names, [view]))
            others = np.arange(len(self.views)) != v
            targets = replace(test, shown={n: shown & others for n, shown in test.shown.items()})
            found[view] = {
                "shown": measure_shown(made, targets, labels),
                "labels": self._read_back(made, labels),
            }
        return found


def _pictures(rows: Arrays, views: tuple[str, ...]) -> tuple[str, ...]:
    """Return the views that are pictures."""
    return tuple(view for view in views if rows[view].ndim == 4)
