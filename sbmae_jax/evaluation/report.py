"""The report of a run: one static page, made from the files in its workdir."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from sbmae_jax._io import local_folder
from sbmae_jax._json import from_json
from sbmae_jax.evaluation.base import Headline, Report, ReportImage, ReportSection, Results
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.workdir import CHOICES, CONFIG, RESULTS, SAMPLES

matplotlib.rcParams.update({
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "legend.frameon": False, "savefig.bbox": "tight", "text.parse_math": False,
})  # fmt: skip


def write_report(
    workdir: Path, names: tuple[str, ...], report: Report, endings: Sequence[str] = (),
    others: Sequence[ReportSection] = (),
) -> Path:  # fmt: skip
    """Write `report/index.html` with its images.

    Args:
        workdir: The folder of an evaluated run: `results.json`, `samples.npz` and `config.json` are read.
        names: The modalities, in the order of the model.
        report: How the results of the run's protocol are shown.
        endings: Sentences on trainings that could have learned on, which the report shows.
        others: Further sections, which come last.

    Returns:
        The path of the page.
    """
    with local_folder(workdir / "report") as folder:
        page = _render(workdir, names, report, folder, endings, others)
        (folder / "index.html").write_text(page, encoding="utf-8")
    return workdir / "report" / "index.html"


def format_headlines(headlines: Sequence[Headline]) -> str:
    """Return the main results as a short table for the screen."""
    width = max(len(headline.name) for headline in headlines)
    return "\n".join(
        f"  {headline.name:<{width}}  {headline.value:<14} {headline.remark}".rstrip()
        for headline in headlines
    )


def _render(
    workdir: Path, names: tuple[str, ...], report: Report, folder: Path, endings: Sequence[str],
    others: Sequence[ReportSection],
) -> str:  # fmt: skip
    """Write the images of the report into a folder, and return its page."""
    results = from_json((workdir / RESULTS).read_text())
    with (workdir / SAMPLES).open("rb") as file, np.load(file) as arrays:
        samples = dict(arrays)
    sections = [
        *report.sections(results, samples, names, folder),
        _training_section(workdir, results, folder, endings),
        *others,
    ]
    choices = workdir / CHOICES
    template = files("sbmae_jax.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.from_string(template).render(
        results=results,
        names=names,
        headlines=report.headlines(results),
        sections=sections,
        choices=choices.read_text(encoding="utf-8") if choices.exists() else "",
        config=(workdir / CONFIG).read_text(),
    )


def _training_section(
    workdir: Path, results: Results, folder: Path, endings: Sequence[str]
) -> ReportSection:
    """Plot the losses into a folder, and return the section about the cost of the run."""
    _plot_losses(read_metrics(workdir)).savefig(folder / "losses.png", dpi=120)
    rows = [(stage, f"{seconds:.1f} s") for stage, seconds in results["seconds"].items()]
    memory = ("peak memory", f"{results['peak_memory_bytes'] / 2**30:.2f} GiB")
    return ReportSection(
        "Training",
        (ReportImage("losses.png", "The training loss of each stage.", pixelated=False),),
        table=(("stage", "time"), *rows, memory),
        remark=" ".join(f"{ending}." for ending in endings),
    )


class _PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as plain numbers: Matplotlib's mathematics is off, as names may hold $."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""


def _plot_losses(stages: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """Plot the training loss of each stage against its steps.

    The axis is logarithmic unless a loss is negative, as that of a density is, which has no logarithm.
    """
    groups: dict[str, list[str]] = {}
    for stage in stages:
        groups.setdefault(stage.split("/")[0], []).append(stage)
    figure = Figure(figsize=(3.6 * len(groups), 2.8))
    for number, (title, members) in enumerate(groups.items(), 1):
        axes = figure.add_subplot(1, len(groups), number)
        for stage in members:
            steps, losses = zip(*((row["step"], row["loss"]) for row in stages[stage]), strict=True)
            axes.plot(steps, losses, label=stage.split("/")[-1], linewidth=1.2)
        axes.set(title=title, xlabel="step")
        if min(row["loss"] for stage in members for row in stages[stage]) > 0:
            axes.set_yscale("log")
            for tell in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                tell(_PlainLogFormatter())
        if len(members) > 1:
            axes.legend()
    figure.tight_layout()
    return figure
