"""Coherence: does what was generated have the class of what was observed?

Three protocols of conditional coherence say what is observed, what is scored, and how it is averaged:

    nested       each row observes growing subsets of its own; all other modalities are targets
    prefix       all rows observe the first modalities; the last one is the target (reference implementation)
    all_subsets  all rows observe every subset in turn; all other modalities are targets (MultiVae library)
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.labels.evaluators import frechet_distances
from sbmae_jax.evaluation.subsets import nested_subsets, prefixes, subsets_by_size
from sbmae_jax.metrics.coherence import (
    all_agree,
    at_least_k,
    conditional_coherence,
    estimate,
    macro_estimate,
)
from sbmae_jax.metrics.diversity import label_shares, spread_ratio, total_variation
from sbmae_jax.types import Key


class LabelledRows(NamedTuple):
    """What a generator is measured on.

    Attributes:
        rows: The test rows, `{name: [N, *shape]}`.
        label: Their classes, `[N]`.
        real: What is read from them, as `evaluators.make_reader` names it.
    """

    rows: Arrays
    label: np.ndarray
    real: Mapping[str, np.ndarray]


Measure = Callable[[Key, Generator, LabelledRows], dict[str, Any]]
"""`(key, generator, test) -> results`. The generator reads classes and features from its samples."""


def measures(subsets_per_size: int) -> dict[str, Measure]:
    """Return all protocols of conditional coherence by name.

    Args:
        subsets_per_size: As in `measure_all_subsets`.
    """
    return {
        "nested": measure_nested,
        "prefix": measure_prefix,
        "all_subsets": partial(measure_all_subsets, subsets_per_size=subsets_per_size),
    }


def measure_nested(key: Key, generator: Generator, test: LabelledRows) -> dict[str, Any]:
    """Measure coherence by number of observed modalities, and the diversity of samples given one.

    Each row observes growing subsets of its own, and all other modalities are targets. Means and errors are
    over rows, each first averaged over its targets.
    """
    gain_key, again_key = jax.random.split(key)
    label, nested = test.label, nested_subsets(len(test.label), len(generator.names))
    # One key for all, so that fresh noise does not hide what one more modality adds.
    complete = partial(generator.complete_rows, gain_key, test.rows)
    first = complete(nested[0])
    classes = [first["class"], *(complete(observed)["class"] for observed in nested[1:])]
    coherence = {
        str(num_observed): conditional_coherence(predicted, label, observed)._asdict()
        for num_observed, (predicted, observed) in enumerate(zip(classes, nested, strict=True), 1)
    }
    again = generator.complete_rows(again_key, test.rows, nested[0])
    ratios = []
    for m, seen in enumerate(nested[0].T):
        # A sample of a wrong class is an error, not diversity.
        right = (first["class"][:, m] == label) & (again["class"][:, m] == label) & ~seen
        pair = first["features"][right, m], again["features"][right, m]
        ratios.append(spread_ratio(*pair, test.real["features"][:, m], label))
    return {"conditional_coherence": coherence, "conditional_diversity": float(np.mean(ratios))}


def measure_prefix(key: Key, generator: Generator, test: LabelledRows) -> dict[str, Any]:
    """Measure coherence and Fréchet distance of the last modality, given the first 1, 2, .. M-1.

    All that is not observed is generated, but nothing else is scored. Means and errors are over rows. The
    distance is to the real images of the same rows.
    """
    names, coherence = generator.names, {}
    distances: dict[str, dict[str, Any]] = {}
    # One key for all, as above.
    for num_observed, observed in enumerate(prefixes(len(names)), 1):
        made = generator.complete_rows(key, test.rows, observed)
        correct = (made["class"][:, -1] == test.label).astype(float)
        coherence[str(num_observed)] = estimate(correct)._asdict()
        for name, distance in frechet_distances(made, test.real, -1).items():
            distances.setdefault(f"prefix_{name}", {})[str(num_observed)] = {"mean": distance}
    return {"prefix_target": names[-1], "prefix_coherence": coherence, **distances}


def measure_all_subsets(
    key: Key, generator: Generator, test: LabelledRows, subsets_per_size: int
) -> dict[str, Any]:
    """Measure coherence and Fréchet distance by number of observed modalities, over subsets and targets.

    Coherence is averaged over subsets of a size and their targets, then over the rows of a class, then over
    classes. Its error is over rows, each one's mean over subsets and targets, and says nothing about the
    choice of subsets. A distance compares one target given one subset with the real images of the same rows;
    the mean is over subsets and targets. Both are also given by target.

    Args:
        key: A typed key.
        generator: The generator.
        test: The rows to complete.
        subsets_per_size: As in `subsets_by_size`. The results list which subsets these are.
    """
    names, label = generator.names, test.label
    by_size = subsets_by_size(len(names), subsets_per_size)
    # One key for all, as above.
    scored = {str(n): _score_targets(key, generator, test, s) for n, s in enumerate(by_size, 1)}
    return {
        "all_subsets_coherence": {n: _coherences(s, label, names) for n, s in scored.items()},
        **{
            f"all_subsets_{distance}": {
                n: _mean_distances(s, distance, names) for n, s in scored.items()
            }
            for distance in scored["1"].distances
        },
        "all_subsets_listed": {n: _list_subsets(s, label, names) for n, s in scored.items()},
    }


class _Scored(NamedTuple):
    """The targets of all subsets of one size, with NaN for what is observed.

    Attributes:
        subsets: What is observed, `[S, M]` bool.
        correct: Whether a target has the class of its row, `[S, N, M]`, 1 or 0.
        distances: Fréchet distances over all rows, `[S, M]` each.
    """

    subsets: np.ndarray
    correct: np.ndarray
    distances: dict[str, np.ndarray]

    @property
    def targets(self) -> np.ndarray:
        """The modalities that some subset does not observe."""
        return np.flatnonzero(~self.subsets.all(axis=0))


def _score_targets(
    key: Key, generator: Generator, test: LabelledRows, subsets: np.ndarray
) -> _Scored:
    """Generate and score the targets of subsets `[S, M]`, one after the other."""
    correct = np.full((len(subsets), len(test.label), subsets.shape[1]), np.nan)
    distances: dict[str, np.ndarray] = {}
    for s, observed in enumerate(subsets):
        made = generator.complete_rows(key, test.rows, observed)
        for m in np.flatnonzero(~observed).tolist():
            correct[s, :, m] = made["class"][:, m] == test.label
            for name, distance in frechet_distances(made, test.real, m).items():
                distances.setdefault(name, np.full(subsets.shape, np.nan))[s, m] = distance
    return _Scored(subsets, correct, distances)


def _coherences(scored: _Scored, label: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """Return the coherence of one size: the mean with its standard error, and by target."""
    by_target = {names[m]: np.nanmean(scored.correct[:, :, m], axis=0) for m in scored.targets}
    return macro_estimate(np.nanmean(scored.correct, axis=(0, 2)), label)._asdict() | {
        name: macro_estimate(correct, label).mean for name, correct in by_target.items()
    }


def _mean_distances(scored: _Scored, name: str, names: tuple[str, ...]) -> dict[str, float]:
    """Return a Fréchet distance of one size: the mean over subsets and targets, and by target."""
    distances = scored.distances[name]
    by_target = {names[m]: float(np.nanmean(distances[:, m])) for m in scored.targets}
    return {"mean": float(np.nanmean(distances)), **by_target}


def _list_subsets(
    scored: _Scored, label: np.ndarray, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return the subsets of one size by the names of what they observe, each with its own results."""
    return [
        {
            "observed": [names[m] for m in np.flatnonzero(observed)],
            "coherence": macro_estimate(np.nanmean(correct, axis=1), label)._asdict(),
            **{name: float(np.nanmean(each[s])) for name, each in scored.distances.items()},
        }
        for s, (observed, correct) in enumerate(zip(scored.subsets, scored.correct, strict=True))
    ]


def measure_joint(classes: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Measure how far the modalities of joint samples agree, and how their classes are distributed.

    Args:
        classes: The classes of joint samples, `[N, M]`.
        label: Those of the test rows, `[K]`.
    """
    num_classes = int(max(label.max(), classes.max())) + 1
    shares = label_shares(classes, num_classes)
    return {
        "unconditional_coherence": {
            "all_agree": all_agree(classes)._asdict(),
            "at_least_k": {str(k): share for k, share in at_least_k(classes).items()},
        },
        "label_total_variation": {
            "uniform": total_variation(shares, np.full(num_classes, 1 / num_classes)),
            "real": total_variation(shares, label_shares(label, num_classes)),
        },
    }


def measure_accuracy(
    names: tuple[str, ...],
    classes: np.ndarray,
    label: np.ndarray,
    present: np.ndarray,
    counts: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the share of right classes: the mean over rows with its standard error, and `by_modality`.

    Args:
        names: The modalities, in their order.
        classes: The classes that were read from them, `[N, M]`.
        label: The true ones, `[N]`.
        present: `[N, M]` bool: the modalities that a row has. Others do not count.
        counts: `[M]` bool: the modalities of which the mean is taken; all where none is, or for None.
    """
    correct = (classes == label[:, None]) & present
    by_modality = {
        name: float(correct[seen, m].mean())
        for m, (name, seen) in enumerate(zip(names, present.T, strict=True))
        if seen.any()
    }
    if counts is not None and counts.any():
        correct, present = correct[:, counts], present[:, counts]
    has = present.any(axis=1)
    mean = estimate(correct[has].sum(axis=1) / present[has].sum(axis=1))._asdict()
    return {**mean, "by_modality": by_modality}  # below a key, as a modality may be called mean
