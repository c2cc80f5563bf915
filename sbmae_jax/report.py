"""One static page of a run: figures, curves and pictures, made from the files in its workdir."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave

from sbmae_jax.log import read
from sbmae_jax.workdir import CONFIG, RESULTS, SAMPLES

matplotlib.rcParams.update({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "savefig.bbox": "tight",
})  # fmt: skip
GAP = 2  # white pixels between pictures
ZOOM = 2


def write_report(workdir: Path) -> Path:
    """Write `report/index.html` with its pictures, and return its path."""
    results = json.loads((workdir / RESULTS).read_text())
    samples = dict(np.load(workdir / SAMPLES))
    names = [name.removeprefix("real/") for name in samples if name.startswith("real/")]
    folder = workdir / "report"
    folder.mkdir(exist_ok=True)
    save_image(folder / "reconstruction.png", reconstruction_grid(samples, names))
    save_image(folder / "conditional.png", conditional_grid(samples, names))
    save_image(
        folder / "unconditional.png",
        grid([[as_bytes(x) for x in samples[f"joint/{n}"]] for n in names]),
    )
    draw_coherence(results).savefig(folder / "coherence.png", dpi=120)
    draw_losses(read(workdir)).savefig(folder / "losses.png", dpi=120)
    template = files("sbmae_jax").joinpath("report.html").read_text()
    page = (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            results=results,
            names=names,
            figures=figures(results),
            config=(workdir / CONFIG).read_text(),
            num_subsets=len(samples["observed"]),
            num_samples=samples[f"conditional/{names[0]}"].shape[1],
        )
    )
    (folder / "index.html").write_text(page)
    return folder / "index.html"


def figures(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the main figures as (name, value, remark)."""

    def mean(entry):
        return f"{entry['mean']:.3f} ± {entry['se']:.3f}"

    ceiling = results["reconstruction_accuracy"]["mean"]
    agree, variation = (
        results["unconditional_coherence"]["all_agree"],
        results["label_total_variation"],
    )
    given = [
        (
            f"conditional coherence, given {n}",
            mean(entry),
            f"{entry['mean'] / ceiling:.0%} of the ceiling",
        )
        for n, entry in results["conditional_coherence"].items()
    ]
    return [
        ("classifier accuracy, real pictures", mean(results["classifier_accuracy"]), ""),
        ("reconstruction accuracy", mean(results["reconstruction_accuracy"]), "the ceiling"),
        *given,
        ("unconditional coherence, all agree", mean(agree), ""),
        ("label total variation", f"{variation['uniform']:.3f}", "from uniform; 0 is best"),
        ("conditional diversity", f"{results['conditional_diversity']:.2f}",
         "variance given one modality over that within a class; 1 is that of the data"),
        ("Fréchet distance", f"{results['frechet_classifier_features']['mean']:.2f}",
         "on features of the classifier; not FID"),
        ("1,000 samples", f"{results['seconds_per_1000_samples']:.1f} s",
         f"{results['num_evaluations']} evaluations of the score, decoded"),
    ]  # fmt: skip


def summary(results: Mapping[str, Any]) -> str:
    """Return the main figures as a short table for the screen."""
    rows = figures(results)
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(
        f"  {name:<{width}}  {value:<14} {remark}".rstrip() for name, value, remark in rows
    )


def draw_coherence(results: Mapping[str, Any]) -> Figure:
    """Draw coherence against the number of observed modalities, with its ceiling."""
    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    given = results["conditional_coherence"]
    numbers = [int(n) for n in given]
    axes.errorbar(
        numbers, [e["mean"] for e in given.values()], [e["se"] for e in given.values()],
        marker="o", capsize=3, label="conditional (mean ± standard error)",
    )  # fmt: skip
    agree = results["unconditional_coherence"]["all_agree"]
    axes.errorbar(
        [0], [agree["mean"]], [agree["se"]], marker="s", capsize=3, label="unconditional, all agree"
    )
    ceiling = results["reconstruction_accuracy"]["mean"]
    axes.axhline(ceiling, color="0.4", linestyle="--", label="ceiling: reconstruction accuracy")
    axes.set(xlabel="modalities observed", ylabel="coherence", ylim=(0, 1.02), xticks=[0, *numbers])
    axes.legend(loc="lower right")
    return figure


def draw_losses(stages: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """Draw the training loss of each stage against its steps."""
    groups: dict[str, list[str]] = {}
    for stage in stages:
        groups.setdefault(stage.split("/")[0], []).append(stage)
    figure = Figure(figsize=(3.6 * len(groups), 2.8))
    for number, (title, members) in enumerate(groups.items(), 1):
        axes = figure.add_subplot(1, len(groups), number)
        for stage in members:
            steps, losses = zip(*((row["step"], row["loss"]) for row in stages[stage]), strict=True)
            axes.plot(steps, losses, label=stage.split("/")[-1], linewidth=1.2)
        axes.set(title=title, xlabel="step", yscale="log")
        if len(members) > 1:
            axes.legend()
    figure.tight_layout()
    return figure


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


def grid(rows: list[list[np.ndarray]], group: int = 1, columns: int = 0) -> np.ndarray:
    """Join pictures [H, W, C], with a wider gap after each `group` of rows and each `columns` columns."""
    height, _, depth = rows[0][0].shape
    lines = []
    for r, row in enumerate(rows):
        cells = []
        for c, image in enumerate(row):
            gap = GAP + (3 * GAP if columns and (c + 1) % columns == 0 else 0)
            cells += [image, np.full((height, gap, depth), 255, np.uint8)]
        line = np.concatenate(cells, axis=1)
        gap = GAP + (2 * GAP if group > 1 and (r + 1) % group == 0 else 0)
        lines += [line, np.full((gap, line.shape[1], depth), 255, np.uint8)]
    return np.concatenate(lines, axis=0)


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Return a picture as RGB bytes; floats are in [0, 1], grey ones are repeated."""
    x = x if x.dtype == np.uint8 else np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)
    return np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x


def frame(image: np.ndarray) -> np.ndarray:
    """Mark a picture as given, by a red edge."""
    framed = image.copy()
    framed[:2], framed[-2:], framed[:, :2], framed[:, -2:] = ([220, 30, 30],) * 4
    return framed


def save_image(path: Path, image: np.ndarray) -> None:
    """Save a picture, enlarged so that single pixels can be seen."""
    imsave(path, image.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))
