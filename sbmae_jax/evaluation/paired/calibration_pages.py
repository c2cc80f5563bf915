"""Sections of the report of paired data on calibration: is the generator as sure as it should be?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbmae_jax.evaluation.base import ReportImage, ReportSection, Results
from sbmae_jax.evaluation.formatting import number, percent_with_error, with_error
from sbmae_jax.evaluation.paired.plots import DPI, plot_ranks, plot_reliability

CLOSE = 0.03  # a difference that does not matter
TELLING = 0.1  # a margin beyond which being close may be luck


def verdict(entry: Mapping[str, Any]) -> str:
    """Say in words what coverage and bias mean, or that there are too few rows to tell."""
    (coverage, coverage_margin), (bias, bias_margin) = (
        (entry[key]["mean"], _margin(entry[key])) for key in ("coverage", "bias")
    )
    words, excess = [], coverage - entry["nominal"]
    if abs(excess) > CLOSE and abs(excess) > coverage_margin:
        narrow, wide = "overconfident: intervals too narrow", "underconfident: intervals too wide"
        words.append(narrow if excess < 0 else wide)
    if abs(bias) > CLOSE and abs(bias) > bias_margin:
        words.append("samples too low" if bias > 0 else "samples too high")
    if words:
        return "; ".join(words)
    # Of a single row the margin is NaN, which no comparison finds small.
    tells = coverage_margin <= TELLING and bias_margin <= TELLING
    return "calibrated" if tells else "too few rows to tell"


def _margin(entry: Mapping[str, float]) -> float:
    """Return three standard errors, or what corresponds to them where rows are few."""
    return max(3 * entry["se"], 0.75 * (entry.get("high", 0.0) - entry.get("low", 0.0)))


def calibration_sections(results: Results, folder: Path) -> list[ReportSection]:
    """Return the sections on intervals of values and on probabilities, as far as these were measured."""
    entries = results["calibration"]
    values = {name: entry for name, entry in entries.items() if "ranks" in entry}
    reliability = {
        n: entry["reliability"] for n, entry in entries.items() if "reliability" in entry
    }
    found = [_intervals(results, values, folder)] if values else []
    return found + ([_probabilities(reliability, folder)] if reliability else [])


def _intervals(results: Results, values: Mapping[str, Any], folder: Path) -> ReportSection:
    """Show where the truth ranks among its samples, and what that means."""
    plot_ranks(values).savefig(folder / "ranks.png", dpi=DPI)
    nominal = f"{next(iter(values.values()))['nominal']:.0%}"
    rows = [
        (name, percent_with_error(e["coverage"]), with_error(e["bias"], "+.3f"),
         with_error(e["crps"]), verdict(e))
        for name, e in values.items()
    ]  # fmt: skip
    texts = results.get("texts", {})
    left_out = [n for n in results["prediction"] if n not in {*results["calibration"], *texts}]
    remark = (
        f"The interval from the smallest to the largest of {results['num_samples']} samples should contain "
        f"the truth {nominal} of the time. Bias is the mean rank of the truth, from -0.5 (below all samples) "
        "to 0.5. CRPS, a distance between samples and truth, is relative to that of random training rows: "
        "lower is better."
    )
    if left_out:
        remark += f" Not shown: {', '.join(left_out)}, as images are sampled without pixel noise."
    return ReportSection(
        "Calibration of intervals",
        (ReportImage(
            "ranks.png",
            "Ranks of the truth among the samples. Flat is calibrated. Peaks at both ends: the samples vary "
            "too little. A peak in the middle: they vary too much. A slope: they are biased.",
            pixelated=False),),
        table=(("generated", f"coverage of {nominal} intervals", "bias", "CRPS", "verdict"), *rows),
        remark=remark,
    )  # fmt: skip


def _probabilities(reliability: Mapping[str, Any], folder: Path) -> ReportSection:
    """Show how often events happen, by their probability."""
    plot_reliability(reliability).savefig(folder / "reliability.png", dpi=DPI)
    rows = [(n, number(e["error"]), number(e["by_chance"])) for n, e in reliability.items()]
    return ReportSection(
        "Calibration of probabilities",
        (ReportImage(
            "reliability.png",
            "How often events happen, by the probability that the model gives them. An event is that the "
            "most likely category is the true one, or that a binary value is 1. Calibrated probabilities lie "
            "on the dashed line. Points below it on the right mean that the model is overconfident.",
            pixelated=False),),
        table=(("generated", "calibration error", "by chance"), *rows),
        remark="By chance: the error that exact probabilities would show on as many independent events.",
    )  # fmt: skip
