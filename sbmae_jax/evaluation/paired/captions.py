"""Text whose content a grammar reads: do captions and other modalities say the same?

A grammar (`data.captions`) tells the value of each factor from a caption. What the other modalities show is
told by classifiers, one for each of them and each factor, which are fitted to real training rows with the
captions' values as classes. One that is no better on test rows than the most frequent value is left out: not
every modality shows every factor. The *label* of a factor is a category, or a vector of bits, that tells it
without error; what other modalities show given the caption is compared with what they show given that one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmae_jax.data.captions import Grammar
from sbmae_jax.evaluation.formatting import over
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.evaluation.paired.eval_data import EvalData
from sbmae_jax.evaluation.paired.labels import find_judges, fit_classifiers
from sbmae_jax.evaluation.paired.texts import ToStrings
from sbmae_jax.metrics.coherence import all_agree, estimate
from sbmae_jax.types import Key

MAX_ROWS = 4000  # from which a classifier of one factor learns
LABEL_ACCURACY = 0.999  # on test rows, of a modality that is the label of a factor
OTHERS = "all others"


@dataclass(frozen=True, kw_only=True)
class _Readers:
    """What tells the factors of generated rows.

    Attributes:
        name: The modality of text.
        grammar: Tells them from its strings.
        strings: Turns its tokens into strings.
        classify: Tells them from other modalities: `{factor: {modality: function}}`.
        labels: The modality that is the label of a factor, where one is.
    """

    name: str
    grammar: Grammar
    strings: ToStrings
    classify: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, str]

    def said(self, rows: Arrays) -> np.ndarray:
        """Return the values that captions say, `[N, F]`, with -1 for none."""
        return self.grammar.values_said(self.strings(np.asarray(rows[self.name])).tolist())

    def read(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return what the captions of a batch say, and what its other modalities show."""
        shown = {
            f"{factor}/{name}": classify(np.asarray(batch[name]))
            for factor, by_name in self.classify.items()
            for name, classify in by_name.items()
        }
        return {"said": self.said(batch), **shown}


def measure_captions(
    key: Key,
    eval_data: EvalData,
    generator: Generator,
    made: Arrays,
    name: str,
    grammar: Grammar,
    strings: ToStrings,
) -> dict[str, Any]:
    """Measure whether the captions of one modality and the other modalities say the same.

    Args:
        key: A typed key.
        eval_data: What to measure on.
        generator: The generator.
        made: Joint samples, `{name: [N, ...]}`.
        name: The modality of text.
        grammar: What its strings may say.
        strings: How its tokens become strings.

    Returns:
        `num_rows`, the test rows with a caption. `labels`: by factor, the modality that is its label.
        `caption_given`: by the modality that is given, or OTHERS, and factor, how often the generated caption
        says the value of the true one; `frequent` is the share of the most frequent value.
        `given_caption` and `given_label`: by factor and generated modality, how often it shows that value;
        `over_label`: the mean of the first over that of the second.
        `agreement`: by factor, how often in joint samples all modalities that show it, but for the caption,
        have one value (`others`), and the caption has it too (`with_caption`).
    """
    test, m = eval_data.test, eval_data.names.index(name)
    true = grammar.values_said(strings(np.asarray(test.arrays[name])).tolist())
    true[~test.present[:, m]] = -1
    readers = _fit_readers(eval_data, name, grammar, strings, true)
    reading = generator.reading(readers.read)

    def given(sources: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Generate all else from some modalities of the rows that have a caption and these."""
        seen = np.isin(eval_data.names, sources)
        rows = np.flatnonzero(test.present[:, m] & test.present[:, seen].all(axis=1))
        if not len(rows):
            return {}, true[rows]
        some = {n: np.asarray(test.arrays[n])[rows] for n in eval_data.names}
        observed = test.present[rows] & seen
        return reading.complete_rows(key, some, observed), true[rows]

    others = [other for other in eval_data.names if other != name]
    by_source = {other: given([other]) for other in others}
    if len(others) > 1:
        by_source[OTHERS] = given(others)
    from_caption, joint = given([name]), readers.read(made)
    labels = readers.labels
    given_caption = {f: _shown(*from_caption, readers, f) for f in grammar.words}
    given_label = {f: _shown(*by_source[source], readers, f) for f, source in labels.items()}
    return {
        "num_rows": int((true >= 0).any(axis=1).sum()),
        "labels": {factor: labels.get(factor) for factor in grammar.words},
        "frequent": {f: _frequent(true[:, i]) for i, f in enumerate(grammar.words)},
        "caption_given": {
            s: _caption(*found, readers) for s, found in by_source.items() if found[0]
        },
        "given_caption": given_caption,
        "given_label": given_label,
        "over_label": {
            f: over(_mean(given_caption[f]), _mean(given_label[f]))
            for f in given_label
            if given_label[f]
        },
        "agreement": {f: _agreement(joint, readers, f) for f in readers.classify},
    }


def _fit_readers(
    eval_data: EvalData, name: str, grammar: Grammar, strings: ToStrings, true: np.ndarray
) -> _Readers:
    """Fit the classifiers of all factors, and keep those that tell something."""
    train, test = eval_data.train, eval_data.test
    said = grammar.values_said(strings(np.asarray(train.arrays[name])).tolist())
    said[~train.present[:, eval_data.names.index(name)]] = -1
    others = [n for n in eval_data.names if n not in eval_data.texts]
    columns = [eval_data.names.index(n) for n in others]
    classify: dict[str, dict[str, Any]] = {}
    labels = {}
    for f, factor in enumerate(grammar.words):
        known = true[:, f] >= 0
        fitted = fit_classifiers(eval_data, said[:, f], others, MAX_ROWS)
        if not known.any() or len(fitted) < len(others):
            continue
        real = [fitted[n](np.asarray(test.arrays[n])[known]) for n in others]
        real, present = np.stack(real, axis=1), test.present[known][:, columns]
        tells = find_judges(real, true[known, f], present)
        classify[factor] = {n: fitted[n] for n, used in zip(others, tells, strict=True) if used}
        right = (real == true[known, f, None]) | ~present
        for n, share in zip(others, right.mean(axis=0), strict=True):
            if n in classify[factor] and share >= LABEL_ACCURACY and _is_label(eval_data, n):
                labels.setdefault(factor, n)
    classify = {factor: by_name for factor, by_name in classify.items() if by_name}
    return _Readers(name=name, grammar=grammar, strings=strings, classify=classify, labels=labels)


def _is_label(eval_data: EvalData, name: str) -> bool:
    is_vector = np.asarray(eval_data.test.arrays[name]).ndim == 2
    return is_vector and eval_data.value_types[name] in ("category", "binary")


def _caption(
    found: Mapping[str, np.ndarray], true: np.ndarray, readers: _Readers
) -> dict[str, Any]:
    """Return by factor how often generated captions say what the true ones do."""
    return {
        factor: estimate((found["said"][known, f] == true[known, f]).astype(float))._asdict()
        for f, factor in enumerate(readers.grammar.words)
        if (known := true[:, f] >= 0).any()
    }


def _shown(
    found: Mapping[str, np.ndarray], true: np.ndarray, readers: _Readers, factor: str
) -> dict[str, Any]:
    """Return by modality how often what is generated shows what the caption of its row says."""
    truth = true[:, list(readers.grammar.words).index(factor)]
    known = truth >= 0
    if not known.any():
        return {}
    return {
        name: estimate((found[f"{factor}/{name}"][known] == truth[known]).astype(float))._asdict()
        for name in readers.classify.get(factor, {})
        if name != readers.labels.get(factor)
    }


def _mean(entries: Mapping[str, Any]) -> float:
    return float(np.mean([entry["mean"] for entry in entries.values()]))


def _agreement(joint: Mapping[str, np.ndarray], readers: _Readers, factor: str) -> dict[str, Any]:
    """Return how often joint samples agree on a factor, without and with their captions."""
    others = np.stack([joint[f"{factor}/{name}"] for name in readers.classify[factor]], axis=1)
    said = joint["said"][:, list(readers.grammar.words).index(factor)]
    together = np.concatenate([others, said[:, None]], axis=1)
    return {
        "modalities": list(readers.classify[factor]),
        "others": all_agree(others)._asdict(),
        "with_caption": all_agree(together)._asdict(),
    }


def _frequent(values: np.ndarray) -> float:
    """Return the share of the most frequent value."""
    known = values[values >= 0]
    return float(np.bincount(known).max() / len(known)) if len(known) else 0.0
