"""What is shown of text whose content a grammar reads: its main results, and their section of the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmae_jax.evaluation.base import Headline, ReportSection, Results
from sbmae_jax.evaluation.formatting import number, percent, percent_with_error, with_error
from sbmae_jax.evaluation.paired.captions import OTHERS


def caption_headlines(results: Results) -> list[Headline]:
    """Return the main results on text, and of which text there are none."""
    found = []
    for name in results.get("texts", {}) if "captions" in results else ():
        entry = results["captions"].get(name)
        if entry is None:
            found.append(Headline(
                f"{name}, what it says", "not measured", "the data have no grammar that reads its strings",
            ))  # fmt: skip
            continue
        found += [_over_label(name, factor, entry) for factor in entry["over_label"]]
        given = entry["caption_given"]
        for source in _shown_sources(given):
            factors = given[source]
            found.append(Headline(
                f"{name}, given {source}", percent(_mean(factors)),
                f"of what it says is right; {_each(factors)}",
            ))  # fmt: skip
        for factor, agreement in entry["agreement"].items():
            if len(agreement["modalities"]) > 1:
                found.append(Headline(
                    f"from nothing, {factor} of {name} and all", with_error(agreement["with_caption"]),
                    f"agree; all without {name} {number(agreement['others']['mean'])}",
                ))  # fmt: skip
    return found


def caption_sections(results: Results) -> list[ReportSection]:
    """Return the sections on text that a grammar reads, one for each modality of text."""
    return [_section(name, entry) for name, entry in results.get("captions", {}).items()]


def _section(name: str, entry: Mapping[str, Any]) -> ReportSection:
    """Show in which factors captions are right, and the other modalities given captions."""
    factors = [factor for factor in entry["frequent"] if entry["frequent"][factor]]
    head = ("generated", "given", *factors)
    rows = [
        (name, source, *(_cell(found.get(factor)) for factor in factors))
        for source, found in entry["caption_given"].items()
    ]
    rows.append(
        (name, "the most frequent value", *(percent(entry["frequent"][f]) for f in factors))
    )
    targets = {target for found in entry["given_caption"].values() for target in found}
    for target in sorted(targets):
        cells = [_cell(entry["given_caption"][factor].get(target)) for factor in factors]
        rows.append((target, name, *cells))
        if any(target in found for found in entry["given_label"].values()):
            cells = [_cell(entry["given_label"].get(factor, {}).get(target)) for factor in factors]
            rows.append((target, "the label", *cells))
    for kind, title in (("others", f"all without {name}"), ("with_caption", f"all with {name}")):
        agreements = [entry["agreement"].get(factor) for factor in factors]
        rows.append(
            (title, "nothing: they agree", *(_cell(a[kind]) if a else "" for a in agreements))
        )
    labels = [f"{label} is that of {factor}" for factor, label in entry["labels"].items() if label]
    return ReportSection(
        f"What {name} says",
        table=(head, *rows),
        remark=f"How often a generated {name}, read by its grammar, says what the true one says, and what is "
        f"generated given the true {name} shows it, of {entry['num_rows']:,} test rows. What other "
        "modalities show is told by classifiers that are fitted to training rows. Empty: the modality does "
        "not show the factor, as its classifier is no better on test rows than the most frequent value. "
        + (f"Labels: {', '.join(labels)}." if labels else "No modality is the label of a factor."),
    )  # fmt: skip


def _over_label(name: str, factor: str, entry: Mapping[str, Any]) -> Headline:
    label = entry["labels"][factor]
    by_name, by_label = (_mean(entry[key][factor]) for key in ("given_caption", "given_label"))
    return Headline(
        f"{factor} given {name}, over given {label}", number(entry["over_label"][factor]),
        f"right in {percent(by_name)} of what is generated given {name}, in {percent(by_label)} given "
        f"{label}",
    )  # fmt: skip


def _shown_sources(given: Mapping[str, Any]) -> list[str]:
    """Return the modality that says most about the text, and all others together."""
    alone = [source for source in given if source != OTHERS]
    best = sorted(alone, key=lambda source: _mean(given[source]))[-1:]
    return best + [OTHERS] * (OTHERS in given)


def _mean(entries: Mapping[str, Any]) -> float:
    return float(np.mean([entry["mean"] for entry in entries.values()]))


def _each(factors: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor} {percent(entry['mean'])}" for factor, entry in factors.items())


def _cell(entry: Mapping[str, Any] | None) -> str:
    return percent_with_error(entry) if entry else ""
