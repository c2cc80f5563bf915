"""Drawings for the report of paired data: what explains what, and how sure the generator is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from sbmae_jax.evaluation.paired.figures import explained

RIVALS = {"model": "this model", "linear": "linear", "neighbours": "nearest neighbours"}
COLOURS = {"model": "#1f5fa8", "linear": "#e08214", "neighbours": "#5aae61"}
MARKERS = {"model": "o", "linear": "s", "neighbours": "^"}
PER_ROW = 4  # small drawings side by side
DPI = 120  # of the files


def draw_prediction(prediction: Mapping[str, Any]) -> Drawing:
    """Draw for each modality the share that the model and its rivals explain, given all others."""
    names = list(prediction)
    figure = Drawing(figsize=(6.4, 1.1 + 0.5 * len(names)))
    axes = figure.add_subplot()
    for i, (rival, title) in enumerate(RIVALS.items()):
        places = np.arange(len(names)) + 0.2 * (i - 1)
        axes.errorbar(
            [explained(prediction[name][rival]) for name in names], places,
            xerr=[2 * prediction[name][rival]["error"]["se"] for name in names],
            fmt=MARKERS[rival], color=COLOURS[rival], capsize=2, label=title, markersize=6,
        )  # fmt: skip
    axes.axvline(0, color="0.4", linestyle="--", linewidth=1)
    shares = [explained(prediction[name][rival]) for name in names for rival in RIVALS]
    low = min((share for share in shares if np.isfinite(share)), default=0.0)
    axes.set(
        yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5),
        xlim=(max(min(low - 0.05, -0.05), -1), 1.03), xlabel="share explained (0: the training mean, 1: all)",
    )  # fmt: skip
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def draw_matrix(results: Mapping[str, Any], names: tuple[str, ...]) -> Drawing:
    """Draw the share explained of each modality (columns) by each other alone, and by all others (rows)."""
    alone = results["prediction_given_one"]
    titles = [*names, "all others"]
    table = np.full((len(titles), len(names)), np.nan)
    for m, target in enumerate(names):
        for s, source in enumerate(names):
            if target in alone[source]:
                table[s, m] = explained(alone[source][target])
        if target in results["prediction"]:
            table[-1, m] = explained(results["prediction"][target]["model"])
    size = 0.62 * len(names)
    figure = Drawing(figsize=(2.6 + 1.15 * size, 1.6 + size))
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor("0.93")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "white" if value > 0.55 else "black"
            axes.text(column, row, f"{100 * value:.0f} %", ha="center", va="center", color=colour)
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


def small(num: int, width: float, height: float) -> tuple[Drawing, list[Any]]:
    """Return a figure with `num` small drawings, PER_ROW in a row."""
    columns = min(num, PER_ROW)
    rows = -(-num // columns)
    figure = Drawing(figsize=(width * columns, height * rows))
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(num)]
    return figure, axes


def draw_ranks(calibration: Mapping[str, Any]) -> Drawing:
    """Draw how often the truth has each rank among its draws, over what it should be."""
    figure, axes = small(len(calibration), 2.5, 2.0)
    for (name, entry), place in zip(calibration.items(), axes, strict=True):
        shares = np.array(entry["ranks"]) * len(entry["ranks"])
        place.bar(np.arange(len(shares)), shares, width=0.9, color=COLOURS["model"])
        place.axhline(1, color="0.3", linestyle="--", linewidth=1)
        place.set(title=name, xlabel="rank of the truth", xticks=[0, len(shares) - 1])
        place.set_ylim(0, max(2.0, 1.1 * shares.max()))
    axes[0].set_ylabel("frequency (1 is right)")
    figure.tight_layout()
    return figure


def draw_reliability(judged: Mapping[str, Any]) -> Drawing:
    """Draw how often what has a probability happens; the area of a point is the share of such cases."""
    figure, axes = small(len(judged), 2.5, 2.4)
    for (name, entry), place in zip(judged.items(), axes, strict=True):
        place.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1)
        place.plot(entry["probability"], entry["share"], color=COLOURS["model"], linewidth=1)
        areas = 10 + 250 * np.array(entry["weight"])
        place.scatter(
            entry["probability"], entry["share"], areas, color=COLOURS["model"], alpha=0.7
        )
        place.set(title=name, xlabel="probability", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes[0].set_ylabel("how often it happens")
    figure.tight_layout()
    return figure


def draw_vectors(
    samples: Mapping[str, np.ndarray],
    names: list[str],
    all_names: tuple[str, ...],
    num_rows: int = 3,
) -> Drawing:
    """Draw true values, the mean and the range of the draws given all others, a test example in each row."""
    names, num_rows = names[:PER_ROW], min(num_rows, len(samples["shown"]))
    figure = Drawing(figsize=(3.1 * len(names), 1.7 * num_rows))
    for row in range(num_rows):
        for column, name in enumerate(names):
            axes = figure.add_subplot(num_rows, len(names), row * len(names) + column + 1)
            true, draws = samples[f"true/{name}"][row], samples[f"rest/{name}"][row]
            has = samples["present"][row, all_names.index(name)]
            true = np.where(has, np.asarray(true, float), np.nan)
            _draw_vector(axes, true, np.asarray(draws, float))
            if row == 0:
                axes.set_title(name)
            if row == num_rows - 1:
                axes.set_xlabel("feature")
            if column == 0:
                axes.set_ylabel(f"example {row + 1}")
    axes = figure.axes[0]
    handles, labels = axes.get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def _draw_vector(axes: Any, true: np.ndarray, draws: np.ndarray) -> None:
    places, low, high = np.arange(len(true)), draws.min(axis=0), draws.max(axis=0)
    if len(true) > 16:
        axes.fill_between(
            places,
            low,
            high,
            color=COLOURS["model"],
            alpha=0.25,
            linewidth=0,
            label="range of the draws",
        )
        axes.plot(
            places, draws.mean(axis=0), color=COLOURS["model"], linewidth=1.2, label="their mean"
        )
        axes.plot(places, true, ".", color="black", markersize=3.5, label="true value")
    else:
        axes.vlines(
            places,
            low,
            high,
            color=COLOURS["model"],
            alpha=0.35,
            linewidth=6,
            label="range of the draws",
        )
        axes.plot(
            places,
            draws.mean(axis=0),
            "_",
            color=COLOURS["model"],
            markersize=9,
            markeredgewidth=2,
            label="their mean",
        )
        axes.plot(places, true, ".", color="black", markersize=6, label="true value")
        axes.set_xlim(-0.7, len(true) - 0.3)
