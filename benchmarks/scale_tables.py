"""The tables of docs/scaling.md, from results/scale.json."""

from typing import Any


def memory_table(page: dict[str, Any]) -> str:
    """Return what micro-batches, remat and bfloat16 cost and save."""
    lines = [
        "| | state | kept for the gradient | needed by a step, on a CPU | seconds a step |",
        "|---|---|---|---|---|",
    ]
    for name, row in page["memory"]["cases"].items():
        sizes = (row[key] / 2**20 for key in ("state_bytes", "kept_bytes", "working_bytes"))
        cells = " | ".join(f"{size:.0f} MiB" for size in sizes)
        lines.append(f"| {name} | {cells} | {row['seconds_per_step']:.2f} |")
    return "\n".join(lines)


def roofline_table(page: dict[str, Any]) -> str:
    """Return rows a second on paper, and in brackets the efficiency."""
    chips = list(next(iter(page["roofline"]["cases"].values()))["by_chips"])
    lines = [
        "| network, rows a chip | parameters | GFLOP a row | "
        + " | ".join("1 chip" if n == "1" else f"{n} chips" for n in chips) + " |",
        "|---|---|---|" + "---|" * len(chips),
    ]  # fmt: skip
    for name, row in page["roofline"]["cases"].items():
        cells = [
            f"{entry['rows_per_second']:,.0f}/s ({entry['efficiency']:.0%})"
            for entry in row["by_chips"].values()
        ]
        lines.append(
            f"| {name}, {row['rows_per_chip']} | {row['num_params'] / 1e6:.1f} M | "
            f"{row['gflop_per_row']:.2f} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def claims_table(page: dict[str, Any]) -> str:
    """Return what was claimed, and what holds."""
    lines = ["| | measured | bound | |", "|---|---|---|---|"]
    lines += [
        f"| {c['name']} | {c['value']:.3g} | {c['bound']:.3g} | {'holds' if c['holds'] else 'missed'} |"
        for c in page["claims"]
    ]
    return "\n".join(lines)
