"""The race between score networks of a run, before the score is trained."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax._io import remove
from sbmae_jax._json import to_json
from sbmae_jax.app.build import Parts, build
from sbmae_jax.app.race_result import name_of, race_config, race_section, with_values
from sbmae_jax.app.run import Run
from sbmae_jax.evaluation.base import ReportSection
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.training import distributed
from sbmae_jax.training.loop import load_averages
from sbmae_jax.training.race import plan_rungs, run_race
from sbmae_jax.training.workdir import RACE

NUM_DRAWS = 4096  # of noise, over all held-out rows together


def check_contenders(run: Run) -> None:
    """Raise ValueError, naming the key, if a contender cannot be built."""
    config = race_config(run.config)
    for number, contender in enumerate(config.score if config.share else (), 1):
        try:
            _build(run, contender)
        except ValueError as error:
            raise ValueError(f"config.race.score: contender {number}: {error}") from None


def race_score(run: Run, covariance: FactorGaussian | None) -> None:
    """Race the contenders of a run, keep the result, and make the winner the network of the run.

    A race that is finished is not repeated. One that was interrupted starts again, with the same result.

    Args:
        run: The run, whose latents are measured.
        covariance: What the score starts from.
    """
    config, log = race_config(run.config), run.folder.log
    if not (config.share and config.score) or run.folder.has(RACE):
        return
    contenders, training = [{}, *config.score], run.parts.score_training
    rungs = plan_rungs(len(contenders), training.num_steps, config.share, training.steps_per_call)
    if not rungs:
        log.line(f"race: {config.share:g} of {training.num_steps:,} steps are too few for it")
        return
    _clear(run.folder.path)
    parts = [_build(run, contender) for contender in contenders]
    tasks = [one.score_task(covariance) for one in parts]
    names = [
        f"race/{number}-{name_of(contender)}".replace(" ", "-")
        for number, contender in enumerate(contenders)
    ]
    rows, held_out = (
        run.standardised(run.latents(run.data.valid, NUM_DRAWS)),
        run.held_out_latents(),
    )
    batches = run.data.batches_of(lambda: run.standardised(run.train_latents))
    num_rows, start = len(rows["z"]), time.perf_counter()
    repeats = max(1, NUM_DRAWS // num_rows)
    batch = {key: np.tile(array, (repeats, 1)) for key, array in rows.items()}
    losses = [jax.jit(lambda p, k, b, task=task: task.loss(p, k, b)[0]) for task in tasks]

    def measure(number, steps):
        if distributed.any_process(time.perf_counter() - start > 60 * config.max_minutes):
            log.line(f"race: ended by config.race.max_minutes = {config.max_minutes:g}")
            return None
        stage = run.trainer.stage(names[number], tasks[number], parts[number].score_training)
        try:
            if not run.trainer.advance(stage, "score", steps, batches, held_out):
                return None
        except FloatingPointError as error:
            log.line(f"{names[number]}: {error}")
            return np.full(num_rows, np.inf)
        params = load_averages(stage, {"z": _shape(run.parts)}, run.mesh)
        found = losses[number](params, run.trainer.stage_key("race"), batch)
        return np.asarray(found, np.float64).reshape(repeats, num_rows).mean(axis=0)

    winner, table = run_race(rungs, measure)
    seconds = time.perf_counter() - start
    result = {
        "winner": winner, "contenders": contenders, "seconds": seconds,
        "rungs": [
            {"steps": rung.steps, "scores": {str(n): list(score) for n, score in scores.items()}}
            for rung, scores in zip(rungs, table, strict=False)
        ],
    }  # fmt: skip
    text = to_json(result, indent=1)
    run.folder.write(RACE, lambda file: file.write(text.encode()))
    section = race_section(run.folder.path)
    assert section is not None
    log.line("\n".join([_as_lines(section), f"race: {section.remark} {seconds:.0f} s"]))
    run.use(_build(run, contenders[winner]))
    _clear(run.folder.path)


def _build(run: Run, contender: Mapping[str, Any]) -> Parts:
    """Build the parts of a run with the values of a contender."""
    config = with_values(run.config, contender)
    return build(config, run.data.description, run.coders)


def _shape(parts: Parts) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, parts.layout.size), np.float32)


def _as_lines(section: ReportSection) -> str:
    """Return the table of a section for the screen."""
    widths = [max(map(len, column)) for column in zip(*section.table, strict=True)]
    rows = (zip(row, widths, strict=True) for row in section.table)
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in row).rstrip() for row in rows)


def _clear(workdir: Path) -> None:
    """Remove the checkpoints of a race, which would be ahead of the rungs of one that starts."""
    place = (workdir / RACE).parent
    if distributed.is_first() and place.exists():
        for folder in [child for child in place.iterdir() if child.is_dir()]:
            remove(folder)
    distributed.barrier("race")
