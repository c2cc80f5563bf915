"""What the report shows of modalities that share a class: samples, figures, grids."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax.evaluation.base import Figure, Picture, Section
from sbmae_jax.evaluation.generator import Generator, blank_rows
from sbmae_jax.evaluation.labels import coherence_pages
from sbmae_jax.evaluation.labels.coherence_pages import with_error
from sbmae_jax.evaluation.pictures import as_bytes, frame, grid, save_image
from sbmae_jax.types import Key

NUM_REAL = 12  # columns of the grid of reconstructions
NUM_JOINT = 16  # columns of the unconditional grid
NUM_SAMPLES = 3  # samples of each target in the conditional grid


def draw_samples(
    key: Key, rows: Mapping[str, np.ndarray], generator: Generator
) -> dict[str, np.ndarray]:
    """Return what the report shows, as arrays under `kind/modality`.

    kind "real", "reconstruction": [NUM_REAL, *shape].  "joint": [NUM_JOINT, *shape].
    "conditional": [subsets, NUM_SAMPLES, *shape], with "observed" [subsets, M] and the true example of
    each subset under "true/modality": each modality alone, then growing subsets.
    """
    names, (joint_key, given_key) = generator.names, jax.random.split(key)
    observed = shown_subsets(len(names))
    examples = {name: rows[name][NUM_REAL : NUM_REAL + len(observed)] for name in names}
    repeated = {name: np.repeat(x, NUM_SAMPLES, axis=0) for name, x in examples.items()}
    conditional = generator.complete_rows(
        given_key, repeated, np.repeat(observed, NUM_SAMPLES, axis=0)
    )
    joint = generator.complete_rows(joint_key, *blank_rows(rows, names, NUM_JOINT))
    head = {name: rows[name][:NUM_REAL] for name in names}
    rebuilt = generator.reconstruct_rows(head)
    drawn = {"observed": observed}
    for name in names:
        shape = (len(observed), NUM_SAMPLES, *conditional[name].shape[1:])
        drawn[f"real/{name}"] = head[name]
        drawn[f"reconstruction/{name}"] = rebuilt[name]
        drawn[f"true/{name}"] = examples[name]
        drawn[f"conditional/{name}"] = conditional[name].reshape(shape)
        drawn[f"joint/{name}"] = joint[name]
    return drawn


def shown_subsets(num_modalities: int) -> np.ndarray:
    """Return the observed sets of the conditional grid [S, M]: single ones, then the first 2, 3, .. M-1."""
    singles = np.eye(num_modalities, dtype=bool)
    growing = [np.arange(num_modalities) < n for n in range(2, num_modalities)]
    return np.array([*singles, *growing])


def figures(results: Mapping[str, Any]) -> list[Figure]:
    """Return the main figures."""
    agree = results["unconditional_coherence"]["all_agree"]
    variation = results["label_total_variation"]
    return [
        Figure("classifier accuracy, real pictures", with_error(results["classifier_accuracy"])),
        Figure("reconstruction accuracy", with_error(results["reconstruction_accuracy"]),
         "the ceiling"),
        *coherence_pages.figures(results),
        Figure("unconditional coherence, all agree", with_error(agree)),
        Figure("label total variation", f"{variation['uniform']:.3f}", "from uniform; 0 is best"),
        *diversity(results),
        Figure("Fréchet distance", f"{results['frechet_classifier_features']['mean']:.2f}",
         "on features of the classifier; not FID"),
        *([Figure("FID", f"{results['fid']['mean']:.2f}")] if "fid" in results else []),
        Figure("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
         f"{results['num_evaluations']} evaluations of the score, decoded"),
    ]  # fmt: skip


def diversity(results: Mapping[str, Any]) -> list[Figure]:
    """Return the figure of diversity, which is measured with nested subsets."""
    if "conditional_diversity" not in results:
        return []
    remark = "variance given one modality over that within a class; 1 is that of the data"
    return [Figure("conditional diversity", f"{results['conditional_diversity']:.2f}", remark)]


def sections(
    results: Mapping[str, Any], samples: Mapping[str, np.ndarray], names: list[str], folder: Path
) -> list[Section]:
    """Write the pictures of the report into a folder, and return its sections."""
    save_image(folder / "reconstruction.png", reconstruction_grid(samples, names))
    save_image(folder / "conditional.png", conditional_grid(samples, names))
    joint = [[as_bytes(x) for x in samples[f"joint/{name}"]] for name in names]
    save_image(folder / "unconditional.png", grid(joint))
    coherence_pages.draw_coherence(results).savefig(folder / "coherence.png", dpi=120)
    num_samples = samples[f"conditional/{names[0]}"].shape[1]
    num_growing, columns = len(samples["observed"]) - len(names), ", ".join(names)
    return [
        Section("Coherence", (Picture(
            "coherence.png",
            "Coherence is the share of generated pictures that the classifier takes for the class of "
            "what was observed. The ceiling is its accuracy on pictures that were only encoded and "
            "decoded.", pixels=False),)),
        *coherence_pages.by_protocol(results),
        Section("Given some modalities, generate the others", (Picture(
            "conditional.png",
            "A row is one test example. Pictures with a red edge are observed; all others are "
            f"generated, {num_samples} samples of each modality. The first {len(names)} rows observe "
            f"one modality, the last {num_growing} more and more of them. Columns: {columns}."),)),
        Section("From nothing", (Picture(
            "unconditional.png",
            "A column is one joint sample: its pictures should show the same class. "
            f"Rows: {columns}."),)),
        Section("Reconstruction", (Picture(
            "reconstruction.png",
            "Real test pictures, and below each what its autoencoder makes of it. "
            f"Rows: {columns}."),)),
        by_modality(results, names),
    ]  # fmt: skip


def by_modality(results: Mapping[str, Any], names: list[str]) -> Section:
    """Return the table of the figures that each modality has."""
    head = (
        "", "classifier accuracy", "reconstruction accuracy", "Fréchet distance (classifier features)",
        *(["FID"] if "fid" in results else []),
    )  # fmt: skip
    rows = tuple(
        (
            name,
            f"{results['classifier_accuracy'][name]:.3f}",
            f"{results['reconstruction_accuracy'][name]:.3f}",
            f"{results['frechet_classifier_features'][name]:.2f}",
            *([f"{results['fid'][name]:.2f}"] if "fid" in results else []),
        )
        for name in names
    )
    at_least = results["unconditional_coherence"]["at_least_k"].items()
    variation = results["label_total_variation"]
    remark = (
        "At least k modalities agree with the first, unconditionally: "
        + ", ".join(f"k = {k}: {share:.3f}" for k, share in at_least)
        + f". Total variation of the labels: {variation['uniform']:.3f} from uniform, "
        f"{variation['real']:.3f} from the test set."
    )
    return Section("By modality", table=(head, *rows), remark=remark)


def reconstruction_grid(samples: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Put real pictures above their reconstructions, two rows for each modality."""
    rows = [samples[f"{kind}/{name}"] for name in names for kind in ("real", "reconstruction")]
    return grid([[as_bytes(x) for x in row] for row in rows], group=2)


def conditional_grid(samples: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Put a subset in each row and a modality in each group of columns.

    An observed modality shows its picture once, the others several samples.
    """
    num_samples = samples[f"conditional/{names[0]}"].shape[1]
    rows = []
    for s, observed in enumerate(samples["observed"]):
        row = []
        for name, seen in zip(names, observed, strict=True):
            blank = np.full_like(as_bytes(samples[f"true/{name}"][s]), 255)
            shown = [as_bytes(x) for x in samples[f"conditional/{name}"][s]]
            if seen:
                shown = [frame(as_bytes(samples[f"true/{name}"][s])), *[blank] * (num_samples - 1)]
            row += shown
        rows.append(row)
    return grid(rows, columns=num_samples)
