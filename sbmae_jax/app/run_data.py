"""The data of a run: its splits, and the batches that its trainings see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sbmae_jax.app.build import build_source, check_source
from sbmae_jax.data.description import Description
from sbmae_jax.data.kinds.text import tokenizer_of
from sbmae_jax.data.patterns import describe_coupling, weigh_rows
from sbmae_jax.data.source import PRESENT, Source, Subset, rows_with
from sbmae_jax.evaluation.base import View
from sbmae_jax.models.autoencoder import Modality
from sbmae_jax.training.batches import BatchFn, resident, streamed

MAX_HELD_OUT_ROWS = 2048  # of each view, for early stopping; they form one batch
MIN_HELD_OUT_ROWS = 512  # fewer are repeated, and each repetition gets its own noise

MakeBatchFn = Callable[[jax.Array, int], BatchFn]
"""(key, batch size) -> the batches of a training"""


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The splits of a run's data, each opened and checked when first used.

    Attributes:
        config: The config of the run.
        description: Shapes, types and names of the data, which a run keeps in its folder.
        modalities: The modalities that the run learns.
        num_test: How many test rows are used; 0 uses all.
        mesh: The devices over which batches are split.
    """

    config: Mapping[str, Any]
    description: Description
    modalities: tuple[Modality, ...]
    num_test: int
    mesh: Mesh

    @cached_property
    def train(self) -> Source:
        """The training split."""
        return self.source("train", self.config["num_train"])

    @cached_property
    def train_loaded(self) -> Source:
        """The training split, read in one pass if it fits into `config.resident_bytes`."""
        names = tuple(self.description.shapes)
        if sum(map(self.train.nbytes, names)) <= self.config["resident_bytes"]:
            self.train.load(names)
        return self.train

    @cached_property
    def valid(self) -> Source:
        """The validation split, whose first rows decide on early stopping."""
        return self.source("valid", 0)

    @cached_property
    def test(self) -> Source:
        """The test split, as far as the evaluation uses it."""
        return self.source("test", self.num_test)

    def source(self, split: str, num_rows: int) -> Source:
        """Open and check a split.

        Args:
            split: "train", "valid" or "test".
            num_rows: How many rows to take; 0 takes all.

        Raises:
            ValueError: If no row is left, or if an array does not fit its modality.
        """
        source = build_source(self.config, split, num_rows)
        if not len(source):
            raise ValueError(
                f"no {split} row is left: increase config.num_train, or leave out fewer rows"
            )
        check_source(source, self.modalities)
        for name, scaling in self.description.scalings.items():
            there = source.scalings.get(name)
            if (
                scaling.value_kind.is_text
                and there
                and tokenizer_of(there) != tokenizer_of(scaling)
            ):
                raise ValueError(
                    f"{name}: its strings have other tokens than in training: the data have changed, or the "
                    "extra sbmae_jax[text] was installed or removed since then"
                )
        return source

    def describe_coupling(self) -> list[str]:
        """Say what the training rows leave open, where some lack modalities, in sentences for the user."""
        if PRESENT not in self.train.shapes:
            return []
        names = [modality.name for modality in self.modalities]
        return describe_coupling(np.asarray(self.train.arrays[PRESENT]), names)

    def example(self, view: View) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shapes of a batch of one row."""
        shapes, dtypes = self.description.shapes, self.description.dtypes
        return {
            field: jax.ShapeDtypeStruct((1, *shapes[name]), dtypes[name])
            for field, name in view.items()
        }

    def batches(self, views: tuple[View, ...]) -> MakeBatchFn:
        """Draw batches from the training split: kept on the device if it fits, else streamed.

        Args:
            views: What a batch has. With several views, a batch mixes rows of all of them.
        """

        def make(key, batch_size):
            source = self.train_loaded
            num_bytes = sum(source.nbytes(name) for view in views for name in view.values())
            if num_bytes > self.config["resident_bytes"] and len(views) == 1:
                return self.stream(key, views[0], batch_size)
            return resident(key, self.viewed(source, views), batch_size, self.mesh)

        return make

    def batches_of(self, arrays: Callable[[], Mapping[str, Any]]) -> MakeBatchFn:
        """Draw batches from arrays, which are made only if there is something to train.

        Rows that couple modalities are drawn more often where few do.
        """

        def make(key, batch_size):
            made = arrays()
            weights = weigh_rows(np.asarray(made[PRESENT])) if PRESENT in made else None
            return resident(key, made, batch_size, self.mesh, weights)

        return make

    def stream(self, key: jax.Array, view: View, batch_size: int) -> BatchFn:
        """Stream batches from a training split that need not fit into memory."""
        rows = self.rows_of(self.train, view)
        chosen = Subset(self.train.select(tuple(view.values())), view, rows)
        return streamed(int(jax.random.bits(key) >> 1), chosen, batch_size, self.mesh)

    def held_out(self, views: tuple[View, ...]) -> dict[str, np.ndarray]:
        """Return one batch of validation rows, for early stopping."""
        return one_batch(self.viewed(self.valid, views, MAX_HELD_OUT_ROWS))

    def viewed(
        self, source: Source, views: tuple[View, ...], max_rows: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return the arrays of views, one view after the other.

        Args:
            source: The split to read.
            views: What to read. Rows that lack a modality of a view are left out of it.
            max_rows: Take at most as many rows of each view, from the first.
        """
        parts: dict[str, list[np.ndarray]] = {field: [] for field in views[0]}
        for view in views:
            rows = self.rows_of(source, view)
            chosen = slice(max_rows) if rows is None else rows[:max_rows]
            for field, name in view.items():
                parts[field].append(np.asarray(source.arrays[name][chosen]))
        # One view alone is not copied.
        return {f: np.concatenate(p) if len(p) > 1 else p[0] for f, p in parts.items()}

    def rows_of(self, source: Source, view: View) -> np.ndarray | None:
        """Return the numbers of the rows that have all modalities of a view; None stands for all.

        Raises:
            ValueError: If no row has them.
        """
        names = tuple(view.values())
        rows = rows_with(source, names, [m.name for m in self.modalities])
        if rows is not None and len(rows) == 0:
            raise ValueError(
                f"{', '.join(names)}: a split has no row with it: add some to 'train' and, for early "
                "stopping, to 'valid', or leave the modality out"
            )
        return rows


def one_batch(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return rows as one batch of at least `MIN_HELD_OUT_ROWS`, repeated if they are fewer."""
    num_rows = len(next(iter(arrays.values())))
    rows = np.arange(max(num_rows, MIN_HELD_OUT_ROWS)) % num_rows
    return {name: array[rows] for name, array in arrays.items()}
