"""The stages of a run, in order: autoencoders, score, energy, decoders, evaluators, evaluate, report.

Each stage reads what earlier stages left in the run's folder, and leaves its own results there. Finished
stages are skipped, and a stage that was interrupted resumes from its last checkpoint.
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
from threadpoolctl import threadpool_limits

from sbmae_jax import _provenance
from sbmae_jax._check import require_one_of
from sbmae_jax._io import as_path, remove, write_npz
from sbmae_jax._json import from_json, to_json
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.coders import as_arrays, check_latents
from sbmae_jax.app.decoder_stage import train_decoders
from sbmae_jax.app.explanation import explain
from sbmae_jax.app.impute import Imputed, impute_file
from sbmae_jax.app.race_result import race_section
from sbmae_jax.app.racing import check_contenders, race_score
from sbmae_jax.app.request import generate_files
from sbmae_jax.app.reuse import note_rows, take_autoencoders
from sbmae_jax.app.run import Run, load_evaluators, load_model, load_moments
from sbmae_jax.app.sections import Config, Section, plain
from sbmae_jax.data.source import PRESENT
from sbmae_jax.evaluation.base import View
from sbmae_jax.evaluation.generator import make_generator
from sbmae_jax.evaluation.report import format_headlines, write_report
from sbmae_jax.models.factor_fit import fit_factors
from sbmae_jax.models.imputation import require_own_data
from sbmae_jax.models.latents import MIN_STD, Moments, moments
from sbmae_jax.models.model import Model, draw
from sbmae_jax.models.task import Task
from sbmae_jax.models.tensors import flatten
from sbmae_jax.training import distributed
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.endings import describe_endings
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.loop import Callback, is_finished
from sbmae_jax.training.preemption import Notice
from sbmae_jax.training.workdir import CHOICES, CONFIG, MOMENTS, REDO, RESULTS, SAMPLES, locked
from sbmae_jax.types import CompleteFn


def train_autoencoders(run: Run) -> None:
    """Train the autoencoder of each modality, unless an earlier run has it; none sees another modality."""
    take_autoencoders(run)
    for group in run.parts.groups:
        train_on_rows(run, group.stage, group.task, group.training, (group.view,))
    note_rows(run)


def train_score(run: Run) -> None:
    """Measure the latents of the training set, and train the score of the joint latents."""
    parts, training, covariance = run.parts, run.parts.score_training, None
    if not is_finished(run.trainer.stage("score", parts.score_task(), training)):
        measure_latents(run)
        covariance = load_moments(run.folder.path / MOMENTS).covariance
        race_score(run, covariance)
        parts, training = run.parts, run.parts.score_training
    batches = run.data.batches_of(lambda: run.standardised(run.train_latents))
    task = parts.score_task(covariance)

    def held_out():
        rows = run.held_out_latents()
        # Each row is then noised to a level of its own, which tells two parameters apart sooner.
        return {PRESENT: np.ones((len(rows["z"]), len(parts.layout.sizes)), bool)} | rows

    run.trainer.train("score", task, training, batches, held_out)


def measure_latents(run: Run) -> None:
    """Write the moments of the latents of the training set, with their covariance if the score needs it."""
    parts, z = run.parts, run.train_latents
    present = parts.layout.expand(jnp.asarray(z[PRESENT])) if PRESENT in z else None
    # An autoencoder of this package has latents of about variance 1, a frozen coder of any variance.
    trained = jnp.array([name not in parts.frozen for name in parts.layout.names])
    floor = jnp.where(parts.layout.expand(trained), MIN_STD, 0.0)
    scale = moments(jnp.asarray(z["z"]), present, floor)
    check_latents(
        parts.frozen, parts.layout, np.where(True if present is None else present, z["z"], np.nan)
    )
    if parts.matching.base == "gaussian":
        standardised = np.asarray(scale.standardise(jnp.asarray(z["z"])))
        sizes, seed = parts.layout.sizes, run.config["seed"]
        # The matrices are small: more threads would wait for each other.
        with threadpool_limits(1, "blas"):
            fit = fit_factors(standardised, sizes, z.get(PRESENT), seed)
        mean, number = scale.mean + scale.std * fit.mean, fit.gaussian.loadings.shape[1]
        scale = Moments(mean, scale.std, fit.rotation, fit.gaussian)
        run.folder.log.line(f"score: the modalities share {number} linear factors")
    leaves = flatten(scale.as_tree(), "moments")
    arrays = {name.removeprefix("moments/"): np.asarray(array) for name, array in leaves}
    arrays |= as_arrays(parts.frozen, run.residuals())
    run.folder.write(MOMENTS, lambda file: write_npz(file, arrays))


def train_energy(run: Run) -> None:
    """Train the coherence energy on the same latents, if the config has one."""
    parts = run.parts
    if parts.energy is None:
        return
    batches = run.data.batches_of(lambda: run.standardised(run.train_latents))
    training, held_out = parts.energy.training, run.held_out_latents
    run.trainer.train("energy", parts.energy_task, training, batches, held_out)


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
        run.folder.log.line("evaluate: already done")
        return
    start = time.perf_counter()
    results, samples = measure(run, load_model(run), "test")
    seconds = {
        stage: sum(r["seconds"] for r in rows)
        for stage, rows in read_metrics(run.folder.path).items()
    }
    results |= {
        "seconds": seconds | {"evaluate": time.perf_counter() - start},
        "peak_memory_bytes": _provenance.peak_memory_bytes(),
        "versions": _provenance.versions(),
        "commit": _provenance.commit(),
        "device": _provenance.device(),
        "seed": run.config["seed"],
    }
    text = to_json(results, indent=1)
    run.folder.write_results({
        SAMPLES: lambda file: write_npz(file, samples, compressed=True),
        RESULTS: lambda file: file.write(text.encode()),  # last: it ends the stage
    })  # fmt: skip
    run.folder.log.line(
        f"evaluate: {results['num_rows']} rows, {results['seconds']['evaluate']:.0f} s"
    )


def measure(
    run: Run, model: Model, split: str, complete: CompleteFn | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure a model by the protocol of its run.

    Args:
        run: The run, whose data, evaluators and protocol are used.
        model: The model.
        split: "train", "valid" or "test".
        complete: What generates, with the model bound, if not `model.complete`.

    Returns:
        All results, ready for JSON, and the samples that the report shows.
    """
    protocol = run.parts.protocol
    source = run.data.test if split == "test" else run.data.source(split, protocol.num_rows)
    rows = {name: source.arrays[name] for name in run.data.description.shapes}
    generator = make_generator(model, protocol.batch_size, run.mesh)
    if complete is not None:
        generator = replace(generator, complete=complete)
    key, evaluators = run.trainer.stage_key("evaluate"), load_evaluators(run)
    results, samples = protocol.measure(
        key, rows, generator, evaluators, lambda: run.data.train_loaded.arrays
    )
    speed = {
        "num_evaluations": model.sampling.num_evaluations,
        "seconds_per_1000_samples": 1000 * generator.seconds_per_call(rows) / protocol.batch_size,
    }
    return {"num_rows": len(source), **results, **speed}, samples


def make_report(run: Run) -> None:
    """Write the report of an evaluated run, and print the main results."""
    if not run.folder.has(RESULTS):
        raise ValueError(f"{run.folder.path} has no results yet: run the stage evaluate first")
    if not distributed.is_first():
        return
    page, report = run.folder.path / "report" / "index.html", run.parts.protocol.report
    if not page.exists():
        parts, log = run.parts, read_metrics(run.folder.path)
        trainings = [(group.stage, group.training) for group in parts.groups]
        endings = describe_endings([*trainings, ("score", parts.score_training)], log)
        race = race_section(run.folder.path)
        page = write_report(
            run.folder.path, parts.layout.names, report, endings, () if race is None else (race,)
        )
    results = from_json((run.folder.path / RESULTS).read_text())
    run.folder.log.line(format_headlines(report.headlines(results)))
    run.folder.log.line(f"report: {page}")


STAGES: dict[str, Callable[[Run], None]] = {
    "autoencoders": train_autoencoders,
    "score": train_score,
    "energy": train_energy,
    "decoders": train_decoders,
    "evaluators": train_evaluators,
    "evaluate": evaluate_model,
    "report": make_report,
}
SEVERAL = {"all": tuple(STAGES), "train": ("autoencoders", "score", "energy", "decoders")}
"""Names of several stages: "train" leaves a model, without evaluating it."""


def run(
    config: Config, workdir: str | Path, stage: str = "all", *,
    notice: Notice | None = None, callback: Callback | None = None, quiet: bool = False,
    profile: bool = False, redo: str = "", coders: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Run one stage, or all in order, from where an earlier run was interrupted.

    Args:
        config: A `ConfigDict`, as `configs/polydigits.py` returns it, or dicts and values.
        workdir: The folder of the run, or the URL of a bucket. It is created if it does not exist.
        stage: "all"; "train", the stages that `load` needs; or one of `STAGES`, which needs those before it.
        notice: A request to stop, for example from a scheduler.
        callback: Called with the name of a training, the number of its steps so far, and metrics, after each
            compiled call. If it returns True, that training ends with what it has learned; if it raises, the
            same call of `run` resumes from there.
        quiet: Whether to print nothing, neither lines nor progress bars.
        profile: Whether to trace a few calls of each training. TensorBoard shows WORKDIR/profile. The stages
            evaluate and report have none.
        redo: A stage to do again, with all that depends on it, where the folder has it already. Needed where
            the config has changed since. A run that was interrupted meanwhile is resumed by the same call.
        coders: Frozen coders by modality, where the config says "given", see `fit`.

    Returns:
        The folder, with `results.json` and `report/index.html` after the last stage.

    Raises:
        ValueError: In one sentence, if the config or the data do not fit, if something in the folder is from
            another config, or if another process uses it.
        Preempted: After a notice, once everything is saved.

    Example:
        Train the demo with another seed, which takes minutes::

            from sbmae_jax.app import pipeline
            from sbmae_jax.configs import polydigits

            config = polydigits.get_config()
            config.seed = 1
            pipeline.run(config, "runs/polydigits-1")
    """
    require_one_of("stage", stage, [*SEVERAL, *STAGES])
    values, explanation = resolve_open_values(plain(config))
    if redo:
        require_one_of("redo", redo, list(STAGES))
    if redo and redo not in SEVERAL.get(stage, (stage,)):
        raise ValueError(
            f"redo removes what {redo} and later stages have left: run all stages, or the stage {redo!r}"
        )
    if profile and stage in ("evaluate", "report"):
        raise ValueError(f"profile traces trainings, and the stage {stage} has none: leave it out")
    this = Run(
        values, workdir, notice=notice, callback=callback, quiet=quiet, profile=profile, redo=redo,
        data_at_hand=True, coders=coders,
    )  # fmt: skip
    if "score" in SEVERAL.get(stage, (stage,)):
        check_contenders(this)
    with locked(this.folder.path) if distributed.is_first() else nullcontext():
        this.claim()
        try:
            for key, before, now in this.changes.differences:
                this.folder.log.line(f"config.{key} is {now!r} now, and was {before!r}")
            if explanation:
                this.folder.log.line(explanation)
                this.folder.write(CHOICES, lambda file: file.write(explanation.encode()))
            if stage in SEVERAL and not this.folder.has(RESULTS):
                # Find out what is wrong with the data before hours of training.
                _ = this.data.train, this.data.test
                for sentence in this.data.describe_coupling():
                    this.folder.log.line(f"data: {sentence}")
            for name in SEVERAL.get(stage, (stage,)):
                STAGES[name](this)
                distributed.barrier(name)
            if distributed.is_first() and (this.folder.path / REDO).exists():
                remove(this.folder.path / REDO)
        finally:
            this.folder.log.close()
    return this.folder.path


def resolve_open_values(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the config without open values, and an explanation of what was chosen.

    Only configs for data of one's own have open values; others are returned with no explanation.
    """
    if Section("config", config).part("data").values.get("name") != "files":
        return config, ""
    config, choices, found = choose_values(config)
    return config, explain(config, choices, found)


def open_run(workdir: str | Path, coders: Mapping[str, Any] | None = None) -> Run:
    """Open an existing run by the config in its folder.

    Args:
        workdir: The folder.
        coders: Frozen coders by modality, where the run was given some from Python.

    Raises:
        ValueError: If the folder has no run.
    """
    path = as_path(workdir) / CONFIG
    if not path.exists():
        raise ValueError(f"{workdir} is not the workdir of a run: it has no {CONFIG}")
    return Run(json.loads(path.read_text()), workdir, coders=coders)


def generate(
    workdir: str | Path,
    given: Sequence[str],
    num_samples: int,
    folder: str | Path,
    *,
    seed: int = 0,
) -> Path:
    """Generate what is not given, with the model of a finished run.

    Args:
        workdir: The folder of the run.
        given: For each modality that is given, `NAME=VALUE`, as `request.read_given` reads it.
        num_samples: How many samples to generate.
        folder: Where to write images, tables and the contact sheet.
        seed: In 0..2**32 - 1.

    Returns:
        The contact sheet.

    Example:
        Draw eight faces that smile::

            pipeline.generate("runs/toy", ["attributes=Smiling"], 8, "smiling")
    """
    this = open_run(workdir)
    model, data = load_model(this), this.data.description
    return generate_files(model, data, given, num_samples, as_path(folder), seed=seed)


def impute(
    workdir: str | Path, path: str | Path, output: str | Path, *, num_samples: int = 20,
    seed: int = 0,
) -> Imputed:  # fmt: skip
    """Fill in missing values of new rows with the model of a finished run.

    Args:
        workdir: The folder of a run that was trained on files of your own.
        path: The new rows, in the same form as those files.
        output: The `.npz` file or the table to write; `impute.impute_file` says what it holds.
        num_samples: Samples of each missing value, at least 2.
        seed: In 0..2**32 - 1.

    Example:
        Fill in a file::

            done = pipeline.impute("runs/mine", "new.npz", "filled.npz")
            print(done.num_filled)
    """
    this = open_run(workdir)
    options = {
        k: v
        for k, v in this.config["data"].items()
        if k in ("partial_rows", "missing_markers", "key")
    }
    model = load_model(this)
    require_own_data(model)
    return impute_file(
        partial(draw, model), this.data.description, path, output,
        num_samples=num_samples, seed=seed, **options,
    )  # fmt: skip
