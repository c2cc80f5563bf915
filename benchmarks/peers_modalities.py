"""Does quality fall as modalities are added? Ours and joint autoencoders with 2 to 10; in results/peers.json.

    python benchmarks/peers_modalities.py          # after benchmarks/peers.py; seed 0

The modalities are PolyDigits' photographs in their order, so that more of them are also harder ones:
coherence stands over the share of real pictures that the classifier of as many modalities reads right. The
budget is that of peers.py for five, in proportion to their number, and each method has what it chose there.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import peers_claims
import peers_page
import peers_tables
from matplotlib.figure import Figure
from peers import ROOT, Comparison
from peers_runs import kept, measure

COUNTS = (2, 5, 10)
PLOT = ROOT / "results" / "peers_modalities.png"


def measure_counts(
    methods: Sequence[str], counts: Sequence[int], page: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Train and measure each method with each number of modalities."""
    rows: dict[str, dict[str, Any]] = {method: {} for method in methods}
    for num in counts:
        this = Comparison("polydigits", num_modalities=num)
        for method in methods:
            choice = page["chosen"].get(method, {"value": 0.0})["value"]

            def make(this=this, method=method, choice=choice):
                return measure(this.train(method, f"{method}-0", 0, 1.0, choice), "test")

            rows[method][str(num)] = kept(this.folder / f"modalities-{method}.json", make)
    return rows


def draw(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw coherence and Fréchet distance against the number of modalities."""
    figure = Figure(figsize=(9.6, 3.2))
    panels = {
        **peers_claims.BY_NUMBER,
        "Fréchet distance": lambda row, num: row["Fréchet distance"],
    }
    for place, (title, value) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        for method, by_number in rows.items():
            points = [(int(num), value(row, int(num))) for num, row in by_number.items()]
            axes.plot(*zip(*points, strict=True), "o-", label=peers_claims.WORDS[method])
        axes.set(xlabel="modalities", title=title)
        axes.set_ylim(0, None if title == "Fréchet distance" else 1.05)
    figure.axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=120)


def main() -> None:
    """Measure, compare with the targets, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = list(peers_claims.WORDS)[:-1]
    parser.add_argument(
        "--methods", nargs="+", choices=known, default=["ours", "mopoe", "mvtcae", "mmvae_plus"]
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    arguments = parser.parse_args()
    rows = measure_counts(arguments.methods, arguments.counts, peers_page.load())
    methods, counts = " ".join(arguments.methods), " ".join(map(str, arguments.counts))
    command = f"python benchmarks/peers_modalities.py --methods {methods} --counts {counts}"
    page = peers_page.put("modalities", {"command": command, "rows": rows})
    draw(rows)
    print(peers_tables.modalities_table(page))


if __name__ == "__main__":
    main()
