import itertools

import jax
import numpy as np
import pytest

from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.labels.evaluators import make_reader
from sbmae_jax.evaluation.labels.protocol import measure_labelled
from sbmae_jax.evaluation.subsets import nested_subsets

NAMES = ("a", "b", "c")
CLASSES = 4
LABEL = np.random.default_rng(0).integers(CLASSES, size=600)
# A picture is a number: its class in the first pixel, noise in the second.
NOISE = np.random.default_rng(1).normal(size=(600, 3))
ROWS = {name: np.stack([LABEL, NOISE[:, m]], axis=1) for m, name in enumerate(NAMES)} | {
    "label": LABEL
}


def classify(x):
    x = np.asarray(x)
    return np.round(x[:, 0]).astype(int), x


def generator(complete):
    return Generator(names=NAMES, complete=complete, reconstruct=dict, batch_size=128)


def measured(complete, num_unconditional=600, protocols=("nested",)):
    reading = generator(complete).reading(make_reader(NAMES, classify))
    return measure_labelled(jax.random.key(0), ROWS, reading, num_unconditional, protocols)


def redraw(key, batch, observed):
    """A perfect generator: the class of what is observed, or else a fresh one, with fresh noise."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    stacked = np.stack([batch[name][:, 0] for name in NAMES], axis=1)
    given = np.where(observed, stacked, -1).max(axis=1)
    label = np.where(given >= 0, given, rng.integers(CLASSES, size=len(given)))
    return {name: np.stack([label, rng.normal(size=len(label))], axis=1) for name in NAMES}


def careless(key, batch, observed):
    """A generator that ignores what is observed, and what its own modalities show."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    size = len(observed)
    return {
        name: np.stack([rng.integers(CLASSES, size=size), rng.normal(size=size)], axis=1)
        for name in NAMES
    }


def test_a_perfect_generator_scores_the_ceiling():
    figures = measured(redraw)
    assert figures["classifier_accuracy"]["mean"] == 1
    assert figures["reconstruction_accuracy"]["mean"] == 1
    assert [e["mean"] for e in figures["conditional_coherence"].values()] == [1, 1]
    assert figures["unconditional_coherence"]["all_agree"]["mean"] == 1
    assert figures["label_total_variation"]["uniform"] < 0.08
    assert figures["conditional_diversity"] == pytest.approx(1, abs=0.1)
    assert figures["frechet_classifier_features"]["mean"] < 0.05


def test_a_careless_generator_is_at_chance():
    figures = measured(careless)
    for entry in figures["conditional_coherence"].values():
        assert abs(entry["mean"] - 1 / CLASSES) < 4 * entry["se"]
    agree = figures["unconditional_coherence"]["all_agree"]
    assert abs(agree["mean"] - 1 / CLASSES**2) < 4 * agree["se"]


def test_a_collapsed_generator_is_coherent_but_found_out():
    def collapsed(key, batch, observed):
        return {name: np.tile([1.0, 0.0], (len(observed), 1)) for name in NAMES}

    figures = measured(collapsed)
    assert figures["unconditional_coherence"]["all_agree"]["mean"] == 1
    assert figures["label_total_variation"]["uniform"] == pytest.approx(1 - 1 / CLASSES)
    assert figures["conditional_diversity"] == 0
    assert figures["frechet_classifier_features"]["mean"] > 1


def test_subsets_of_a_row_grow_and_those_of_a_size_are_equally_likely():
    nested = nested_subsets(6000, 5)
    for num_observed, observed in enumerate(nested, 1):
        assert (observed.sum(axis=1) == num_observed).all()
        _, counts = np.unique(observed, axis=0, return_counts=True)
        expected = 6000 / len(counts)
        assert len(counts) == [5, 10, 10, 5][num_observed - 1]
        assert np.sum((counts - expected) ** 2 / expected) < 30
    for fewer, more in itertools.pairwise(nested):
        assert (fewer <= more).all()
