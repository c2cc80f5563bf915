"""What the comparison with rivals was to show, as claims and as tables of Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

WORDS = {
    "ours": "ours", "mld": "MLD", "mvae": "MVAE", "mmvae": "MMVAE", "mopoe": "MoPoE",
    "mvtcae": "MVTCAE", "mmvae_plus": "MMVAE+", "ours, half the operations": "ours, half the operations",
}  # fmt: skip
RIVALS = ("mld", "mvae", "mmvae", "mopoe", "mvtcae", "mmvae_plus")
SINGLE_PASS = RIVALS[1:]
LOWER = ("Fréchet distance", "label variation")
GIVEN = ("given 1", "given 2", "given 3", "given 4")
QUALITY = (
    "reconstruction",
    *GIVEN,
    "all agree",
    "Fréchet distance",
    "diversity",
    "label variation",
)
MOST_FALL = (
    0.03  # of coherence over the classifier's accuracy, from the fewest modalities to the most
)
BY_NUMBER = {
    "given one": lambda row, num: row["given 1"] / row["classifier"],
    "given all others": lambda row, num: row[f"given {num - 1}"] / row["classifier"],
}
MOST_TIMES = 2.0  # how often a single-pass rival's time ours in few steps may take


def spread(page: Mapping[str, Any], method: str, figure: str) -> tuple[float, float]:
    """Return mean and deviation of a figure over seeds."""
    values = [row[figure] for row in page["rows"][method]]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def best_rival(page: Mapping[str, Any], figure: str) -> str:
    """Return the rival with the best mean of a figure."""
    sign = -1 if figure in LOWER else 1
    return max(RIVALS, key=lambda method: sign * spread(page, method, figure)[0])


def claims(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare what was measured with its targets."""
    found = []

    def claim(name: str, value: float, bound: float, deviation: float | None = None, most=False):
        holds = value <= bound if most else value >= bound
        entry = {
            "name": name,
            "value": round(value, 4),
            "bound": f"{'<=' if most else '>='} {bound:.4g}",
        }
        found.append(
            entry | ({} if deviation is None else {"deviation": deviation}) | {"holds": bool(holds)}
        )

    for figure in ("given 2", "given 3", "given 4", "all agree", "Fréchet distance"):
        rival = best_rival(page, figure)
        (mine, d1), (theirs, d2) = (spread(page, m, figure) for m in ("ours", rival))
        gain = theirs - mine if figure in LOWER else mine - theirs
        deviation = round(float(np.hypot(d1, d2)), 4)
        name = f"{figure}: ours is better than the best rival, {WORDS[rival]}, by more than the deviation"
        claim(name, gain, deviation, deviation)
    half = "ours, half the operations"
    for figure in (*GIVEN, "all agree"):
        rival = best_rival(page, figure)
        gain = spread(page, half, figure)[0] - spread(page, rival, figure)[0]
        claim(
            f"{figure}: ours at half the operations, less the best rival, {WORDS[rival]}", gain, 0.0
        )
    rival = best_rival(page, "given 2")
    seconds = spread(page, half, "training seconds")[0] / spread(page, rival, "training seconds")[0]
    claim(
        f"seconds of training ours at half the operations over {WORDS[rival]}",
        seconds,
        0.5,
        most=True,
    )
    times = page["sampling"]["seconds per 1,000, given 1"]
    single = min(SINGLE_PASS, key=lambda method: times[method])
    few = chosen_levels(page)
    ratio = times[f"ours, {few} levels"] / times[single]
    name = f"1,000 samples given 1: seconds of ours with {few} levels over {WORDS[single]}, the fastest"
    claim(name, ratio, MOST_TIMES, most=True)
    for method, rows in page.get("multivae", {"rows": {}})["rows"].items():
        for figure in (*GIVEN, "all agree") if method in page["rows"] else ():
            (mine, d1), theirs = spread(page, method, figure), [row[figure] for row in rows]
            deviation = float(np.hypot(d1, np.std(theirs, ddof=1) if len(theirs) > 1 else 0.0))
            name = f"{figure}: our {WORDS[method]} less MultiVae's, at least minus the deviation"
            claim(name, mine - float(np.mean(theirs)), round(-deviation, 4), round(deviation, 4))
    if "modalities" in page:
        rows = page["modalities"]["rows"]
        for figure in BY_NUMBER:
            falls = {method: fall(by_number, figure) for method, by_number in rows.items()}
            most = max(rows["ours"], key=int)
            name = f"{figure}: fall of ours from 2 to {most} modalities, over the classifier's accuracy"
            claim(name, falls.pop("ours"), MOST_FALL, most=True)
            num = sum(value > MOST_FALL for value in falls.values())
            claim(f"{figure}: rivals of {len(falls)} that fall more than {MOST_FALL}", num, 2)
    return found


def fall(by_number: Mapping[str, Any], figure: str) -> float:
    """Return by how much a figure is smaller with the most modalities than with the fewest."""
    few, *_, many = sorted(by_number, key=int)
    return BY_NUMBER[figure](by_number[few], int(few)) - BY_NUMBER[figure](
        by_number[many], int(many)
    )


def chosen_levels(page: Mapping[str, Any]) -> str:
    """Return how many levels the few-step sampler has: most coherent on validation rows."""
    rows = page["sampling"]["few steps, validation"]
    return max(rows, key=lambda n: np.mean([rows[n][figure] for figure in (*GIVEN, "all agree")]))


def table(page: Mapping[str, Any]) -> str:
    """Return quality as a table of Markdown, mean ± deviation over seeds."""
    lines = [f"| | {' | '.join(QUALITY)} |", "|---" * (len(QUALITY) + 1) + "|"]
    for method in page["rows"]:
        cells = [f"{m:.3f} ± {d:.3f}" for m, d in (spread(page, method, f) for f in QUALITY)]
        lines.append(f"| {WORDS[method]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cost_table(page: Mapping[str, Any]) -> str:
    """Return what training and sampling cost as a table of Markdown."""
    given, nothing = (
        page["sampling"][f"seconds per 1,000, {what}"] for what in ("given 1", "from nothing")
    )
    lines = [
        "| | chosen | parameters | training, TFLOP | training, seconds | score evaluations "
        "| 1,000 samples given 1, seconds | from nothing |",
        "|---" * 8 + "|",
    ]
    for method, rows in page["rows"].items():
        chosen = page["chosen"].get(method, {}).get("value", "")
        what = "observed share" if method == "mld" else "beta"
        seconds = [f"{times[method]:.2f}" if method in times else "" for times in (given, nothing)]
        words = f"{WORDS[method]} | {f'{what} {chosen}' if chosen else ''}"
        lines.append(
            f"| {words} | {rows[0]['parameters'] / 1e6:.1f} M "
            f"| {rows[0]['GFLOP'] / 1e3:.2f} | {spread(page, method, 'training seconds')[0]:.0f} "
            f"| {rows[0]['evaluations'] or 'none'} | {' | '.join(seconds)} |"
        )
    return "\n".join(lines)


def sampler_table(page: Mapping[str, Any]) -> str:
    """Return other samplers of the models of seed 0 as a table of Markdown."""
    sampling, columns = page["sampling"], (*GIVEN, "all agree", "Fréchet distance", "diversity")
    times = sampling["seconds per 1,000, given 1"]
    rows = {f"ours, {n} levels": row for n, row in sampling["few steps"].items()}
    rows = {"ours": page["rows"]["ours"][0], **rows}
    lines = [
        f"| | test rows | evaluations | {' | '.join(columns)} | 1,000 samples given 1, seconds |",
        "|---" * (len(columns) + 4) + "|",
    ]
    rows |= {name: sampling[name] for name in ("MLD, same rows", "MLD, RePaint")}
    for name, row in rows.items():
        values = " | ".join(f"{row[figure]:.3f}" for figure in columns)
        seconds = f"{times[name]:.2f}" if name in times else ""
        lines.append(
            f"| {name} | {row['num_rows']} | {row['evaluations']} | {values} | {seconds} |"
        )
    return "\n".join(lines)


def multivae_table(page: Mapping[str, Any]) -> str:
    """Return our ports beside the models of MultiVae as a table of Markdown."""
    columns = (
        "reconstruction",
        *GIVEN,
        "all agree",
        "Fréchet distance",
        "diversity",
        "training seconds",
    )
    lines = [f"| | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for method, rows in page["multivae"]["rows"].items():
        found = {f"{WORDS.get(method, method.upper())}, MultiVae": rows}
        if method in page["rows"]:
            found[f"{WORDS[method]}, ours"] = page["rows"][method]
        for name, some in found.items():
            cells = [spread({"rows": {name: some}}, name, figure) for figure in columns]
            shown = " | ".join(f"{mean:.3g} ± {deviation:.2g}" for mean, deviation in cells)
            lines.append(f"| {name} | {len(some)} | {shown} |")
    return "\n".join(lines)


def modalities_table(page: Mapping[str, Any]) -> str:
    """Return figures by the number of modalities as a table of Markdown."""
    columns = ("classifier", "reconstruction", "all agree", "Fréchet distance", "diversity")
    titles = [f"{title}, over the classifier" for title in BY_NUMBER]
    lines = [
        f"| | modalities | {' | '.join([*titles, *columns])} |",
        "|---" * (len(titles) + len(columns) + 2) + "|",
    ]
    for method, by_number in page["modalities"]["rows"].items():
        for num, row in by_number.items():
            values = [value(row, int(num)) for value in BY_NUMBER.values()]
            values += [row[column] for column in columns]
            cells = " | ".join(f"{value:.3f}" for value in values)
            lines.append(f"| {WORDS[method]} | {num} | {cells} |")
    return "\n".join(lines)


def draw(page: Mapping[str, Any], path: Path) -> None:
    """Draw coherence by number observed, and against the operations of training."""
    figure = Figure(figsize=(9.6, 3.6))
    left, right = figure.subplots(1, 2)
    for number, method in enumerate(page["rows"]):
        means, deviations = zip(*(spread(page, method, given) for given in GIVEN), strict=True)
        style = "o--" if method not in ("ours", *RIVALS) else "o-"
        at = [n + 0.03 * number for n in range(1, len(GIVEN) + 1)]
        colour = "C0" if method.startswith("ours") else f"C{number}"
        left.errorbar(at, means, deviations, fmt=style, color=colour, label=WORDS[method], ms=3)
        for row in page["rows"][method]:
            given = np.mean([row[figure] for figure in GIVEN])
            right.plot(
                row["training seconds"],
                given,
                style[0],
                color=colour,
                fillstyle="full" if style == "o-" else "none",
            )
    left.set(xlabel="modalities observed", ylabel="coherence", xticks=range(1, 5), ylim=(0, 1))
    right.set(xlabel="seconds of training", ylabel="coherence, mean of given 1 to 4", ylim=(0, 1))
    right.set_xlim(0)
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def sets_table(page: Mapping[str, Any]) -> str:
    """Return what a training step of MoPoE costs as a table of Markdown."""
    rows = page["sets"]["rows"]
    names = [f"{name}, {unit}" for name in rows for unit in ("GFLOP", "ms")]
    lines = [f"| modalities | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for num in next(iter(rows.values())):
        found = [row[num] for row in rows.values()]
        cells = " | ".join(f"{e['GFLOP']:.1f} | {1000 * e['seconds']:.0f}" for e in found)
        lines.append(f"| {num} | {cells} |")
    return "\n".join(lines)
