"""The comparison with rivals as tables of Markdown and as a plot.

python benchmarks/peers_tables.py      # puts what results/peers.json has into docs/results.md, and draws it
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from peers_claims import (
    BY_NUMBER,
    COLDER,
    FEW_STEPS,
    GIVEN,
    HALF,
    HALF_COLDER,
    LARGE,
    QUALITY,
    RIVALS,
    WORDS,
    levels,
    mean_and_deviation,
    spread,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
MISSING = "Not measured yet."


def table(page: Mapping[str, Any]) -> str:
    """Return quality as a table of Markdown, mean ± deviation over seeds."""
    lines = [f"| | {' | '.join(QUALITY)} |", "|---" * (len(QUALITY) + 1) + "|"]
    lines += [quality_line(WORDS[method], rows) for method, rows in page["rows"].items()]
    return "\n".join(lines)


def quality_line(name: str, rows: Sequence[Mapping[str, float]]) -> str:
    """Return quality as a line of a table, mean ± deviation over rows."""
    cells = (mean_and_deviation(rows, figure) for figure in QUALITY)
    return (
        f"| {name} | {' | '.join(f'{mean:.3f} ± {deviation:.3f}' for mean, deviation in cells)} |"
    )


def choices_table(page: Mapping[str, Any]) -> str:
    """Return rivals with another choice as a table of Markdown, mean ± deviation over seeds."""
    lines = [f"| | {' | '.join(QUALITY)} |", "|---" * (len(QUALITY) + 1) + "|"]
    for method, rows in page["choices"]["rows"].items():
        found = {page["chosen"][method]["value"]: page["rows"][method]}
        found[float(page["choices"]["values"][method])] = rows
        lines += [
            quality_line(f"{WORDS[method]}, {choice(method, v)}", some) for v, some in found.items()
        ]
    return "\n".join(lines)


def cost_table(page: Mapping[str, Any]) -> str:
    """Return what training and sampling cost as a table of Markdown."""
    sampling = page.get("sampling", {})
    given, nothing = (
        sampling.get(f"seconds per 1,000, {what}", {}) for what in ("given 1", "from nothing")
    )
    lines = [
        "| | chosen | parameters | training, TFLOP | training, seconds | score evaluations "
        "| 1,000 samples given 1, seconds | from nothing |",
        "|---" * 8 + "|",
    ]
    for method, rows in page["rows"].items():
        chosen = page["chosen"].get(COLDER if method == HALF_COLDER else method, {}).get("value")
        name = levels(chosen) if method == FEW_STEPS else method
        seconds = [f"{times[name]:.2f}" if name in times else "" for times in (given, nothing)]
        # Colder is another sampler of the same training.
        base = {COLDER: "ours", HALF_COLDER: HALF}.get(method, method)
        training, deviation = spread(page, base, "training seconds")
        lines.append(
            f"| {WORDS[method]} | {choice(method, chosen)} | {rows[0]['parameters'] / 1e6:.1f} M "
            f"| {rows[0]['GFLOP'] / 1e3:.2f} | {training:.0f} ± {deviation:.0f} "
            f"| {rows[0]['evaluations'] or 'none'} | {' | '.join(seconds)} |"
        )
    return "\n".join(lines)


def choice(method: str, value: Any) -> str:
    """Say what was chosen for a method."""
    if isinstance(value, Mapping):
        return f"{way(value['given'])}; from nothing {way(value['nothing'])}"
    what = {"mld": "observed share", FEW_STEPS: "levels"}.get(method, "beta")
    return f"{what} {value:g}" if value else ""


def way(how: Mapping[str, float]) -> str:
    """Say how ours is sampled colder."""
    weight = how["classifier_free"]
    guided = f", guidance {weight:g}" if weight != 1 else ""
    return f"noise scale {how['temperature']:g}{guided}"


def sampler_table(page: Mapping[str, Any]) -> str:
    """Return other samplers of the models of seed 0 as a table of Markdown."""
    sampling, columns = page["sampling"], (*GIVEN, "all agree", "Fréchet distance", "diversity")
    times = sampling["seconds per 1,000, given 1"]
    rows = {"ours": page["rows"]["ours"][0]}
    rows |= {f"ours, {way(row)}": row for row in sampling.get("colder", ())}
    rows |= {levels(int(n)): row for n, row in sampling["few steps"].items()}
    lines = [
        f"| | test rows | evaluations | {' | '.join(columns)} | 1,000 samples given 1, seconds |",
        "|---" * (len(columns) + 4) + "|",
    ]
    rows |= {
        name: sampling[name] for name in ("MLD, same rows", "MLD, RePaint") if name in sampling
    }
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
    )
    lines = [f"| | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    ports, large = page["multivae"].get("ports", {}), page.get(LARGE, {"rows": {}})["rows"]
    for method, rows in page["multivae"]["rows"].items():
        word = WORDS.get(method, method.upper())
        found = {
            f"{word}, MultiVae": rows,
            f"{word}, ours, trained alike": ports.get(method),
            f"{word}, ours, of equal operations": large.get(method),
        }
        for name, some in found.items():
            if not some:
                continue
            cells = [mean_and_deviation(some, figure) for figure in columns]
            shown = " | ".join(
                f"{mean:.3g}" + (f" ± {deviation:.2g}" if len(some) > 1 else "")
                for mean, deviation in cells
            )
            lines.append(f"| {name} | {len(some)} | {shown} |")
    return "\n".join(lines)


def modalities_table(page: Mapping[str, Any]) -> str:
    """Return figures by the number of modalities as a table of Markdown."""
    columns = ("classifier", "reconstruction", "all agree", "Fréchet distance", "diversity")
    distance = "Fréchet distance given all others"
    titles = [*BY_NUMBER, f"first two, {distance}", *columns]
    lines = [f"| | modalities | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for method, by_number in page["modalities"]["rows"].items():
        for num, row in by_number.items():
            values = [value(row, int(num)) for value in BY_NUMBER.values()]
            values += [row["first two"][distance], *(row[column] for column in columns)]
            cells = " | ".join(f"{value:.3f}" for value in values)
            lines.append(f"| {WORDS[method]} | {num} | {cells} |")
    return "\n".join(lines)


def ablations_table(page: Mapping[str, Any]) -> str:
    """Return runs with one thing changed as a table of Markdown."""
    columns = ("reconstruction", *GIVEN, "all agree", "Fréchet distance", "diversity")
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in page["ablations"]["rows"].items():
        lines.append(f"| {name} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |")
    return "\n".join(lines)


LOOKS = {  # ours are black or, with half the operations, grey; each rival has a colour
    "ours": ("k", "o"), COLDER: ("k", "v"), FEW_STEPS: ("k", "^"),
    HALF: ("0.6", "o"), HALF_COLDER: ("0.6", "v"),
    **{rival: (f"C{number}", "o") for number, rival in enumerate(RIVALS)},
}  # fmt: skip


def draw(page: Mapping[str, Any], path: Path) -> None:
    """Draw coherence by number observed, its price in diversity, and quality from nothing."""
    figure = Figure(figsize=(13, 4.5))
    by_number, by_diversity, from_nothing = figure.subplots(1, 3)
    for number, (method, rows) in enumerate(page["rows"].items()):
        means, deviations = zip(*(spread(page, method, given) for given in GIVEN), strict=True)
        colour, marker = LOOKS[method]
        at = [n + 0.03 * number for n in range(1, len(GIVEN) + 1)]
        by_number.errorbar(
            at, means, deviations, fmt=f"{marker}-", color=colour, label=WORDS[method], ms=4
        )
        coherence = [mean_given(row) for row in rows]
        distance, agree = (
            [row[name] for row in rows] for name in ("Fréchet distance", "all agree")
        )
        by_diversity.plot([row["diversity"] for row in rows], coherence, marker, color=colour, ms=5)
        from_nothing.plot(distance, agree, marker, color=colour, ms=5)
    for weight, line in ((1, "k-"), (3, "k:")):  # what seed 0 can trade, from the coldest on
        traded = [row for row in page.get("sampling", {}).get("colder", ())
                  if row["classifier_free"] == weight]  # fmt: skip
        by_diversity.plot(
            [r["diversity"] for r in traded], [mean_given(r) for r in traded], line, lw=1
        )
    by_number.set(
        xlabel="modalities observed", ylabel="coherence", xticks=range(1, 5), ylim=(0, 1.02)
    )
    label = "coherence, mean of given 1 to 4"
    by_diversity.set(xlabel="diversity given one (1: the data's)", ylabel=label, ylim=(0, 1.02))
    label = "all agree, from nothing"
    from_nothing.set(xlabel="Fréchet distance, from nothing", ylabel=label, ylim=(0, 1.02))
    for axes in (by_diversity, from_nothing):
        axes.set_xlim(0)
    handles = by_number.get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=6, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    figure.savefig(path, dpi=120)


def mean_given(row: Mapping[str, float]) -> float:
    """Return the mean coherence given 1 to 4."""
    return float(np.mean([row[given] for given in GIVEN]))


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


# For each table of docs/results.md the part of the results that it needs.
TABLES = {
    "quality": ("rows", table), "cost": ("rows", cost_table), "samplers": ("sampling", sampler_table),
    "choices": ("choices", choices_table), "large": (LARGE, lambda page: table(page[LARGE])),
    "multivae": ("multivae", multivae_table), "modalities": ("modalities", modalities_table),
    "sets": ("sets", sets_table), "ablations": ("ablations", ablations_table),
}  # fmt: skip


def fill(text: str, page: Mapping[str, Any]) -> str:
    """Put the tables of a page of results between their marks in a text."""
    for name, (part, make) in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}{make(page) if part in page else MISSING}\n{end}{tail}"
    return text


if __name__ == "__main__":
    results = ROOT / "results" / "peers.json"
    found = json.loads(results.read_text()) if results.exists() else {}
    PAGE.write_text(fill(PAGE.read_text(), found))
    if found:
        draw(found, results.with_suffix(".png"))
