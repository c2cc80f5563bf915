"""Sections of the report of paired data on classes of pixels: how many are right, and their colours."""

from itertools import cycle

from sbmae_jax.evaluation.base import ReportSection, Results
from sbmae_jax.evaluation.formatting import percent_with_error
from sbmae_jax.evaluation.images import COLOURS

_PREDICTORS = {
    "model": "this model", "linear": "linear", "neighbours": "nearest neighbours",
    "marginal": "most frequent class of each pixel",
}  # fmt: skip


def class_sections(results: Results) -> list[ReportSection]:
    """Return the section on modalities of classes of pixels, if there are any."""
    entries = {n: entry for n, entry in results["prediction"].items() if "iou" in entry["model"]}
    if not entries:
        return []
    rows = [
        (name, title, *(percent_with_error(entry[key][share]) for share in ("iou", "accuracy")))
        for name, entry in entries.items()
        for key, title in _PREDICTORS.items()
    ]
    legends = [
        f"{name}: " + ", ".join(f"{c} {colour}" for c, colour in zip(classes, cycle(COLOURS)))
        for name, classes in results.get("classes", {}).items()
    ]
    return [
        ReportSection(
            "Classes of pixels, given all others",
            table=(("generated", "by", "intersection over union", "pixels right"), *rows),
            remark="The most probable class of each pixel, by the mean of samples, beside the true one. "
            "Intersection over union is the mean over the classes of a picture, then over test rows. "
            f"Colours: {'; '.join(legends)}.",
        )
    ]
