"""Whole runs of the library, and what is measured of them."""

import gc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from benchmarks.cost import score_cost
from benchmarks.runner import Options
from sbmae_jax._json import from_json
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import Run
from sbmae_jax.models.model import Model
from sbmae_jax.training.log import read_metrics
from sbmae_jax.types import CompleteFn


def results_of(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Run all stages, or what is left of them, and return the results."""
    pipeline.run(config, workdir)
    forget_compiled()
    return from_json((workdir / "results.json").read_text())


def run_seeds(options: Options, name: str, config: Any) -> dict[str, Any]:
    """Run a config with each seed of the command in NAME-SEED, and return their results."""
    runs = {}
    for seed in options.seeds:
        workdir = options.runs / f"{name}-{seed}"
        runs[str(seed)] = results_of(config.to_dict() | {"seed": seed}, workdir)
    commits = sorted({run["commit"] for run in runs.values()})
    return {"seeds": options.seeds, "commit": commits, "runs": runs}


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with other values; sections are merged, and "*" stands for all names in a section."""
    merged = dict(config)
    for key, value in changes.items():
        for name in list(config) if key == "*" else [key]:
            inner = isinstance(value, Mapping) and isinstance(config.get(name), Mapping)
            merged[name] = changed(config[name], value) if inner else value
    return merged


def trained(config: Mapping[str, Any], workdir: Path, stages: Iterable[str]) -> Run:
    """Train some stages, or what is left of them, and return the run."""
    for stage in stages:
        pipeline.run(config, workdir, stage)
    return Run(config, workdir)


def stage_seconds(workdir: Path, stage: str = "score") -> float:
    return sum(row["seconds"] for row in read_metrics(workdir)[stage])


def count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def forget_compiled() -> None:
    """Unload what XLA has compiled: a system lets a process map only so much."""
    jax.clear_caches()
    gc.collect()


def nested_figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of quality that the nested protocol of shared labels gives."""
    return {
        "reconstruction": found["reconstruction_accuracy"]["mean"],
        **{f"given {n}": entry["mean"] for n, entry in found["conditional_coherence"].items()},
        "all agree": found["unconditional_coherence"]["all_agree"]["mean"],
        "Fréchet distance": found["frechet_classifier_features"]["mean"],
        "diversity": found["conditional_diversity"],
    }


def quality(
    run: Run,
    model: Model,
    split: str,
    complete: CompleteFn | None = None,
    num_evaluations: int | None = None,
) -> dict[str, Any]:
    """Measure a model of modalities that share a label, and what a sample costs.

    complete, num_evaluations: another sampler than the model's, with the model bound, and its evaluations
    of the score.
    """
    evaluations = num_evaluations or model.sampling.num_evaluations
    found, _ = pipeline.measure(run, model, split, complete)
    return nested_figures(found) | {
        "parameters of the score": count(model.params["score"]),
        "GFLOP of one sample": score_cost(model)["flops"] * evaluations / 1e9,
    }
