"""Does quality fall as modalities are added? Ours and joint autoencoders with 2 to 10; in results/peers.json.

    python benchmarks/peers_modalities.py          # after benchmarks/peers.py; seed 0, about 45 minutes

The modalities are PolyDigits' photographs in their order, so that more of them are also harder ones. So all
is also measured of the first two alone, which are there at each number: given the other one of the two, and
given all others. Coherence stands over the share of real pictures that the classifier of as many modalities
reads right. The budget is that of peers.py for five, in proportion to their number, and each method has what
it chose there.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import peers_claims
import peers_page
import peers_tables
from matplotlib.figure import Figure
from peers_claims import COLDER, RIVALS
from peers_comparison import ROOT, Comparison
from peers_jobs import do_all, share_executables
from peers_runs import Trained, asked, kept, load_evaluators, measure
from peers_sampling import colder

from sbmae_jax.data.backgrounds import PHOTOGRAPHS
from sbmae_jax.evaluation.labels.evaluators import (
    classes_and_features,
    compile_classifier,
    frechet_distances,
)
from sbmae_jax.training.sharding import batched

FIRST = tuple(PHOTOGRAPHS)[:2]
COUNTS = (2, 5, 10)
PLOT = ROOT / "results" / "peers_modalities.png"


def measure_counts(
    methods: Sequence[str], counts: Sequence[int], chosen: Mapping[str, Any], jobs: int
) -> dict[str, dict[str, Any]]:
    """Train and measure each method with each number of modalities."""
    these = {num: Comparison("polydigits", num_modalities=num) for num in counts}
    do_all([partial(this.evaluator, 0) for this in these.values()], jobs)
    # The longest first, so that no core waits for one.
    tasks = [
        partial(measure_number, these[num], [m for m in methods if trained_as(m) == base], chosen)
        for num in sorted(counts, reverse=True)
        for base in dict.fromkeys(map(trained_as, methods))
    ]
    do_all(tasks, jobs)
    return {
        method: {str(num): measure_number(these[num], [method], chosen)[method] for num in counts}
        for method in methods
    }


def trained_as(method: str) -> str:
    """Return the method whose training a method samples."""
    return "ours" if method == COLDER else method


def measure_number(
    this: Comparison, methods: Sequence[str], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Train and measure methods with the modalities of a comparison, or read what was measured."""

    def make(method):
        choice = chosen.get(method, {"value": 0.0})["value"]
        if method == COLDER:
            trained = colder(this.train("ours", "ours-0", 0, 1.0, 0.0), **choice)
        else:
            trained = this.train(method, f"{method}-0", 0, 1.0, choice)
        return measure(trained, "test") | {"first two": measure_first(trained, "test")}

    return {m: kept(this.folder / f"modalities-{m}.json", partial(make, m)) for m in methods}


def measure_first(trained: Trained, split: str) -> dict[str, float]:
    """Return the figures of the photographs that are there at each number, each the mean over these two.

    Coherence and Fréchet distance, to the real pictures of the same rows, given the other of the two and
    given all others.
    """
    run = trained.run
    protocol, rows, generator = asked(trained, split, run.parts.protocol.num_rows)
    key, names, label = run.trainer.stage_key("first two"), run.parts.layout.names, rows["label"]
    classify = compile_classifier(protocol.classifier, load_evaluators(run)["classifier"])
    generator = generator.reading(classes_and_features(names, classify))
    real = batched(generator.read, generator.batch_size)({name: rows[name] for name in names})
    rebuilt = generator.reconstruct_rows(rows)["class"]
    places = [names.index(name) for name in FIRST]
    found: dict[str, list[float]] = {}
    for target, other in zip(places, reversed(places), strict=True):
        found.setdefault("classifier", []).append(right(real["class"], label, target))
        found.setdefault("reconstruction", []).append(right(rebuilt, label, target))
        given = {
            "the other": np.arange(len(names)) == other,
            "all others": np.arange(len(names)) != target,
        }
        for what, observed in given.items():
            made = generator.complete_rows(key, rows, observed)
            distance = frechet_distances(made, real, target)["frechet_classifier_features"]
            found.setdefault(f"given {what}", []).append(right(made["class"], label, target))
            found.setdefault(f"Fréchet distance given {what}", []).append(distance)
    return {figure: float(np.mean(values)) for figure, values in found.items()}


def right(classes: np.ndarray, label: np.ndarray, m: int) -> float:
    """Return the share of rows whose modality m is read as of its class."""
    return float(np.mean(classes[:, m] == label))


def draw(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw coherence and Fréchet distance against the number: of the first two above, of all below."""
    by_number = iter(peers_claims.BY_NUMBER.items())
    distance = "Fréchet distance given all others"
    panels = [
        next(by_number), next(by_number),
        (f"first two, {distance}", lambda row, num: row["first two"][distance]),
        *by_number,
        ("all, Fréchet distance from nothing", lambda row, num: row["Fréchet distance"]),
    ]  # fmt: skip
    figure = Figure(figsize=(10.5, 6))
    for place, (title, value) in enumerate(panels, 1):
        axes = figure.add_subplot(2, 3, place)
        for method, found in rows.items():
            points = [(int(num), value(row, int(num))) for num, row in found.items()]
            colour, marker = peers_tables.LOOKS[method]
            label = peers_claims.WORDS[method]
            axes.plot(*zip(*points, strict=True), f"{marker}-", color=colour, label=label)
        axes.set_title(title, fontsize=9)
        axes.set_ylim(0, None if "distance" in title else 1.05)
        if place > 3:
            axes.set_xlabel("modalities")
    figure.axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)


def main() -> None:
    """Measure, compare with the targets, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ["ours", COLDER, *RIVALS]
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=known,
        default=["ours", COLDER, "mopoe", "mvtcae"],
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, as in peers.py")
    arguments = parser.parse_args()
    share_executables()
    chosen = peers_page.load()["chosen"]
    rows = measure_counts(arguments.methods, arguments.counts, chosen, arguments.jobs)
    methods, counts = shlex.join(arguments.methods), " ".join(map(str, arguments.counts))
    command = f"python benchmarks/peers_modalities.py --methods {methods} --counts {counts}"
    page = peers_page.put("modalities", {"command": command, "rows": rows})
    draw(rows)
    print(peers_tables.modalities_table(page))


if __name__ == "__main__":
    main()
