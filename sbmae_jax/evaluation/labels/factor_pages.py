"""What the report shows of data with several shared factors: main results, tables, samples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.base import Headline, ReportImage, ReportSection, Results, Samples
from sbmae_jax.evaluation.formatting import number, over, with_error
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.images import save_enlarged, sheet
from sbmae_jax.evaluation.labels import ceilings
from sbmae_jax.evaluation.labels.agreement import ALL_FACTORS
from sbmae_jax.evaluation.labels.factors import Factor
from sbmae_jax.types import Key

NUM_SHOWN = 12  # columns of a sheet of samples
NOTHING = "nothing"


def draw_samples(
    key: Key, rows: Arrays, generator: Generator, stated: tuple[Factor, ...], views: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Draw what the report shows: samples from nothing, given each label modality, and given all.

    Args:
        key: A typed key.
        rows: Test rows, `{name: [N, ...]}`.
        generator: The generator.
        stated: The factors that are modalities.
        views: The modalities to show, which are pictures.

    Returns:
        For each of these arrays under `GIVEN/view`, `[NUM_SHOWN, H, W, C]`, and `GIVEN/label/FACTOR`,
        `[NUM_SHOWN]` integers, the label that is given or generated; nothing without pictures.
    """
    names, found = generator.names, {}
    sources = list(dict.fromkeys(factor.array for factor in stated))
    subsets = [[source] for source in sources] + ([sources] if len(sources) > 1 else [])
    some = {name: np.asarray(rows[name])[:NUM_SHOWN] for name in names}
    for i, given in enumerate([[], *subsets] if views else []):
        observed = np.isin(names, given)
        shown = some if given else blank_rows(rows, names, NUM_SHOWN)[0]
        made = generator.complete_rows(jax.random.fold_in(key, i), shown, observed)
        title = ", ".join(given) or NOTHING
        found |= {f"{title}/{view}": np.asarray(made[view]) for view in views}
        for factor in stated:
            found[f"{title}/label/{factor.name}"] = factor.read(np.asarray(made[factor.array]))
    return found


def headlines(results: Results) -> list[Headline]:
    """Choose the main results."""
    return [
        *_accuracies(results, "verifier_accuracy", "verifier accuracy", "real test rows"),
        *_accuracies(
            results, "reconstruction_accuracy", "reconstructions", "ceiling of what views show"
        ),
        *_from_nothing(results),
        *ceilings.headlines(results),
        *_given_labels(results),
        *(
            Headline(f"Fréchet distance, {factor}", number(found["mean"], ".2f"),
                     "on features of the verifier; not FID")
            for factor, found in results["frechet_verifier_features"].items()
        ),
        *(
            Headline(f"diversity given all labels, {factor}", number(ratio, ".2f"),
                     "variance over that of the data, on features of the verifier; 1 is as in the data")
            for factor, ratio in results["diversity"].items()
        ),
        Headline("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
                 f"{results['num_evaluations']} score evaluations and decoding"),
    ]  # fmt: skip


def _accuracies(results: Results, key: str, title: str, remark: str) -> Iterator[Headline]:
    for factor, found in results[key].items():
        yield Headline(f"{title}, {factor}", with_error(found), remark)


def _from_nothing(results: Results) -> Iterator[Headline]:
    for factor, found in results["unconditional"].items():
        if "show_label" in found:
            label = f"the generated {factor}" if factor != ALL_FACTORS else "all generated labels"
            yield Headline(f"from nothing, all views show {label}", with_error(found["show_label"]))
        elif "all_agree" in found:
            yield Headline(f"from nothing, views agree in {factor}", with_error(found["all_agree"]))


def _given_labels(results: Results) -> Iterator[Headline]:
    for given, found in results["given_labels"].items():
        for factor, entry in found["shown"].items():
            yield Headline(f"given {given}, a view shows {factor}", with_error(entry))
        for factor, entry in found["open"].items():
            if "pairs_agree" in entry:
                yield Headline(
                    f"given {given}, pairs of views agree in {factor}",
                    with_error(entry["pairs_agree"]), "which no input says",
                )  # fmt: skip
            if "expected" in entry:
                yield Headline(
                    f"given {given}, total variation of {factor}", number(entry["total_variation"]),
                    f"of exact draws {number(entry['expected'])}",
                )  # fmt: skip


def sections(
    results: Results, samples: Samples, names: tuple[str, ...], folder: Path
) -> list[ReportSection]:
    """Write the images of the report into a folder, and return its sections."""
    del names
    made = []
    titles = dict.fromkeys(key.split("/")[0] for key in samples)
    for i, title in enumerate(titles):
        file = f"given-{i}.png"
        save_enlarged(folder / file, _sheet(results, samples, title))
        heads = "generated" if title == NOTHING else "given or generated"
        caption = f"Each column is one sample, below the labels that are {heads}."
        made.append(ReportSection(f"Samples given {title}", (ReportImage(file, caption),)))
    meaning = (
        "Given all labels, a view shows all of them; from nothing, all views show all labels that were "
        "generated with them."
    )
    binding = ceilings.sections(results, meaning)
    return [
        _open_table(results),
        *binding,
        *made,
        _views_table(results),
        *_view_given_table(results),
    ]


def _sheet(results: Results, samples: Samples, title: str) -> np.ndarray:
    """Lay out samples with their labels as heads."""
    labels, views = {}, {}
    for key, array in samples.items():
        given, _, rest = key.partition("/")
        if given == title:
            (labels if rest.startswith("label/") else views)[rest.removeprefix("label/")] = array
    heads = [
        "\n".join(results["factors"][factor][label[i]] for factor, label in labels.items())
        for i in range(NUM_SHOWN)
    ]
    num = min(map(len, views.values()))
    return sheet([list(view[:num]) for view in views.values()], heads[:num], side=64)


def _open_table(results: Results) -> ReportSection:
    """Return the table of what views agree in, by what is given."""
    rows = []
    everything = [(NOTHING, results["unconditional"])]
    everything += [(given, found["open"]) for given, found in results["given_labels"].items()]
    for given, by_factor in everything:
        for factor, found in by_factor.items():
            shares = [
                with_error(found[key]) if key in found else ""
                for key in ("pairs_agree", "all_agree", "show_label")
            ]
            variation = _variation_cells(found)
            rows.append((given, factor, *shares, *variation))
    head = (
        "given", "open factor", "pairs of views agree", "all agree", "all show the generated label",
        "total variation", "of exact draws", "ratio",
    )  # fmt: skip
    remark = (
        "A factor is open where it is not given: no input says it, and views that are generated together "
        "must agree in it. Its total variation is from its distribution in training rows with the same given "
        "labels, the mean over these and over views. Exact draws, as many, would have the one beside it."
    )
    left = results["num_rows_without_label"]
    remark += f" {left} test rows lack a label and are left out." if left else ""
    return ReportSection("Agreement in open factors", table=(head, *rows), remark=remark)


def _variation_cells(found: dict[str, Any]) -> tuple[str, str, str]:
    if "expected" not in found:
        return "", "", ""
    variation, expected = found["total_variation"], found["expected"]
    return number(variation), number(expected), number(over(variation, expected), ".2f")


def _views_table(results: Results) -> ReportSection:
    """Return the table of what each view shows."""
    given = [
        (f"given {labels}: {factor}", entry["by_modality"])
        for labels, found in results["given_labels"].items()
        for factor, entry in found["shown"].items()
        if "by_modality" in entry
    ]
    columns = [
        *((f"{word}: {factor}", found["by_modality"])
          for word, key in (("real", "verifier_accuracy"), ("rebuilt", "reconstruction_accuracy"))
          for factor, found in results[key].items()),
        *given,
        *((f"Fréchet distance: {factor}", found["by_modality"])
          for factor, found in results["frechet_verifier_features"].items()),
    ]  # fmt: skip
    views = dict.fromkeys(view for _, by_view in columns for view in by_view)
    rows = [
        (view, *(number(by_view[view]) if view in by_view else "" for _, by_view in columns))
        for view in views
    ]
    left_out = [
        f"{', '.join(views)} for {factor}"
        for factor, views in results["views_left_out"].items()
        if views
    ]
    remark = "How often the verifier of a factor reads the true or the given class from a view."
    if left_out:
        remark += (
            " Left out, as their verifiers read no more than the most frequent class: "
            f"{'; '.join(left_out)}."
        )
    head = ("", *(title for title, _ in columns))
    return ReportSection("What views show", table=(head, *rows), remark=remark)


def _view_given_table(results: Results) -> Iterator[ReportSection]:
    """Return the table of what one view says of labels and of other views."""
    rows = []
    for view, found in results["given_view"].items():
        rows += [
            (view, f"label {factor}", with_error(entry))
            for factor, entry in found["labels"].items()
        ]
        rows += [
            (view, f"other views show {factor}", with_error(entry))
            for factor, entry in found["shown"].items()
        ]
    if rows:
        yield ReportSection("Given one view", table=(("given", "what", "share"), *rows))
