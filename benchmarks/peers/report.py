"""The comparison with other methods as tables and plots."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from benchmarks.peers import claims
from benchmarks.peers.claims import FEW_STEPS, GIVEN, LOW_TEMPERATURE, WORDS, levels
from benchmarks.runner import Page, Report
from benchmarks.tables import mean_of, mean_std, part_table, rows_table

SAMPLED = (*GIVEN, "all agree", "Fréchet distance", "diversity")
QUALITY = ("reconstruction", *SAMPLED, "label variation")
DISTANCE = "Fréchet distance given all others"
LOOKS = {  # ours are black or, with half the operations, grey; each baseline has a colour
    "ours": ("k", "o"), LOW_TEMPERATURE: ("k", "v"), FEW_STEPS: ("k", "^"),
    claims.HALF: ("0.6", "o"), claims.HALF_LOW_TEMPERATURE: ("0.6", "v"),
    **{name: (f"C{number}", "o") for number, name in enumerate(sorted(claims.BASELINES))},
}  # fmt: skip


def quality_table(part: str):
    """Return the entry of a table of the quality of all methods."""

    def made(page: Page) -> str:
        return rows_table({WORDS[m]: rows for m, rows in page[part]["rows"].items()}, QUALITY)

    return part, made


def choices_table(page: Page) -> str:
    """Return a baseline with what was chosen, and with what validation rows have put second."""
    first, named = page["comparison"], {}
    for method, rows in page["choices"]["rows"].items():
        best, second = first["chosen"][method]["value"], page["choices"]["values"][method]
        named[f"{WORDS[method]}, {choice(method, best)}"] = first["rows"][method]
        named[f"{WORDS[method]}, {choice(method, float(second))}"] = rows
    return rows_table(named, QUALITY)


def cost_table(page: Page) -> str:
    part, lines = page["comparison"], {}
    times = part["sampling"]
    for method, rows in part["rows"].items():
        entry = LOW_TEMPERATURE if method == claims.HALF_LOW_TEMPERATURE else method
        chosen = part["chosen"].get(entry, {"value": 0})["value"]
        name = levels(chosen) if method == FEW_STEPS else method
        lines[WORDS[method]] = [
            {
                "chosen": choice(method, chosen),
                "parameters": f"{row['parameters'] / 1e6:.1f} M",
                "training, TFLOP": row["GFLOP"] / 1e3,
                "training, seconds": row["training seconds"],
                "score evaluations": row["evaluations"] or "none",
                "1,000 samples given 1, seconds": times["seconds per 1,000, given 1"].get(name, ""),
                "from nothing": times["seconds per 1,000, from nothing"].get(name, ""),
            }
            for row in rows
        ]
    return rows_table(lines)


def choice(method: str, value: Any) -> str:
    """Say what was chosen for a method."""
    if isinstance(value, Mapping):
        return f"{way(value['given'])}; from nothing {way(value['nothing'])}"
    what = {"mld": "conditioning probability", FEW_STEPS: "levels"}.get(method, "beta")
    return f"{what} {value:g}" if value else ""


def way(how: Mapping[str, float]) -> str:
    """Say how ours is sampled at a low temperature."""
    guided = f", guidance {how['classifier_free']:g}" if how["classifier_free"] != 1 else ""
    return f"temperature {how['temperature']:g}{guided}"


def samplers_table(page: Page) -> str:
    """Return other samplers of the models of seed 0."""
    sampling = page["comparison"]["sampling"]
    times = sampling["seconds per 1,000, given 1"]
    rows = {"ours": page["comparison"]["rows"]["ours"][0]}
    rows |= {f"ours, {way(row)}": row for row in sampling["low temperature"]}
    rows |= {levels(int(n)): row for n, row in sampling["few steps"].items()}
    seconds = "1,000 samples given 1, seconds"
    lines = {
        name: row | {"test rows": row["num_rows"], seconds: times.get(name, "")}
        for name, row in rows.items()
    }
    return rows_table(lines, ("test rows", "evaluations", *SAMPLED, seconds))


def modalities_table(page: Page) -> str:
    lines = {
        f"{WORDS[method]}, {num} modalities": row
        | {name: value(row, int(num)) for name, value in claims.BY_NUMBER.items()}
        | {f"first two, {DISTANCE}": row["first two"][DISTANCE]}
        for method, by_number in page["modalities"]["rows"].items()
        for num, row in by_number.items()
    }
    more = ("classifier", "reconstruction", "all agree", "Fréchet distance", "diversity")
    return rows_table(lines, (*claims.BY_NUMBER, f"first two, {DISTANCE}", *more))


def draw(page: Page) -> Figure:
    """Draw coherence by number observed, its price in diversity, and quality from nothing."""
    figure, part = Figure(figsize=(13, 4.5)), page["comparison"]
    axes = figure.subplots(1, 3)

    def add(row_axes, rows, x, y, *style, **more):
        row_axes.plot([row[x] for row in rows], [mean_of(row, y) for row in rows], *style, **more)

    for number, (method, rows) in enumerate(part["rows"].items()):
        means, stds = zip(*(mean_std(rows, given) for given in GIVEN), strict=True)
        colour, marker = LOOKS[method]
        at = [n + 0.03 * number for n in range(1, len(GIVEN) + 1)]
        look = {"color": colour, "marker": marker, "ms": 4}
        axes[0].errorbar(at, means, stds, label=WORDS[method], **look)
        add(axes[1], rows, "diversity", GIVEN, ls="", **look)
        add(axes[2], rows, "Fréchet distance", ("all agree",), ls="", **look)
    for weight, line in ((1, "k-"), (3, "k:")):  # what seed 0 can trade, from the coldest on
        traded = [r for r in part["sampling"]["low temperature"] if r["classifier_free"] == weight]
        add(axes[1], traded, "diversity", GIVEN, line, lw=1)
    axes[0].set(xlabel="modalities observed", ylabel="coherence", xticks=range(1, 5))
    axes[1].set(xlabel="diversity given one (1: the data's)", ylabel="mean coherence, given 1 to 4")
    axes[2].set(xlabel="Fréchet distance, from nothing", ylabel="all agree, from nothing")
    for panel in axes:
        panel.set(ylim=(0, 1.02), xlim=(0.8 * (panel is axes[0]), None))
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=6, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    return figure


def draw_modalities(page: Page) -> Figure:
    """Draw coherence and Fréchet distance against the number: of the first two above, of all below."""
    panels = dict(list(claims.BY_NUMBER.items())[:2])
    panels[f"first two, {DISTANCE}"] = lambda row, num: row["first two"][DISTANCE]
    panels |= claims.BY_NUMBER
    panels["all, Fréchet distance from nothing"] = lambda row, num: row["Fréchet distance"]
    figure = Figure(figsize=(10.5, 6), layout="tight")
    for axes, (title, value) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        for method, found in page["modalities"]["rows"].items():
            values = [value(row, int(num)) for num, row in found.items()]
            colour, marker = LOOKS[method]
            look = {"color": colour, "marker": marker, "label": WORDS[method]}
            axes.plot(list(map(int, found)), values, "-", **look)
        axes.set_title(title, fontsize=9)
        axes.set(ylim=(0, None if "distance" in title else 1.05), xlabel="modalities")
    figure.axes[0].legend(fontsize=8)
    return figure


REPORT = Report(
    "peers",
    [
        ("comparison", claims.of_comparison), ("choices", claims.of_choices),
        ("large", claims.of_large), ("modalities", claims.of_modalities),
    ],
    {
        "peers.quality": quality_table("comparison"),
        "peers.cost": ("comparison", cost_table),
        "peers.samplers": ("comparison", samplers_table),
        "peers.large": quality_table("large"),
        "peers.choices": ("choices", choices_table),
        "peers.modalities": ("modalities", modalities_table),
        "peers.ablations": part_table("ablations", ("reconstruction", *SAMPLED)),
    },
    {"peers.png": ("comparison", draw), "peers_modalities.png": ("modalities", draw_modalities)},
)  # fmt: skip
