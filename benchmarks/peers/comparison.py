"""The comparison itself: what is free in each method is chosen on validation rows, then all are measured."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.peers import claims, methods
from benchmarks.peers.claims import BASELINES, FEW_STEPS, GIVEN, LOW_TEMPERATURE, levels
from benchmarks.peers.methods import Config, Trained
from benchmarks.runner import Options, needed, once, reuse
from benchmarks.tables import mean_of
from sbmae_jax.app import pipeline
from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.types import CompleteFn

# What is free in each method: beta, as in two versions of the comparisons on Extended PolyMNIST with the
# summed squared error, and a value on the far side of the better one; how often MLD's score sees observed
# modalities, as published, or as often as ours.
TUNED: dict[str, tuple[float, ...]] = {
    "mld": (0.2, 0.6), "mvtcae": (0.1, 0.5, 2.5), "mmvae_plus": (0.1, 0.5, 5.0),
    "mopoe": (0.1, 0.5, 2.5), "mmvae": (0.1, 0.5, 1.0, 2.5), "mvae": (0.1, 0.5, 1.0),
}  # fmt: skip
SHARE, NUM_VALID = 1 / 4, 500  # of the operations, and rows, for choosing
# DPM-Solver++ along the ODE, one evaluation for each level.
ALONG_ODE = {"sampler": "dpm_solver", "num_corrections": 0, "eta": 0.0}
FEW_LEVELS = {str(num): {"num_levels": num, **ALONG_ODE} for num in (1, 2, 4, 8)}
# Temperatures of the method's first version, some unconditional, some conditional, and one nearer to 1; and
# weights of classifier-free guidance.
LOW_TEMPERATURES = [
    {"temperature": temperature, "classifier_free": weight}
    for weight in (1.0, 3.0) for temperature in (0.5, 0.7, 0.8, 0.9)
]  # fmt: skip
ROUNDS = 9  # of timing each method once, in turns, so that what else the machine does meets all
Row = dict[str, Any]
Ways = Mapping[str, Mapping[str, Any]]
"""How a model is sampled `given` something, and from `nothing`: changes to fields of `SamplingConfig`."""


@dataclass(frozen=True)
class Setting:
    """Where runs live, and the budget that all share.

    num_modalities: PolyDigits' photographs, in their order.  large: whether the batches are the demo's.
    """

    runs: Path
    smoke: bool = False
    num_modalities: int = 5
    large: bool = False

    @classmethod
    def of(cls, options: Options, **more: Any) -> "Setting":
        """Return the setting of a command; methods of many seeds then share what is compiled."""
        jax.config.update("jax_compilation_cache_dir", str(options.runs / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        return cls(options.runs, options.smoke, **more)

    @property
    def folder(self) -> Path:
        return self.runs / f"peers-{self.num_modalities}{'-large' * self.large}"

    def config(self, seed: int) -> Config:
        config = methods.base_config(seed, self.num_modalities, self.large)
        return methods.shrink(config) if self.smoke else config

    def gflop(self) -> float:
        """Return the budget of all."""
        return sum(methods.gflop(self.config(0)))

    def evaluator(self, seed: int) -> Path:
        """Train the classifier that judges all methods of a seed, and return its run."""
        return pipeline.run(self.config(seed), self.folder / f"judge-{seed}", "evaluators")

    def train(self, method: str, seed: int, choice: float = 0.0, share: float = 1.0) -> Trained:
        """Train a method with a share of the budget, or load it. choice: of what is free in it."""
        workdir = self.folder / f"{method}-{choice:g}-{share:g}-{seed}"
        reuse(self.evaluator(seed), workdir, ("classifier",))
        config = methods.scaled(self.config(seed), share)
        if method == "ours":
            return methods.train_latent(config, workdir)
        if method == "mld":
            return methods.train_latent(methods.mld_config(config, choice), workdir)
        return methods.train_joint(config, workdir, method, choice, share * self.gflop())

    def row(
        self, method: str, seed: int, choice: float = 0.0, share: float = 1.0, split: str = "test",
        ways: Ways | None = None,
    ) -> Row:  # fmt: skip
        """Train a method, and measure it as it is, or sampled in other ways; or read what was measured."""

        def make():
            trained = self.train(method, seed, choice, share)
            made = methods.sampled(trained, **ways) if ways else trained
            return methods.measure(made, split, NUM_VALID if split == "valid" else 0)

        values = [f"{k}-{v}" for some in (ways or {}).values() for k, v in some.items()]
        values = list(dict.fromkeys(values))
        name = "-".join([method, f"{choice:g}", f"{share:g}", str(seed), split, *values])
        return once(self.folder / f"{name}.json", make)


def alike(changes: Mapping[str, Any]) -> Ways:
    """Sample in the same way whatever is given."""
    return {"given": changes, "nothing": changes}


def best(rows: Mapping[float | str, Row]) -> dict[str, Any]:
    """Return the value that was most coherent, and what each was."""
    scores = {str(value): mean_of(row, (*GIVEN, "all agree")) for value, row in rows.items()}
    return {"value": float(ranked(scores)[0]), "validation coherence": scores}


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return values from the best score down."""
    return sorted(scores, key=lambda value: -scores[value])


def best_temperature(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how ours is best sampled at a low temperature: one way given something, one from nothing."""
    # From nothing there is nothing to guide by.
    plain = [row for row in rows if row["classifier_free"] == 1]
    chosen = {
        "given": max(rows, key=lambda row: mean_of(row, GIVEN)),
        "nothing": max(plain, key=lambda row: row["all agree"]),
    }
    ways = {what: {key: row[key] for key in LOW_TEMPERATURES[0]} for what, row in chosen.items()}
    return {"value": ways, "validation coherence": rows}


def sample_ours(setting: Setting, split: str) -> tuple[list[Row], dict[str, Row]]:
    """Measure ours of seed 0 at low temperatures, and in few steps by the number of levels."""
    row = partial(setting.row, "ours", 0, split=split)
    cold = [how | row(ways=alike(how)) for how in LOW_TEMPERATURES]
    return cold, {num: row(ways=alike(how)) for num, how in FEW_LEVELS.items()}


def choose(setting: Setting) -> dict[str, Any]:
    """Choose what is free in each method, and how ours is sampled, on validation rows of seed 0."""
    cold, few = sample_ours(setting, "valid")
    most = 2 if setting.smoke else None
    tried = {
        method: {value: setting.row(method, 0, value, SHARE, "valid") for value in values[:most]}
        for method, values in TUNED.items()
    }
    ours = {LOW_TEMPERATURE: best_temperature(cold), FEW_STEPS: best(few)}
    return {method: best(rows) for method, rows in tried.items()} | ours


def measure_large(options: Options) -> dict[str, Any]:
    """Compare all methods in batches of the demo's size."""
    return measure_comparison(options, large=True)


def measure_comparison(options: Options, large: bool = False) -> dict[str, Any]:
    """Train and measure all methods with each seed."""
    setting = Setting.of(options, large=large)
    chosen = choose(setting)
    low, few = chosen[LOW_TEMPERATURE]["value"], f"{chosen[FEW_STEPS]['value']:g}"
    cases: dict[str, dict[str, Any]] = {
        "ours": {"method": "ours"},
        LOW_TEMPERATURE: {"method": "ours", "ways": low},
        FEW_STEPS: {"method": "ours", "ways": alike(FEW_LEVELS[few])},
        claims.HALF: {"method": "ours", "share": 0.5},
        claims.HALF_LOW_TEMPERATURE: {"method": "ours", "share": 0.5, "ways": low},
        **{name: {"method": name, "choice": chosen[name]["value"]} for name in BASELINES},
    }
    found = {
        name: [setting.row(seed=seed, **case) for seed in options.seeds]
        for name, case in cases.items()
    }
    cold, by_level = sample_ours(setting, "test")
    sampling = {"low temperature": cold, "few steps": by_level, **time_all(setting, chosen)}
    return {
        "seeds": options.seeds, "budget GFLOP": setting.gflop(), "chosen": chosen, "rows": found,
        "sampling": sampling,
    }  # fmt: skip


def time_all(setting: Setting, chosen: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Time the methods of seed 0 in turns, given one modality and from nothing."""
    timed = {name: setting.train(name, 0, chosen[name]["value"]) for name in BASELINES}
    timed["ours"] = ours = setting.train("ours", 0)
    timed[LOW_TEMPERATURE] = methods.sampled(ours, **chosen[LOW_TEMPERATURE]["value"])
    for num, how in FEW_LEVELS.items():
        timed[levels(int(num))] = methods.sampled(ours, **alike(how))
    completes = {name: method.complete for name, method in timed.items()}
    source = ours.run.data.source("test", ours.run.parts.protocol.num_rows)
    rows = {name: source.arrays[name] for name in ours.run.parts.layout.names}
    nothing = np.zeros((len(source), len(rows)), bool)
    first = nothing | (np.arange(len(rows)) == 0)
    return {
        f"seconds per 1,000, {what}": time_samplers(completes, rows, observed)
        for what, observed in (("given 1", first), ("from nothing", nothing))
    }


def time_samplers(completes: dict[str, CompleteFn], rows: Arrays, observed: Any) -> Row:
    """Return the seconds for 1,000 samples of each generator, the median of rounds of one turn for each."""
    num, key = len(observed), jax.random.key(0)
    taken: dict[str, list[float]] = {name: [] for name in completes}
    for turn in range(1 + ROUNDS):  # the first one compiles
        for name, complete in completes.items():
            start = time.perf_counter()
            jax.block_until_ready(complete(jax.random.fold_in(key, turn), rows, observed))
            taken[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(took[1:])) / num for name, took in taken.items()}


def measure_choices(options: Options) -> dict[str, Any]:
    """Measure MoPoE with the value that validation rows put second, which may be ahead in what counts."""
    setting, first = Setting.of(options), needed(options, "comparison")
    value = ranked(first["chosen"]["mopoe"]["validation coherence"])[1]
    rows = [setting.row("mopoe", seed, float(value)) for seed in first["seeds"]]
    return {"seeds": first["seeds"], "values": {"mopoe": value}, "rows": {"mopoe": rows}}
