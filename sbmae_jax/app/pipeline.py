"""The stages of a run, in order: autoencoders, score, energy, judges, evaluate, report.

Each stage reads what earlier ones left in the workdir and leaves its own there; one that is finished is
not done again. Calling `run` again after an interruption goes on from the last checkpoint.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from sbmae_jax._io import as_path
from sbmae_jax.app import provenance
from sbmae_jax.app.choices import choose_values, explain
from sbmae_jax.app.impute import Imputed, impute_file
from sbmae_jax.app.request import generate_files
from sbmae_jax.app.run import Run, load_evaluators, load_model
from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.base import View
from sbmae_jax.evaluation.generator import generator_of
from sbmae_jax.evaluation.report import summary, write_report
from sbmae_jax.models.latents import moments
from sbmae_jax.models.model import Model, draw
from sbmae_jax.models.task import Task
from sbmae_jax.training import distributed
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import read
from sbmae_jax.training.preemption import Notice
from sbmae_jax.training.workdir import CHOICES, CONFIG, MOMENTS, RESULTS, SAMPLES, held
from sbmae_jax.types import CompleteFn


def train_autoencoders(run: Run) -> None:
    """Train the autoencoder of each modality; none sees another modality."""
    for group in run.parts.groups:
        train_on_rows(run, group.stage, group.task, group.training, (group.view,))


def train_score(run: Run) -> None:
    """Standardise the latents of the training set, and train the score of the joint latents."""
    parts = run.parts

    def latents():
        z = run.train_latents
        present = parts.layout.expand(jnp.asarray(z[PRESENT])) if PRESENT in z else None
        scale = moments(jnp.asarray(z["z"]), present)
        run.folder.write(MOMENTS, lambda file: np.savez(file, mean=scale.mean, std=scale.std))
        return run.standardised(z)

    batches = run.data.batches_of(latents)
    run.trainer.train(
        "score", parts.score_task, parts.score_training, batches, run.held_out_latents
    )


def train_energy(run: Run) -> None:
    """Train the coherence energy on the same latents, if the config has one."""
    parts = run.parts
    if parts.energy is None:
        return
    batches = run.data.batches_of(lambda: run.standardised(run.train_latents))
    run.trainer.train(
        "energy", parts.energy_task, parts.energy.training, batches, run.held_out_latents
    )


def train_evaluators(run: Run) -> None:
    """Train the networks that judge generated examples, on real ones."""
    for name, evaluator in run.parts.protocol.evaluators().items():
        train_on_rows(run, name, evaluator.task, evaluator.training, evaluator.views)


def train_on_rows(
    run: Run, name: str, task: Task, training: TrainingConfig, views: tuple[View, ...]
) -> None:
    """Train a network on rows of the training split."""
    batches, held_out = run.data.batches(views), partial(run.data.held_out, views)
    run.trainer.train(name, task, training, batches, held_out)


def evaluate_model(run: Run) -> None:
    """Measure the model on the test split, and draw samples."""
    if run.folder.has(RESULTS):
        run.folder.log.line("evaluate: done already")
        return
    start = time.perf_counter()
    figures, samples = measure(run, load_model(run), "test")
    run.folder.write(SAMPLES, lambda file: np.savez_compressed(file, allow_pickle=False, **samples))
    seconds = {
        stage: sum(r["seconds"] for r in rows) for stage, rows in read(run.folder.path).items()
    }
    figures |= {
        "seconds": seconds | {"evaluate": time.perf_counter() - start},
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "device": provenance.device(),
        "seed": run.config["seed"],
    }
    run.folder.write(RESULTS, lambda file: file.write(json.dumps(figures, indent=1).encode()))
    run.folder.log.line(
        f"evaluate: {figures['num_rows']} rows, {figures['seconds']['evaluate']:.0f} s"
    )


def measure(
    run: Run, model: Model, split: str, complete: CompleteFn | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the figures of a model on a split, by the protocol of the run, and samples to show.

    complete: another generator than the model's own.
    """
    protocol = run.parts.protocol
    source = run.data.test if split == "test" else run.data.source(split, protocol.num_rows)
    rows = {name: source.arrays[name] for name in run.data.description.shapes}
    generator = generator_of(model, protocol.batch_size, run.mesh)
    if complete is not None:
        generator = replace(generator, complete=complete)
    results, samples = protocol.measure(
        run.trainer.stage_key("evaluate"),
        rows,
        generator,
        load_evaluators(run),
        lambda: run.data.train_loaded.arrays,
    )
    # The first call compiles.
    seconds = (
        1000 * float(np.median(generator.seconds[1:] or generator.seconds)) / protocol.batch_size
    )
    speed = {
        "num_evaluations": model.sampling.num_evaluations, "seconds_per_1000_samples": seconds,
    }  # fmt: skip
    return {"num_rows": len(source), **results, **speed}, samples


def make_report(run: Run) -> None:
    """Turn what the run has left behind into a page, and print the main figures."""
    if not run.folder.has(RESULTS):
        raise ValueError(f"{run.folder.path} has no results yet: run the stage evaluate first")
    if not distributed.is_first():
        return
    page, protocol = run.folder.path / "report" / "index.html", run.parts.protocol
    if not page.exists():
        page = write_report(run.folder.path, run.parts.layout.names, protocol)
    results = json.loads((run.folder.path / RESULTS).read_text())
    run.folder.log.line(summary(protocol.figures(results)))
    run.folder.log.line(f"report: {page}")


STAGES: dict[str, Callable[[Run], None]] = {
    "autoencoders": train_autoencoders,
    "score": train_score,
    "energy": train_energy,
    "evaluators": train_evaluators,
    "evaluate": evaluate_model,
    "report": make_report,
}


def run(
    config: Mapping[str, Any], workdir: str | Path, stage: str = "all", *,
    notice: Notice | None = None, profile: bool = False,
) -> Path:  # fmt: skip
    """Run one stage, or all in order, and return the workdir.

    config: plain dicts and values.  notice: of being asked to stop.
    profile: trace a few calls of each training; TensorBoard shows WORKDIR/profile.

    Raises ValueError for what does not fit, in one sentence, and where another process uses the workdir;
    Preempted after a notice.
    """
    if stage != "all" and stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose all, {', '.join(STAGES)}")
    config, chosen = resolve_open_values(config)
    this = Run(config, workdir, notice=notice, profile=profile)
    this.claim()
    with held(this.folder.path) if distributed.is_first() else nullcontext():
        try:
            if chosen:
                this.folder.log.line(chosen)
                this.folder.write(CHOICES, lambda file: file.write(chosen.encode()))
            if stage == "all" and not this.folder.has(RESULTS):
                # What is wrong with the data is to be known before hours of training.
                _ = this.data.train, this.data.test
            for name in STAGES if stage == "all" else [stage]:
                STAGES[name](this)
                distributed.wait(name)
        finally:
            this.folder.log.close()
    return this.folder.path


def resolve_open_values(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the config without open values, and in words what was chosen; most configs have none."""
    if config["data"]["name"] != "files":
        return config, ""
    config, made, found = choose_values(config)
    return config, explain(config, made, found)


def load(workdir: str | Path) -> Model:
    """Load the model of a run whose autoencoders and score are trained.

    Raises ValueError if there is no such run, or if it is not finished.
    """
    return load_model(open_run(workdir))


def open_run(workdir: str | Path) -> Run:
    """Open a run that was begun, by the config in its workdir. Raises ValueError if there is none."""
    path = as_path(workdir) / CONFIG
    if not path.exists():
        raise ValueError(f"{workdir} is not the workdir of a run: it has no {CONFIG}")
    return Run(json.loads(path.read_text()), workdir)


def generate(
    workdir: str | Path, given: Sequence[str], num_samples: int, folder: Path, seed: int = 0
) -> Path:
    """Generate what is not given, with the model of a finished run; as `request.generate_files`."""
    this = open_run(workdir)
    return generate_files(load_model(this), this.data.description, given, num_samples, folder, seed)


def impute(
    workdir: str | Path, path: str | Path, output: str | Path, num_samples: int = 20, seed: int = 0
) -> Imputed:
    """Fill the holes of new rows with the model of a finished run; as `impute.impute_file`."""
    this = open_run(workdir)
    return impute_file(
        partial(draw, load_model(this)),
        this.data.description, path, output, num_samples, seed,
        partial_rows=this.config["data"].get("partial_rows", "refuse"),
    )  # fmt: skip
