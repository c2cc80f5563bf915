"""What binds: how often modalities show what they should, after each part of the chain.

No part can make good what the one before it has lost: classifiers misread some real rows; autoencoders blur
some; the score has learned some relations and not others; and a sampler of few steps, or of a low
temperature, does not draw quite what the score has learned. So each is a ceiling of the next, and the
difference of two is what a part costs. The sampler alone may gain: one that is too narrow draws the typical.

What the score has learned is drawn by many ancestral steps at temperature 1, the slowest sampler and the
nearest to it.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from sbmae_jax.evaluation.base import Headline, ReportSection, Results
from sbmae_jax.evaluation.formatting import number
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.labels.agreement import FactorRows, Reading
from sbmae_jax.evaluation.labels.factors import Factor
from sbmae_jax.metrics.coherence import all_agree
from sbmae_jax.types import Key

GIVEN, NOTHING = "given", "from nothing"
MAX_ROWS = 1000
"""Rows that are drawn for each ceiling: the standard error of a share is then at most .016."""

Shares = Mapping[str, float]
"""GIVEN and NOTHING: the shares that are right where something is given, and where nothing is."""

REMEDIES = {
    "classifiers": "the networks that read samples err: train them for longer, or on more rows",
    "autoencoders": "more latents, a smaller weight, or longer training of the autoencoders",
    "score": "a wider score, or longer training",
    "sampler": "more levels, or a temperature nearer to 1",
}


def add_drawn(
    found: Mapping[str, Shares], generator: Generator, shares: Callable[[Generator], Shares],
    fine_levels: int,
) -> dict[str, Shares]:  # fmt: skip
    """Add what the score and the sampler reach.

    Args:
        found: What the parts before them reach, by part.
        generator: The generator.
        shares: `generator -> shares`.
        fine_levels: Levels of the sampler that draws what the score has learned; 0 leaves it out.

    Returns:
        Shares by part, without "score" where it is left out or the generator cannot be sampled finely.
    """
    fine = generator.fine(fine_levels) if fine_levels else None
    score = {} if fine is None else {"score": shares(fine)}
    return {**found, **score, "sampler": shares(generator)}


def shared_label_ceilings(
    key: Key, generator: Generator, images: Arrays, label: np.ndarray,
    read: Mapping[str, np.ndarray], num_joint: int, fine_levels: int,
) -> dict[str, Shares]:  # fmt: skip
    """Return the ceilings of modalities that show one class.

    Args:
        key: A typed key.
        generator: A generator that reads `class`, `[B, M]`.
        images: Test rows, `{name: [N, *shape]}`.
        label: Their classes, `[N]`.
        read: What is read from them, `[N, M]`, by "classifiers", and by "autoencoders" after reconstruction.
        num_joint: How many samples are drawn from nothing, MAX_ROWS at most.
        fine_levels: As for `add_drawn`.

    Returns:
        By part GIVEN, the share in which a modality shows the class of the row, given all others; and
        NOTHING, the share in which all modalities agree.
    """
    num, names = min(MAX_ROWS, len(label)), generator.names
    rows, target = {name: x[:num] for name, x in images.items()}, np.arange(num) % len(names)
    observed = target[:, None] != np.arange(len(names))
    blank = blank_rows(images, names, min(MAX_ROWS, num_joint))

    def shares(generator: Generator) -> Shares:
        made = generator.complete_rows(key, rows, observed)["class"][np.arange(num), target]
        drawn = generator.complete_rows(key, *blank)["class"]
        return {GIVEN: float((made == label[:num]).mean()), NOTHING: all_agree(drawn).mean}

    found = {
        part: {GIVEN: float((c == label[:, None]).mean()), NOTHING: all_agree(c).mean}
        for part, c in read.items()
    }
    return add_drawn(found, generator, shares, fine_levels)


def stated_factor_ceilings(
    key: Key, generator: Generator, arrays: Arrays, rebuilt: Reading, test: FactorRows,
    stated: tuple[Factor, ...], num_joint: int, fine_levels: int,
) -> dict[str, Shares]:  # fmt: skip
    """Return the ceilings of views that show several factors which are modalities too.

    Args:
        key: A typed key.
        generator: A generator that reads its samples as `factors.make_factor_reader` does.
        arrays: All modalities of the test rows, `{name: [N, *shape]}`.
        rebuilt: What is read from their reconstructions.
        test: The test rows.
        stated: The factors that are modalities.
        num_joint: How many samples are drawn from nothing, MAX_ROWS at most.
        fine_levels: As for `add_drawn`.

    Returns:
        By part GIVEN, the share in which a view shows all labels, given these; and NOTHING, the share in
        which all views show all labels that were generated with them. Nothing where no factor is a modality,
        or no view shows all of them.
    """
    views = (
        np.all([test.shown[factor.name] for factor in stated], axis=0) if stated else np.zeros(1)
    )
    whole = np.flatnonzero(test.present.all(axis=1))
    if not views.any() or not len(whole):
        return {}

    def shown(reading: Reading, labels: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return whether views show all labels, [N, V]."""
        right = [reading[f"class/{f.name}"] == labels[f.name][:, None] for f in stated]
        return np.all(right, axis=0)[:, views]

    some = whole[:MAX_ROWS]
    rows = {name: x[some] for name, x in arrays.items()}
    observed = np.isin(generator.names, [factor.array for factor in stated])
    blank = blank_rows(arrays, generator.names, min(MAX_ROWS, num_joint))

    def shares(generator: Generator) -> Shares:
        labels = {name: label[some] for name, label in test.labels.items()}
        given = shown(generator.complete_rows(key, rows, observed), labels)
        made = generator.complete_rows(key, *blank)
        joint = shown(made, {f.name: made[f"stated/{f.name}"] for f in stated})
        return {GIVEN: float(given.mean()), NOTHING: float(joint.all(axis=1).mean())}

    found = {}
    for part, reading in (("classifiers", test.real), ("autoencoders", rebuilt)):
        right = shown(reading, test.labels)[whole]
        found[part] = {GIVEN: float(right.mean()), NOTHING: float(right.all(axis=1).mean())}
    return add_drawn(found, generator, shares, fine_levels)


def largest_loss(ceilings: Mapping[str, Shares], what: str) -> tuple[str, float, float]:
    """Return the part that loses most, and the shares before and after it; before the first one is 1."""
    parts, values = list(ceilings), [1.0, *(found[what] for found in ceilings.values())]
    losses = [before - after for before, after in itertools.pairwise(values)]
    worst = int(np.argmax(losses))
    return parts[worst], values[worst], values[worst + 1]


def headlines(results: Results) -> list[Headline]:
    """Name the part that loses most of the agreement from nothing."""
    if not results.get("ceilings"):
        return []
    part, before, after = largest_loss(results["ceilings"], NOTHING)
    title = f"what binds from nothing: {part}"
    return [Headline(title, f"{number(before)} → {number(after)}", REMEDIES[part])]


def sections(results: Results, meaning: str) -> list[ReportSection]:
    """Return the table of the ceilings.

    Args:
        results: All results.
        meaning: What is shown given something, and from nothing, in a sentence.
    """
    if not results.get("ceilings"):
        return []
    found = results["ceilings"]
    rows = [
        (part, *(number(shares[what]) for what in (GIVEN, NOTHING)))
        for part, shares in found.items()
    ]
    remark = (
        f"{meaning} Real rows as the classifiers read them; after the autoencoders; drawn by many fine "
        "steps, as the score has learned it; and as the sampler of the config draws. Each is a ceiling of "
        "the next, and the difference of two is what a part costs. Score and sampler are drawn anew for this "
        "table, so they differ from the figures above by chance."
    )
    for what in (GIVEN, NOTHING):
        part, before, after = largest_loss(found, what)
        said = what if what == NOTHING else "where something is given"
        remark += f" Most is lost {said} by the {part}, {number(before)} → {number(after)}: {REMEDIES[part]}."
    return [ReportSection("What binds", table=(("", GIVEN, NOTHING), *rows), remark=remark)]
