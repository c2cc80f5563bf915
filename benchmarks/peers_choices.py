"""Rivals with the second best of what they were free to choose; in results/peers.json.

    python benchmarks/peers_choices.py                 # after benchmarks/peers.py: MoPoE, its seeds

Validation rows choose by one figure, the mean coherence, so that a value that is hardly behind may be ahead
in what a target is about.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

import peers_page
import peers_tables
from peers_claims import RIVALS
from peers_comparison import Comparison
from peers_jobs import do_all, share_executables
from peers_runs import kept, measure


def second_best(scores: Mapping[str, float]) -> str:
    """Return the value that is second on validation rows."""
    _, second, *_ = sorted(scores, key=lambda value: -scores[value])
    return second


def measure_choice(this: Comparison, method: str, seed: int, value: float) -> dict[str, Any]:
    """Train and measure a rival with a value that was not chosen, or read what was measured."""
    name = f"{method}-{value}-{seed}"
    return kept(
        this.folder / f"{name}.json",
        lambda: measure(this.train(method, name, seed, 1.0, value), "test"),
    )


def main() -> None:
    """Measure, compare with the targets, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=RIVALS, default=["mopoe"])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, as in peers.py")
    arguments = parser.parse_args()
    share_executables()
    this, page = Comparison("polydigits"), peers_page.load()
    second = {m: second_best(page["chosen"][m]["validation coherence"]) for m in arguments.methods}
    tasks = {
        method: [
            partial(measure_choice, this, method, seed, float(value)) for seed in page["seeds"]
        ]
        for method, value in second.items()
    }
    do_all([task for some in tasks.values() for task in some], arguments.jobs)
    part = {
        "command": f"python benchmarks/peers_choices.py --methods {' '.join(arguments.methods)}",
        "values": second,
        "rows": {method: [task() for task in some] for method, some in tasks.items()},
    }
    print(peers_tables.choices_table(peers_page.put("choices", part)))


if __name__ == "__main__":
    main()
