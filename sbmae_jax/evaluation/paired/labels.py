"""Coherence where rows have a label: a classifier of scikit-learn for each modality.

They are fitted to real training rows when a run is evaluated: logistic regression or a small network,
whichever does better on rows held out. Their accuracy is reported, on real test rows and on reconstructions.
The latter is the ceiling of coherence.

A modality need not say anything of the label. Its classifier then guesses, and agrees with others by chance
alone. So a classifier whose accuracy on test rows cannot be told from that of the most frequent class does
not count: coherence is that of the other modalities, and the results name those left out.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.labels.coherence import measure_accuracy, measure_joint
from sbmae_jax.evaluation.paired.baselines import fit_quietly, hold_out
from sbmae_jax.evaluation.paired.eval_data import EvalData
from sbmae_jax.evaluation.subsets import nested_of_present
from sbmae_jax.metrics.coherence import conditional_coherence, estimate
from sbmae_jax.types import Key

MAX_ROWS = 10_000  # from which a classifier learns
GOOD_ENOUGH = 0.98  # accuracy of logistic regression on rows held out
MIN_PER_CLASS = 10  # rows of a class; a network needs some of each for early stopping


def measure_labels(
    key: Key, eval_data: EvalData, generator: Generator, made: Arrays
) -> dict[str, Any]:
    """Measure the accuracy of the classifiers, and the coherence of conditional and of joint samples.

    Args:
        key: A typed key.
        eval_data: What to measure on; its rows have labels.
        generator: The generator.
        made: Joint samples, `{name: [N, ...]}`.
    """
    names, test = eval_data.names, eval_data.test
    label, classify = np.asarray(test.label), fit_classifiers(eval_data)

    def read(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        classes = [classify[name](np.asarray(batch[name])) for name in names]
        return {"class": np.stack(classes, axis=1)}

    reading = generator.reading(read)
    real, rebuilt = read(test.arrays)["class"], reading.reconstruct_rows(test.arrays)["class"]
    tells = find_judges(real, label, test.present)
    results = {
        "classifier_accuracy": measure_accuracy(names, real, label, test.present, tells),
        "reconstruction_accuracy": measure_accuracy(names, rebuilt, label, test.present, tells),
        "judges_left_out": [name for name, used in zip(names, tells, strict=True) if not used],
    }
    if not tells.any():
        return results
    joint = measure_joint(read(made)["class"][:, tells], label)
    results["label_total_variation"] = joint["label_total_variation"]
    if len(names) == 1 or tells.sum() < 2:
        return results
    coherence = _measure_nested(key, eval_data, reading, tells)
    return results | joint | {"conditional_coherence": coherence}


def find_judges(classes: np.ndarray, label: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return which classifiers are better than naming the most frequent class: `[M]` bool.

    The lower end of the 95 % interval of their accuracy must be above the share of that class.

    Args:
        classes: What they read from real test rows, `[N, M]`.
        label: The labels of these rows, `[N]`.
        present: The modalities that a row has, `[N, M]` bool.
    """
    found = []
    for column, seen in zip(classes.T, present.T, strict=True):
        correct, shares = column[seen] == label[seen], np.unique(label[seen], return_counts=True)[1]
        is_better = seen.any() and estimate(correct).low > shares.max() / seen.sum()
        # Where all rows have one class, there is nothing to be better at.
        found.append(bool(is_better or (len(shares) == 1 and correct.all())))
    return np.array(found)


def _measure_nested(
    key: Key, eval_data: EvalData, generator: Generator, tells: np.ndarray
) -> dict[str, Any]:
    """Return coherence by number of observed modalities, of the rows that have so many.

    Each row observes growing subsets of what it has. All other modalities that tell of the label are targets,
    also those that were not measured, as the label of the row is known. Rows without a target do not count.
    """
    results, test = {}, eval_data.test
    for num_observed, (chosen, observed) in enumerate(nested_of_present(test.present), 1):
        has_target = (~observed & tells[None]).any(axis=1)
        chosen, observed = chosen[has_target], observed[has_target]
        if not len(chosen):
            continue
        rows = {name: test.arrays[name][chosen] for name in eval_data.names}
        # One key for all, so that fresh noise does not hide what one more modality adds.
        classes = generator.complete_rows(key, rows, observed)["class"][:, tells]
        found = conditional_coherence(classes, np.asarray(test.label)[chosen], observed[:, tells])
        results[str(num_observed)] = found._asdict()
    return results


def fit_classifiers(
    eval_data: EvalData,
    label: np.ndarray | None = None,
    names: Collection[str] = (),
    max_rows: int = MAX_ROWS,
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Fit a classifier to each modality: `{name: function [N, *shape] -> class [N]}`.

    Args:
        eval_data: Its training rows are learned from.
        label: Their classes, `[N]` integers from 0, with -1 where none is known; None for those of the data.
        names: The modalities; all, if it is empty. Those without a row that has a class are left out.
        max_rows: From how many rows each learns.
    """
    train, fitted = eval_data.train, {}
    label = np.asarray(train.label if label is None else label)
    for name, block, present in zip(eval_data.names, train.blocks, train.present.T, strict=True):
        seen = present & (label >= 0)
        if (names and name not in names) or not seen.any():
            continue
        encode = eval_data.columns[name].encode
        predict = _fit_classifier(block[seen][:max_rows], label[seen][:max_rows])
        fitted[name] = lambda x, encode=encode, predict=predict: predict(encode(x))
    return fitted


def _fit_classifier(x: np.ndarray, label: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Fit classifiers of columns [N, C], and return the one that does best on rows held out.

    A network is tried only where logistic regression leaves room for it.
    """
    kept, held = hold_out(len(x))
    classes, counts = np.unique(label[kept], return_counts=True)
    if len(classes) == 1:
        return lambda x: np.full(len(x), classes[0])

    def fit(model: Any) -> tuple[float, Any]:
        fit_quietly(model, x[kept], label[kept])
        return model.score(x[held], label[held]), model

    tried = [
        fit(LogisticRegression(C=1 / (penalty * len(kept)), max_iter=200, tol=1e-3))
        for penalty in (1e-3, 1e-2, 1e-1)
    ]
    if counts.min() >= MIN_PER_CLASS and max(score for score, _ in tried) < GOOD_ENOUGH:
        network = MLPClassifier(
            (128,), alpha=1e-3, early_stopping=True, max_iter=60, random_state=0
        )
        tried.append(fit(network))
    _, best = max(tried, key=lambda pair: pair[0])
    return best.predict
