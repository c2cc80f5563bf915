"""The reference implementation's sampler, ported, and what a sample costs with it and with ours.

Its predictor-corrector sampler takes Euler-Maruyama steps on a linear grid, each with a Langevin correction
of signal-to-noise 0.16, and clamps the observed latents after every sub-step: 1,000 steps for faces, 100 for
Extended PolyMNIST. Its score is that of all latents together, by the UNet of `nets/unet.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

import sbmae_jax as sbm
from benchmarks.cost import score_cost, untrained
from sbmae_jax.app.build import Parts
from sbmae_jax.models.model import Model


@partial(jax.jit, static_argnames="num_levels")
def complete(model: Model, key, batch, observed, *, num_levels: int):
    """Generate as `Model.complete` with the reference's sampler, of 2 `num_levels` evaluations."""
    x, mask = model.encode(batch), model.layout.expand(observed)
    score = model.joint_score
    correct = sbm.langevin(model.sde, score, 0.16, mask=mask, rule=sbm.by_norm)
    parts = (sbm.euler_maruyama(model.sde, score), correct)
    step = sbm.chain(*(sbm.given(part, sbm.clamp(x, mask)) for part in parts))
    prior_key, loop_key = jax.random.split(key)
    start = model.sde.prior(prior_key, x.shape)
    return model.decode(sbm.sample(loop_key, step, start, sbm.uniform_times(num_levels)))


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
    found = {}
    for who, parts in (("ours", ours), ("theirs", theirs)):
        shapes = jax.eval_shape(partial(untrained, parts))  # the parameters themselves are large
        num = shapes.sampling.num_evaluations if who == "ours" else 2 * num_levels
        found[who] = score_cost(shapes)["flops"] * num / 1e9
    return found
