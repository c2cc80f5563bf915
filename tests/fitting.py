"""A training that takes a second, which the tests of the loop share: linear regression."""

import functools
import shutil

import jax
import numpy as np

from sbmae_jax.models.task import Task
from sbmae_jax.training import sharding
from sbmae_jax.training.batches import resident
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import Log
from sbmae_jax.training.loop import Stage, train

TRUE = np.array([1.0, -2.0, 0.5], np.float32)
X = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ TRUE}
TRAINING = TrainingConfig(
    num_steps=40, batch_size=16, learning_rate=0.1, warmup_steps=5, ema_decay=0.9,
    steps_per_call=5, checkpoint_every=10,
)  # fmt: skip
EXAMPLE = {
    "x": jax.ShapeDtypeStruct((1, 3), np.float32),
    "y": jax.ShapeDtypeStruct((1,), np.float32),
}


@functools.cache  # the same task is compiled once
def regression(noise: float = 0.1) -> Task:
    """Linear regression, with noise that depends on the key."""

    def loss(params, key, batch):
        jitter = noise * jax.random.normal(key, batch["y"].shape)
        error = (batch["x"] @ params["w"] - batch["y"] - jitter) ** 2
        return error, {}

    return Task(lambda key, batch: {"w": jax.random.normal(key, (3,))}, loss)


def stage(directory, task=None, training=TRAINING):
    task = regression() if task is None else task
    return Stage(name="fit", task=task, training=training, directory=directory / "fit")


def fit(
    directory, task=None, *, wrap=lambda batch_fn: batch_fn, mesh=None, training=TRAINING, **options
):
    """Train in a directory, on one device unless another mesh is given; `wrap` changes the batches."""
    mesh = sharding.make_mesh(1) if mesh is None else mesh
    batch_fn = wrap(resident(jax.random.key(1), DATA, training.batch_size, mesh))
    log = Log(directory)
    try:
        return train(
            stage(directory, task, training), batch_fn, jax.random.key(2), mesh=mesh, log=log,
            **options,
        )  # fmt: skip
    finally:
        log.close()


def interrupted(at):
    """Return a wrapper of batches that stops the training at a step."""

    def wrap(batch_fn):
        def wrapped(step, num_steps):
            if step >= at:
                raise KeyboardInterrupt
            return batch_fn(step, num_steps)

        return wrapped

    return wrap


def copied(run, directory):
    """Copy a run, so that a test may change it."""
    return shutil.copytree(run, directory / "copy")
