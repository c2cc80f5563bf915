"""The stage of a run that trains diffusion decoders."""

from functools import partial

import jax
import numpy as np

from sbmae_jax.app.run import Run, decoder_stage, load_autoencoders
from sbmae_jax.models.diffusion_decoder import Spreads
from sbmae_jax.models.task import Params
from sbmae_jax.training.loop import is_finished

MAX_MEASURED_ROWS = 2000
"""Training rows on which `Spreads` are measured."""


def train_decoders(run: Run) -> None:
    """Train the diffusion decoders, if the config has some; none sees another modality."""
    parts, training = run.parts, run.parts.decoder_training
    if training is None:
        return
    params = load_autoencoders(run)
    for name in parts.decoders:
        stage, views, spreads = decoder_stage(name), ({"x": name},), None
        if not is_finished(run.trainer.stage(stage, parts.decoder_task(name), training)):
            spreads = _measure_spreads(run, name, params[name])
        task = parts.decoder_task(name, params[name], spreads)
        batches, held_out = run.data.batches(views), partial(run.data.held_out, views)
        run.trainer.train(stage, task, training, batches, held_out)


def _measure_spreads(run: Run, name: str, params: Params) -> Spreads:
    """Measure what a diffusion decoder knows of its modality before it is trained."""
    parts, source = run.parts, run.data.train_loaded
    rows = run.data.rows_of(source, {"x": name})
    first = slice(MAX_MEASURED_ROWS) if rows is None else rows[:MAX_MEASURED_ROWS]
    x = np.asarray(source.arrays[name][first])
    measure = partial(parts.decoders[name].measure, parts.autoencoder(name))
    return jax.jit(measure)(params, run.trainer.stage_key(f"spreads of {name}"), x)
