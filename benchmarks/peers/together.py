"""Autoencoders and score trained together, the gradient of the score's loss going into the encoders.

An ablation; the library trains one after the other.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from benchmarks.cost import model_of, score_of
from benchmarks.peers.methods import Config, Trained, of_model, train_as_one
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
    score, _ = score_of(parts)
    tasks = {n: a.task for n, a in zip(parts.layout.names, parts.autoencoders, strict=True)}

    def init(key, batch):
        score_key, *keys = jax.random.split(key, len(tasks) + 1)
        z = {"z": jnp.zeros((1, parts.layout.size))}
        params = {n: tasks[n].init(k, {"x": batch[n]}) for n, k in zip(tasks, keys, strict=True)}
        return {"autoencoders": params, "score": score.init(score_key, z)}

    def loss(params, key, batch):
        score_key, *keys = jax.random.split(key, len(tasks) + 1)
        autoencoders = params["autoencoders"]
        bounds = [
            tasks[n].loss(autoencoders[n], k, {"x": batch[n]})[0]
            for n, k in zip(tasks, keys, strict=True)
        ]
        z = models.encode(parts.modalities, parts.autoencoders, autoencoders, batch)
        standardised = {"z": moments(z).standardise(z)}
        matching, _ = score.loss(params["score"], score_key, standardised)
        bound = jnp.sum(jnp.stack(bounds), axis=0)
        return bound + weight * parts.layout.size * matching, {"bound": bound, "matching": matching}

    return Task(init, loss)


def train_together(config: Config, workdir: Path, budget: float) -> Trained:
    """Train all networks as one for a budget of operations, or load them."""
    run = Run(config | {"together": {"gflop": budget}}, workdir)
    weight = run.parts.modalities[0].weight  # of a coordinate, as in the bound's penalty
    params, fields = train_as_one(run, "together", together_task(run.parts, weight), budget)
    parts = run.parts
    encoding = jax.jit(partial(models.encode, parts.modalities, parts.autoencoders))
    rows = {name: run.data.train_loaded.arrays[name] for name in parts.layout.names}
    z = batched(partial(encoding, params["autoencoders"]), ENCODE_BATCH)(rows)
    return of_model(model_of(parts, params, moments(jnp.asarray(z))), **fields)
