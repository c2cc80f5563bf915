"""What a training step of MoPoE costs with more modalities, all 2^M - 1 sets or some; in results/peers.json.

    python benchmarks/peers_cost.py      # after benchmarks/peers.py

Random bytes stand for the pictures, the networks are those of PolyDigits, and the code has 24 numbers for
each modality. Beside it stands MVTCAE, whose networks are the same and which has one set.
"""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
import peers_page
import peers_tables
import speed
from peers_runs import Run, base_config, build_joint, joint_training, posterior_of

from sbmae_jax.app import provenance

COUNTS = (2, 4, 6, 8, 10)
SETS = {"MoPoE, all sets": ("mopoe", 0), "MoPoE, 32 sets": ("mopoe", 32), "MVTCAE": ("mvtcae", 0)}


def measure(num: int, rule: str, num_subsets: int, at_least: float = 3.0) -> dict[str, Any]:
    """Return operations, bytes and seconds of a step with a number of modalities."""
    config = base_config("polydigits", 0, num)
    with TemporaryDirectory() as folder:
        run = Run(config, Path(folder))
    posterior = dataclasses.replace(posterior_of(rule, config, 0.5), num_subsets=num_subsets)
    task = build_joint(run, posterior).task
    training, _ = joint_training(run, task, 0.0)
    training = dataclasses.replace(training, steps_per_call=5)
    names = run.parts.layout.names
    example = {name: jax.ShapeDtypeStruct(speed.SHAPE, np.uint8) for name in names}
    cost = speed.step_cost(task, training, example)
    took = speed.step_seconds(task, training, example, at_least)
    return {
        "GFLOP": cost["flops"] / 1e9, "GiB": cost["bytes"] / 2**30, "seconds": took,
        "commit": provenance.commit(),
    }  # fmt: skip


def main() -> None:
    """Measure, write, show."""
    rows: dict[str, dict[str, Any]] = {
        name: {str(num): measure(num, *what) for num in COUNTS} for name, what in SETS.items()
    }
    page = peers_page.put("sets", {"command": "python benchmarks/peers_cost.py", "rows": rows})
    print(peers_tables.sets_table(page))


if __name__ == "__main__":
    main()
