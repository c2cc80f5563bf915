"""What micro-batches, remat and bfloat16 cost and save, in bytes and in seconds.

Bytes that are kept for the gradient are JAX's, the same on any machine; what a step needs in all is as
XLA plans it for this one. XLA's CPU backend computes once what remat asks for twice: there it saves nothing.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cost import call_seconds
from benchmarks.runner import Options
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.score import ScoreMatchingConfig, score_task
from sbmae_jax.models.task import Task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.transformer import TransformerScore
from sbmae_jax.sampling.sde import VP
from sbmae_jax.training import sharding
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.step import compile_training

SIZES = (64,) * 10  # ten modalities, as in Extended PolyMNIST
TRAINING = TrainingConfig(num_steps=100, batch_size=256, learning_rate=1e-3, steps_per_call=1)
HUB = partial(HubScore, SIZES, width=128, hub_width=192, num_blocks=4)
TRANSFORMER = partial(TransformerScore, SIZES, width=192, num_blocks=4, num_heads=6)
# For each name the network, and the number of micro-batches.
CASES = {
    "hub": (HUB, 1),
    "hub, 4 micro-batches": (HUB, 4),
    "hub, remat": (partial(HUB, remat=True), 1),
    "hub, 4 micro-batches, remat": (partial(HUB, remat=True), 4),
    "transformer": (TRANSFORMER, 1),
    "transformer, 4 micro-batches": (TRANSFORMER, 4),
    "transformer, remat": (partial(TRANSFORMER, remat=True), 1),
    "transformer, bfloat16": (partial(TRANSFORMER, dtype="bfloat16"), 1),
}


def kept_bytes(task: Task, params: Any, batch: Any) -> int:
    """Return the bytes of what JAX keeps of the loss of a batch for its gradient, parameters aside."""

    def loss(params):
        return jnp.mean(task.loss(params, jax.random.key(0), batch)[0])

    backward = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))
    return kept - sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def measure_case(network: Any, num_microbatches: int) -> dict[str, float]:
    """Return the bytes of the state, of what is kept and needed besides, and the seconds of a step."""
    layout = Layout(tuple(f"m{i}" for i in range(len(SIZES))), SIZES)
    config = ScoreMatchingConfig(conditioning_prob=0.6)
    task = score_task(network(), VP(0.1, 20.0), layout, config)
    training = dataclasses.replace(TRAINING, num_microbatches=num_microbatches)
    init, steps = compile_training(task, training, sharding.make_mesh(1))
    z = np.random.default_rng(0).normal(size=(1, training.batch_size, layout.size))
    chunk, key = {"z": z.astype(np.float32)}, jax.random.key(0)
    state = init(key, chunk)
    compiled = steps.lower(key, state, chunk).compile()
    part = jax.tree.map(lambda a: a[0, ::num_microbatches], chunk)
    sizes = {
        "state": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        "kept for the gradient": kept_bytes(task, state.params, part),
        "needed by a step, on a CPU": compiled.memory_analysis().temp_size_in_bytes,
    }
    mebibytes = {f"{name}, MiB": round(size / 2**20) for name, size in sizes.items()}
    return mebibytes | {"seconds a step": call_seconds(compiled, key, state, chunk, 0.0)}


def measure_memory(options: Options) -> dict[str, Any]:
    """Measure all cases at the same batch size."""
    cases = list(CASES.items())[: 1 if options.smoke else None]
    return {"rows": {name: measure_case(*case) for name, case in cases}}
