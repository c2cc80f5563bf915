"""What a generator of paired data is measured on, and what it is compared with."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.baselines import (
    Predict,
    Target,
    fit_linear,
    fit_neighbours,
    inputs,
)
from sbmae_jax.evaluation.paired.columns import (
    VALUE_TYPE_BY_LIKELIHOOD,
    Columns,
    fit_columns,
    flat,
    present_rows,
)
from sbmae_jax.evaluation.paired.questions import chunks
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.metrics.prediction import losses, ratio

MAX_TRAIN = 20_000  # rows from which predictors learn
MAX_TRAIN_BYTES = 2**30  # of these rows, as floats

Blocks = list[np.ndarray]
"""the columns of all modalities of some rows: [N, C_m] each"""


class EvalData(NamedTuple):
    """The rows to measure on, and what predictors learn from.

    value_types: by name.  rows: of the test split.  train: rows of the training split.
    present, train_present: [N, M] bool.  blocks, train_blocks: of the same rows.
    means: {name: [F]} of the training rows.  incomplete: [M], the modalities that some row lacks.
    pictures: the modalities whose draws are means, without noise.
    label, train_label: [N], or None where the data have none.
    """

    names: tuple[str, ...]
    value_types: Mapping[str, str]
    rows: Arrays
    present: np.ndarray
    blocks: Blocks
    train: Arrays
    train_present: np.ndarray
    train_blocks: Blocks
    columns: Mapping[str, Columns]
    means: Mapping[str, np.ndarray]
    incomplete: np.ndarray
    pictures: frozenset[str]
    label: np.ndarray | None
    train_label: np.ndarray | None

    def read(self, rows: Arrays) -> Blocks:
        """Return the columns of all modalities of rows."""
        return [self.columns[name].read(rows[name]) for name in self.names]


def make_eval_data(likelihoods: Mapping[str, str], rows: Arrays, train: Arrays) -> EvalData:
    """Choose training rows at random, and learn the columns and the means of all modalities.

    likelihoods: of the modalities by name, in their order.

    Raises ValueError if no training row has some modality.
    """
    names = tuple(likelihoods)
    value_types = {name: VALUE_TYPE_BY_LIKELIHOOD[how] for name, how in likelihoods.items()}
    num, size = len(train[names[0]]), sum(int(np.prod(train[n].shape[1:])) for n in names)
    num_train = max(min(MAX_TRAIN, MAX_TRAIN_BYTES // (4 * size)), 2)
    chosen = np.sort(np.random.default_rng(0).permutation(num)[:num_train])
    train_present = present_rows(train, names)[chosen]
    train_label = np.asarray(train["label"])[chosen] if "label" in train else None
    train = {name: np.asarray(train[name][chosen]) for name in names}
    for name, seen in zip(names, train_present.T, strict=True):
        if not seen.any():
            raise ValueError(
                f"{name}: no training row has it: leave it out of config.modalities, or add rows that do"
            )
    having = {name: train[name][seen] for name, seen in zip(names, train_present.T, strict=True)}
    columns = {name: fit_columns(value_types[name], x) for name, x in having.items()}
    present = present_rows(rows, names)
    return EvalData(
        names, value_types, rows, present, [columns[name].read(rows[name]) for name in names],
        train, train_present, [columns[name].read(train[name]) for name in names], columns,
        means={name: flat(x).mean(axis=0) for name, x in having.items()},
        incomplete=np.concatenate([~present, ~train_present]).sum(axis=0) > 0,
        pictures=frozenset(name for name, how in likelihoods.items() if how == "gaussian"),
        label=np.asarray(rows["label"]) if "label" in rows else None, train_label=train_label,
    )  # fmt: skip


def score_rows(
    eval_data: EvalData, name: str, rows: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the losses of a prediction on some test rows, by name: each [N].

    predict: numbers in 0 .. N-1 -> mean [.., F].
    """
    parts = [
        losses(eval_data.value_types[name], flat(eval_data.rows[name][rows[some]]), predict(some))
        for some in chunks(eval_data.rows, (name,), len(rows))
    ]
    return {figure: np.concatenate([part[figure] for part in parts]) for figure in parts[0]}


def marginal(eval_data: EvalData, name: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the losses of the training mean on some test rows, by name: each [N]."""
    mean = eval_data.means[name]
    return score_rows(
        eval_data, name, rows, lambda some: np.broadcast_to(mean, (len(some), len(mean)))
    )


def summary(found: Arrays, of_marginal: Arrays) -> dict[str, Any]:
    """Return error, over the marginal's, log loss and accuracy, as far as there are: {mean, se} each."""
    entry = {"error": ratio(found["error"], of_marginal["error"])._asdict()}
    return entry | {
        name: estimate(found[name])._asdict() for name in ("log_loss", "accuracy") if name in found
    }


class Baselines(NamedTuple):
    """Predictors of one modality from all others, by name.

    gather: (columns, present [N, M]) of rows -> their inputs.
    """

    gather: Callable[[Blocks, np.ndarray], np.ndarray]
    predictors: Mapping[str, Predict]


def fit_baselines(eval_data: EvalData, m: int) -> Baselines:
    """Fit linear regression and nearest neighbours to the modality number m, given all others."""
    name, others = eval_data.names[m], [i for i in range(len(eval_data.names)) if i != m]

    def gather(blocks, present):
        some = [blocks[i] for i in others]
        return inputs(some, present[:, others], eval_data.incomplete[others])

    seen = eval_data.train_present[:, m]
    x = gather([block[seen] for block in eval_data.train_blocks], eval_data.train_present[seen])
    target = Target(eval_data.columns[name], flat(eval_data.train[name][seen]))
    # The second way to weight: each modality, and each column that tells what is missing, counts the same.
    widths = [eval_data.train_blocks[i].shape[1] for i in others]
    flags = np.ones(x.shape[1] - sum(widths))
    weights = np.concatenate([*(np.full(w, w**-0.5) for w in widths), flags], dtype=np.float32)
    return Baselines(
        gather,
        {"linear": fit_linear(x, target), "neighbours": fit_neighbours(x, weights, target)},
    )


def baseline_losses(
    eval_data: EvalData, baselines: Baselines, name: str, rows: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Return the losses of all rivals on some test rows, by name."""
    x = baselines.gather([block[rows] for block in eval_data.blocks], eval_data.present[rows])
    return {
        title: score_rows(eval_data, name, rows, lambda some, predict=predict: predict(x[some]))
        for title, predict in baselines.predictors.items()
    }
