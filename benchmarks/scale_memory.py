"""What micro-batches, remat and bfloat16 cost and save, in bytes and in seconds.

Bytes that are kept for the gradient are JAX's, the same on any machine; what a step needs in all is as
XLA plans it for this one. XLA's CPU backend computes once what remat asks for twice: there it saves nothing.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
HUB = {"width": 128, "hub_width": 192, "num_blocks": 4}
TRANSFORMER = {"width": 192, "num_blocks": 4, "num_heads": 6}
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "hub": (HubScore, HUB, {}),
    "hub, 4 micro-batches": (HubScore, HUB, {"num_microbatches": 4}),
    "hub, remat": (HubScore, HUB | {"remat": True}, {}),
    "hub, 4 micro-batches, remat": (HubScore, HUB | {"remat": True}, {"num_microbatches": 4}),
    "transformer": (TransformerScore, TRANSFORMER, {}),
    "transformer, 4 micro-batches": (TransformerScore, TRANSFORMER, {"num_microbatches": 4}),
    "transformer, remat": (TransformerScore, TRANSFORMER | {"remat": True}, {}),
    "transformer, bfloat16": (TransformerScore, TRANSFORMER | {"dtype": "bfloat16"}, {}),
}
NUM_TIMED = 3


def kept_bytes(task: Task, params: Any, batch: Any) -> int:
    """Return the bytes of what JAX keeps of the loss of a batch for its gradient, parameters aside."""

    def loss(params):
        return jnp.mean(task.loss(params, jax.random.key(0), batch)[0])

    backward = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))
    return kept - sum(leaf.nbytes for leaf in jax.tree.leaves(params))


def measure_case(
    network: Any, options: dict[str, Any], changes: dict[str, Any]
) -> dict[str, float]:
    """Return the bytes of the state, of what is kept and needed besides, and the least seconds of a step."""
    layout = Layout(tuple(f"m{i}" for i in range(len(SIZES))), SIZES)
    task = score_task(
        network(SIZES, **options), VP(0.1, 20.0), layout, ScoreMatchingConfig(conditioning_prob=0.6)
    )
    mesh, training = sharding.make_mesh(1), dataclasses.replace(TRAINING, **changes)
    init, steps = compile_training(task, training, mesh)
    z = np.random.default_rng(0).normal(size=(1, training.batch_size, layout.size))
    chunk, key = {"z": z.astype(np.float32)}, jax.random.key(0)
    state = init(key, chunk)
    compiled = steps.lower(key, state, chunk).compile()
    memory = compiled.memory_analysis()
    took = []
    for _ in range(1 + NUM_TIMED):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(key, state, chunk))
        took.append(time.perf_counter() - start)
    return {
        "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        "kept_bytes": kept_bytes(
            task, state.params, jax.tree.map(lambda a: a[0, :: training.num_microbatches], chunk)
        ),
        "working_bytes": memory.temp_size_in_bytes,
        "seconds_per_step": min(took[1:]),
    }


def measure() -> dict[str, Any]:
    """Measure all cases at the same batch size."""
    cases = {}
    for name, case in CASES.items():
        cases[name] = measure_case(*case)
        print(name, cases[name], flush=True)
    return {"batch_size": TRAINING.batch_size, "num_modalities": len(SIZES), "cases": cases}
