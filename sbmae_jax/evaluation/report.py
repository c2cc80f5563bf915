"""One static page of a run: figures, curves and pictures, made from the files in its workdir."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing

from sbmae_jax._io import local_folder
from sbmae_jax.evaluation.base import EvaluationProtocol, Figure, Picture, Section
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.workdir import CHOICES, CONFIG, RESULTS, SAMPLES

matplotlib.rcParams.update({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "savefig.bbox": "tight",
})  # fmt: skip


def write_report(workdir: Path, names: tuple[str, ...], protocol: EvaluationProtocol) -> Path:
    """Write `report/index.html` with its pictures, and return its path."""
    with local_folder(workdir / "report") as folder:
        (folder / "index.html").write_text(page_of(workdir, names, protocol, folder))
    return workdir / "report" / "index.html"


def page_of(
    workdir: Path, names: tuple[str, ...], protocol: EvaluationProtocol, folder: Path
) -> str:
    """Draw the pictures of the report into a folder, and return its page."""
    results = json.loads((workdir / RESULTS).read_text())
    with (workdir / SAMPLES).open("rb") as file, np.load(file) as arrays:
        samples = dict(arrays)
    sections = [*protocol.sections(results, samples, folder), training(workdir, results, folder)]
    template = files("sbmae_jax.evaluation").joinpath("report.html").read_text()
    return (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            results=results,
            names=names,
            figures=protocol.figures(results),
            sections=sections,
            chosen=chosen.read_text() if (chosen := workdir / CHOICES).exists() else "",
            config=(workdir / CONFIG).read_text(),
        )
    )


def summary(figures: list[Figure]) -> str:
    """Return the main figures as a short table for the screen."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(
        f"  {figure.name:<{width}}  {figure.value:<14} {figure.remark}".rstrip()
        for figure in figures
    )


def training(workdir: Path, results: Mapping[str, Any], folder: Path) -> Section:
    """Draw the losses into a folder, and return the section about what the run took."""
    draw_losses(read_metrics(workdir)).savefig(folder / "losses.png", dpi=120)
    rows = [(stage, f"{seconds:.1f} s") for stage, seconds in results["seconds"].items()]
    memory = ("peak memory", f"{results['peak_memory_bytes'] / 2**30:.2f} GiB")
    return Section(
        "TrainingConfig",
        (Picture("losses.png", "", pixels=False),),
        table=(("stage", "took"), *rows, memory),
    )


def draw_losses(stages: Mapping[str, list[dict[str, Any]]]) -> Drawing:
    """Draw the training loss of each stage against its steps."""
    groups: dict[str, list[str]] = {}
    for stage in stages:
        groups.setdefault(stage.split("/")[0], []).append(stage)
    figure = Drawing(figsize=(3.6 * len(groups), 2.8))
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
