"""What the report shows of conditional coherence: main results, a curve, a table of the protocols."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from sbmae_jax.evaluation.base import Headline, ReportSection, Results
from sbmae_jax.evaluation.formatting import number, with_error

COHERENCE = {
    "nested": "conditional_coherence", "prefix": "prefix_coherence",
    "all subsets": "all_subsets_coherence",
}  # fmt: skip
DISTANCE = {
    "Fréchet distance, prefix": "prefix_frechet_classifier_features",
    "Fréchet distance, all subsets": "all_subsets_frechet_classifier_features",
    "FID, prefix": "prefix_fid",
    "FID, all subsets": "all_subsets_fid",
}
DEFINITIONS = {
    "nested": "Nested: each example observes more and more modalities, in a random order of its own, and all "
    "others are scored; the mean is over examples.",
    "prefix": "Prefix: the first modalities are observed, all others are generated, and only the last one, "
    "{target}, is scored; the mean is over examples.",
    "all subsets": "All subsets: every subset of each size is observed in turn (results.json lists which, "
    "where there are too many), and all other modalities are scored; the mean is over subsets and targets, "
    "then over the examples of a class, then over classes.",
}


def headlines(results: Results) -> list[Headline]:
    """Choose the main results: all of the nested protocol, and the ends of the others."""
    found = []
    for title, entries in _measured(results, COHERENCE).items():
        # The prefix protocol scores one modality alone.
        accuracy = results["reconstruction_accuracy"]
        ceiling = (
            accuracy["by_modality"][results["prefix_target"]]
            if title == "prefix"
            else accuracy["mean"]
        )
        ends = list(entries)[:: max(len(entries) - 1, 1)]
        name = "conditional coherence" if title == "nested" else f"coherence, {title}"
        found += [
            Headline(f"{name}, given {n}", with_error(entry),
                     _beside_ceiling(entry["mean"], ceiling))
            for n, entry in entries.items()
            if title == "nested" or n in ends
        ]  # fmt: skip
    return found


def _beside_ceiling(coherence: float, ceiling: float) -> str:
    """Compare a coherence with its ceiling, which is an estimate and may be below it."""
    if not ceiling:
        return ""
    if coherence / ceiling > 1.005:
        return (
            f"above the ceiling of {number(ceiling)}: by chance, or as generated examples are easier to read "
            "than reconstructions"
        )
    return f"{coherence / ceiling:.0%} of the ceiling"


def protocol_table(results: Results) -> list[ReportSection]:
    """Return the table of all protocols, if others than the nested one were measured."""
    coherence, distance = _measured(results, COHERENCE), _measured(results, DISTANCE)
    if not distance:
        return []
    numbers = list(next(iter(distance.values())))
    rows = [
        *((title, *(with_error(entries[n]) for n in numbers)) for title, entries in coherence.items()),
        *((title, *(number(entries[n]["mean"], ".2f") for n in numbers))
          for title, entries in distance.items()),
    ]  # fmt: skip
    definitions = " ".join(DEFINITIONS[title] for title in coherence)
    remark = definitions.format(target=results.get("prefix_target")) + (
        " ± is the standard error over examples. A Fréchet distance compares the generated images of one "
        f"target with the real ones of the same {results['num_rows']} examples, on features of the "
        "classifier, so it is no FID; FID is on those of Inception. Over all subsets it is the mean over "
        "subsets and targets."
    )
    head = ("", *(f"given {n}" for n in numbers))
    return [ReportSection("Coherence by protocol", table=(head, *rows), remark=remark)]


def plot_coherence(results: Results) -> Figure:
    """Plot coherence against the number of observed modalities, by protocol, with its ceiling."""
    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    lines, numbers = _measured(results, COHERENCE), set()
    for title, given in lines.items():
        numbers |= set(map(int, given))
        which = "conditional (± standard error)" if len(lines) == 1 else f"conditional, {title}"
        axes.errorbar(
            list(map(int, given)), [e["mean"] for e in given.values()], [e["se"] for e in given.values()],
            marker="o", capsize=3, label=which,
        )  # fmt: skip
    agree = results["unconditional_coherence"]["all_agree"]
    axes.errorbar(
        [0], [agree["mean"]], [agree["se"]], marker="s", capsize=3, label="unconditional: all agree"
    )
    ceiling = results["reconstruction_accuracy"]["mean"]
    axes.axhline(ceiling, color="0.4", linestyle="--", label="ceiling: accuracy on reconstructions")
    ticks = [0, *sorted(numbers)]
    axes.set(xlabel="observed modalities", ylabel="coherence", ylim=(0, 1.02), xticks=ticks)
    axes.legend(loc="lower right")
    return figure


def _measured(results: Results, keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return by protocol, as far as it was measured, the entries by number of observed modalities."""
    return {title: results[key] for title, key in keys.items() if key in results}
