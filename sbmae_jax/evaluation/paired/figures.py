"""The main figures of paired data, in words for somebody who brought the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmae_jax.evaluation.base import Figure
from sbmae_jax.evaluation.labels import coherence_pages
from sbmae_jax.evaluation.labels.coherence_pages import with_error

ONE = "one modality: a latent diffusion model; with nothing to observe, nothing conditional is measured"


def explained(entry: Mapping[str, Any]) -> float:
    """Return the share of variance that is explained, from an error over that of the marginal."""
    return 1 - entry["error"]["mean"]


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.1f} %"


def percent_with_error(entry: Mapping[str, float], complement: bool = False) -> str:
    """Return a share, or one less it, in percent with its standard error."""
    value = 1 - entry["mean"] if complement else entry["mean"]
    return f"{100 * value:.1f} ± {100 * entry['se']:.1f} %"


def figures(results: Mapping[str, Any]) -> list[Figure]:
    """Return the main figures, in words for somebody who brought the data."""
    found = []
    if "prediction" not in results:
        found.append(Figure("modalities", "1", ONE))
        for name, entry in results["reconstruction"].items():
            value = percent_with_error(entry["model"]["error"], complement=True)
            found.append(Figure(f"{name}, kept by its autoencoder", value, "of the variance"))
    for name, entry in results.get("prediction", {}).items():
        found.append(predicted(name, results["value_types"][name], entry))
    covered = {n: e for n, e in results.get("calibration", {}).items() if "coverage" in e}
    if covered:
        shares = [entry["coverage"]["mean"] for entry in covered.values()]
        nominal = next(iter(covered.values()))["nominal"]
        found.append(Figure(
            f"{nominal:.0%} intervals hold the truth", percent(float(np.mean(shares))),
            f"of the time; by modality {percent(min(shares))} to {percent(max(shares))}",
        ))  # fmt: skip
    if results.get("consistency", {}).get("mean") is not None:
        found.append(Figure(
            "joint samples hang together", f"{results['consistency']['mean']:.2f}",
            "1: their modalities determine each other as in the data; 0: not at all",
        ))  # fmt: skip
    if "classifier_accuracy" in results:
        found += labelled(results)
    return [*found, Figure(
        "1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
        f"{results['num_evaluations']} evaluations of the score, decoded",
    )]  # fmt: skip


def predicted(name: str, value_type: str, entry: Mapping[str, Any]) -> Figure:
    """Return the figure of a modality given all others: how often right, or how much is explained."""
    if value_type == "category":
        rest = {
            rival: percent(entry[rival]["accuracy"]["mean"])
            for rival in ("linear", "neighbours", "marginal")
        }
        return Figure(
            f"{name}, given all others", percent_with_error(entry["model"]["accuracy"]),
            f"right; logistic regression {rest['linear']}, nearest neighbours {rest['neighbours']}, "
            f"most frequent value {rest['marginal']}",
        )  # fmt: skip
    rest = {rival: percent(explained(entry[rival])) for rival in ("linear", "neighbours")}
    return Figure(
        f"{name}, given all others", percent_with_error(entry["model"]["error"], complement=True),
        f"explained; linear {rest['linear']}, nearest neighbours {rest['neighbours']}",
    )  # fmt: skip


def labelled(results: Mapping[str, Any]) -> list[Figure]:
    """Return the figures that need labels."""
    variation = results["label_total_variation"]
    found = [
        Figure("classifier accuracy, real test rows", with_error(results["classifier_accuracy"])),
        Figure(
            "… on reconstructions", with_error(results["reconstruction_accuracy"]), "the ceiling"
        ),
    ]
    if "conditional_coherence" in results:
        agree = results["unconditional_coherence"]["all_agree"]
        found += coherence_pages.figures(results)
        found.append(Figure("unconditional coherence, all agree", with_error(agree)))
    remark = "from the test rows; 0 is best"
    return [*found, Figure("label total variation", f"{variation['real']:.3f}", remark)]
