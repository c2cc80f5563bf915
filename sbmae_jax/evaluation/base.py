"""What the pipeline asks of a protocol: who judges, what is measured, and what the report shows of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.models.task import Params, Task
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.types import Key

View = Mapping[str, str]
"""{name in a batch: name of an array of the data}"""


Rows = Callable[[], Mapping[str, np.ndarray]]
"""gives the arrays of a split: they are read only if somebody asks"""


class Evaluator(NamedTuple):
    """A network that reads what was generated; it is trained on real examples.

    views: of the data; where there are several, a batch has rows of all.
    """

    task: Task
    training: TrainingConfig
    views: tuple[View, ...]


class Figure(NamedTuple):
    """A main figure, as the screen and the report show it."""

    name: str
    value: str
    remark: str = ""


class Picture(NamedTuple):
    """A PNG in the folder of the report. pixels: to be shown without smoothing."""

    file: str
    caption: str
    pixels: bool = True


class Section(NamedTuple):
    """A part of the report: pictures, then a table, its head first, then a remark."""

    title: str
    pictures: tuple[Picture, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    remark: str = ""


class EvaluationProtocol(Protocol):
    """How the models of a kind of data are measured.

    num_rows: how many rows of the test split are read.  batch_size: rows in one call of the generator.
    """

    @property
    def num_rows(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the networks that this protocol needs, by name."""
        ...

    def measure(
        self,
        key: Key,
        rows: Mapping[str, np.ndarray],
        generator: Generator,
        evaluators: Mapping[str, Params],
        train: Rows,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return all figures, ready for JSON, and the samples that the report shows.

        rows: of the test split.  train: gives those of the training split, to fit what it compares with.
        """
        ...

    def figures(self, results: Mapping[str, Any]) -> list[Figure]:
        """Return the main figures of the results."""
        ...

    def sections(
        self, results: Mapping[str, Any], samples: Mapping[str, np.ndarray], folder: Path
    ) -> list[Section]:
        """Write the pictures of the report into a folder, and return its sections."""
        ...
