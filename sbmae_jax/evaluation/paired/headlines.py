"""The main results of paired data, for somebody who brought the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sbmae_jax.evaluation.base import Headline, Results
from sbmae_jax.evaluation.formatting import (
    explained,
    number,
    percent,
    percent_with_error,
    with_error,
)
from sbmae_jax.evaluation.labels import coherence_pages
from sbmae_jax.evaluation.paired.caption_pages import caption_headlines

MIN_ROWS = 30  # test rows, of which a share is known to about a fifth
ONE_MODALITY = (
    "With one modality this is a latent diffusion model. There is nothing to observe, so nothing "
    "conditional is measured."
)


def headlines(results: Results) -> list[Headline]:
    """Choose the main results."""
    found = _few_rows(results)
    if "prediction" not in results:
        found.append(Headline("modalities", "1", ONE_MODALITY))
        for name, entry in results["reconstruction"].items():
            share = percent_with_error(explained(entry["model"]["error"]))
            found.append(Headline(f"{name}, reconstructed", share, "of the variance"))
    for name, entry in results.get("prediction", {}).items():
        text = results.get("texts", {}).get(name)
        found.append(_prediction(name, results["value_types"][name], entry, text))
    found += caption_headlines(results)
    covered = {n: e for n, e in results.get("calibration", {}).items() if "coverage" in e}
    if covered:
        shares = [entry["coverage"]["mean"] for entry in covered.values()]
        nominal = next(iter(covered.values()))["nominal"]
        found.append(Headline(
            f"coverage of {nominal:.0%} intervals", percent(float(np.mean(shares))),
            f"by modality {percent(min(shares))} to {percent(max(shares))}",
        ))  # fmt: skip
    if results.get("consistency", {}).get("mean") is not None:
        found.append(Headline(
            "consistency of joint samples", number(results["consistency"]["mean"], ".2f"),
            "1: modalities determine each other as in the data; 0: they are unrelated",
        ))  # fmt: skip
    if "classifier_accuracy" in results:
        found += _labels(results)
    return [*found, Headline(
        "1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
        f"{results['num_evaluations']} score evaluations and decoding",
    )]  # fmt: skip


def _few_rows(results: Results) -> list[Headline]:
    """Warn where there are too few test rows for figures that can be relied on."""
    rows = {n: e["num_rows"] for n, e in results.get("prediction", {}).items()}
    few = {name: num for name, num in rows.items() if num < MIN_ROWS}
    if results["num_rows"] < MIN_ROWS:
        number, whose = results["num_rows"], "all figures"
    elif few:
        number, whose = min(few.values()), f"those of {', '.join(few)}"
    else:
        return []
    return [Headline(
        "warning: few test rows", f"{number:,}",
        f"fewer than {MIN_ROWS}: {whose} may be far off, within the intervals given; with "
        "sbmae_jax.app.folds.cross_validate every row is a test row once",
    )]  # fmt: skip


def _prediction(
    name: str, value_type: str, entry: Mapping[str, Any], text: Mapping[str, Any] | None
) -> Headline:
    """Return how well a modality is predicted from all others: how often, or how much of its variance."""
    title, model = f"{name}, given all others", entry["model"]
    if value_type == "category":
        accuracy = {
            predictor: percent(entry[predictor]["accuracy"]["mean"])
            for predictor in ("linear", "neighbours", "marginal")
        }
        return Headline(
            title, percent_with_error(model["accuracy"]),
            f"accuracy; logistic regression {accuracy['linear']}, nearest neighbours "
            f"{accuracy['neighbours']}, most frequent value {accuracy['marginal']}",
        )  # fmt: skip
    if "iou" in model:
        shares = {p: percent(entry[p]["iou"]["mean"]) for p in ("linear", "neighbours", "marginal")}
        return Headline(
            title, percent_with_error(model["iou"]),
            f"intersection over union of the classes of pixels; linear {shares['linear']}, nearest "
            f"neighbours {shares['neighbours']}, most frequent class of each pixel {shares['marginal']}",
        )  # fmt: skip
    if text is not None:
        return Headline(
            title, percent_with_error(text["model"]["exact"]),
            f"the same string; nearest neighbour {percent(text['neighbour']['exact']['mean'])}, most "
            f"frequent string {percent(text['frequent']['exact']['mean'])}",
        )  # fmt: skip
    share = {p: percent(1 - entry[p]["error"]["mean"]) for p in ("linear", "neighbours")}
    return Headline(
        title, percent_with_error(explained(model["error"])),
        f"explained; linear {share['linear']}, nearest neighbours {share['neighbours']}",
    )  # fmt: skip


def _labels(results: Results) -> list[Headline]:
    """Return the main results that need labels."""
    found = [
        Headline("classifier accuracy, test rows", with_error(results["classifier_accuracy"])),
        Headline("classifier accuracy, reconstructions",
                 with_error(results["reconstruction_accuracy"]), "ceiling of coherence"),
    ]  # fmt: skip
    if left_out := results.get("judges_left_out"):
        found.append(Headline(
            "left out of coherence", ", ".join(left_out),
            "on test rows its classifier is no better than the most frequent class"
            if len(left_out) == 1 else
            "on test rows their classifiers are no better than the most frequent class",
        ))  # fmt: skip
    if "conditional_coherence" in results:
        agree = results["unconditional_coherence"]["all_agree"]
        found += coherence_pages.headlines(results)
        found.append(Headline("unconditional coherence", with_error(agree), "all modalities agree"))
    if "label_total_variation" in results:
        variation = number(results["label_total_variation"]["real"])
        remark = "distance from the labels of the test rows; 0 is best"
        found.append(Headline("label total variation", variation, remark))
    return found
