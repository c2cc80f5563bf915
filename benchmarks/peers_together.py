"""Autoencoders and score trained together, the gradient of the score's loss going into the encoders.

An ablation of `peers_ablations.py`; what the library does, one after the other, needs none of this.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from peers_runs import Config, Trained, count, joint_training

from sbmae_jax.app.build import Parts
from sbmae_jax.app.run import ENCODE_BATCH, Run
from sbmae_jax.models import model as models
from sbmae_jax.models.latents import moments
from sbmae_jax.models.task import Task
from sbmae_jax.training.sharding import batched


def together_task(parts: Parts, weight: float) -> Task:
    """Return the sum of all bounds and, times D weight, the denoising loss of the batch's latents.

    The latents are standardised by the moments of the batch, so that they cannot shrink to be easy.
    """
    score = parts.score_task
    encoder_decoders = dict(zip(parts.layout.names, parts.autoencoders, strict=True))

    def init(key, batch):
        keys = jax.random.split(key, len(encoder_decoders) + 1)
        return {
            "autoencoders": {
                name: coder.task.init(k, {"x": batch[name]})
                for k, (name, coder) in zip(keys[1:], encoder_decoders.items(), strict=True)
            },
            "score": score.init(keys[0], {"z": jnp.zeros((1, parts.layout.size))}),
        }

    def loss(params, key, batch):
        keys = jax.random.split(key, len(encoder_decoders) + 1)
        bounds = [
            coder.task.loss(params["autoencoders"][name], k, {"x": batch[name]})[0]
            for k, (name, coder) in zip(keys[1:], encoder_decoders.items(), strict=True)
        ]
        z = models.encode(parts.modalities, parts.autoencoders, params["autoencoders"], batch)
        matching, _ = score.loss(params["score"], keys[0], {"z": moments(z).standardise(z)})
        bound = jnp.sum(jnp.stack(bounds), axis=0)
        return bound + weight * parts.layout.size * matching, {"bound": bound, "matching": matching}

    return Task(init, loss)


def train_together(config: Config, workdir: Path, budget: float) -> Trained:
    """Train all networks as one for a budget of operations, or load them."""
    run = Run(config | {"together": {"gflop": budget}}, workdir)
    run.claim()
    parts, names = run.parts, run.parts.layout.names
    weight = parts.modalities[0].weight  # a coordinate counts as one of the bound's penalty does
    task = together_task(parts, weight)
    training, cost = joint_training(run, task, budget)
    view = {name: name for name in names}
    run.trainer.train(
        "together", task, training, run.data.batches((view,)), partial(run.data.held_out, (view,))
    )
    params = run.trainer.load("together", task, training, run.data.example(view))
    model = assembled(run, params)
    return Trained(
        run, partial(models.complete, model), partial(models.reconstruct, model),
        model.sampling.num_evaluations, count(params), cost, training.num_steps,
    )  # fmt: skip


def assembled(run: Run, params: Any) -> models.Model:
    """Return a model of these parameters, with the moments of the training set."""
    parts = run.parts
    encoding = jax.jit(partial(models.encode, parts.modalities, parts.autoencoders))
    rows = {name: run.data.train_loaded.arrays[name] for name in parts.layout.names}
    z = batched(partial(encoding, params["autoencoders"]), ENCODE_BATCH)(rows)
    return models.Model(
        params=params, moments=moments(jnp.asarray(z)), modalities=parts.modalities,
        autoencoders=parts.autoencoders, score_network=parts.network, sde=parts.sde, sampling=parts.sampling,
    )  # fmt: skip
