"""Joint samples from nothing: is each modality like the real one, and do they belong together?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.columns import flat
from sbmae_jax.evaluation.paired.eval_data import Baselines, EvalData
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.metrics.prediction import shared_variance

MAX_FEATURES = 64  # of a modality, for the Fréchet distance: its first principal components
MIN_SHARED = 0.05  # of variance; with less there is nothing that generated modalities could show
MIN_COMPLETE = 20  # rows without gaps, if there are so many, stand for the real ones


def measure_distances(eval_data: EvalData, made: Arrays) -> dict[str, Any]:
    """Return by modality the Fréchet distance of samples to test rows, over the variance of the data.

    "generated": of the samples.  "real": of as many training rows, which is what chance alone makes of it.
    Features are the columns of the modality, or their first principal components. A modality of which there
    are fewer than two rows is left out.
    """
    results = {}
    for name, made_columns, test, train, seen, train_seen in zip(
        eval_data.names, eval_data.read(made), eval_data.blocks, eval_data.train_blocks,
        eval_data.present.T, eval_data.train_present.T, strict=True,
    ):  # fmt: skip
        test, train = test[seen], train[train_seen]
        num = min(len(made_columns), len(test), len(train))
        if num < 2:
            continue
        if train.shape[1] > MAX_FEATURES:
            pca = PCA(min(MAX_FEATURES, len(train)), svd_solver="randomized", random_state=0).fit(
                train
            )
            made_columns, test, train = map(pca.transform, (made_columns, test, train))
        variance = float(np.sum(train.var(axis=0))) or 1.0
        shuffled = np.random.default_rng(0).permutation(len(train))[:num]
        results[name] = {
            "num_samples": num,
            "generated": frechet_distance(made_columns[:num], test[:num]) / variance,
            "real": frechet_distance(train[shuffled], test[:num]) / variance,
        }
    return results


def measure_consistency(
    eval_data: EvalData, made: Arrays, baselines: Sequence[Baselines]
) -> dict[str, Any]:
    """Return how far generated modalities determine each other as real ones do, without any label.

    The linear predictor of a modality from all others, fitted on real training rows, is applied to joint
    samples and to test rows. "generated", "real": the share of variance that it has in common with each, by
    `shared_variance`.  "ratio": the first over the second; 1 is that of the data, 0 means that the modalities
    of a sample have nothing to do with each other. It is None where the share of the real ones is less than
    MIN_SHARED.  "mean": of the ratios, None if there is none.
    """
    results: dict[str, Any] = {}
    whole = np.flatnonzero(eval_data.present.all(axis=1))
    made_blocks = eval_data.read(made)
    everything = np.ones((len(made_blocks[0]), len(eval_data.names)), bool)
    for m, name in enumerate(eval_data.names):
        rows = whole if len(whole) >= MIN_COMPLETE else np.flatnonzero(eval_data.present[:, m])
        if not len(rows):
            continue

        def share(truth, blocks, present, m=m, name=name):
            predicted = baselines[m].predictors["linear"](baselines[m].gather(blocks, present))
            return shared_variance(flat(truth), predicted, eval_data.means[name])

        blocks = [block[rows] for block in eval_data.blocks]
        real = share(eval_data.rows[name][rows], blocks, eval_data.present[rows])
        generated = share(made[name], made_blocks, everything)
        # Not "less": a constant modality has NaN.
        defined = real >= MIN_SHARED and not np.isnan(generated)
        results[name] = {
            "generated": generated, "real": real, "ratio": generated / real if defined else None,
        }  # fmt: skip
    ratios = [entry["ratio"] for entry in results.values() if entry["ratio"] is not None]
    return {"mean": float(np.mean(ratios)) if ratios else None, **results}
