"""What the report shows of modalities that share a class: samples, main results, grids."""

from pathlib import Path

import jax
import numpy as np

from sbmae_jax.evaluation.base import Headline, ReportImage, ReportSection, Results, Samples
from sbmae_jax.evaluation.formatting import number, with_error
from sbmae_jax.evaluation.generator import Arrays, Generator, blank_rows
from sbmae_jax.evaluation.images import (
    add_frame,
    as_rgb,
    grid,
    reconstruction_grid,
    save_enlarged,
)
from sbmae_jax.evaluation.labels import ceilings, coherence_pages
from sbmae_jax.types import Key

NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 16  # columns of the unconditional grid
NUM_SAMPLES = 3  # samples of each target in the conditional grid


def draw_samples(key: Key, rows: Arrays, generator: Generator) -> dict[str, np.ndarray]:
    """Draw what the report shows.

    Args:
        key: A typed key.
        rows: Test rows, `{name: [N, *shape]}`.
        generator: The generator.

    Returns:
        Arrays under `kind/modality`: `real` and `reconstruction`, `[NUM_REAL, *shape]`; `joint`,
        `[NUM_JOINT, *shape]`; `conditional`, `[S, NUM_SAMPLES, *shape]`, for S subsets of observed
        modalities, each one alone and then growing ones; and the test example of each subset as `true`,
        `[S, *shape]`. The subsets are in `observed`, `[S, M]` bool.
    """
    names, (joint_key, given_key) = generator.names, jax.random.split(key)
    observed = _shown_subsets(len(names))
    shown = np.arange(NUM_REAL, NUM_REAL + len(observed)) % len(
        rows[names[0]]
    )  # of few, some again
    examples = {name: rows[name][shown] for name in names}
    repeated = {name: np.repeat(x, NUM_SAMPLES, axis=0) for name, x in examples.items()}
    given = np.repeat(observed, NUM_SAMPLES, axis=0)
    conditional = generator.complete_rows(given_key, repeated, given)
    joint = generator.complete_rows(joint_key, *blank_rows(rows, names, NUM_JOINT))
    real = {name: rows[name][:NUM_REAL] for name in names}
    rebuilt = generator.reconstruct_rows(real)
    samples = {"observed": observed}
    for name in names:
        shape = (len(observed), NUM_SAMPLES, *conditional[name].shape[1:])
        samples[f"real/{name}"] = real[name]
        samples[f"reconstruction/{name}"] = rebuilt[name]
        samples[f"true/{name}"] = examples[name]
        samples[f"conditional/{name}"] = conditional[name].reshape(shape)
        samples[f"joint/{name}"] = joint[name]
    return samples


def _shown_subsets(num_modalities: int) -> np.ndarray:
    """Return the subsets of the conditional grid, [S, M]: single ones, then the first 2, 3, .. M-1."""
    singles = np.eye(num_modalities, dtype=bool)
    growing = [np.arange(num_modalities) < n for n in range(2, num_modalities)]
    return np.array([*singles, *growing])


def headlines(results: Results) -> list[Headline]:
    """Choose the main results."""
    agree = results["unconditional_coherence"]["all_agree"]
    variation = results["label_total_variation"]
    return [
        Headline("classifier accuracy, real images", with_error(results["classifier_accuracy"])),
        Headline("classifier accuracy, reconstructions",
                 with_error(results["reconstruction_accuracy"]), "ceiling of coherence"),
        *coherence_pages.headlines(results),
        Headline("unconditional coherence", with_error(agree), "all modalities agree"),
        Headline("label total variation", number(variation["uniform"]),
                 "distance from uniform classes; 0 is best"),
        *ceilings.headlines(results),
        *_diversity(results),
        Headline("Fréchet distance", number(results["frechet_classifier_features"]["mean"], ".2f"),
                 "on classifier features; not FID"),
        *([Headline("FID", number(results["fid"]["mean"], ".2f"))] if "fid" in results else []),
        Headline("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
                 f"{results['num_evaluations']} score evaluations and decoding"),
    ]  # fmt: skip


def _diversity(results: Results) -> list[Headline]:
    """Return the diversity of samples, which only the nested protocol measures."""
    if "conditional_diversity" not in results:
        return []
    remark = (
        "variance given one modality, over that within a class of the data; 1 is as in the data"
    )
    return [
        Headline("conditional diversity", number(results["conditional_diversity"], ".2f"), remark)
    ]


def sections(
    results: Results, samples: Samples, names: tuple[str, ...], folder: Path
) -> list[ReportSection]:
    """Write the images of the report into a folder, and return its sections."""
    save_enlarged(folder / "reconstruction.png", reconstruction_grid(samples, names))
    save_enlarged(folder / "conditional.png", _conditional_grid(samples, names))
    joint = [[as_rgb(x) for x in samples[f"joint/{name}"]] for name in names]
    save_enlarged(folder / "unconditional.png", grid(joint))
    coherence_pages.plot_coherence(results).savefig(folder / "coherence.png", dpi=120)
    num_samples = samples[f"conditional/{names[0]}"].shape[1]
    growing, order = ", the others two or more" if len(names) > 2 else "", ", ".join(names)
    return [
        ReportSection("Coherence", (ReportImage(
            "coherence.png",
            "Coherence is the share of generated images whose class, as the classifier sees it, is that of "
            "the observed modalities. Its ceiling is the accuracy of the classifier on real images that "
            "were only encoded and decoded.", pixelated=False),)),
        *coherence_pages.protocol_table(results),
        *ceilings.sections(results, "Given all others, a modality shows the class of its row; from nothing, "
                           "all modalities show one class."),
        ReportSection("Conditional samples", (ReportImage(
            "conditional.png",
            "Each row is one test example. Images with a red edge are observed. All others are generated, "
            f"{num_samples} samples of each modality. The first {len(names)} rows observe one modality each"
            f"{growing}. Columns: {order}."),)),
        ReportSection("Unconditional samples", (ReportImage(
            "unconditional.png",
            f"Each column is one joint sample, whose images should show the same class. Rows: {order}."),)),
        ReportSection("Reconstructions", (ReportImage(
            "reconstruction.png",
            f"Real test images, each above its reconstruction by its autoencoder. Rows: {order}."),)),
        _by_modality(results, names),
    ]  # fmt: skip


def _by_modality(results: Results, names: tuple[str, ...]) -> ReportSection:
    """Return the table of the results that each modality has."""
    columns = {
        "classifier accuracy, real images": ("classifier_accuracy", ".3f"),
        "classifier accuracy, reconstructions": ("reconstruction_accuracy", ".3f"),
        "Fréchet distance, classifier features": ("frechet_classifier_features", ".2f"),
        **({"FID": ("fid", ".2f")} if "fid" in results else {}),
    }
    rows = [
        (
            name,
            *(
                number(results[key].get("by_modality", results[key])[name], form)
                for key, form in columns.values()
            ),
        )
        for name in names
    ]
    at_least = results["unconditional_coherence"]["at_least_k"].items()
    variation = results["label_total_variation"]
    remark = (
        "Share of unconditional samples in which at least k modalities show the class of the first one: "
        + ", ".join(f"{share:.3f} (k = {k})" for k, share in at_least)
        + f". Total variation between the classes of these samples and uniform ones: "
        f"{variation['uniform']:.3f}; and those of the test set: {variation['real']:.3f}."
    )
    return ReportSection("Results by modality", table=(("", *columns), *rows), remark=remark)


def _conditional_grid(samples: Samples, names: tuple[str, ...]) -> np.ndarray:
    """Put a subset in each row and a modality in each group of columns.

    An observed modality shows its image once, the others several samples.
    """
    num_samples = samples[f"conditional/{names[0]}"].shape[1]
    rows = []
    for s, observed in enumerate(samples["observed"]):
        row = []
        for name, seen in zip(names, observed, strict=True):
            true = as_rgb(samples[f"true/{name}"][s])
            shown = [as_rgb(x) for x in samples[f"conditional/{name}"][s]]
            if seen:
                shown = [add_frame(true), *[np.full_like(true, 255)] * (num_samples - 1)]
            row += shown
        rows.append(row)
    return grid(rows, columns=num_samples)
