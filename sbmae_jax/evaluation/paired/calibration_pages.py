"""Sections of the report of paired data on calibration: is the generator as sure as it may be?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sbmae_jax.evaluation.base import Picture, Section
from sbmae_jax.evaluation.labels.coherence_pages import with_error
from sbmae_jax.evaluation.paired.drawings import DPI, draw_ranks, draw_reliability
from sbmae_jax.evaluation.paired.figures import percent_with_error


def verdict(entry: Mapping[str, Any]) -> str:
    """Say in words what coverage and bias mean."""
    found, off = entry["coverage"], entry["coverage"]["mean"] - entry["nominal"]
    words = []
    if abs(off) > max(0.03, 3 * found["se"]):
        words.append(
            "too sure of itself: intervals too narrow"
            if off < 0
            else "too unsure: intervals too wide"
        )
    if abs(entry["bias"]["mean"]) > max(0.03, 3 * entry["bias"]["se"]):
        words.append("draws too low" if entry["bias"]["mean"] > 0 else "draws too high")
    return "; ".join(words) or "right"


def sections(results: Mapping[str, Any], folder: Path) -> list[Section]:
    """Return what there is of values and of probabilities."""
    entries = results["calibration"]
    values = {name: entry for name, entry in entries.items() if "ranks" in entry}
    judged = {
        name: entry["reliability"] for name, entry in entries.items() if "reliability" in entry
    }
    found = [draws(results, values, folder)] if values else []
    return found + ([probabilities(judged, folder)] if judged else [])


def draws(results: Mapping[str, Any], values: Mapping[str, Any], folder: Path) -> Section:
    """Show where the truth ranks among its draws, and what that means."""
    draw_ranks(values).savefig(folder / "ranks.png", dpi=DPI)
    nominal = f"{next(iter(values.values()))['nominal']:.0%}"
    rows = [
        (name, percent_with_error(e["coverage"]), f"{e['bias']['mean']:+.3f} ± {e['bias']['se']:.3f}",
         with_error(e["crps"]), verdict(e))
        for name, e in values.items()
    ]  # fmt: skip
    left_out = [n for n in results["prediction"] if n not in results["calibration"]]
    remark = (
        f"The interval from the least to the largest of {results['num_samples']} draws is to hold the truth "
        f"{nominal} of the time. Bias is the mean rank of the truth, from -0.5 (below all draws) to 0.5. "
        "CRPS, a distance of the draws from the truth, is over that of random training rows: lower is better."
    )
    if left_out:
        remark += (
            f" {', '.join(left_out)}: not here, as pictures are drawn without the noise of pixels."
        )
    return Section(
        "Are the draws as sure as they may be?",
        (Picture(
            "ranks.png",
            "Where the truth ranks among the draws. Flat is right; high ends mean that the draws vary too "
            "little, a hump that they vary too much, a slope that they are biased.", pixels=False),),
        table=(("generated", f"{nominal} intervals hold", "bias", "CRPS", "in words"), *rows),
        remark=remark,
    )  # fmt: skip


def probabilities(judged: Mapping[str, Any], folder: Path) -> Section:
    """Show how often what has a probability happens."""
    draw_reliability(judged).savefig(folder / "reliability.png", dpi=DPI)
    rows = [(n, f"{e['error']:.3f}", f"{e['by_chance']:.3f}") for n, e in judged.items()]
    return Section(
        "Are its probabilities right?",
        (Picture(
            "reliability.png",
            "How often what the model gives a probability happens: of categories the most likely one, of "
            "binary values that they are 1. Right probabilities lie on the dashed line; points below it at "
            "the right end mean that the model is too sure.", pixels=False),),
        table=(("generated", "calibration error", "by chance"), *rows),
        remark="By chance is what right probabilities would show with so many independent cases.",
    )  # fmt: skip
