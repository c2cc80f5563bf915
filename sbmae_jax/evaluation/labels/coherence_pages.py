"""What the report shows of conditional coherence: figures, a curve, a table of the protocols."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure as Drawing

from sbmae_jax.evaluation.base import Figure, Section

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
    "nested": "Nested: each example observes modalities one after another in a random order of its own, and "
    "all others are scored; the mean is over examples.",
    "prefix": "Prefix: the first modalities are observed, all others are generated, and only the last, "
    "{target}, is scored; the mean is over examples.",
    "all subsets": "All subsets: every set of a size is observed in turn, or as many as results.json lists, "
    "and all others are scored; the mean is over sets and targets, then over the examples of a class, then "
    "over classes.",
}


def measured(results: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return by protocol, as far as it was measured, the entries by number of observed modalities."""
    return {title: results[key] for title, key in keys.items() if key in results}


def figures(results: Mapping[str, Any]) -> list[Figure]:
    """Return the main figures: all of the nested protocol, and the ends of the others."""
    found = []
    for title, entries in measured(results, COHERENCE).items():
        # The prefix protocol scores one modality alone.
        scored = results["prefix_target"] if title == "prefix" else "mean"
        ceiling = results["reconstruction_accuracy"][scored]
        ends = list(entries)[:: max(len(entries) - 1, 1)]
        name = "conditional coherence" if title == "nested" else f"coherence by {title}"
        found += [
            Figure(f"{name}, given {n}", with_error(entry), f"{entry['mean'] / ceiling:.0%} of the ceiling")
            for n, entry in entries.items()
            if title == "nested" or n in ends
        ]  # fmt: skip
    return found


def by_protocol(results: Mapping[str, Any]) -> list[Section]:
    """Return the table of all protocols, if others than the nested one were measured."""
    coherence, distance = measured(results, COHERENCE), measured(results, DISTANCE)
    if not distance:
        return []
    numbers = list(next(iter(distance.values())))
    rows = [
        *((title, *(with_error(entries[n]) for n in numbers)) for title, entries in coherence.items()),
        *((title, *(f"{entries[n]['mean']:.2f}" for n in numbers)) for title, entries in distance.items()),
    ]  # fmt: skip
    definitions = " ".join(DEFINITIONS[title] for title in coherence)
    remark = definitions.format(target=results.get("prefix_target")) + (
        " ± is the standard error over examples. The Fréchet distance, on features of the classifier and "
        "not FID, or FID, on those of Inception, is that of the generated pictures of one target to the real "
        f"ones of the same examples, {results['num_rows']} each; over all subsets it is the mean over sets "
        "and targets."
    )
    head = ("", *(f"given {n}" for n in numbers))
    return [Section("Coherence by protocol", table=(head, *rows), remark=remark)]


def draw_coherence(results: Mapping[str, Any]) -> Drawing:
    """Draw coherence against the number of observed modalities, by protocol, with its ceiling."""
    figure = Drawing(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    lines, numbers = measured(results, COHERENCE), set()
    for title, given in lines.items():
        numbers |= set(map(int, given))
        which = "(mean ± standard error)" if len(lines) == 1 else f"by {title}"
        axes.errorbar(
            list(map(int, given)), [e["mean"] for e in given.values()], [e["se"] for e in given.values()],
            marker="o", capsize=3, label=f"conditional {which}",
        )  # fmt: skip
    agree = results["unconditional_coherence"]["all_agree"]
    axes.errorbar(
        [0], [agree["mean"]], [agree["se"]], marker="s", capsize=3, label="unconditional, all agree"
    )
    ceiling = results["reconstruction_accuracy"]["mean"]
    axes.axhline(ceiling, color="0.4", linestyle="--", label="ceiling: reconstruction accuracy")
    ticks = [0, *sorted(numbers)]
    axes.set(xlabel="modalities observed", ylabel="coherence", ylim=(0, 1.02), xticks=ticks)
    axes.legend(loc="lower right")
    return figure


def with_error(entry: Mapping[str, float]) -> str:
    """Return a mean with its standard error."""
    return f"{entry['mean']:.3f} ± {entry['se']:.3f}"
