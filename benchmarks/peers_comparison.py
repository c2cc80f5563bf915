"""What `peers.py` and the scripts beside it share: the budget, where runs live, what is chosen and how."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peers_claims import GIVEN
from peers_runs import (
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
from peers_sampling import colder, measure_colder, measure_few
from reuse import reuse

from sbmae_jax.app import pipeline, provenance

# What is free in each rival: beta, as in two versions of the comparisons on Extended PolyMNIST with the
# summed squared error, and a value on the far side of the better one; how often MLD's score sees observed
# modalities, as published, or as often as ours.
TUNED: dict[str, tuple[float, ...]] = {
    "mld": (0.2, 0.6),
    "mvae": (0.1, 0.5, 1.0),
    "mmvae": (0.1, 0.5, 1.0, 2.5),
    "mopoe": (0.1, 0.5, 2.5),
    "mvtcae": (0.1, 0.5, 2.5),
    "mmvae_plus": (0.1, 0.5, 5.0),
}
SHARE = 1 / 4  # of the operations, for choosing


class Comparison:
    """Where runs live, and the budget that all share."""

    def __init__(
        self, data: str, smoke: bool = False, num_modalities: int = 5, times: float = 1.0,
        large: bool = False,
    ):  # fmt: skip
        suffix = ("" if data == "polydigits" else f"-{data}") + ("-smoke" if smoke else "")
        suffix += "-large" if large else ""
        suffix += "" if num_modalities == 5 else f"-{num_modalities}"
        suffix += "" if times == 1 else f"-{times:g}x"
        self.folder = ROOT / "runs" / f"peers{suffix}"
        self.data, self.smoke, self.times = data, smoke, times
        self.num_modalities, self.large = num_modalities, large
        self.gflop = sum(gflop(self.config(0)))

    def config(self, seed: int) -> Config:
        """Return our config."""
        config = base_config(self.data, seed, self.num_modalities, self.large)
        config = scaled(config, self.times)
        return shrink(config) if self.smoke else config

    def evaluator(self, seed: int) -> Path:
        """Train the classifier that judges all methods of a seed, and return its run."""
        workdir = self.folder / f"judge-{seed}"

        def make():
            pipeline.run(self.config(seed), workdir, "evaluators")
            return {"commit": provenance.commit()}

        # Where this is kept no process needs the run for itself.
        kept(workdir.with_suffix(".json"), make)
        return workdir

    def train(self, method: str, name: str, seed: int, share: float, choice: float) -> Trained:
        """Train a method with a share of the budget, or load it."""
        workdir = self.folder / name
        reuse(self.evaluator(seed), workdir, ("classifier",), ())
        config = scaled(self.config(seed), share)
        if method == "ours":
            return train_latent(config, workdir)
        if method == "mld":
            return train_latent(mld_config(config, choice), workdir)
        return train_joint(config, workdir, method, choice, share * self.gflop)

    def choose(self, method: str) -> dict[str, Any]:
        """Choose what is free in a method by the mean coherence on validation rows."""
        tried = {str(value): self.tried(method, value) for value in TUNED.get(method, ())}
        return best(tried) if tried else {"value": 0.0, "validation coherence": {}}

    def tried(self, method: str, value: float) -> dict[str, Any]:
        """Measure a method with a value of what is free in it, on validation rows."""
        name = f"choice-{method}-{value}"
        return kept(
            self.folder / f"{name}.json",
            lambda: measure(self.train(method, name, 0, SHARE, value), "valid", 500),
        )

    def choose_levels(self) -> dict[str, Any]:
        """Choose the levels of our sampler in few steps in the same way."""
        return best(self.few(0, "valid"))

    def few(self, seed: int, split: str) -> dict[str, Any]:
        """Measure our sampler in few steps, by the number of levels."""
        path = self.folder / f"few-{split}-{seed}.json"
        return kept(
            path, lambda: measure_few(self.train("ours", f"ours-{seed}", seed, 1.0, 0.0), split)
        )

    def choose_colder(self) -> dict[str, Any]:
        """Choose how ours is sampled colder: one way given something, one from nothing."""
        tried = self.colder(0, "valid", 500)
        given = max(tried, key=lambda row: np.mean([row[figure] for figure in GIVEN]))
        # From nothing there is nothing to guide by.
        plain = [row for row in tried if row["classifier_free"] == 1]
        nothing = max(plain, key=lambda row: row["all agree"])
        ways = {name: {key: row[key] for key in ("temperature", "classifier_free")}
                for name, row in (("given", given), ("nothing", nothing))}  # fmt: skip
        return {"value": ways, "validation coherence": tried}

    def colder(self, seed: int, split: str, num_rows: int = 0) -> list[dict[str, Any]]:
        """Measure ours colder, in all ways that can be chosen."""
        path = self.folder / f"colder-{split}-{seed}.json"
        ours = partial(self.train, "ours", f"ours-{seed}", seed, 1.0, 0.0)
        return kept(path, lambda: {"rows": measure_colder(ours(), split, num_rows)})["rows"]

    def row(
        self, method: str, seed: int, choice: float, share: float = 1.0,
        ways: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Train and measure a method. ways: to sample ours colder, as `choose_colder` has chosen."""
        name = f"{method}-{seed}" if share == 1 else f"{method}-{share}-{seed}"

        def make():
            trained = self.train(method, name, seed, share, choice)
            return measure(colder(trained, **ways) if ways else trained, "test")

        return kept(self.folder / f"{name}{'-colder' if ways else ''}.json", make)


def best(tried: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the value that was most coherent, and what each was."""
    scores = {value: coherence(row) for value, row in tried.items()}
    return {
        "value": float(max(scores, key=lambda value: scores[value])), "validation coherence": scores
    }  # fmt: skip


def coherence(row: Mapping[str, Any]) -> float:
    """Return the mean of what coherence is given 1, 2 .., and unconditionally."""
    return float(np.mean([v for k, v in row.items() if k.startswith("given ") or k == "all agree"]))
