"""One run: a config and its workdir, what is trained there, and what is loaded from there."""

import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import sharding
from sbmae_jax.build import build, build_source, check_source
from sbmae_jax.data.loader import resident
from sbmae_jax.data.source import ArraySource
from sbmae_jax.latents import Moments
from sbmae_jax.log import Log, read
from sbmae_jax.model import Model
from sbmae_jax.score import score_task
from sbmae_jax.task import Params, Task
from sbmae_jax.train import Training, is_finished, load_params, train
from sbmae_jax.workdir import MOMENTS


class Run:
    """A config and its workdir, with what several stages need of them. Raises as `build`."""

    def __init__(self, config: Mapping[str, Any], workdir: str | Path):
        self.config, self.workdir = dict(config), Path(workdir)
        probe = build_source(self.config, "train", 1)
        shapes = {name: array.shape[1:] for name, array in probe.arrays.items()}
        self.parts = build(self.config, shapes)
        self.mesh = sharding.make_mesh()
        self.key = jax.random.key(self.config["seed"])

    @cached_property
    def log(self) -> Log:
        """The log of this run."""
        return Log(self.workdir)

    @cached_property
    def train_source(self) -> ArraySource:
        """The training split, checked."""
        source = build_source(self.config, "train", self.config["num_train"])
        check_source(source, self.parts.modalities)
        return source

    @cached_property
    def test_source(self) -> ArraySource:
        """The test split, checked."""
        source = build_source(self.config, "test", self.parts.evaluation.num_rows)
        check_source(source, self.parts.modalities)
        return source

    def train(
        self, name: str, task: Task, training: Training, arrays: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Train one network unless it is finished; `arrays` is called only if there is work to do."""
        if is_finished(self.workdir / name, training):
            self.log.line(f"{name}: done already")
            return
        start = time.perf_counter()
        feed_key, train_key = jax.random.split(self.named_key(name))
        feed = resident(feed_key, arrays(), training.batch_size, self.mesh)
        train(task, feed, training, train_key, self.mesh, self.workdir / name, self.log, name)
        last = read(self.workdir)[name][-1]
        self.log.line(
            f"{name}: {training.num_steps} steps, loss {last['loss']:.4g}, "
            f"{time.perf_counter() - start:.0f} s"
        )

    def load(self, name: str, task: Task, training: Training, example: Any) -> Params:
        """Load the parameters of a finished network."""
        return load_params(task, training, example, self.mesh, self.workdir / name)

    def named_key(self, name: str) -> jax.Array:
        """Return the root key of a stage."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))


def load_autoencoders(run: Run) -> dict[str, Params]:
    """Load the parameters of all autoencoders."""
    return {
        modality.name: run.load(
            f"autoencoder/{modality.name}",
            autoencoder.task,
            run.parts.autoencoder_training,
            {"x": jax.ShapeDtypeStruct((1, *modality.shape), np.uint8)},
        )
        for modality, autoencoder in zip(run.parts.modalities, run.parts.autoencoders, strict=True)
    }


def load_model(run: Run) -> Model:
    """Load the autoencoders, the score and the moments of the latents."""
    parts = run.parts
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)
    example = {"z": jax.ShapeDtypeStruct((1, parts.layout.size), np.float32)}
    params = {
        "autoencoders": load_autoencoders(run),
        "score": run.load("score", task, parts.score_training, example),
    }
    scale = load_moments(run.workdir / MOMENTS)
    return Model(
        params,
        scale,
        parts.modalities,
        parts.autoencoders,
        parts.network,
        parts.sde,
        parts.sampling,
    )


def load_classifier(run: Run) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
    """Load the judge: x [B, *shape] -> (class [B], features [B, F])."""
    shape = run.parts.modalities[0].shape
    example = {
        "x": jax.ShapeDtypeStruct((1, *shape), np.uint8),
        "label": jax.ShapeDtypeStruct((1,), np.int32),
    }
    judge = run.parts.classifier
    params = run.load("classifier", judge.task, run.parts.classifier_training, example)
    apply = jax.jit(judge.apply)

    def classify(x):
        logits, features = apply(params, x)
        return logits.argmax(axis=-1), features

    return classify


def load_moments(path: Path) -> Moments:
    """Load the moments of the latents. Raises ValueError if the file is missing or damaged."""
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return Moments(mean=jnp.asarray(arrays["mean"]), std=jnp.asarray(arrays["std"]))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} is missing or damaged: delete the folder {path.parent / 'score'}, and the stage "
            "score writes it again"
        ) from None
