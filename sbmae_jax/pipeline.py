"""The stages of a run, in order: autoencoders, score, energy, judges, evaluate, report.

Each stage reads what earlier ones left in the workdir and leaves its own there; one that is finished is
not done again. Calling `run` again after an interruption goes on from the last checkpoint.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import model as models
from sbmae_jax import provenance
from sbmae_jax.energy import energy_task
from sbmae_jax.evaluate import Subject
from sbmae_jax.latents import moments
from sbmae_jax.log import read
from sbmae_jax.model import Model
from sbmae_jax.report import summary, write_report
from sbmae_jax.request import generate_files
from sbmae_jax.run import Run, load_judges, load_model, load_moments
from sbmae_jax.score import score_task
from sbmae_jax.types import Generate
from sbmae_jax.workdir import CONFIG, MOMENTS, RESULTS, SAMPLES, write


def train_autoencoders(run: Run) -> None:
    """Train the autoencoder of each modality; none sees another modality."""
    for group in run.parts.groups:
        run.train(group.stage, group.task, group.training, run.feed((group.view,)))


def train_score(run: Run) -> None:
    """Standardise the latents of the training set, and train the score of the joint latents."""
    parts = run.parts
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)

    def latents():
        z = run.train_latents
        scale = moments(jnp.asarray(z))
        write(run.workdir / MOMENTS, lambda file: np.savez(file, mean=scale.mean, std=scale.std))
        return {"z": np.asarray(scale.standardise(jnp.asarray(z)))}

    run.train("score", task, parts.score_training, run.feed_arrays(latents))


def train_energy(run: Run) -> None:
    """Train the coherence energy on the same latents, where the config has one."""
    parts, energy = run.parts, run.parts.energy
    if energy is None:
        return
    task = energy_task(energy.network, parts.sde, parts.layout, energy.contrast)

    def latents():
        scale = load_moments(run.workdir / MOMENTS)
        return {"z": np.asarray(scale.standardise(jnp.asarray(run.train_latents)))}

    run.train("energy", task, energy.training, run.feed_arrays(latents))


def train_judges(run: Run) -> None:
    """Train the networks by which generated examples are judged, on real ones."""
    for name, judge in run.parts.protocol.judges().items():
        run.train(name, judge.task, judge.training, run.feed(judge.views))


def evaluate_model(run: Run) -> None:
    """Measure the model on the test split, and draw samples."""
    if (run.workdir / RESULTS).exists():
        run.log.line("evaluate: done already")
        return
    start = time.perf_counter()
    figures, samples = measure(run, load_model(run), "test")
    write(
        run.workdir / SAMPLES, lambda file: np.savez_compressed(file, allow_pickle=False, **samples)
    )
    seconds = {stage: sum(r["seconds"] for r in rows) for stage, rows in read(run.workdir).items()}
    figures |= {
        "seconds": seconds | {"evaluate": time.perf_counter() - start},
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "device": provenance.device(),
        "seed": run.config["seed"],
    }
    write(run.workdir / RESULTS, lambda file: file.write(json.dumps(figures, indent=1).encode()))
    run.log.line(f"evaluate: {figures['num_rows']} rows, {figures['seconds']['evaluate']:.0f} s")


def measure(
    run: Run, model: Model, split: str, complete: Generate | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the figures of a model on a split, by the protocol of the run, and samples to show.

    complete: another generator than the model's own.
    """
    protocol = run.parts.protocol
    source = run.test_source if split == "test" else run.source(split, protocol.num_rows)
    rows = {name: source.arrays[name] for name in run.data.shapes}
    timed_complete, durations = timed(complete or partial(models.complete, model))
    subject = Subject(
        model.layout.names, timed_complete, partial(models.reconstruct, model), protocol.batch_size
    )
    key = run.named_key("evaluate")
    figures, samples = protocol.measure(key, rows, subject, load_judges(run))
    # The first call compiles.
    seconds = 1000 * float(np.median(durations[1:])) / protocol.batch_size
    speed = {
        "num_evaluations": model.sampling.num_evaluations, "seconds_per_1000_samples": seconds,
    }  # fmt: skip
    return {"num_rows": len(source), **figures, **speed}, samples


def make_report(run: Run) -> None:
    """Turn what the run has left behind into a page, and print the main figures."""
    if not (run.workdir / RESULTS).exists():
        raise ValueError(f"{run.workdir} has no results yet: run the stage evaluate first")
    page, protocol = run.workdir / "report" / "index.html", run.parts.protocol
    if not page.exists():
        page = write_report(run.workdir, run.parts.layout.names, protocol)
    results = json.loads((run.workdir / RESULTS).read_text())
    run.log.line(summary(protocol.figures(results)))
    run.log.line(f"report: {page}")


def timed(function: Callable) -> tuple[Callable, list[float]]:
    """Return a function that waits for its result, and the list to which it adds its seconds."""
    durations: list[float] = []

    def call(*args):
        start = time.perf_counter()
        result = jax.block_until_ready(function(*args))
        durations.append(time.perf_counter() - start)
        return result

    return call, durations


STAGES: dict[str, Callable[[Run], None]] = {
    "autoencoders": train_autoencoders,
    "score": train_score,
    "energy": train_energy,
    "judges": train_judges,
    "evaluate": evaluate_model,
    "report": make_report,
}


def run(config: Mapping[str, Any], workdir: str | Path, stage: str = "all") -> Path:
    """Run one stage, or all in order, and return the workdir.

    config: plain dicts and values.  Raises ValueError for what does not fit, in one sentence.
    """
    if stage != "all" and stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose all, {', '.join(STAGES)}")
    this = Run(config, workdir)
    this.claim()
    try:
        if stage == "all" and not (this.workdir / RESULTS).exists():
            # What is wrong with the data is to be known before hours of training.
            _ = this.train_source, this.test_source
        for name in STAGES if stage == "all" else [stage]:
            STAGES[name](this)
    finally:
        this.log.close()
    return this.workdir


def load(workdir: str | Path) -> Model:
    """Load the model of a run whose autoencoders and score are trained.

    Raises ValueError if there is no such run, or if it is not finished.
    """
    return load_model(open_run(workdir))


def open_run(workdir: str | Path) -> Run:
    """Open a run that was begun, by the config in its workdir. Raises ValueError if there is none."""
    path = Path(workdir) / CONFIG
    if not path.exists():
        raise ValueError(f"{workdir} is not the workdir of a run: it has no {CONFIG}")
    return Run(json.loads(path.read_text()), workdir)


def generate(
    workdir: str | Path, given: Sequence[str], num_samples: int, folder: Path, seed: int = 0
) -> Path:
    """Generate what is not given, with the model of a finished run; as `request.generate_files`."""
    this = open_run(workdir)
    return generate_files(load_model(this), this.data, given, num_samples, folder, seed)
