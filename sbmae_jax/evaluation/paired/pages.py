"""What the report shows of paired data: the sections of its page."""

from pathlib import Path

from matplotlib.image import imsave

from sbmae_jax.evaluation.base import ReportImage, ReportSection, Results, Samples
from sbmae_jax.evaluation.formatting import explained, number, percent, percent_with_error
from sbmae_jax.evaluation.images import reconstruction_grid, save_enlarged
from sbmae_jax.evaluation.labels.coherence_pages import plot_coherence
from sbmae_jax.evaluation.paired.calibration_pages import calibration_sections
from sbmae_jax.evaluation.paired.class_pages import class_sections
from sbmae_jax.evaluation.paired.headlines import ONE_MODALITY
from sbmae_jax.evaluation.paired.information_pages import information_sections
from sbmae_jax.evaluation.paired.plots import (
    ABOUT_ALL,
    DPI,
    plot_matrix,
    plot_prediction,
    plot_vectors,
)
from sbmae_jax.evaluation.paired.samples import MAX_ALONE, MAX_FEATURES, image_sheet, joint_sheet
from sbmae_jax.evaluation.paired.sound_pages import sound_sections
from sbmae_jax.evaluation.paired.text_pages import text_sections

MAX_VECTORS = 12  # of which examples are plotted


def sections(
    results: Results, samples: Samples, names: tuple[str, ...], folder: Path
) -> list[ReportSection]:
    """Write the images of the report into a folder, and return its sections."""
    images = [name for name in names if f"real/{name}" in samples]
    found = []
    if len(names) == 1:
        found.append(ReportSection("One modality", remark=ONE_MODALITY))
    elif not results["prediction"]:
        remark = "No test row has two modalities, so nothing conditional is measured."
        found.append(ReportSection("Nothing to observe", remark=remark))
    else:
        found += [_prediction(results, folder), _matrix(results, names, folder)]
        found += information_sections(results, names)
        found += calibration_sections(results, folder)
        found += _vectors(results, samples, names, folder)
        found += sound_sections(results, samples)
        found += text_sections(results, samples)
        found += class_sections(results)
        found += [_images(samples, name, names, folder) for name in images]
    if "conditional_coherence" in results:
        found.append(_coherence(results, folder))
    return [
        *found,
        _joint(results, samples, images, folder),
        _reconstruction(results, samples, images, folder),
    ]


def _prediction(results: Results, folder: Path) -> ReportSection:
    """Compare the model with the baselines, given all other modalities of a row."""
    entries = results["prediction"]
    plot_prediction(entries).savefig(folder / "prediction.png", dpi=DPI)
    predictors = {"model": "model", "linear": "linear", "neighbours": "nearest neighbours"}
    head = ["generated", "values", "test rows", *(f"explained, {p}" for p in predictors.values())]
    with_loss = any("log_loss" in entry["model"] for entry in entries.values())
    with_losses = {**predictors, "marginal": "training mean"} if with_loss else {}
    head += [f"log loss, {title}" for title in with_losses.values()]
    rows = []
    for name, entry in entries.items():
        row = [name, results["value_types"][name], str(entry["num_rows"])]
        row += [percent_with_error(explained(entry[p]["error"])) for p in predictors]
        losses = [entry[p].get("log_loss") for p in with_losses]
        rows.append((*row, *("" if loss is None else number(loss["mean"]) for loss in losses)))
    return ReportSection(
        "Each modality, given all others",
        (ReportImage(
            "prediction.png",
            "How much the mean of the samples explains of a held-out modality, with two standard "
            "errors. The baselines learn from the same training rows: linear is ridge regression (logistic "
            "for categories, Poisson for counts), nearest neighbours is the mean of the nearest rows.",
            pixelated=False),),
        table=(tuple(head), *rows),
        remark="Explained is 1 - error / error of the training mean, with squared errors, or for counts the "
        "deviance. The error is that of the exact conditional mean, corrected for the use of "
        f"{results['num_samples']} samples, so that of few rows it may be below 0. ± is the standard error "
        "over test rows.",
    )  # fmt: skip


def _matrix(results: Results, names: tuple[str, ...], folder: Path) -> ReportSection:
    """Show how much each modality alone tells about each other."""
    plot_matrix(results, names).savefig(folder / "matrix.png", dpi=DPI)
    return ReportSection("Each modality, given one other", (ReportImage(
        "matrix.png",
        "The share of a modality (column) that is explained by what is generated from one other alone "
        "(row), and in the last row from all others that a test row has. Grey: the modality itself, or no "
        f"test row has both. {ABOUT_ALL}: the estimate is above it, as there are too few rows to tell.",
        pixelated=False),))  # fmt: skip


def _vectors(
    results: Results, samples: Samples, names: tuple[str, ...], folder: Path
) -> list[ReportSection]:
    """Show single test examples of vectors with the range of their samples."""
    vectors = [
        name for name in names
        if f"rest/{name}" in samples and samples[f"rest/{name}"].ndim == 3
        and results["value_types"][name] in ("real", "counts")
    ]  # fmt: skip
    if not vectors:
        return []
    shown = vectors[:MAX_VECTORS]
    figure = plot_vectors(samples, shown, names)
    figure.savefig(folder / "vectors.png", dpi=DPI, bbox_inches="tight")
    share = (results["num_samples"] - 1) / (results["num_samples"] + 1)
    cut = [name for name in shown if samples[f"true/{name}"].shape[1] == MAX_FEATURES]
    parts = (
        f" Of {', '.join(cut)} at most the first {MAX_FEATURES} values are shown." if cut else ""
    )
    if hidden := vectors[MAX_VECTORS:]:
        parts += f" Not shown: {', '.join(hidden)}."
    return [ReportSection("Examples: values, given all others", (ReportImage(
        "vectors.png",
        f"Test examples. About {share:.0%} of the true values should lie within the range of their samples. "
        f"Real values are standardised, counts are not. Of a signal the first channel is shown.{parts}",
        pixelated=False),))]  # fmt: skip


def _images(samples: Samples, name: str, names: tuple[str, ...], folder: Path) -> ReportSection:
    """Show images that are generated from other modalities."""
    file = f"given_{names.index(name)}.png"
    others = [n for n in names if f"alone {n}/{name}" in samples]
    hidden = f"; {', '.join(others[MAX_ALONE:])} are not" if len(others) > MAX_ALONE else ""
    alone = (
        f" Given one alone, {', '.join(others[:MAX_ALONE])} are shown{hidden}." if hidden else ""
    )
    imsave(folder / file, image_sheet(samples, name, names))
    return ReportSection(f"Examples: {name}, generated", (ReportImage(
        file, "Each row is a test example, its true image with a red edge. The others are sampled given what "
        "the head of the column says. White: the example lacks that modality." + alone),))  # fmt: skip


def _coherence(results: Results, folder: Path) -> ReportSection:
    """Show coherence by the number of observed modalities."""
    plot_coherence(results).savefig(folder / "coherence.png", dpi=DPI)
    accuracies = [
        results[key]["by_modality"] for key in ("classifier_accuracy", "reconstruction_accuracy")
    ]
    rows = [
        (name, *(percent(of[name]) for of in accuracies))
        for name in results["value_types"] if name in accuracies[0]
    ]  # fmt: skip
    head = "", "classifier accuracy, test rows", "classifier accuracy, reconstructions"
    return ReportSection(
        "Coherence: do modalities agree on the label?",
        (ReportImage(
            "coherence.png",
            "The share of generated modalities that a classifier assigns to the label of the row. Each "
            "modality has its own classifier, trained on real rows.", pixelated=False),),
        table=(head, *rows),
        remark="The ceiling is the mean over modalities. One that says little about the label lowers it, and "
        "coherence with it. One whose classifier is no better than the most frequent class agrees by chance "
        f"alone, and does not count: {', '.join(results.get('judges_left_out') or ['none here'])}.",
    )  # fmt: skip


def _joint(results: Results, samples: Samples, images: list[str], folder: Path) -> ReportSection:
    """Show joint samples, and how close they are to the data."""
    shown = ()
    if images:
        imsave(folder / "joint.png", joint_sheet(samples, images))
        rows = f" Rows: {', '.join(images)}." if len(images) > 1 else ""
        shown = (ReportImage("joint.png", f"Each column is one joint sample.{rows}"),)
    consistency = results.get("consistency", {}).get("by_modality", {})
    table = []
    for name, entry in results["frechet_features"].items():
        row = [name, number(entry["generated"]), number(entry["real"])]
        if consistency:
            ratio = consistency.get(name, {}).get("ratio")
            row.append("" if ratio is None else number(ratio, ".2f"))
        table.append(tuple(row))
    head = "", "Fréchet distance, samples", "Fréchet distance, training rows", "consistency"
    remark = (
        "Fréchet distances to test rows are relative to the variance of the data. The second one is that of "
        "as many real training rows."
    )
    if consistency:
        remark += (
            " Consistency: how well a linear predictor, fitted to real rows, predicts a modality from the "
            "others in generated samples, divided by how well it does so in the data. 1 matches the data; 0 "
            "means unrelated; empty where it predicts almost nothing in the data."
        )
    return ReportSection(
        "Unconditional samples", shown, (head[: 3 + bool(consistency)], *table), remark
    )


def _reconstruction(
    results: Results, samples: Samples, images: list[str], folder: Path
) -> ReportSection:
    """Show what each autoencoder keeps."""
    shown = []
    for i, name in enumerate(images):
        file = f"reconstruction_{i}.png"
        save_enlarged(folder / file, reconstruction_grid(samples, [name]))
        shown.append(ReportImage(file, f"{name}: test images, each above its reconstruction."))
    entries = results["reconstruction"]
    with_accuracy = any("accuracy" in entry["model"] for entry in entries.values())
    rows = []
    for name, entry in entries.items():
        row = [name, percent_with_error(explained(entry["model"]["error"]))]
        if "accuracy" in entry["model"]:
            most_frequent = percent(entry["marginal"]["accuracy"]["mean"])
            row += [percent_with_error(entry["model"]["accuracy"]), most_frequent]
        rows.append((*row, *[""] * (4 - len(row) if with_accuracy else 0)))
    head = "", "explained", "accuracy", "accuracy, most frequent value"
    return ReportSection(
        "Reconstructions", tuple(shown), (head if with_accuracy else head[:2], *rows),
        "What is left of a modality when it is encoded and decoded: predictions can hardly be better.",
    )  # fmt: skip
