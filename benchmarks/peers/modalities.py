"""Does quality fall as modalities are added? Ours and joint autoencoders with 2 to 10, seed 0.

The modalities are PolyDigits' photographs in their order, so that more of them are also harder ones. So all
is also measured of the first two alone, which are there at each number: given the other one of the two, and
given all others. The budget is that of five modalities in proportion to their number, and each method has
what it chose there.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.claims import LOW_TEMPERATURE
from benchmarks.peers.comparison import Setting
from benchmarks.peers.methods import Trained, asked, measure, sampled
from benchmarks.runner import Options, needed, once
from benchmarks.tables import mean_std
from sbmae_jax.app.run import load_evaluators
from sbmae_jax.data.backgrounds import PHOTOGRAPHS
from sbmae_jax.evaluation.labels import evaluators
from sbmae_jax.training.sharding import batched

FIRST = tuple(PHOTOGRAPHS)[:2]
METHODS = ("ours", LOW_TEMPERATURE, "mopoe", "mvtcae")


def measure_modalities(options: Options) -> dict[str, Any]:
    """Train and measure each method with each number of modalities."""
    chosen = needed(options, "comparison")["chosen"]
    rows: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    for num in (2, 3) if options.smoke else (2, 5, 10):
        setting = Setting.of(options, num_modalities=num)
        for method in METHODS:
            path = setting.folder / f"modalities-{method}.json"
            choice = chosen.get(method, {"value": 0.0})["value"]
            rows[method][str(num)] = once(path, partial(measure_one, setting, method, choice))
    return {"rows": rows}


def measure_one(setting: Setting, method: str, choice: Any) -> dict[str, Any]:
    """Train and measure a method."""
    cold = method == LOW_TEMPERATURE
    trained = setting.train("ours", 0) if cold else setting.train(method, 0, choice)
    trained = sampled(trained, **choice) if cold else trained
    return measure(trained, "test") | {"first two": measure_first(trained, "test")}


def measure_first(trained: Trained, split: str) -> dict[str, float]:
    """Return the figures of the photographs that are there at each number, each the mean over these two.

    Coherence and Fréchet distance, to the real pictures of the same rows, given the other of the two and
    given all others.
    """
    run = trained.run
    protocol, rows, generator = asked(trained, split, run.parts.protocol.num_rows)
    key, names, label = run.trainer.stage_key("first two"), run.parts.layout.names, rows["label"]
    judge = load_evaluators(run)["classifier"]
    classify = evaluators.compile_classifier(protocol.classifier, judge)
    generator = generator.reading(evaluators.make_reader(names, classify))
    real = batched(generator.read, generator.batch_size)({name: rows[name] for name in names})
    rebuilt = generator.reconstruct_rows(rows)

    def right(seen: Mapping[str, np.ndarray], m: int) -> float:
        return float(np.mean(seen["class"][:, m] == label))

    found: list[dict[str, float]] = []
    first, second = (names.index(name) for name in FIRST)
    for target, other in ((first, second), (second, first)):
        row = {"classifier": right(real, target), "reconstruction": right(rebuilt, target)}
        number = np.arange(len(names))
        for what, observed in (("the other", number == other), ("all others", number != target)):
            made = generator.complete_rows(key, rows, observed)
            distances = evaluators.frechet_distances(made, real, target)
            row[f"given {what}"] = right(made, target)
            row[f"Fréchet distance given {what}"] = distances["frechet_classifier_features"]
        found.append(row)
    return {figure: mean_std(found, figure)[0] for figure in found[0]}
