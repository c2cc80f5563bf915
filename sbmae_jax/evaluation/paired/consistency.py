"""Joint samples from nothing: does each modality look like the real one, and do they belong together?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from sbmae_jax.evaluation.generator import Arrays
from sbmae_jax.evaluation.paired.baselines import Baselines
from sbmae_jax.evaluation.paired.columns import flatten
from sbmae_jax.evaluation.paired.eval_data import EvalData
from sbmae_jax.metrics.frechet import frechet_distance
from sbmae_jax.metrics.prediction import shared_variance

MAX_FEATURES = 64  # of a modality, for the Fréchet distance: its first principal components
MIN_SHARED = 0.05  # of variance; with less, generated modalities have nothing to reproduce
MIN_COMPLETE = 20  # rows without gaps stand for the real ones if there are so many


def measure_distances(eval_data: EvalData, made: Arrays) -> dict[str, Any]:
    """Measure the Fréchet distance of joint samples to test rows, relative to the variance of the data.

    Features are the columns of a modality, or their first principal components.

    Args:
        eval_data: What to measure on.
        made: Joint samples, `{name: [N, ...]}`.

    Returns:
        By modality: `num_samples`, `generated`, and `real`, the distance of as many training rows, which is
        due to chance alone. A modality with fewer than two rows is left out.
    """
    results, (test, train) = {}, (eval_data.test, eval_data.train)
    for m, (name, generated) in enumerate(
        zip(eval_data.names, eval_data.encode(made), strict=True)
    ):
        real = test.blocks[m][test.present[:, m]]
        other = train.blocks[m][train.present[:, m]]
        num = min(len(generated), len(real), len(other))
        if num < 2:
            continue
        if other.shape[1] > MAX_FEATURES:
            pca = PCA(min(MAX_FEATURES, len(other)), svd_solver="randomized", random_state=0)
            pca.fit(other)
            generated, real, other = map(pca.transform, (generated, real, other))
        variance = float(np.sum(other.var(axis=0))) or 1.0
        shuffled = np.random.default_rng(0).permutation(len(other))[:num]
        results[name] = {
            "num_samples": num,
            "generated": frechet_distance(generated[:num], real[:num]) / variance,
            "real": frechet_distance(other[shuffled], real[:num]) / variance,
        }
    return results


def measure_consistency(
    eval_data: EvalData, made: Arrays, baselines: Sequence[Baselines]
) -> dict[str, Any]:
    """Measure whether generated modalities determine each other as real ones do. This needs no label.

    The linear predictor of a modality from all others, fitted to real training rows, is applied to joint
    samples and to test rows.

    Args:
        eval_data: What to measure on.
        made: Joint samples, `{name: [N, ...]}`.
        baselines: Those of each modality.

    Returns:
        Under `by_modality`: `generated` and `real`, the share of variance that the prediction has in common
        with each (`metrics.prediction.shared_variance`), and `ratio`, the first over the second. 1 is as in
        the data; 0 means that the modalities of a sample are unrelated; None where the real share is below
        MIN_SHARED.
        Under `mean`: the mean of the ratios, or None without any.
    """
    results: dict[str, Any] = {}
    test = eval_data.test
    complete = np.flatnonzero(test.present.all(axis=1))
    made_blocks = eval_data.encode(made)
    everything = np.ones((len(made_blocks[0]), len(eval_data.names)), bool)
    for m, name in enumerate(eval_data.names):
        rows = complete if len(complete) >= MIN_COMPLETE else np.flatnonzero(test.present[:, m])
        if not len(rows):
            continue

        def share(truth, blocks, present, m=m, name=name):
            predicted = baselines[m].predictors["linear"](baselines[m].gather(blocks, present))
            return shared_variance(flatten(truth), predicted, eval_data.means[name])

        blocks = [block[rows] for block in test.blocks]
        real = share(test.arrays[name][rows], blocks, test.present[rows])
        generated = share(made[name], made_blocks, everything)
        # Written so that NaN, the share of a constant modality, counts as undefined.
        defined = real >= MIN_SHARED and not np.isnan(generated)
        results[name] = {
            "generated": generated, "real": real, "ratio": generated / real if defined else None,
        }  # fmt: skip
    ratios = [entry["ratio"] for entry in results.values() if entry["ratio"] is not None]
    return {"mean": float(np.mean(ratios)) if ratios else None, "by_modality": results}
