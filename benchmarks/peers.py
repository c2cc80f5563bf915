"""Ours beside what a user would pick instead, at equal operations of training; results/peers.json.

    python benchmarks/peers.py                    # PolyDigits, 3 seeds, about two hours on two cores
    python benchmarks/peers.py --large            # the same operations in batches of the demo's size
    python benchmarks/peers.py --times=4          # with four times the operations, those of the demo
    python benchmarks/peers.py --data=polymnist --jobs=1   # Extended PolyMNIST, five modalities, on a GPU
    python benchmarks/peers.py --smoke            # all of it as short as it can be: runs/peers-smoke.json

Methods: ours; Multi-Modal Latent Diffusion (MLD); the joint autoencoders MVAE, MMVAE, MoPoE, MVTCAE and
MMVAE+. All have the encoders and decoders of ours for each modality, the same training loop, and as many
operations of training (XLA's count of one step, times steps); seconds stand beside. What a rival is free to
choose is chosen on validation rows of seed 0, with a quarter of the operations, from a list. Ours is
trained as in the demo, and sampled in three ways: as in the demo, colder, and in few steps; how, is chosen on
these rows, too. Every finished method and seed is kept under runs/peers and not repeated.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers_page
import peers_tables
from peers_claims import COLDER, FEW_STEPS, HALF, HALF_COLDER, LARGE, OURS, levels
from peers_comparison import TUNED, Comparison
from peers_jobs import do_all, share_executables
from peers_runs import METHODS, kept, measure
from peers_sampling import colder, few_steps, measure_repaint, time_samplers, with_model

from sbmae_jax.app import provenance
from sbmae_jax.app.run import load_model


def compare_samplers(
    this: Comparison, choices: Mapping[str, float], ways: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure other samplers of seed 0, and the times of all methods in turns."""
    trained = {m: this.train(m, f"{m}-0", 0, 1.0, choice) for m, choice in choices.items()}
    ours = trained["ours"]
    protocol = ours.run.parts.protocol
    found: dict[str, Any] = {"few steps": this.few(0, "test"), "colder": this.colder(0, "test")}
    if "mld" in trained:
        found |= measure_mld(this, choices["mld"])
    model = load_model(ours.run)
    few = {
        levels(int(num)): with_model(ours, few_steps(model, int(num))) for num in found["few steps"]
    }
    timed = trained | few | {COLDER: colder(ours, **ways)}
    completes = {name: entry.complete for name, entry in timed.items()}
    source = ours.run.data.source("test", protocol.num_rows)
    rows = {name: source.arrays[name] for name in ours.run.parts.layout.names}
    shape = len(source), len(rows)
    nothing, first = np.zeros(shape, bool), np.arange(shape[1]) < np.ones((shape[0], 1))
    return found | {
        "seconds per 1,000, given 1": time_samplers(completes, rows, first),
        "seconds per 1,000, from nothing": time_samplers(completes, rows, nothing),
    }


def measure_mld(this: Comparison, choice: float) -> dict[str, Any]:
    """Sample MLD of seed 0 as it was published, and as ours for the same few rows; or read what was found."""
    mld = this.train("mld", "mld-0", 0, 1.0, choice)
    num = min(100, mld.run.parts.protocol.num_rows)
    ways = {
        "MLD, RePaint": ("repaint", partial(measure_repaint, mld, "test", num)),
        "MLD, same rows": ("no-repaint", partial(measure, mld, "test", num)),
    }
    return {name: kept(this.folder / f"{file}.json", make) for name, (file, make) in ways.items()}


def measure_ours(this: Comparison, seed: int, ways: Mapping[str, Any]) -> None:
    """Train ours with a seed, sample it in all ways, and keep what was found."""
    this.row("ours", seed, 0.0)
    this.row("ours", seed, 0.0, ways=ways)
    this.few(seed, "test")


def measure_half(this: Comparison, seed: int, ways: Mapping[str, Any]) -> None:
    """Train ours with half the operations, sample it in both ways, and keep what was found."""
    this.row("ours", seed, 0.0, share=0.5)
    this.row("ours", seed, 0.0, share=0.5, ways=ways)


def choose_ours(this: Comparison) -> tuple[dict[str, Any], dict[str, Any]]:
    """Choose how ours is sampled: colder, and in few steps."""
    return this.choose_colder(), this.choose_levels()


def prepare(this: Comparison, methods: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Train and measure side by side what `compare` then finds kept."""
    rivals = [method for method in methods if method != "ours"]
    do_all([partial(this.evaluator, seed) for seed in {0, *seeds}], jobs)
    tried = [partial(this.tried, rival, v) for rival in rivals for v in TUNED[rival]]
    do_all([partial(choose_ours, this), *tried], jobs)
    ways = this.choose_colder()["value"]
    chosen = {rival: this.choose(rival)["value"] for rival in rivals}
    do_all(
        [
            task
            for seed in seeds
            for task in (
                *(partial(this.row, rival, seed, value) for rival, value in chosen.items()),
                partial(measure_ours, this, seed, ways),
                partial(measure_half, this, seed, ways),
            )
        ],
        jobs,
    )
    others = [partial(this.colder, 0, "test")]
    others += [partial(measure_mld, this, chosen["mld"])] if "mld" in chosen else []
    do_all(others, jobs)


def compare(
    this: Comparison, methods: Sequence[str], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Train and measure methods; what there is after each seed, and with samplers at the end."""
    chosen = {method: this.choose(method) for method in methods}
    choices = {method: entry["value"] for method, entry in chosen.items()}
    found: dict[str, Any] = {
        "budget GFLOP": this.gflop,
        "chosen": {m: entry for m, entry in chosen.items() if entry["validation coherence"]},
        "seeds": [], "rows": {name: [] for name in OURS + tuple(methods[1:])},
    }  # fmt: skip
    found["chosen"] |= dict(zip((COLDER, FEW_STEPS), choose_ours(this), strict=True))
    few = f"{found['chosen'][FEW_STEPS]['value']:.0f}"
    ways = found["chosen"][COLDER]["value"]
    for seed in seeds:
        for method in methods:
            found["rows"][method].append(this.row(method, seed, choices[method]))
        found["rows"][COLDER].append(this.row("ours", seed, 0.0, ways=ways))
        found["rows"][HALF].append(this.row("ours", seed, 0.0, share=0.5))
        found["rows"][HALF_COLDER].append(this.row("ours", seed, 0.0, share=0.5, ways=ways))
        found["rows"][FEW_STEPS].append(this.few(seed, "test")[few])
        found["seeds"].append(seed)
        yield found
    yield found | {"sampling": compare_samplers(this, choices, ways)}


def write(found: Mapping[str, Any], command: str, path: Path, part: str) -> None:
    """Compare what was found with the targets, keep it with what other scripts have added, and show it.

    part: of the page, where this stands; empty: the page itself.
    """
    page = json.loads(path.read_text()) if path.exists() else {}
    this = {
        "command": command,
        "versions": provenance.versions(),
        "device": provenance.device(),
        **found,
    }
    if part:
        page[part] = this
    else:
        page.pop("sampling", None)  # of what was trained before
        page |= this
    peers_page.write(page, path)
    print(peers_tables.table(this))
    if not part:
        peers_tables.draw(page, path.with_suffix(".png"))
        for claim in page["claims"]:
            print(f"{'holds' if claim['holds'] else 'MISSED'}  {claim['name']}: {claim['value']}")


def main() -> None:
    """Measure, compare with the targets, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["polydigits", "polymnist"], default="polydigits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS[1:], default=METHODS[1:], help="beside ours"
    )
    parser.add_argument("--times", type=float, default=1.0, help="as many times the operations")
    parser.add_argument(
        "--large", action="store_true", help="batches of the demo's size; after the command without"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at once, each on its share of the cores"
    )
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if arguments.large and arguments.data != "polydigits":
        parser.error("--large: Extended PolyMNIST has the batches of its config")
    stem = "peers" if arguments.data == "polydigits" else "peers_polymnist"
    stem += "" if arguments.times == 1 else f"_{arguments.times:g}x"
    path, part = peers_page.RESULTS.with_stem(stem), LARGE if arguments.large else ""
    if part and not arguments.smoke and not path.exists():
        parser.error(f"--large: {path.name} is not there: run the command without --large first")
    share_executables()
    this = Comparison(arguments.data, arguments.smoke, times=arguments.times, large=arguments.large)
    if arguments.smoke:
        path, part = this.folder.with_suffix(".json"), ""
    methods = ["ours", *arguments.methods]
    command = f"python benchmarks/peers.py --data={arguments.data} --times={arguments.times:g}"
    command += " --large" if arguments.large else ""
    if len(methods) < len(METHODS):
        command += f" --methods {' '.join(arguments.methods)}"
    prepare(this, methods, arguments.seeds, arguments.jobs)
    for found in compare(this, methods, arguments.seeds):
        write(found, f"{command} --seeds {' '.join(map(str, found['seeds']))}", path, part)


if __name__ == "__main__":
    main()
