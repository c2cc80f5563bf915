"""What XLA makes of a training step on many devices: they talk once a step, and never to the host."""

import dataclasses
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sbmae_jax.app.run import Run
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.score import ScoreMatchingConfig
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.step import compile_training

COLLECTIVES = (
    r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
)
TRANSFERS = r"infeed|outfeed|send|recv"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tiny.config(), tmp_path_factory.mktemp("run"))


def stage(run, name):
    """Return task, training and data of a stage."""
    rng, parts = np.random.default_rng(0), run.parts
    pictures = {"x": rng.integers(0, 256, (40, 28, 28, 3), np.uint8), "label": np.arange(40) % 10}
    if name == "autoencoder":
        return parts.groups[0].task, parts.groups[0].training, {"x": pictures["x"]}
    if name == "classifier":
        evaluator = parts.protocol.evaluators()["classifier"]
        return evaluator.task, evaluator.training, pictures
    covariance = None
    if name == "gaussian score":
        parts = dataclasses.replace(parts, matching=ScoreMatchingConfig(base="gaussian"))
        size = parts.layout.size
        covariance = FactorGaussian(jnp.ones((size, 3)), jnp.ones(size))
    return (
        parts.score_task(covariance),
        parts.score_training,
        {"z": np.zeros((40, parts.layout.size), np.float32)},
    )


def operations(text):
    """Count the instructions of a compiled program by their name; an asynchronous one by its start."""
    found = re.findall(r"^ *(?:ROOT )?%\S+ = .*? ([a-z][a-z0-9-]*)\(", text, re.M)
    return Counter(name.removesuffix("-start") for name in found)


@pytest.mark.parametrize("steps_per_call", [1, 5])
@pytest.mark.parametrize("name", ["autoencoder", "score", "gaussian score", "classifier"])
def test_the_step_has_one_all_reduce_and_no_transfer(run, name, steps_per_call, key):
    task, training, arrays = stage(run, name)
    mesh = sharding.make_mesh()
    init, steps = compile_training(task, training, mesh)
    # With base "gaussian", eight rows share a level: with fewer on a device, they are exchanged.
    num_rows = 64 if name == "gaussian score" else 16
    chunk = resident(key, arrays, num_rows, mesh)(0, steps_per_call)
    state = sharding.abstract_state(mesh, jax.eval_shape(init, jax.random.key(1), chunk))
    text = steps.lower(jax.random.key(1), state, chunk).compile().as_text()
    counts = operations(text)
    assert counts["fusion"] + counts["dot"] + counts["call"] > 0, "the text was not understood"
    assert {name: n for name, n in counts.items() if re.fullmatch(COLLECTIVES, name)} == {
        "all-reduce": 1
    }
    assert not {name for name in counts if re.fullmatch(TRANSFERS, name)}
    assert "callback" not in text


def test_what_the_test_looks_for_would_be_found(key):
    # The same reading of a program that gathers, and of one that calls the host.
    mesh = sharding.make_mesh()
    x = sharding.put(np.ones((16, 4), np.float32), sharding.sharded(mesh))

    def talk(x):
        jax.debug.callback(lambda _: None, x.sum())
        return x[::-1] @ x.T

    whole = sharding.replicated(mesh)
    text = jax.jit(talk, out_shardings=whole).lower(x).compile().as_text()
    assert {name for name in operations(text) if re.fullmatch(COLLECTIVES, name)} - {"all-reduce"}
    assert "callback" in text
