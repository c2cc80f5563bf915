"""The rows on which a generator of paired data is measured, and those from which baselines learn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.columns import (
    VALUE_TYPE_BY_LIKELIHOOD,
    Columns,
    fit_columns,
    flatten,
    num_values,
    present_mask,
)
from sbmae_jax.evaluation.paired.questions import chunks
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import losses, ratio

MAX_TRAIN = 20_000  # rows from which baselines learn
MAX_TRAIN_BYTES = 2**30  # of these rows, as floats

Blocks = list[np.ndarray]
"""The columns of all modalities of some rows, `[N, C_m]` each."""


class PairedRows(NamedTuple):
    """Rows of paired modalities.

    Attributes:
        arrays: `{name: [N, ...]}`.
        present: The modalities that each row has, `[N, M]` bool.
        blocks: Their columns, in the order of the modalities.
        label: Their classes, `[N]`, or None if the data have none.
    """

    arrays: Arrays
    present: np.ndarray
    blocks: Blocks
    label: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class EvalData:
    """What a generator of paired data is measured on.

    Attributes:
        names: The modalities, in the order of the model.
        value_types: The type of their values, as `metrics.prediction` names it.
        images: The modalities whose samples are means, without noise.
        texts: The modalities that are strings.
        columns: How each modality becomes columns.
        means: Those of the training rows, `{name: [F]}`.
        incomplete: The modalities that some row lacks, `[M]` bool.
        test: The rows to measure on.
        train: The rows to learn from.
    """

    names: tuple[str, ...]
    value_types: Mapping[str, str]
    images: frozenset[str]
    texts: frozenset[str]
    columns: Mapping[str, Columns]
    means: Mapping[str, np.ndarray]
    incomplete: np.ndarray
    test: PairedRows
    train: PairedRows

    def encode(self, arrays: Arrays) -> Blocks:
        """Return the columns of all modalities of rows."""
        return [self.columns[name].encode(arrays[name]) for name in self.names]


def make_eval_data(likelihoods: Mapping[str, str], rows: Arrays, train: Arrays) -> EvalData:
    """Choose training rows at random, and compute the columns and the means of all modalities.

    Args:
        likelihoods: Those of the modalities by name, in the order of the model.
        rows: The rows of the test split, as `EvaluationProtocol.measure` gets them.
        train: Those of the training split.

    Raises:
        ValueError: If no training row has some modality.
    """
    names = tuple(likelihoods)
    value_types = {name: VALUE_TYPE_BY_LIKELIHOOD[how] for name, how in likelihoods.items()}
    num, size = len(train[names[0]]), sum(num_values(train[n]) for n in names)
    num_train = max(min(MAX_TRAIN, MAX_TRAIN_BYTES // (4 * size)), 2)
    chosen = np.sort(np.random.default_rng(0).permutation(num)[:num_train])
    present, train_present = present_mask(rows, names), present_mask(train, names)[chosen]
    train_label = np.asarray(train["label"])[chosen] if "label" in train else None
    train = {name: np.asarray(train[name][chosen]) for name in names}
    for name, seen in zip(names, train_present.T, strict=True):
        if not seen.any():
            raise ValueError(
                f"{name}: no training row has it: leave it out of config.modalities, or add rows that have it"
            )
    having = {name: train[name][seen] for name, seen in zip(names, train_present.T, strict=True)}
    columns = {name: fit_columns(value_types[name], x) for name, x in having.items()}

    def encode(arrays):
        return [columns[name].encode(arrays[name]) for name in names]

    label = np.asarray(rows["label"]) if "label" in rows else None
    return EvalData(
        names=names, value_types=value_types, columns=columns,
        images=frozenset(name for name, how in likelihoods.items() if how == "gaussian"),
        texts=frozenset(name for name, how in likelihoods.items() if how == "tokens"),
        means={name: flatten(x).mean(axis=0) for name, x in having.items()},
        incomplete=np.concatenate([~present, ~train_present]).sum(axis=0) > 0,
        test=PairedRows(rows, present, encode(rows), label),
        train=PairedRows(train, train_present, encode(train), train_label),
    )  # fmt: skip


def score_rows(
    eval_data: EvalData, name: str, rows: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the losses of a prediction, `{loss: [N]}`.

    Args:
        eval_data: The data.
        name: The modality that is predicted.
        rows: The numbers of the test rows, `[N]`.
        predict: The prediction: numbers in 0 .. N-1, `[B]` -> means, `[B, F]`.
    """
    truth = eval_data.test.arrays[name]
    parts = [
        losses(eval_data.value_types[name], flatten(truth[rows[some]]), predict(some))
        for some in chunks(eval_data.test.arrays, (name,), len(rows))
    ]
    return {loss: np.concatenate([part[loss] for part in parts]) for loss in parts[0]}


def score_marginal(eval_data: EvalData, name: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the losses of the training mean; arguments as in `score_rows`."""
    mean = eval_data.means[name]
    return score_rows(
        eval_data, name, rows, lambda some: np.broadcast_to(mean, (len(some), len(mean)))
    )


def summarise_losses(found: Arrays, of_marginal: Arrays) -> dict[str, Any]:
    """Return the error relative to that of the training mean, and other losses, with standard errors.

    Args:
        found: The losses of a prediction, `{loss: [N]}`. All but the error may be missing.
        of_marginal: Those of the training mean on the same rows.
    """
    entry = {"error": ratio(found["error"], of_marginal["error"])._asdict()}
    return entry | {
        name: estimate(found[name])._asdict()
        for name in ("log_loss", "accuracy", "iou")
        if name in found
    }
