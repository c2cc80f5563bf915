"""Samplers and their times: ours colder and in few steps, and that of Multi-Modal Latent Diffusion."""

import dataclasses
import itertools
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from peers_runs import Trained, measure

from sbmae_jax.app.run import load_model
from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.models import model as models
from sbmae_jax.sampling.conditioning import clamp, given, renoise, repaint, substeps
from sbmae_jax.sampling.samplers import ancestral, chain, denoise, sample, uniform_times
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, CompleteFn, Key, Step

ROUNDS = 9  # of timing each method once, in turns, so that what else the machine does meets all
FEW = (1, 2, 4, 8)  # levels of the sampler in few steps
# DPM-Solver++ along the ODE, one evaluation for each level.
ALONG_ODE = {"sampler": "dpm_solver", "num_corrections": 0, "eta": 0.0}
# Noise scales of the method's first version, some unconditional, some conditional, and one nearer to 1; and
# weights of classifier-free guidance.
COLDER = tuple(
    {"temperature": scale, "classifier_free": weight}
    for weight, scale in itertools.product((1.0, 3.0), (0.5, 0.7, 0.8, 0.9))
)


def few_steps(model: models.Model, num_levels: int) -> models.Model:
    """Return a model that samples along the ODE."""
    return model.with_sampling(num_levels=num_levels, **ALONG_ODE)


def colder(trained: Trained, given: Mapping[str, float], nothing: Mapping[str, float]) -> Trained:
    """Return a trained method sampled in one way given something, in another given nothing.

    given, nothing: noise scale and weight of classifier-free guidance, as `SamplingConfig` has them.
    """
    model = load_model(trained.run)
    by_given, by_nothing = model.with_sampling(**given), model.with_sampling(**nothing)

    def complete(key, rows, observed):
        return models.complete(by_given if np.any(observed) else by_nothing, key, rows, observed)

    evaluations = by_given.sampling.num_evaluations
    return dataclasses.replace(trained, complete=complete, evaluations=evaluations)


def repainted(
    key: Key,
    sde: SDE,
    step: Step,
    x: Array,
    times: Array,
    stride: int,
    visits: int,
    last: Step,
) -> Array:
    """Walk down levels by RePaint (Lugmayr et al. 2022, arXiv:2201.09865).

    step: the conditional one.  times: every `stride`-th level. All intervals but the first, in which there is
    nothing to repair yet, are taken `visits` times.
    """
    first_key, loop_key = jax.random.split(key)
    step = substeps(step, stride)
    x = sample(first_key, step, x, times[:2])
    return sample(loop_key, repaint(step, sde, visits), x, times[1:], last=last)


def repaint_sampler(
    model: models.Model, levels: int = 250, stride: int = 10, visits: int = 10
) -> tuple[CompleteFn, int]:
    """Return the sampler of Multi-Modal Latent Diffusion, and its evaluations of the score.

    It has the joint score and noises observed latents anew.
    """
    sde, layout = model.sde, model.layout

    def complete(model, key, batch, observed):
        value, mask = model.encode(batch), layout.expand(observed)
        prior_key, loop_key = jax.random.split(key)
        score = model.joint_score
        step = given(ancestral(sde, score), renoise(sde, value, mask))
        times = uniform_times(levels // stride, model.sampling.t_min)
        x, last = sde.prior(prior_key, value.shape), chain(denoise(sde, score), clamp(value, mask))
        return model.decode(repainted(loop_key, sde, step, x, times, stride, visits, last))

    return partial(jax.jit(complete), model), num_evaluations(levels, stride, visits)


def num_evaluations(levels: int, stride: int, visits: int) -> int:
    """Return how many evaluations of the score `repaint_sampler` takes, one of them to denoise the end."""
    return stride + (levels - stride) * visits + 1


def with_model(trained: Trained, model: models.Model) -> Trained:
    """Return a trained method with another way to sample."""
    return dataclasses.replace(
        trained, complete=partial(models.complete, model),
        evaluations=model.sampling.num_evaluations,
    )  # fmt: skip


def measure_few(trained: Trained, split: str) -> dict[str, Any]:
    """Return the figures of ours in few steps, by the number of levels."""
    model = load_model(trained.run)
    return {str(num): measure(with_model(trained, few_steps(model, num)), split) for num in FEW}


def measure_colder(trained: Trained, split: str, num_rows: int) -> list[dict[str, Any]]:
    """Return the figures of ours for each noise scale and weight, with what these were."""
    return [how | measure(colder(trained, how, how), split, num_rows) for how in COLDER]


def measure_repaint(trained: Trained, split: str, num_rows: int) -> dict[str, Any]:
    """Return the figures of a score with the sampler of Multi-Modal Latent Diffusion."""
    complete, evaluations = repaint_sampler(load_model(trained.run))
    other = dataclasses.replace(trained, complete=complete, evaluations=evaluations)
    return measure(other, split, num_rows)


def time_samplers(
    completes: dict[str, CompleteFn], rows: Arrays, observed: np.ndarray
) -> dict[str, float]:
    """Return the seconds for 1,000 samples of each generator, the median of rounds of one turn for each."""
    num, key = len(observed), jax.random.key(0)
    for complete in completes.values():
        jax.block_until_ready(complete(key, rows, observed))  # compiles
    taken: dict[str, list[float]] = {name: [] for name in completes}
    for turn in range(ROUNDS):
        for name, complete in completes.items():
            start = time.perf_counter()
            jax.block_until_ready(complete(jax.random.fold_in(key, turn), rows, observed))
            taken[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(seconds)) / num for name, seconds in taken.items()}
