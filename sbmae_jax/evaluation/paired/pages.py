"""What the report shows of paired data: the sections of its page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from sbmae_jax.evaluation.base import Picture, Section
from sbmae_jax.evaluation.labels import coherence_pages
from sbmae_jax.evaluation.paired import calibration_pages
from sbmae_jax.evaluation.paired.drawings import DPI, draw_matrix, draw_prediction, draw_vectors
from sbmae_jax.evaluation.paired.figures import ONE, percent, percent_with_error
from sbmae_jax.evaluation.paired.samples import joint_grid, picture_sheet, reconstruction_grid
from sbmae_jax.evaluation.pictures import save_image


def sections(
    results: Mapping[str, Any],
    samples: Mapping[str, np.ndarray],
    names: tuple[str, ...],
    folder: Path,
) -> list[Section]:
    """Write the pictures of the report into a folder, and return its sections."""
    pictures = [name for name in names if f"real/{name}" in samples]
    vectors = [
        name for name in names
        if f"rest/{name}" in samples and name not in pictures
        and results["value_types"][name] in ("real", "counts")
    ]  # fmt: skip
    found = []
    if len(names) == 1:
        found.append(Section("One modality", remark=ONE[0].upper() + ONE[1:] + "."))
    elif not results["prediction"]:
        found.append(Section("Nothing to observe", remark="No test row has two modalities."))
    else:
        found += [prediction(results, folder), matrix(results, names, folder)]
        found += calibration_pages.sections(results, folder)
        found += vector_section(samples, vectors, names, results, folder)
        found += [picture_section(samples, name, names, folder) for name in pictures]
    if "conditional_coherence" in results:
        found.append(coherence(results, folder))
    return [
        *found,
        from_nothing(results, samples, pictures, folder),
        *reconstruction(results, samples, pictures, folder),
    ]


def prediction(results: Mapping[str, Any], folder: Path) -> Section:
    """Compare the model with its rivals, given all other modalities of a row."""
    entries = results["prediction"]
    draw_prediction(entries).savefig(folder / "prediction.png", dpi=DPI)
    head = (
        "generated", "values", "test rows", "explained", "… linear", "… neighbours",
        "log loss", "… linear", "… neighbours", "… marginal",
    )  # fmt: skip
    with_loss = any("log_loss" in entry["model"] for entry in entries.values())
    rows = []
    for name, entry in entries.items():
        row = [name, results["value_types"][name], str(entry["num_rows"])]
        row += [
            percent_with_error(entry[r]["error"], True) for r in ("model", "linear", "neighbours")
        ]
        for rival in ("model", "linear", "neighbours", "marginal") if with_loss else ():
            row.append(
                f"{entry[rival]['log_loss']['mean']:.3f}" if "log_loss" in entry[rival] else ""
            )
        rows.append(tuple(row))
    return Section(
        "Each modality, generated from all others",
        (Picture(
            "prediction.png",
            "How much of a held-out modality the mean of what is generated explains, with two standard "
            "errors. The rivals learn from the same training rows: regression (ridge; logistic for "
            "categories; Poisson for counts) and the mean of the nearest neighbours.", pixels=False),),
        table=(head if with_loss else head[:6], *rows),
        remark="Explained is one less the error over that of the training mean: squared, for counts the "
        f"deviance. The error is that of the exact conditional mean, corrected for {results['num_samples']} "
        "draws. ± is the standard error over test rows.",
    )  # fmt: skip


def matrix(results: Mapping[str, Any], names: tuple[str, ...], folder: Path) -> Section:
    """Show what each modality alone tells of each other."""
    draw_matrix(results, names).savefig(folder / "matrix.png", dpi=DPI)
    return Section(
        "What each modality tells of each other",
        (
            Picture(
                "matrix.png",
                "The share of a modality (column) that is explained by what is generated from one other "
                "alone (row), and in the last row from all others that a test row has. Grey: itself, or "
                "no test row has both.",
                pixels=False,
            ),
        ),
    )


def vector_section(
    samples: Mapping[str, np.ndarray],
    vectors: list[str],
    names: tuple[str, ...],
    results: Mapping[str, Any],
    folder: Path,
) -> list[Section]:
    """Show single test examples of vectors with the range of what is generated."""
    if not vectors:
        return []
    draw_vectors(samples, vectors, names).savefig(folder / "vectors.png", dpi=DPI)
    share = (results["num_samples"] - 1) / (results["num_samples"] + 1)
    return [Section("Examples: values given all others", (Picture(
        "vectors.png",
        f"Test examples. About {share:.0%} of the dots are to lie in the range of their draws. Values are "
        "standardised, counts are as they are; of a signal it is the first channel.",
        pixels=False),))]  # fmt: skip


def picture_section(
    samples: Mapping[str, np.ndarray], name: str, names: tuple[str, ...], folder: Path
) -> Section:
    """Show pictures that are generated from other modalities."""
    file = f"given_{names.index(name)}.png"
    imsave(folder / file, picture_sheet(samples, name, names))
    return Section(f"Examples: {name}, generated", (Picture(
        file, "A row is a test example, its true picture with a red edge. The others are drawn given what "
        "the head says; white: this example lacks it."),))  # fmt: skip


def coherence(results: Mapping[str, Any], folder: Path) -> Section:
    """Show coherence by the number of observed modalities."""
    coherence_pages.draw_coherence(results).savefig(folder / "coherence.png", dpi=DPI)
    accuracies = results["classifier_accuracy"], results["reconstruction_accuracy"]
    rows = [
        (name, *(percent(of[name]) for of in accuracies))
        for name in results["value_types"] if name in accuracies[0]
    ]  # fmt: skip
    return Section(
        "Labels: do modalities agree?",
        (Picture(
            "coherence.png",
            "The share of generated modalities that a classifier takes for the label of the row. Each "
            "modality has a classifier of its own, trained on real rows.", pixels=False),),
        table=(("", "classifier right, real test rows", "… reconstructions"), *rows),
        remark="The ceiling is the mean over modalities: one that says little of the label lowers it, and "
        "coherence with it.",
    )  # fmt: skip


def from_nothing(
    results: Mapping[str, Any], samples: Mapping[str, np.ndarray], pictures: list[str], folder: Path
) -> Section:
    """Show joint samples, and how like the data they are."""
    shown = ()
    if pictures:
        imsave(folder / "joint.png", joint_grid(samples, pictures))
        rows = f" Rows: {', '.join(pictures)}." if len(pictures) > 1 else ""
        shown = (Picture("joint.png", f"Each column is one joint sample.{rows}"),)
    together = results.get("consistency", {})
    table = []
    for name, entry in results["frechet_features"].items():
        row = [name, f"{entry['generated']:.3f}", f"{entry['real']:.3f}"]
        if together:
            ratio = together[name]["ratio"] if name in together else None
            row.append("" if ratio is None else f"{ratio:.2f}")
        table.append(tuple(row))
    head = ("", "Fréchet distance, generated", "… real training rows", "hangs together")
    remark = (
        "The Fréchet distance to test rows is over the variance of the data; as many real training rows "
        "have the second figure."
    )
    if together:
        remark += (
            " A modality hangs together with the others if a line through real rows predicts it from them in "
            "joint samples as well as in the data: 1 is as in the data, 0 not at all; empty where a line "
            "predicts next to nothing of the real ones."
        )
    return Section("From nothing", shown, (head[: 3 + bool(together)], *table), remark)


def reconstruction(
    results: Mapping[str, Any], samples: Mapping[str, np.ndarray], pictures: list[str], folder: Path
) -> list[Section]:
    """Show what each autoencoder keeps."""
    shown = []
    for i, name in enumerate(pictures):
        save_image(folder / f"reconstruction_{i}.png", reconstruction_grid(samples, name))
        shown.append(
            Picture(
                f"reconstruction_{i}.png", f"{name}: test pictures, and each one's reconstruction."
            )
        )
    rows = []
    for name, entry in results["reconstruction"].items():
        found, mean = entry["model"], entry["marginal"]
        right = (
            (percent_with_error(found["accuracy"]), percent(mean["accuracy"]["mean"]))
            if "accuracy" in found
            else ("", "")
        )
        rows.append((name, percent_with_error(found["error"], True), *right))
    head = ("", "explained", "right", "… most frequent value")
    with_right = any(row[2] for row in rows)
    table = [row if with_right else row[:2] for row in (head, *rows)]
    return [Section(
        "Reconstruction", tuple(shown), tuple(table),
        "What is left of a modality when it is encoded and decoded: predictions can hardly be better.",
    )]  # fmt: skip
