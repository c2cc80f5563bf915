"""On paper: what a step costs on TPU v5e, and how much of it is talk, for 1 to 256 chips.

Operations are counted by XLA and the chip's figures are its maker's; the share of the peak that is reached
is an assumption, as no such chip was at hand. A step is arithmetic, then the sum of gradients over the chips,
then the update of parameters, their average and Adam's moments in memory, none of them overlapped.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.models.latents import Layout
from sbmae_jax.models.score import ScoreMatchingConfig, score_task
from sbmae_jax.nets.hub import HubScore
from sbmae_jax.nets.unet import UNetScore
from sbmae_jax.sampling.sde import VP

PEAK_FLOPS, REACHED = 197e12, 0.4  # bfloat16; the share is assumed
MEMORY = 819e9  # bytes a second
PASSES = (
    11  # over arrays of the size of the parameters, to read and write all that an update changes
)
LINKS = 9e10  # bytes a second of one axis of the torus, both ways
COUNTED = 8  # rows whose operations are counted
CHIPS = (1, 8, 64, 256)
# Network, sizes of the latents, rows on a chip.
CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...], int]] = {
    "configs/polymnist.py: hub, ten modalities": (
        lambda sizes: HubScore(sizes, width=256, hub_width=384, num_blocks=3), (64,) * 10, 512,
    ),
    "configs/celebahq.py: hub, three modalities": (
        lambda sizes: HubScore(sizes, width=768, hub_width=1024, num_blocks=4), (256,) * 3, 256,
    ),
    "the reference's U-Net for CelebAMask-HQ": (
        lambda sizes: UNetScore(sizes, 256, (1, 2, 2, 2, 2)), (256,) * 3, 64,
    ),
}  # fmt: skip


def count(make: Callable[..., Any], sizes: tuple[int, ...]) -> tuple[int, float]:
    """Return the number of parameters, and the operations of the gradient for one row."""
    layout = Layout(tuple(f"m{i}" for i in range(len(sizes))), sizes)
    task = score_task(make(sizes), VP(0.1, 20.0), layout, ScoreMatchingConfig())
    batch = {"z": jax.ShapeDtypeStruct((COUNTED, layout.size), jnp.float32)}
    params = jax.eval_shape(task.init, jax.random.key(0), batch)
    gradient = jax.grad(lambda params, key, batch: jnp.mean(task.loss(params, key, batch)[0]))
    cost = jax.jit(gradient).lower(params, jax.random.key(0), batch).cost_analysis()
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return num_params, float(cost["flops"]) / COUNTED  # pyright: ignore[reportIndexIssue]


def measure() -> dict[str, Any]:
    """Return milliseconds and rows a second of a step, and its efficiency, for each number of chips."""
    rows = {}
    for name, (make, sizes, batch_size) in CASES.items():
        num_params, flops = count(make, sizes)
        arithmetic = flops * batch_size / (PEAK_FLOPS * REACHED)
        update = PASSES * 4 * num_params / MEMORY
        by_chips = {}
        for chips in CHIPS:
            talk = 2 * (chips - 1) / chips * 4 * num_params / LINKS
            step = arithmetic + talk + update
            by_chips[str(chips)] = {
                "milliseconds": 1000 * step,
                "rows_per_second": chips * batch_size / step,
                "efficiency": (arithmetic + update) / step,
            }
        rows[name] = {
            "num_params": num_params, "gflop_per_row": flops / 1e9, "rows_per_chip": batch_size,
            "by_chips": by_chips,
        }  # fmt: skip
        print(name, rows[name], flush=True)
    return {
        "peak_flops": PEAK_FLOPS,
        "reached": REACHED,
        "memory": MEMORY,
        "links": LINKS,
        "cases": rows,
    }
