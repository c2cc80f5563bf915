"""Plots for the report of paired data: what explains what, and how sure the generator is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sbmae_jax.evaluation.base import Results, Samples
from sbmae_jax.evaluation.formatting import is_above_one

PREDICTORS = {"model": "this model", "linear": "linear", "neighbours": "nearest neighbours"}
COLOURS = {"model": "#1f5fa8", "linear": "#e08214", "neighbours": "#5aae61"}
MARKERS = {"model": "o", "linear": "s", "neighbours": "^"}
ABOUT_ALL = "≈100 %"  # a share whose estimate is above 100 %
PER_ROW = 4  # small plots side by side
DPI = 120  # of the files


def plot_prediction(prediction: Mapping[str, Any]) -> Figure:
    """Plot for each modality the share that the model and the baselines explain, given all others."""
    names = list(prediction)
    figure = Figure(figsize=(6.4, 1.1 + 0.5 * len(names)))
    axes = figure.add_subplot()
    lowest, highest = 0.0, 1.0
    for i, (predictor, title) in enumerate(PREDICTORS.items()):
        errors = [prediction[name][predictor]["error"] for name in names]
        shares = [1 - error["mean"] for error in errors]
        axes.errorbar(
            shares, np.arange(len(names)) + 0.2 * (i - 1), xerr=[2 * error["se"] for error in errors],
            fmt=MARKERS[predictor], color=COLOURS[predictor], capsize=2, label=title, markersize=6,
        )  # fmt: skip
        lowest = min([lowest, *filter(np.isfinite, shares)])
        highest = max([highest, *filter(np.isfinite, shares)])
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    axes.set(
        yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5),
        xlim=(max(lowest - 0.05, -1), min(highest + 0.03, 2)),
        xlabel="share explained (0: training mean; 1: all of it)",
    )  # fmt: skip
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def plot_matrix(results: Results, names: tuple[str, ...]) -> Figure:
    """Plot the share explained of each modality (columns) by each other alone and by all others (rows)."""
    titles = [*names, "all others"]
    table = np.full((len(titles), len(names)), np.nan)
    for m, target in enumerate(names):
        for s, source in enumerate(names):
            entry = results["prediction_given_one"][source].get(target)
            table[s, m] = np.nan if entry is None else 1 - entry["error"]["mean"]
        if target in results["prediction"]:
            table[-1, m] = 1 - results["prediction"][target]["model"]["error"]["mean"]
    size = 0.62 * len(names)
    figure = Figure(figsize=(2.6 + 1.15 * size, 1.6 + size))
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("0.93")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "white" if value > 0.55 else "black"
            text = ABOUT_ALL if is_above_one(value) else f"{100 * value:.0f} %"
            axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.axhline(len(names) - 0.5, color="white", linewidth=4)
    axes.set(
        xticks=range(len(names)), yticks=range(len(titles)), yticklabels=titles,
        xlabel="generated", ylabel="observed",
    )  # fmt: skip
    turned = {"rotation": 35, "ha": "right"} if max(map(len, names)) > 7 else {}
    axes.set_xticklabels(names, **turned)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, label="share explained", shrink=0.9)
    return figure


def _small_plots(num: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """Return a figure with `num` small plots, PER_ROW in a row."""
    columns = min(num, PER_ROW)
    rows = -(-num // columns)
    figure = Figure(figsize=(width * columns, height * rows))
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(num)]


def plot_ranks(calibration: Mapping[str, Any]) -> Figure:
    """Plot how often the truth has each rank among the samples, relative to how often it should."""
    figure, plots = _small_plots(len(calibration), 2.5, 2.0)
    for (name, entry), axes in zip(calibration.items(), plots, strict=True):
        shares = np.array(entry["ranks"]) * len(entry["ranks"])
        axes.bar(np.arange(len(shares)), shares, width=0.9, color=COLOURS["model"])
        axes.axhline(1, color="0.3", linestyle="--", linewidth=1)
        axes.set(title=name, xlabel="rank of the truth", xticks=[0, len(shares) - 1])
        axes.set_ylim(0, max(2.0, 1.1 * shares.max()))
    plots[0].set_ylabel("relative frequency")
    figure.tight_layout()
    return figure


def plot_reliability(reliability: Mapping[str, Any]) -> Figure:
    """Plot how often events of each probability happen; the area of a point is the share of such events."""
    figure, plots = _small_plots(len(reliability), 2.5, 2.4)
    for (name, entry), axes in zip(reliability.items(), plots, strict=True):
        places = entry["probability"], entry["share"]
        axes.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1)
        axes.plot(*places, color=COLOURS["model"], linewidth=1)
        areas = 10 + 250 * np.array(entry["weight"])
        axes.scatter(*places, areas, color=COLOURS["model"], alpha=0.7)
        axes.set(title=name, xlabel="probability", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    plots[0].set_ylabel("observed frequency")
    figure.tight_layout()
    return figure


def plot_vectors(
    samples: Samples, vectors: Sequence[str], names: tuple[str, ...], num_rows: int = 3
) -> Figure:
    """Plot true values beside the mean and the range of the samples given all others.

    Args:
        samples: What `samples.draw_samples` drew.
        vectors: The modalities to show, PER_ROW beside each other.
        names: All modalities, in their order.
        num_rows: How many test examples to show.
    """
    num_rows = min(num_rows, len(samples["shown"]))
    columns = min(len(vectors), PER_ROW)
    blocks = -(-len(vectors) // PER_ROW)  # of `num_rows` examples each, one below the other
    figure = Figure(figsize=(3.1 * columns, 1.7 * num_rows * blocks))
    for place, name in enumerate(vectors):
        block, column = divmod(place, PER_ROW)
        for row in range(num_rows):
            line = block * num_rows + row
            axes = figure.add_subplot(blocks * num_rows, columns, line * columns + column + 1)
            true, drawn = samples[f"true/{name}"][row], samples[f"rest/{name}"][row]
            has = samples["present"][row, names.index(name)]
            true = np.where(has, np.asarray(true, float), np.nan)
            _plot_vector(axes, true, np.asarray(drawn, float))
            if row == 0:
                axes.set_title(name)
            if row == num_rows - 1:
                axes.set_xlabel("feature")
            if column == 0:
                axes.set_ylabel(f"example {row + 1}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def _plot_vector(axes: Any, true: np.ndarray, drawn: np.ndarray) -> None:
    """Plot few features as bars, and many as a band."""
    places, mean = np.arange(len(true)), drawn.mean(axis=0)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    few, colour = len(true) <= 16, COLOURS["model"]
    if few:
        label = {"color": colour, "alpha": 0.35, "label": "range of the samples"}
        axes.vlines(places, low, high, linewidth=6, **label)
        axes.set(xlim=(-0.7, len(true) - 0.3), xticks=places)
    else:
        label = {"color": colour, "alpha": 0.25, "label": "range of the samples"}
        axes.fill_between(places, low, high, linewidth=0, **label)
    form = {"marker": "_", "markersize": 9, "markeredgewidth": 2, "linestyle": ""} if few else {}
    axes.plot(places, mean, color=colour, linewidth=1.2, label="their mean", **form)
    axes.plot(places, true, ".", color="black", markersize=6 if few else 3.5, label="true value")
