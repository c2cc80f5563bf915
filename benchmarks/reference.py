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
import speed

from sbmae_jax.app.build import Parts, build
from sbmae_jax.data.description import Description
from sbmae_jax.models import model as models
from sbmae_jax.models.latents import Moments
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
def complete(model: models.Model, key, batch, observed, *, num_levels: int):
    """Generate with the reference's sampler, of 2 `num_levels` evaluations; arguments as `Model.complete`."""
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


def gflop(
    config: Mapping[str, Any], data: Description, network: Mapping[str, Any], num_levels: int
) -> dict[str, float]:
    """Return the cost of one sample with a config, and with another network in the reference's sampler."""
    ours = untrained(build(config, data))
    theirs = untrained(build(joint(config, network), data))
    return {
        "ours": flops(ours) * ours.sampling.num_evaluations / 1e9,
        "theirs": flops(theirs) * 2 * num_levels / 1e9,
    }


def flops(model: models.Model) -> float:
    """Return the floating-point operations of one score of one sample, guidance included."""
    return speed.score_cost(model)["flops"]


def untrained(parts: Parts) -> models.Model:
    """Return a model that has shapes in place of parameters, and no autoencoders."""
    layout, energy, key = parts.layout, parts.energy, jax.random.key(0)
    z = {"z": jax.ShapeDtypeStruct((2, layout.size), jnp.float32)}
    params = {"score": jax.eval_shape(parts.score_task.init, key, z)}
    if energy is not None:
        params["energy"] = jax.eval_shape(parts.energy_task.init, key, z)
    vector = jax.ShapeDtypeStruct((layout.size,), jnp.float32)
    return models.Model(
        params=params, moments=Moments(vector, vector), modalities=parts.modalities,
        autoencoders=parts.autoencoders, score_network=parts.network,
        energy_network=energy.network if energy is not None else None, sde=parts.sde, sampling=parts.sampling,
    )  # fmt: skip
