"""Factors: labels of a row, of which there may be several, and the networks that read them from samples.

A factor is an array of the data, or one entry of a vector of bits. Where the array is a modality too, the
factor can be given to the model, and the model generates it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sbmae_jax.evaluation.generator import Read
from sbmae_jax.evaluation.labels.evaluators import Classify, compile_classifier
from sbmae_jax.models.classifier import Classifier
from sbmae_jax.models.task import Params, Task


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A label of a row.

    Attributes:
        name: How the results call it, as "digit" or "attributes.Smiling".
        array: The array of the data that holds it.
        classes: The names of its classes, at least two.
        entry: The entry of the array that is 1 for the second class, and 0 for the first; None where the
            whole array says the class, as an integer `[N]` or one-hot `[N, C]`.

    Raises:
        ValueError: For fewer than two classes.

    Example:
        >>> import numpy as np
        >>> smiling = Factor(name="smiling", array="bits", classes=("no", "yes"), entry=1)
        >>> smiling.read(np.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
        [0, 1]
    """

    name: str
    array: str
    classes: tuple[str, ...]
    entry: int | None = None

    def __post_init__(self):
        if len(self.classes) < 2:
            raise ValueError(
                f"the factor {self.name!r} has one class, so nothing can agree or differ in it: leave it out"
            )

    def read(self, array: Any) -> Any:
        """Return the classes, `[N]` integers, of values of the array, NumPy's or JAX's; probabilities too."""
        if self.entry is not None:
            flat = array.reshape(array.shape[0], -1)
            return (flat[:, self.entry] > 0.5).astype(np.int32)
        return (array.argmax(axis=-1) if array.ndim > 1 else array).astype(np.int32)

    def is_known(self, array: Any) -> Any:
        """Return which rows say the class, `[N]` bool: no integers below 0, and no vectors of zeros."""
        if self.entry is not None:
            return array.reshape(array.shape[0], -1)[:, self.entry] >= 0
        if array.ndim > 1:
            return array.sum(axis=-1) > 0.5
        return (array >= 0) & (array < len(self.classes))


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """The network that reads a factor from views of one shape.

    Attributes:
        factor: What it reads.
        views: The modalities that it reads it from.
        classifier: The network.
        stage: The name of its training.
    """

    factor: Factor
    views: tuple[str, ...]
    classifier: Classifier
    stage: str

    @property
    def task(self) -> Task:
        """Its training, on batches of a view `x` and the array `label`; unknown labels do not count."""
        task, factor = self.classifier.task, self.factor

        def read(batch):
            return {"x": batch["x"], "label": factor.read(batch["label"])}

        def loss(params, key, batch):
            error, metrics = task.loss(params, key, read(batch))
            return error * factor.is_known(batch["label"]), metrics

        return Task(lambda key, batch: task.init(key, read(batch)), loss)


def make_factor_reader(
    factors: tuple[Factor, ...],
    views: tuple[str, ...],
    verifiers: tuple[Verifier, ...],
    params: Mapping[str, Params],
    stated: tuple[Factor, ...],
) -> Read:
    """Return the function that reads all factors from samples.

    Args:
        factors: What to read.
        views: What to read it from.
        verifiers: The networks: one for each factor and each view.
        params: Their parameters, by the name of their stage.
        stated: The factors that are modalities, whose values are read as they are.

    Returns:
        A function `{name: [B, *shape]} -> {"class/FACTOR": [B, V], "features/FACTOR/VIEW": [B, F]}`, and
        `stated/FACTOR`, `[B]`, the generated label.
    """
    classify: dict[tuple[str, str], Classify] = {}
    for verifier in verifiers:
        bound = compile_classifier(verifier.classifier, params[verifier.stage])
        classify |= {(verifier.factor.name, view): bound for view in verifier.views}

    def read(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = {}
        for factor in factors:
            pairs = [classify[factor.name, view](batch[view]) for view in views]
            found[f"class/{factor.name}"] = np.stack([classes for classes, _ in pairs], axis=1)
            for view, (_, features) in zip(views, pairs, strict=True):
                found[f"features/{factor.name}/{view}"] = np.asarray(features)
        for factor in stated:
            found[f"stated/{factor.name}"] = factor.read(np.asarray(batch[factor.array]))
        return found

    return read
