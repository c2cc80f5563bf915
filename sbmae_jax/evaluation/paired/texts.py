"""Text: how often a generated string is the true one, and how many of its tokens are."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from sbmae_jax.data.tokens import END
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.evaluation.paired.baselines import join_inputs
from sbmae_jax.evaluation.paired.eval_data import EvalData
from sbmae_jax.metrics.coherence import estimate
from sbmae_jax.types import Key

ToStrings = Callable[[np.ndarray], np.ndarray]
"""`tokens [..., T] -> strings [...]`"""


def measure_texts(key: Key, eval_data: EvalData, generator: Generator) -> dict[str, Any]:
    """Measure each modality of text, given all others that a row has, beside simple guesses.

    Args:
        key: A typed key.
        eval_data: What to measure on.
        generator: The generator; its strings are the most probable ones of one draw of the latent.

    Returns:
        By modality `num_rows` and, under `model`, `neighbour` (the string of the nearest training row),
        `frequent` (the most frequent training string) and `reconstruction`, each `exact`, the share of
        strings that are the true ones, and `tokens`, the share of tokens that are.
    """
    results, test, names = {}, eval_data.test, eval_data.names
    for m, name in enumerate(names):
        others = [i for i in range(len(names)) if i != m]
        rows = np.flatnonzero(test.present[:, m] & test.present[:, others].any(axis=1))
        if name not in eval_data.texts or not len(rows):
            continue
        some = {n: np.asarray(test.arrays[n])[rows] for n in names}
        observed = test.present[rows] & (np.arange(len(names)) != m)
        train = np.asarray(eval_data.train.arrays[name])[eval_data.train.present[:, m]]
        strings, counts = np.unique(train, axis=0, return_counts=True)
        found = {
            "model": generator.complete_rows(key, some, observed)[name],
            "neighbour": train[_nearest(eval_data, m, others, rows)],
            "frequent": np.broadcast_to(strings[counts.argmax()], some[name].shape),
            "reconstruction": generator.reconstruct_rows(some)[name],
        }
        results[name] = {"num_rows": len(rows)} | {
            title: _compare(some[name], np.asarray(tokens)) for title, tokens in found.items()
        }
    return results


def _nearest(eval_data: EvalData, m: int, others: list[int], rows: np.ndarray) -> np.ndarray:
    """Return the training row, of those that have modality `m`, that is nearest to each test row."""
    train, test = eval_data.train, eval_data.test
    seen = train.present[:, m]

    def inputs(data, chosen):
        blocks = [data.blocks[i][chosen] / np.sqrt(data.blocks[i].shape[1]) for i in others]
        return join_inputs(blocks, data.present[chosen][:, others], eval_data.incomplete[others])

    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(inputs(train, seen))
    return index.kneighbors(inputs(test, rows), return_distance=False)[:, 0]


def _compare(truth: np.ndarray, made: np.ndarray) -> dict[str, Any]:
    """Compare tokens `[N, T]`; what both have behind their ends does not count."""
    same, either = truth == made, (truth != END) | (made != END)
    right = np.where(either.any(axis=1), (same & either).sum(axis=1), 1)
    return {
        "exact": estimate(same.all(axis=1).astype(float))._asdict(),
        "tokens": estimate(right / np.maximum(either.sum(axis=1), 1))._asdict(),
    }
