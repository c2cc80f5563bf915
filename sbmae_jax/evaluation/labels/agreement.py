"""What is measured of several shared factors.

Given some labels, the views that are generated must show them; and they must agree with each other in each
factor that is *not* given, although no input says it. A model that generates each view on its own agrees in
it by chance alone. That all samples show the same class of an open factor would be agreement as well: so its
distribution is compared with that of the data given the labels, by total variation. Of as many exact draws
that would not be zero either, and the expectation is listed beside it. The recipe is that of MUNI
(arXiv 2606.16408) on PolyMNIST-D-Q, for any number of factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmae_jax.evaluation.fid import distance_of
from sbmae_jax.evaluation.labels.factors import Factor
from sbmae_jax.metrics.coherence import all_agree, estimate, pairs_agree
from sbmae_jax.metrics.diversity import (
    expected_total_variation,
    label_shares,
    spread_ratio,
    total_variation,
)

Reading = Mapping[str, np.ndarray]
"""What the function of `factors.make_factor_reader` reads from rows."""


ALL_FACTORS = "all factors"
"""Where results list factors by name: a view or a sample shows all of them."""


@dataclass(frozen=True, kw_only=True)
class FactorRows:
    """What a generator is measured on.

    Attributes:
        factors: The factors.
        views: The modalities that may show them.
        shown: Which views show a factor, by its name, `[V]` bool.
        labels: The classes of the test rows by factor, `[N]`.
        present: Which views these rows have, `[N, V]` bool.
        real: What is read from these rows.
        train_labels: The classes of the training rows by factor, `[K]`, of rows that have all.
    """

    factors: tuple[Factor, ...]
    views: tuple[str, ...]
    shown: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    present: np.ndarray
    real: Reading
    train_labels: Mapping[str, np.ndarray]

    def combine(self, names: tuple[str, ...], labels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the combination of the classes of some factors as one integer, `[N]`; 0 for no factor."""
        combined = np.zeros(len(next(iter(labels.values()))), np.int64)
        for factor in self.factors:
            if factor.name in names:
                combined = combined * len(factor.classes) + labels[factor.name]
        return combined


def measure_shown(
    made: Reading, rows: FactorRows, labels: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Measure whether views show the factors that are given.

    Args:
        made: What is read from samples, of N rows.
        rows: The factors, and the views that show them.
        labels: The classes that are given by factor, `[N]`.

    Returns:
        By factor the mean over rows and views, with its standard error, and `by_modality`; and under
        ALL_FACTORS, where there are several, how often a view shows all of them.
    """
    correct = {
        name: (made[f"class/{name}"] == label[:, None])[:, rows.shown[name]]
        for name, label in labels.items()
        if rows.shown[name].any()
    }
    found = {}
    for name, right in correct.items():
        views = [view for view, shows in zip(rows.views, rows.shown[name], strict=True) if shows]
        by_view = dict(zip(views, right.mean(axis=0).tolist(), strict=True))
        found[name] = {**estimate(right.mean(axis=1))._asdict(), "by_modality": by_view}
    both = np.all([rows.shown[name] for name in labels], axis=0)
    if len(labels) > 1 and both.any():
        right = [(made[f"class/{n}"] == label[:, None])[:, both] for n, label in labels.items()]
        found[ALL_FACTORS] = estimate(np.all(right, axis=0).mean(axis=1))._asdict()
    return found


def measure_open(
    made: Reading, rows: FactorRows, factor: Factor, given: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Measure what samples say of a factor that is not given.

    Args:
        made: What is read from samples, of N rows.
        rows: The test rows.
        factor: The open factor.
        given: The classes that are given by factor, `[N]` each; empty where nothing is.

    Returns:
        `pairs_agree` and `all_agree` of the views; `show_label`, the share of samples whose views all show
        the generated label, where the label is a modality; and `total_variation` from the data with the one
        `expected` of as many exact draws, each the mean over given classes and views.
    """
    name, shows = factor.name, rows.shown[factor.name]
    classes, found = made[f"class/{name}"][:, shows], {}
    if shows.sum() > 1:
        found["pairs_agree"] = pairs_agree(classes)._asdict()
        found["all_agree"] = all_agree(classes)._asdict()
    if shows.any() and f"stated/{name}" in made:
        right = classes == made[f"stated/{name}"][:, None]
        found["show_label"] = estimate(right.all(axis=1))._asdict()
    return found | (_variation(classes, rows, factor, given) if shows.any() else {})


def _variation(
    classes: np.ndarray, rows: FactorRows, factor: Factor, given: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the total variation of classes [N, V] from the training rows that have the same given labels."""
    num_classes, names = len(factor.classes), tuple(given)
    group = rows.combine(names, given) if given else np.zeros(len(classes), np.int64)
    real_group = rows.combine(names, rows.train_labels)
    real = rows.train_labels[factor.name]
    found, expected = [], []
    for one in np.intersect1d(group, real_group):
        p = label_shares(real[real_group == one], num_classes)
        some = classes[group == one]
        found += [total_variation(label_shares(view, num_classes), p) for view in some.T]
        expected.append(expected_total_variation(p, len(some)))
    if not found:
        return {}
    return {"total_variation": float(np.mean(found)), "expected": float(np.mean(expected))}


def measure_distances(made: Reading, rows: FactorRows) -> dict[str, Any]:
    """Measure the Fréchet distance of samples by factor, whose verifier gives the features, and by view.

    As many samples are compared as there are test rows with the view, or fewer.
    """
    found = {}
    for factor in rows.factors:
        by_view = {}
        for v in np.flatnonzero(rows.shown[factor.name]).tolist():
            key = f"features/{factor.name}/{rows.views[v]}"
            real = rows.real[key][rows.present[:, v]]
            num = min(len(made[key]), len(real))
            by_view[rows.views[v]] = distance_of(made[key][:num], real[:num])
        if by_view:
            mean = float(np.mean(list(by_view.values())))
            found[factor.name] = {"mean": mean, "by_modality": by_view}
    return found


def measure_diversity(
    first: Reading, second: Reading, rows: FactorRows, given: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Measure the variance of samples that share all given labels, over that of test rows that share them.

    Args:
        first: What is read from samples, one for each test row.
        second: What is read from others.
        rows: The test rows.
        given: The classes that are given by factor, `[N]`.

    Returns:
        By factor, whose verifier gives the features, the mean over views. Samples that do not show what is
        given do not count.
    """
    group, found = rows.combine(tuple(given), given), {}
    for factor in rows.factors:
        ratios = []
        for v in np.flatnonzero(rows.shown[factor.name]).tolist():
            right = np.ones(len(group), bool)
            for name, label in given.items():
                for made in (first, second):
                    right &= (made[f"class/{name}"][:, v] == label) | ~rows.shown[name][v]
            key, seen = f"features/{factor.name}/{rows.views[v]}", rows.present[:, v]
            pair = first[key][right], second[key][right]
            ratios.append(spread_ratio(*pair, rows.real[key][seen], group[seen]))
        if ratios:
            found[factor.name] = float(np.mean(ratios))
    return found
