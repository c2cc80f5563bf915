"""The reference implementation's sampler, ported, and what a sample costs with it and with ours.

Its predictor-corrector sampler takes Euler-Maruyama steps on a linear grid, each with a Langevin correction
of signal-to-noise 0.16, and clamps the observed latents after every sub-step: 1,000 steps for faces, 100 for
Extended PolyMNIST. Its score is that of all latents together, by the UNet of `nets/unet.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.cost import blank_model, score_cost, score_of
from sbmae_jax.app.build import Parts
from sbmae_jax.models.model import Model
from sbmae_jax.sampling.conditioning import clamp, given
from sbmae_jax.sampling.samplers import (
    by_norm,
    chain,
    euler_maruyama,
    langevin,
    sample,
    uniform_times,
)

SNR = 0.16


@partial(jax.jit, static_argnames="num_levels")
def complete(model: Model, key, batch, observed, *, num_levels: int):
    """Generate as `Model.complete` with the reference's sampler, of 2 `num_levels` evaluations."""
    x, mask = model.encode(batch), model.layout.expand(observed)
    score = model.joint_score
    observe = clamp(x, mask)
    prior_key, loop_key = jax.random.split(key)
    step = chain(
        given(euler_maruyama(model.sde, score), observe),
        given(langevin(model.sde, score, SNR, mask=mask, rule=by_norm), observe),
    )
    start = model.sde.prior(prior_key, x.shape)
    return model.decode(sample(loop_key, step, start, uniform_times(num_levels)))


def joint(config: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with a score as the reference has it: of all latents together, without guidance."""
    return {
        **config,
        "network": network,
        "score": {**config["score"], "conditioning_prob": 0.0},
        "sampling": {**config["sampling"], "conditioning": "clamp", "guidance": 0.0},
    }


def gflop_of_one_sample(ours: Parts, theirs: Parts, num_levels: int) -> dict[str, float]:
    """Return the cost of one sample: ours, and that of a joint score in the reference's sampler."""
    model = untrained(ours)
    evaluations = {"ours": model.sampling.num_evaluations, "theirs": 2 * num_levels}
    costs = {"ours": score_cost(model), "theirs": score_cost(untrained(theirs))}
    return {who: costs[who]["flops"] * num / 1e9 for who, num in evaluations.items()}


def untrained(parts: Parts) -> Model:
    """Return a model that has shapes in place of parameters, and no autoencoders."""
    layout, energy, key = parts.layout, parts.energy, jax.random.key(0)
    z = {"z": jax.ShapeDtypeStruct((2, layout.size), jnp.float32)}
    params = {"score": jax.eval_shape(score_of(parts)[0].init, key, z)}
    if energy is not None:
        params["energy"] = jax.eval_shape(parts.energy_task.init, key, z)
    vector = jax.ShapeDtypeStruct((layout.size,), jnp.float32)
    return blank_model(parts, params, vector, energy.network if energy is not None else None)
