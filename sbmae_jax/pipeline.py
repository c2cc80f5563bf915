"""The stages of a run, in order: autoencoders, score, classifier, evaluate, report.

Each stage reads what earlier ones left in the workdir and leaves its own there; one that is finished is
not done again. Calling `run` again after an interruption goes on from the last checkpoint.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import model as models
from sbmae_jax import provenance
from sbmae_jax.data.source import map_batches
from sbmae_jax.evaluate import Subject, evaluate
from sbmae_jax.latents import moments
from sbmae_jax.log import read
from sbmae_jax.model import Model
from sbmae_jax.pictures import draw_samples
from sbmae_jax.report import summary, write_report
from sbmae_jax.run import Run, load_autoencoders, load_classifier, load_model
from sbmae_jax.score import score_task
from sbmae_jax.workdir import CONFIG, MOMENTS, RESULTS, SAMPLES, claim, write

ENCODE_BATCH = 1000


def train_autoencoders(run: Run) -> None:
    """Train the autoencoder of each modality, alone."""
    for modality, autoencoder in zip(run.parts.modalities, run.parts.autoencoders, strict=True):
        run.train(
            f"autoencoder/{modality.name}",
            autoencoder.task,
            run.parts.autoencoder_training,
            lambda name=modality.name: {"x": run.train_source.arrays[name]},
        )


def train_score(run: Run) -> None:
    """Encode the training set once, standardise, and train the score of the joint latents."""
    parts = run.parts
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)
    run.train("score", task, parts.score_training, lambda: {"z": encode_training_set(run)})


def encode_training_set(run: Run) -> np.ndarray:
    """Return the standardised latents of the training set [N, D]; moments are saved for the model."""
    params = load_autoencoders(run)
    encode = jax.jit(
        lambda params, batch: models.encode(
            run.parts.modalities, run.parts.autoencoders, params, batch
        )
    )
    z = map_batches(
        lambda _, batch: {"z": encode(params, batch)}, run.train_source.arrays, ENCODE_BATCH
    )["z"]
    scale = moments(jnp.asarray(z))
    write(run.workdir / MOMENTS, lambda file: np.savez(file, mean=scale.mean, std=scale.std))
    return np.asarray(scale.standardise(jnp.asarray(z)))


def train_classifier(run: Run) -> None:
    """Train the judge of coherence, on real pictures of all modalities."""
    parts = run.parts
    names = [modality.name for modality in parts.modalities]
    run.train(
        "classifier",
        parts.classifier.task,
        parts.classifier_training,
        lambda: {
            "x": np.concatenate([run.train_source.arrays[name] for name in names]),
            "label": np.tile(run.train_source.arrays["label"], len(names)),
        },
    )


def evaluate_model(run: Run) -> None:
    """Measure the model on the test split, and draw samples."""
    if (run.workdir / RESULTS).exists():
        run.log.line("evaluate: done already")
        return
    start = time.perf_counter()
    model, rows, evaluation = load_model(run), run.test_source.arrays, run.parts.evaluation
    complete, durations = timed(lambda *args: models.complete(model, *args))
    subject = Subject(
        names=model.layout.names, complete=complete, reconstruct=partial(models.reconstruct, model),
        classify=load_classifier(run), batch_size=evaluation.batch_size,
    )  # fmt: skip
    key, picture_key = jax.random.split(run.named_key("evaluate"))
    figures = evaluate(key, rows, subject, evaluation.num_unconditional)
    samples = draw_samples(picture_key, rows, subject)
    write(
        run.workdir / SAMPLES, lambda file: np.savez_compressed(file, allow_pickle=False, **samples)
    )
    seconds = {stage: sum(r["seconds"] for r in rows) for stage, rows in read(run.workdir).items()}
    figures |= {
        "num_evaluations": run.parts.sampling.num_evaluations,
        # The first call compiles.
        "seconds_per_1000_samples": 1000 * float(np.median(durations[1:])) / evaluation.batch_size,
        "seconds": seconds | {"evaluate": time.perf_counter() - start},
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "device": provenance.device(),
        "seed": run.config["seed"],
    }
    write(run.workdir / RESULTS, lambda file: file.write(json.dumps(figures, indent=1).encode()))
    run.log.line(f"evaluate: {len(run.test_source)} rows, {figures['seconds']['evaluate']:.0f} s")


def make_report(run: Run) -> None:
    """Turn what the run has left behind into a page, and print the main figures."""
    if not (run.workdir / RESULTS).exists():
        raise ValueError(f"{run.workdir} has no results yet: run the stage evaluate first")
    page = run.workdir / "report" / "index.html"
    if not page.exists():
        page = write_report(run.workdir)
    run.log.line(summary(json.loads((run.workdir / RESULTS).read_text())))
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
    "classifier": train_classifier,
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
    claim(this.workdir, this.config)
    try:
        for name in STAGES if stage == "all" else [stage]:
            STAGES[name](this)
    finally:
        this.log.close()
    return this.workdir


def load(workdir: str | Path) -> Model:
    """Load the model of a run whose autoencoders and score are trained.

    Raises ValueError if there is no such run, or if it is not finished.
    """
    path = Path(workdir) / CONFIG
    if not path.exists():
        raise ValueError(f"{workdir} is not the workdir of a run: it has no {CONFIG}")
    return load_model(Run(json.loads(path.read_text()), workdir))
