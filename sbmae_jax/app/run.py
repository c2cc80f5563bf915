"""One run: a config and its workdir, what is trained there, and what is loaded from there."""

import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._io import as_path, write
from sbmae_jax.app.build import build, build_source, check_keys, check_source
from sbmae_jax.data import description
from sbmae_jax.data.source import PRESENT, Source, Subset, map_batches, rows_with
from sbmae_jax.evaluation.base import View
from sbmae_jax.models.energy import energy_task
from sbmae_jax.models.latents import Moments
from sbmae_jax.models.model import Model, encode
from sbmae_jax.models.score import score_task
from sbmae_jax.models.task import Params, Task
from sbmae_jax.training import distributed, sharding
from sbmae_jax.training.batches import BatchFn, resident, streamed
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.training.log import Log, NoLog, read
from sbmae_jax.training.loop import is_finished, load_params, train
from sbmae_jax.training.preemption import Notice
from sbmae_jax.training.workdir import DATA, MOMENTS, check_claim, claim

ENCODE_BATCH = 250
MAX_HELD_OUT_ROWS = 2048  # rows of a view by which patience judges; they are all in one batch
MIN_HELD_OUT = 512  # where there are fewer they are repeated, as each gets noise of its own

MakeBatchFn = Callable[[jax.Array, int], BatchFn]
"""(key, batch size) -> the batches of a training"""


class Run:
    """A config and its workdir, with what several stages need of them. Raises as `build`.

    notice: of being asked to stop; a training then saves and raises Preempted.
    profile: whether a few calls of each training are traced.
    """

    def __init__(
        self, config: Mapping[str, Any], workdir: str | Path, notice: Notice | None = None,
        profile: bool = False,
    ):  # fmt: skip
        self.notice = notice or Notice()
        self.config, self.workdir = dict(config), as_path(workdir)
        check_keys(self.config)
        check_claim(self.workdir, self.config)
        self.data = self._describe()
        self.parts = build(self.config, self.data)
        self.mesh = sharding.make_mesh(num_state_shards=self.config["num_state_shards"])
        self.key = jax.random.key(self.config["seed"])
        self.profile = self.workdir / "profile" if profile and distributed.is_first() else None

    def _describe(self) -> description.Description:
        path = self.workdir / DATA
        if path.exists():
            return description.load(path)
        return description.describe(build_source(self.config, "train", 1))

    def claim(self) -> None:
        """Take the workdir, and note there whose it is and what its data are."""
        if distributed.is_first():
            claim(self.workdir, self.config)
            if not (self.workdir / DATA).exists():
                description.save(self.workdir / DATA, self.data)
        distributed.wait("claim")

    @cached_property
    def log(self) -> Log | NoLog:
        """The log of this run."""
        return Log(self.workdir) if distributed.is_first() else NoLog()

    def has(self, name: str) -> bool:
        """Return whether a file is there, for all processes as the first sees it."""
        return bool(distributed.broadcast_from_first((self.workdir / name).exists()))

    def write(self, name: str, fill: Callable[[Any], Any]) -> None:
        """Write a file of the workdir; the first process does, and all wait for it."""
        if distributed.is_first():
            write(self.workdir / name, fill)
        distributed.wait(name)

    @cached_property
    def train_source(self) -> Source:
        """The training split, checked."""
        return self.source("train", self.config["num_train"])

    @cached_property
    def read_source(self) -> Source:
        """The training split, all of it read in one pass if it fits where `config.resident_bytes` says."""
        source, names = self.train_source, tuple(self.data.shapes)
        if sum(map(source.nbytes, names)) <= self.config["resident_bytes"]:
            source.load(names)
        return source

    @cached_property
    def valid_source(self) -> Source:
        """The validation split, by whose first rows patience judges, checked."""
        return self.source("valid", 0)

    @cached_property
    def test_source(self) -> Source:
        """The test split as far as it is used, checked."""
        return self.source("test", self.parts.protocol.num_rows)

    @cached_property
    def train_latents(self) -> dict[str, np.ndarray]:
        """The latents of the training set, as `latents`; encoded once for all stages."""
        return self.latents(self.read_source)

    def latents(self, source: Source, most: int | None = None) -> dict[str, np.ndarray]:
        """Encode rows: `z` [N, D], not standardised, and `present` [N, M] where some lack modalities.

        most: rows, of the first.
        """
        parts, params = self.parts, load_autoencoders(self)
        encoding = partial(encode, parts.modalities, parts.autoencoders)
        compiled = sharding.data_parallel(self.mesh, encoding, num_whole=1)
        rows = {name: source.arrays[name][:most] for name in parts.layout.names}
        z = map_batches(lambda _, batch: {"z": compiled(params, batch)}, rows, ENCODE_BATCH)
        missing = PRESENT in source.shapes
        return z | ({PRESENT: source.arrays[PRESENT][:most]} if missing else {})

    def source(self, split: str, num_rows: int) -> Source:
        """Open a split of the data, checked."""
        source = build_source(self.config, split, num_rows)
        if not len(source):
            raise ValueError(
                f"no {split} row is left: ask for more rows by config.num_train, or leave out fewer"
            )
        check_source(source, self.parts.modalities)
        return source

    def feed(self, views: tuple[View, ...]) -> MakeBatchFn:
        """Feed from the training split: what fits is kept on the device, the rest is read as it goes.

        views: {name in a batch: name of an array}; where there are several, a batch has rows of all.
        """

        def make(key, batch_size):
            source = self.read_source
            num_bytes = sum(source.nbytes(name) for view in views for name in view.values())
            if num_bytes > self.config["resident_bytes"] and len(views) == 1:
                return renamed(views[0], self.stream(key, views[0], batch_size))
            return resident(key, self.viewed(source, views), batch_size, self.mesh)

        return make

    def viewed(
        self, source: Source, views: tuple[View, ...], most: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return the arrays of views, of the rows that have what each shows; several are joined.

        most: rows of each view, of the first.
        """
        parts = []
        for view in views:
            rows = self.rows_of(source, view)
            chosen = slice(most) if rows is None else rows[:most]
            parts.append(
                {field: np.asarray(source.arrays[name][chosen]) for field, name in view.items()}
            )
        return {field: joined([part[field] for part in parts]) for field in views[0]}

    def rows_of(self, source: Source, view: View) -> np.ndarray | None:
        """Return which rows have the modalities of a view; None for all. Raises ValueError if none has."""
        rows = rows_with(source, tuple(view.values()), self.parts.layout.names)
        if rows is not None and len(rows) == 0:
            raise ValueError(
                f"{', '.join(view.values())}: a split has no row with it: put some into 'train' and, for "
                "patience, into 'valid', or leave it out"
            )
        return rows

    def stream(self, key: jax.Array, view: View, batch_size: int) -> BatchFn:
        """Feed arrays of the training split that need not fit into memory."""
        source = self.train_source.select(tuple(view.values()))
        rows = self.rows_of(self.train_source, view)
        chosen = source if rows is None else Subset(source, rows)
        return streamed(int(jax.random.bits(key) >> 1), chosen, batch_size, self.mesh)

    def held_out(self, views: tuple[View, ...]) -> dict[str, Any]:
        """Return one batch of held-out rows, by which patience judges."""
        return one_batch(self.viewed(self.valid_source, views, MAX_HELD_OUT_ROWS))

    def feed_arrays(self, arrays: Callable[[], Mapping[str, Any]]) -> MakeBatchFn:
        """Feed from arrays, which are made only if there is work to do."""
        return lambda key, batch_size: resident(key, arrays(), batch_size, self.mesh)

    def train(
        self, name: str, task: Task, training: TrainingConfig, make_feed: MakeBatchFn,
        held_out: Callable[[], Mapping[str, Any]],
    ) -> None:  # fmt: skip
        """Train one network unless it is finished.

        held_out: gives the batch by which patience judges; asked only where there is patience.
        """
        if is_finished(self.workdir / name, training):
            self.log.line(f"{name}: done already")
            return
        start = time.perf_counter()
        feed_key, train_key = jax.random.split(self.named_key(name))
        feed = make_feed(feed_key, training.batch_size)
        aside = held_out() if training.patience else None
        with self.notice.deferred():
            train(
                task, feed, training, train_key, self.mesh, self.workdir / name, self.log, name, aside,
                lambda: self.notice.given, self.profile / name if self.profile else None,
            )  # fmt: skip
        self.log.publish()
        if distributed.is_first():
            last, seconds = read(self.workdir)[name][-1], time.perf_counter() - start
            self.log.line(f"{name}: {last['step']} steps, loss {last['loss']:.4g}, {seconds:.0f} s")

    def load(self, name: str, task: Task, training: TrainingConfig, example: Any) -> Params:
        """Load the parameters of a finished network."""
        return load_params(task, training, example, self.mesh, self.workdir / name)

    def example(self, view: View) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a batch of one."""
        return {
            field: jax.ShapeDtypeStruct((1, *self.data.shapes[name]), self.data.dtypes[name])
            for field, name in view.items()
        }

    def named_key(self, name: str) -> jax.Array:
        """Return the root key of a stage."""
        return jax.random.fold_in(self.key, zlib.crc32(name.encode()))


def renamed(view: View, feed: BatchFn) -> BatchFn:
    """Give the arrays of each chunk the names that the task knows."""

    def call(step, num_steps):
        chunk = feed(step, num_steps)
        return {field: chunk[name] for field, name in view.items()}

    return call


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Join arrays along their rows; one alone is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def one_batch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return rows as one batch, repeated if they are few."""
    num_rows = len(next(iter(arrays.values())))
    rows = np.arange(max(num_rows, MIN_HELD_OUT)) % num_rows
    return {name: array[rows] for name, array in arrays.items()}


def load_autoencoders(run: Run) -> dict[str, Params]:
    """Load the parameters of all autoencoders."""
    params = {}
    for group in run.parts.groups:
        example = run.example(group.view)
        params |= group.members(run.load(group.stage, group.task, group.training, example))
    return params


def load_model(run: Run) -> Model:
    """Load the autoencoders, the score, the energy where there is one, and the moments of the latents."""
    parts = run.parts
    example = {"z": jax.ShapeDtypeStruct((1, parts.layout.size), np.float32)}
    task = score_task(parts.network, parts.sde, parts.layout, parts.matching)
    params = {
        "autoencoders": load_autoencoders(run),
        "score": run.load("score", task, parts.score_training, example),
    }
    energy = parts.energy
    if energy is not None:
        task = energy_task(energy.network, parts.sde, parts.layout, energy.nce)
        params["energy"] = run.load("energy", task, energy.training, example)
    scale = load_moments(run.workdir / MOMENTS)
    return Model(
        params,
        scale,
        parts.modalities,
        parts.autoencoders,
        parts.network,
        parts.sde,
        parts.sampling,
        energy.network if energy is not None else None,
        tuple(sorted(run.data.scalings.items())),
    )


def load_evaluators(run: Run) -> dict[str, Params]:
    """Load the parameters of the networks that the evaluation needs."""
    return {
        name: run.load(name, evaluator.task, evaluator.training, run.example(evaluator.views[0]))
        for name, evaluator in run.parts.protocol.evaluators().items()
    }


def load_moments(path: Path) -> Moments:
    """Load the moments of the latents. Raises ValueError if the file is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Moments(mean=jnp.asarray(arrays["mean"]), std=jnp.asarray(arrays["std"]))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        raise ValueError(
            f"{path} is missing or damaged: delete the folder {path.parent / 'score'}, and the stage "
            "score writes it again"
        ) from None
