"""What a protocol of evaluation is: the networks it needs, what it measures, and how results are shown."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from sbmae_jax._check import require_int
from sbmae_jax.evaluation.generator import Arrays, Generator
from sbmae_jax.models.task import Params, Task
from sbmae_jax.training.config import TrainingConfig
from sbmae_jax.types import Key

View = Mapping[str, str]
"""`{name in a batch: name of an array of the data}`"""

LoadArrays = Callable[[], Arrays]
"""Gives the arrays of a split. They are read when it is called."""

Results = Mapping[str, Any]
"""All that was measured, as `results.json` holds it."""

Samples = Mapping[str, np.ndarray]
"""The samples that the report shows, as `samples.npz` holds them, under names of the form `kind/modality`."""


class Evaluator(NamedTuple):
    """A network that reads what was generated. It is trained on real examples.

    Attributes:
        task: The network and its loss.
        training: How it is trained.
        views: The arrays of the data that make its batches. Of several views a batch has rows of all.

    Example:
        What an `EvaluationProtocol` returns that reads pictures of two modalities with one classifier::

            views = ({"x": "left", "label": "label"}, {"x": "right", "label": "label"})
            {"classifier": Evaluator(classifier.task, TrainingConfig(num_steps=500), views)}
    """

    task: Task
    training: TrainingConfig
    views: tuple[View, ...]


class Headline(NamedTuple):
    """One of the main results, as the screen and the report show it.

    Attributes:
        name: What was measured.
        value: The number, with its unit or its standard error.
        remark: What it means, or what to compare it with.
    """

    name: str
    value: str
    remark: str = ""


class ReportImage(NamedTuple):
    """An image in the folder of the report.

    Attributes:
        file: The name of a PNG file.
        caption: The text below it.
        pixelated: Whether to enlarge it without smoothing, as suits samples; plots are smoothed.

    Example:
        >>> loss = ReportImage("losses.png", "The loss of each step.", pixelated=False)
        >>> ReportSection("Training", (loss,)).images[0].file
        'losses.png'
    """

    file: str
    caption: str
    pixelated: bool = True


class ReportSound(NamedTuple):
    """A sound in the report, with a player.

    Attributes:
        wav: The bytes of a WAV file, which are embedded in the page.
        caption: The text beside it.

    Example:
        >>> tone = ReportSound(b"RIFF...", "drawn, given all others")
        >>> ReportSection("Sounds", sounds=(tone,)).sounds[0].caption
        'drawn, given all others'
    """

    wav: bytes
    caption: str


class ReportSection(NamedTuple):
    """A part of the report: its images, its sounds, then a table, then a remark.

    Attributes:
        title: Its heading.
        images: What it shows first.
        table: Rows of cells, the head first.
        remark: The text below the table.
        sounds: What it plays.
    """

    title: str
    images: tuple[ReportImage, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    remark: str = ""
    sounds: tuple[ReportSound, ...] = ()


class Report(NamedTuple):
    """How the results of a protocol are shown.

    Attributes:
        headlines: `results -> headlines`: choose the main results.
        sections: `(results, samples, names, folder) -> sections`: write the images of the report into a
            folder on this machine, and return its sections. The names are those of the modalities.
    """

    headlines: Callable[[Results], list[Headline]]
    sections: Callable[[Results, Samples, tuple[str, ...], Path], list[ReportSection]]


class EvaluationProtocol(Protocol):
    """How the models of a kind of data are measured."""

    @property
    def num_rows(self) -> int:
        """How many rows of the test split are measured; 0 takes all."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows in one call of the generator."""
        ...

    @property
    def report(self) -> Report:
        """How the results are shown."""
        ...

    def evaluators(self) -> dict[str, Evaluator]:
        """Return the networks that this protocol needs, by the names of their stages."""
        ...

    def measure(
        self,
        key: Key,
        rows: Arrays,
        generator: Generator,
        evaluators: Mapping[str, Params],
        train: LoadArrays,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Measure a generator.

        Args:
            key: A typed key, for all that is generated.
            rows: The rows of the test split, `{name: [N, ...]}`: all modalities, as the model sees them, and
                where the data have them `label`, `[N]` integers, and `present`, `[N, M]` bool.
            generator: What is measured.
            evaluators: The parameters of the trained evaluators, by name.
            train: Gives the rows of the training split, to fit what the generator is compared with.

        Returns:
            All results, ready for JSON, and the samples that the report shows.
        """
        ...


def check_counts(protocol: Any, **least: int) -> None:
    """Raise ValueError if an option of a protocol is no integer or less than the least value given for it."""
    for name, low in least.items():
        require_int(name, getattr(protocol, name), low)
