"""The stages of a run, in order: autoencoders, score, classifier, evaluate, report.

Each stage reads what earlier ones left in the workdir and leaves its own there; one that is finished is
not done again. Calling `run` again after an interruption goes on from the last checkpoint.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import model as models
from sbmae_jax import provenance, sharding
from sbmae_jax.build import build, build_source, check_source
from sbmae_jax.data.loader import resident
from sbmae_jax.data.source import ArraySource, map_batches
from sbmae_jax.evaluate import Subject, evaluate
from sbmae_jax.latents import Moments, moments
from sbmae_jax.log import Log, read
from sbmae_jax.model import Model
from sbmae_jax.pictures import draw_samples
from sbmae_jax.report import summary, write_report
from sbmae_jax.score import score_task
from sbmae_jax.task import Params, Task
from sbmae_jax.train import Training, is_finished, load_params, train
from sbmae_jax.workdir import CONFIG, MOMENTS, RESULTS, SAMPLES, claim, write

ENCODE_BATCH = 1000


class Run:
    """A config and its workdir, with what several stages need of them. Raises as `build` and `claim`."""

    def __init__(self, config: Mapping[str, Any], workdir: str | Path):
        self.config, self.workdir = dict(config), Path(workdir)
        probe = build_source(self.config, "train", 1)
        self.shapes = {name: array.shape[1:] for name, array in probe.arrays.items()}
        self.parts = build(self.config, self.shapes)
        self.mesh = sharding.make_mesh()
        self.key = jax.random.key(self.config["seed"])

    @cached_property
    def log(self) -> Log:
        """The log of this run."""
        return Log(self.workdir)

    @cached_property
    def train_source(self) -> ArraySource:
        """The training split, checked."""
        source = build_source(self.config, "train", self.config["num_train"])
        check_source(source, self.parts.modalities)
        return source

    @cached_property
    def test_source(self) -> ArraySource:
        """The test split, checked."""
        source = build_source(self.config, "test", self.parts.evaluation.num_rows)
        check_source(source, self.parts.modalities)
        return source

    def train(
        self, name: str, task: Task, training: Training, arrays: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Train one network unless it is finished; `arrays` is called only if there is work to do."""
        if is_finished(self.workdir / name, training):
            self.log.line(f"{name}: done already")
            return
        start = time.perf_counter()
        feed_key, train_key = jax.random.split(self.named_key(name))
        feed = resident(feed_key, arrays(), training.batch_size, self.mesh)
        train(task, feed, training, train_key, self.mesh, self.workdir / name, self.log, name)
        last = read(self.workdir)[name][-1]
        self.log.line(
            f"{name}: {training.num_steps} steps, loss {last['loss']:.4g}, "
            f"{time.perf_counter() - start:.0f} s"
        )

    def load(self, name: str, task: Task, training: Training, example: Any) -> Params:
        """Load the parameters of a finished network."""
        return load_params(task, training, example, self.mesh, self.workdir / name)

    def named_key(self, name: str) -> jax.Array:
        """Return the root key of a stage."""
        return jax.random.fold_in(self.key, int.from_bytes(name.encode()) % 2**32)


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


def load_autoencoders(run: Run) -> dict[str, Params]:
    """Load the parameters of all autoencoders."""
    return {
        modality.name: run.load(
            f"autoencoder/{modality.name}",
            autoencoder.task,
            run.parts.autoencoder_training,
            {"x": jax.ShapeDtypeStruct((1, *modality.shape), np.uint8)},
        )
        for modality, autoencoder in zip(run.parts.modalities, run.parts.autoencoders, strict=True)
    }


def load_model(run: Run) -> Model:
    """Load the autoencoders, the score and the moments of the latents."""
    parts = run.parts
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)
    example = {"z": jax.ShapeDtypeStruct((1, parts.layout.size), np.float32)}
    params = {
        "autoencoders": load_autoencoders(run),
        "score": run.load("score", task, parts.score_training, example),
    }
    scale = Moments(**{k: jnp.asarray(v) for k, v in np.load(run.workdir / MOMENTS).items()})
    return Model(
        params,
        scale,
        parts.modalities,
        parts.autoencoders,
        parts.network,
        parts.sde,
        parts.sampling,
    )


def load_classifier(run: Run) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
    """Load the judge: x [B, *shape] -> (class [B], features [B, F])."""
    shape = run.parts.modalities[0].shape
    example = {
        "x": jax.ShapeDtypeStruct((1, *shape), np.uint8),
        "label": jax.ShapeDtypeStruct((1,), np.int32),
    }
    judge = run.parts.classifier
    params = run.load("classifier", judge.task, run.parts.classifier_training, example)
    apply = jax.jit(judge.apply)

    def classify(x):
        logits, features = apply(params, x)
        return logits.argmax(axis=-1), features

    return classify


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
