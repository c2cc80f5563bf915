"""Coherence where rows have a label: classifiers of scikit-learn, one for each modality, are the judges.

They are fitted to real training rows when a run is evaluated: logistic regression or a small network,
whichever does better on rows held out. Their accuracy on real test rows is reported, and on reconstructions:
that is the ceiling of coherence.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.paired.baselines import split
from sbmae_jax.evaluation.paired.eval_data import EvalData
from sbmae_jax.evaluation.subsets import nested_of_present
from sbmae_jax.metrics.coherence import all_agree, at_least_k, conditional_coherence, estimate
from sbmae_jax.metrics.diversity import label_shares, total_variation
from sbmae_jax.types import Key

MAX_ROWS = 10_000  # from which a judge learns
GOOD_ENOUGH = 0.98  # accuracy of logistic regression on rows held out
MIN_PER_CLASS = 10  # rows of a class, for a network, which needs some to stop early

Evaluators = list[Callable[[np.ndarray], np.ndarray]]
"""of each modality: x [N, *shape] -> class [N]"""


def fit_evaluators(eval_data: EvalData) -> Evaluators:
    """Fit a classifier to each modality's columns."""
    return [
        fit_evaluator(
            eval_data.columns[name].read, block[seen], np.asarray(eval_data.train_label)[seen]
        )
        for name, block, seen in zip(
            eval_data.names, eval_data.train_blocks, eval_data.train_present.T, strict=True
        )
    ]


def fit_evaluator(
    read: Callable[[np.ndarray], np.ndarray], x: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Fit classifiers of columns [N, C], and return the one that does best on rows held out.

    A network is tried only where logistic regression leaves something to be gained.
    """
    x, label = x[:MAX_ROWS], label[:MAX_ROWS]
    kept, held = split(len(x))
    classes, counts = np.unique(label[kept], return_counts=True)
    if len(classes) == 1:
        return lambda x: np.full(len(x), classes[0])

    def fit(model):
        evaluator = fitted(model, x[kept], label[kept])
        return evaluator.score(x[held], label[held]), evaluator

    tried = [
        fit(LogisticRegression(C=1 / (penalty * len(kept)), max_iter=200, tol=1e-3))
        for penalty in (1e-3, 1e-2, 1e-1)
    ]
    if counts.min() >= MIN_PER_CLASS and max(score for score, _ in tried) < GOOD_ENOUGH:
        network = MLPClassifier(
            (128,), alpha=1e-3, early_stopping=True, max_iter=60, random_state=0
        )
        tried.append(fit(network))
    _, evaluator = max(tried, key=lambda pair: pair[0])
    return lambda x: evaluator.predict(read(x))


def fitted(model, x: np.ndarray, label: np.ndarray):
    """Fit a classifier, although the last digits may not have converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, label)


def measure_labels(
    key: Key, eval_data: EvalData, generator: Generator, made: Arrays
) -> dict[str, Any]:
    """Return the accuracy of the judges, and the coherence of conditional and of joint samples.

    made: joint samples, {name: [N, ...]}.
    """
    names, evaluators, label = (
        eval_data.names,
        fit_evaluators(eval_data),
        np.asarray(eval_data.label),
    )

    def read(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        classes = [
            evaluator(np.asarray(batch[name]))
            for name, evaluator in zip(names, evaluators, strict=True)
        ]
        return {"class": np.stack(classes, axis=1)}

    reading = generator.reading(read)
    rebuilt = reading.reconstruct_rows(eval_data.rows)["class"]
    real = read(eval_data.rows)["class"]
    results = {
        "classifier_accuracy": accuracy(names, real, label, eval_data.present),
        "reconstruction_accuracy": accuracy(names, rebuilt, label, eval_data.present),
    }
    shown = read(made)["class"]
    num_classes = int(max(label.max(), shown.max())) + 1
    shares = label_shares(shown, num_classes)
    results["label_total_variation"] = {
        "uniform": total_variation(shares, np.full(num_classes, 1 / num_classes)),
        "real": total_variation(shares, label_shares(label, num_classes)),
    }
    if len(names) == 1:
        return results
    return results | {
        "conditional_coherence": measure_nested(key, eval_data, reading),
        "unconditional_coherence": {
            "all_agree": all_agree(shown)._asdict(),
            "at_least_k": {str(k): share for k, share in at_least_k(shown).items()},
        },
    }


def measure_nested(key: Key, eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Return coherence by number of observed modalities, of the rows that have so many.

    Each row observes growing subsets of its own, of what it has; all other modalities are targets, those
    that were not measured included, as the label of the row is known.
    """
    results = {}
    for num_observed, (chosen, observed) in enumerate(nested_of_present(eval_data.present), 1):
        if not len(chosen):
            continue
        rows = {name: eval_data.rows[name][chosen] for name in eval_data.names}
        # One key for all: what one more modality adds is then not hidden by fresh noise.
        classes = generator.complete_rows(key, rows, observed)["class"]
        label = np.asarray(eval_data.label)[chosen]
        results[str(num_observed)] = conditional_coherence(classes, label, observed)._asdict()
    return results


def accuracy(
    names: tuple[str, ...], classes: np.ndarray, label: np.ndarray, present: np.ndarray
) -> dict[str, float]:
    """Return the share of right classes [N, M] where measured: mean with standard error, by modality."""
    correct = (classes == label[:, None]) & present
    by_modality = {
        name: float(correct[seen, m].mean())
        for m, (name, seen) in enumerate(zip(names, present.T, strict=True))
        if seen.any()
    }
    return estimate(correct.sum(axis=1) / present.sum(axis=1))._asdict() | by_modality
