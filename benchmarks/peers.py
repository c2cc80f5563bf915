"""Ours beside what a user would pick instead, at equal operations of training; results/peers.json.

    python benchmarks/peers.py                    # PolyDigits, 3 seeds, about an hour on two idle cores
    python benchmarks/peers.py --data=polymnist   # Extended PolyMNIST with five modalities, on a GPU
    python benchmarks/peers.py --times=4          # with four times the operations, those of the demo
    python benchmarks/peers.py --smoke            # all of it as short as it can be: runs/peers-smoke.json

Methods: ours; Multi-Modal Latent Diffusion (MLD); the joint autoencoders MVAE, MMVAE, MoPoE, MVTCAE and
MMVAE+. All have the encoders and decoders of ours for each modality, the same training loop, and as many
operations of training (XLA's count of one step, times steps); seconds stand beside. What a rival is free to
choose is chosen on validation rows of seed 0, with a quarter of the operations, from the list in TUNED. Every
finished method and seed is kept under runs/peers and not repeated.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import peers_page
import peers_tables
from peers_claims import FEW_STEPS, HALF, levels
from peers_runs import (
    METHODS,
    ROOT,
    Config,
    Trained,
    base_config,
    gflop,
    kept,
    measure,
    mld_config,
    scaled,
    shrink,
    train_joint,
    train_latent,
)
from peers_sampling import few_steps, measure_few, measure_repaint, time_samplers, with_model
from reuse import reuse

from sbmae_jax import pipeline, provenance
from sbmae_jax.run import load_model

# What is free in each rival: beta, as in two versions of the comparisons on Extended PolyMNIST with the
# summed squared error, and a value on the far side of the better one; how often MLD's score sees observed
# modalities, as published, or as often as ours.
TUNED: dict[str, tuple[float, ...]] = {
    "mld": (0.2, 0.6),
    "mvae": (0.1, 0.5, 1.0),
    "mmvae": (0.1, 0.5, 2.5),
    "mopoe": (0.1, 0.5, 2.5),
    "mvtcae": (0.1, 0.5, 2.5),
    "mmvae_plus": (0.1, 0.5, 5.0),
}
SHARE = 1 / 4  # of the operations, for choosing


class Comparison:
    """Where runs live, and the budget that all share."""

    def __init__(self, data: str, smoke: bool = False, num_modalities: int = 5, times: float = 1.0):
        suffix = ("" if data == "polydigits" else f"-{data}") + ("-smoke" if smoke else "")
        suffix += "" if num_modalities == 5 else f"-{num_modalities}"
        suffix += "" if times == 1 else f"-{times:g}x"
        self.folder = ROOT / "runs" / f"peers{suffix}"
        self.data, self.smoke, self.num_modalities, self.times = data, smoke, num_modalities, times
        self.gflop = sum(gflop(self.config(0)))

    def config(self, seed: int) -> Config:
        """Return our config."""
        config = scaled(base_config(self.data, seed, self.num_modalities), self.times)
        return shrink(config) if self.smoke else config

    def judge(self, seed: int) -> Path:
        """Train the classifier that judges all methods of a seed, and return its run."""
        workdir = self.folder / f"ours-{seed}"
        pipeline.run(self.config(seed), workdir, "judges")
        return workdir

    def train(self, method: str, name: str, seed: int, share: float, choice: float) -> Trained:
        """Train a method with a share of the budget, or load it."""
        workdir, judge = self.folder / name, self.judge(seed)
        if workdir != judge:
            reuse(judge, workdir, ("classifier",), ())
        config = scaled(self.config(seed), share)
        if method == "ours":
            return train_latent(config, workdir)
        if method == "mld":
            return train_latent(mld_config(config, choice), workdir)
        return train_joint(config, workdir, method, choice, share * self.gflop)

    def choose(self, method: str) -> dict[str, Any]:
        """Choose what is free in a method by the mean coherence on validation rows."""
        tried = {}
        for value in TUNED.get(method, ()):
            name = f"choice-{method}-{value}"

            def tried_value(value=value, name=name):
                return measure(self.train(method, name, 0, SHARE, value), "valid", 500)

            tried[str(value)] = kept(self.folder / f"{name}.json", tried_value)
        return best(tried) if tried else {"value": 0.0, "validation coherence": {}}

    def choose_levels(self) -> dict[str, Any]:
        """Choose the levels of our sampler in few steps in the same way."""
        return best(self.few(0, "valid"))

    def few(self, seed: int, split: str) -> dict[str, Any]:
        """Measure our sampler in few steps, by the number of levels."""
        path = self.folder / f"few-{split}-{seed}.json"
        return kept(
            path, lambda: measure_few(self.train("ours", f"ours-{seed}", seed, 1.0, 0.0), split)
        )

    def row(self, method: str, seed: int, choice: float, share: float = 1.0) -> dict[str, Any]:
        """Train and measure a method."""
        name = f"{method}-{seed}" if share == 1 else f"{method}-{share}-{seed}"

        def make():
            return measure(self.train(method, name, seed, share, choice), "test")

        return kept(self.folder / f"{name}.json", make)


def best(tried: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the value that was most coherent, and what each was."""
    scores = {value: coherence(row) for value, row in tried.items()}
    return {
        "value": float(max(scores, key=lambda value: scores[value])), "validation coherence": scores
    }  # fmt: skip


def coherence(row: Mapping[str, Any]) -> float:
    """Return the mean of what coherence is given 1, 2 .., and unconditionally."""
    return float(np.mean([v for k, v in row.items() if k.startswith("given ") or k == "all agree"]))


def compare_samplers(this: Comparison, choices: Mapping[str, float]) -> dict[str, Any]:
    """Measure other samplers of seed 0, and the times of all methods in turns."""
    trained = {m: this.train(m, f"{m}-0", 0, 1.0, choice) for m, choice in choices.items()}
    ours = trained["ours"]
    protocol = ours.run.parts.protocol
    num_rows = min(100, protocol.num_rows)
    found = {"few steps": this.few(0, "test")}
    if "mld" in trained:
        mld, path = trained["mld"], this.folder
        found |= {
            "MLD, RePaint": kept(
                path / "repaint.json", lambda: measure_repaint(mld, "test", num_rows)
            ),
            "MLD, same rows": kept(
                path / "no-repaint.json", lambda: measure(mld, "test", num_rows)
            ),
        }
    model = load_model(ours.run)
    few = {
        levels(int(num)): with_model(ours, few_steps(model, int(num))) for num in found["few steps"]
    }
    completes = {name: entry.complete for name, entry in (trained | few).items()}
    source = ours.run.source("test", protocol.num_rows)
    rows = {name: source.arrays[name] for name in ours.run.parts.layout.names}
    shape = len(source), len(rows)
    nothing, first = np.zeros(shape, bool), np.arange(shape[1]) < np.ones((shape[0], 1))
    return found | {
        "seconds per 1,000, given 1": time_samplers(completes, rows, first),
        "seconds per 1,000, from nothing": time_samplers(completes, rows, nothing),
    }


def compare(
    this: Comparison, methods: Sequence[str], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Train and measure methods; what there is after each seed, and with samplers at the end."""
    chosen = {method: this.choose(method) for method in methods}
    choices = {method: entry["value"] for method, entry in chosen.items()}
    found: dict[str, Any] = {
        "budget GFLOP": this.gflop,
        "chosen": {m: entry for m, entry in chosen.items() if entry["validation coherence"]},
        "seeds": [], "rows": {name: [] for name in ("ours", FEW_STEPS, HALF, *methods)},
    }  # fmt: skip
    found["chosen"][FEW_STEPS] = this.choose_levels()
    few = f"{found['chosen'][FEW_STEPS]['value']:.0f}"
    for seed in seeds:
        for method in methods:
            found["rows"][method].append(this.row(method, seed, choices[method]))
        found["rows"][HALF].append(this.row("ours", seed, 0.0, share=0.5))
        found["rows"][FEW_STEPS].append(this.few(seed, "test")[few])
        found["seeds"].append(seed)
        yield found
    yield found | {"sampling": compare_samplers(this, choices)}


def write(found: Mapping[str, Any], command: str, path: Path) -> None:
    """Compare what was found with the targets, keep it with what other scripts have added, and show it."""
    page = json.loads(path.read_text()) if path.exists() else {}
    page.pop("sampling", None)  # of what was trained before
    page |= {
        "command": command,
        "versions": provenance.versions(),
        "device": provenance.device(),
        **found,
    }
    peers_page.write(page, path)
    peers_tables.draw(page, path.with_suffix(".png"))
    print(peers_tables.table(page))
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
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    # Methods of many seeds share their executables.
    jax.config.update("jax_compilation_cache_dir", str(ROOT / "runs" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    this = Comparison(arguments.data, arguments.smoke, times=arguments.times)
    stem = "peers" if arguments.data == "polydigits" else "peers_polymnist"
    stem += "" if arguments.times == 1 else f"_{arguments.times:g}x"
    path = (
        this.folder.with_suffix(".json") if arguments.smoke else peers_page.RESULTS.with_stem(stem)
    )
    methods = ["ours", *arguments.methods]
    command = f"python benchmarks/peers.py --data={arguments.data} --times={arguments.times:g}"
    if len(methods) < len(METHODS):
        command += f" --methods {' '.join(arguments.methods)}"
    for found in compare(this, methods, arguments.seeds):
        write(found, f"{command} --seeds {' '.join(map(str, found['seeds']))}", path)


if __name__ == "__main__":
    main()
