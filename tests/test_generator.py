import dataclasses
import itertools
import json
import time

import jax
import numpy as np
import pytest

from sbmae_jax._json import to_json
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.labels import pages
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


@pytest.mark.parametrize(("num_rows", "num_calls"), [(100, 2), (128, 2), (300, 3)])
def test_the_speed_is_that_of_calls_without_compilation(num_rows, num_calls):
    calls = []

    def compiling(key, batch, observed):
        calls.append(len(observed))
        time.sleep(0.01 if len(calls) > 1 else 0.5)
        return {name: batch[name] for name in NAMES}

    timed = generator(compiling)
    rows = {name: ROWS[name][:num_rows] for name in NAMES}
    timed.complete_rows(jax.random.key(0), rows, np.zeros(3, bool))
    assert timed.seconds_per_call(rows) < 0.4
    assert calls == [128] * num_calls


def test_each_function_compiles_in_its_own_first_call():
    def slow_at_first():
        seen = []

        def function(key, batch, observed):
            seen.append(0)
            time.sleep(0.01 if len(seen) > 1 else 0.5)
            return {name: batch[name] for name in NAMES}

        return function

    timed = dataclasses.replace(generator(slow_at_first()), draw=slow_at_first())
    for method in (timed.complete_rows, timed.draw_rows):
        method(jax.random.key(0), ROWS, np.zeros(3, bool))
        method(jax.random.key(0), ROWS, np.zeros(3, bool))
    assert timed.seconds_per_call(ROWS) < 0.4


def test_the_speed_of_a_generator_that_was_never_called_is_measured():
    timed = generator(lambda key, batch, observed: batch)
    assert timed.seconds_per_call(ROWS) < 0.4


def test_one_row_is_measured_and_shown():
    rows = {name: array[:1] for name, array in ROWS.items()}
    reading = generator(redraw).reading(make_reader(NAMES, classify))
    found = measure_labelled(jax.random.key(0), rows, reading, 600)
    for key in ("classifier_accuracy", "reconstruction_accuracy"):
        assert (found[key]["mean"], str(found[key]["se"])) == (1, "nan")
    assert str(found["frechet_classifier_features"]["mean"]) == "nan"
    undefined = json.loads(to_json(found))["undefined"]
    assert undefined["conditional_coherence.1.se"] == "a standard error needs two rows"
    assert undefined["conditional_diversity"] == "too few rows, or values that do not vary"
    shown = pages.draw_samples(jax.random.key(1), rows, generator(redraw))
    assert {len(shown[f"true/{name}"]) for name in NAMES} == {len(shown["observed"])}
    headlines = pages.headlines(found | {"seconds_per_1000_samples": 1.0, "num_evaluations": 3})
    assert "undefined" in str(headlines)
    assert "nan" not in str(headlines)
