r"""Calibration: is the truth one more draw, as likely here as there among those that are generated?

If a truth y and K draws of y given the same observation are exchangeable, then the rank of y among them, the
number of draws below it, is uniform over 0..K (Hamill 2001). Draws that vary too little put the truth at the
ends, draws that vary too much into the middle, and a bias puts it on one side. In particular the interval
from the least to the largest draw holds the truth with probability

    P(0 < rank < K) = (K - 1) / (K + 1),                                                             (1)

90 % for K = 19, without any assumption on the distribution. Ties, as counts have them, are broken at random,
and (1) stays exact.

The continuous ranked probability score of draws x_1..x_K is

    mean_k |x_k - y| - sum_ij |x_i - x_j| / (2 K (K - 1)),                                           (2)

whose mean is, for any K, that of the distribution from which they are drawn: a fair score (Ferro 2014).
Lower is better, and no distribution does better than the true one.

Sources: Hamill 2001, Mon. Wea. Rev. 129; Gneiting and Raftery 2007, JASA 102; Ferro 2014, Q. J. R.
Meteorol. Soc. 140; for (3) below Guo et al. 2017 (arXiv:1706.04599).
"""

from typing import NamedTuple

import numpy as np

from sbmae_jax._check import require_int
from sbmae_jax.metrics.rows import rows, same_shape


def ranks(truth: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how many draws lie below the truth, ties broken at random by `rng`: [N, F] in 0..K.

    truth: [N, F].  draws: [N, K, F].

    Raises ValueError if the shapes do not fit, and for values that are not finite.
    """
    truth, draws = rows("truth", truth, "N, F"), rows("draws", draws, "N, K, F")
    if draws.ndim != 3 or truth.shape != (draws.shape[0], draws.shape[2]):
        raise ValueError(
            f"truth must be [N, F] and draws [N, K, F], got {truth.shape} and {draws.shape}"
        )
    below = (draws < truth[:, None]).sum(axis=1)
    ties = (draws == truth[:, None]).sum(axis=1)
    return below + rng.integers(ties + 1)


def rank_shares(found: np.ndarray, num_draws: int) -> np.ndarray:
    """Return how often each rank occurs in a row: [N, F] in 0..K -> [N, K + 1], each row summing to 1.

    Raises ValueError for ranks that are not [N, F] of whole numbers in 0..K, and a K not in 1..100,000.
    """
    require_int("num_draws", num_draws, 1, 100_000)
    found = rows("found", found, "N, F", whole=True)
    if found.min() < 0 or found.max() > num_draws:
        raise ValueError(f"found must be in 0..{num_draws}, got {found.min()} to {found.max()}")
    return np.stack([(found == rank).mean(axis=1) for rank in range(num_draws + 1)], axis=1)


def nominal_coverage(num_draws: int) -> float:
    """Return equation (1): how often the range of the draws holds the truth if they are right.

    Raises ValueError for fewer than one draw.
    """
    require_int("num_draws", num_draws, 1)
    return (num_draws - 1) / (num_draws + 1)


def coverage(shares: np.ndarray) -> np.ndarray:
    """Return how often the truth is within the range of the draws, from `rank_shares`: [N] in 0..1.

    Raises ValueError for shares that are not [N, K + 1], or not finite.
    """
    shares = rows("shares", shares, "N, K + 1")
    return shares[:, 1:-1].sum(axis=1)


def bias(shares: np.ndarray) -> np.ndarray:
    """Return by how much the truth ranks too high, from `rank_shares`: [N] in -1/2..1/2; 0 is right.

    Errors as `coverage`.
    """
    shares = rows("shares", shares, "N, K + 1")
    return shares @ np.linspace(-0.5, 0.5, shares.shape[1])


def crps(truth: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return equation (2), averaged over the features: truth [N, F], draws [N, K, F] -> [N].

    Raises ValueError if there are fewer than two draws, for shapes that do not fit, and for values that are
    not finite.
    """
    truth, draws = rows("truth", truth, "N, F"), rows("draws", draws, "N, K, F")
    same_shape(truth=truth, draws=draws[:, 0])
    num_draws = draws.shape[1]
    if num_draws < 2:
        raise ValueError(f"draws must be [N, K, F] with K at least 2, got shape {draws.shape}")
    distance = np.abs(draws - truth[:, None]).mean(axis=(1, 2), dtype=np.float64)
    # Sorted, the draw number i is added i times and taken off K - 1 - i times in the sum over pairs.
    weights = 2 * np.arange(num_draws) - num_draws + 1
    pairs = np.einsum("k,nkf->n", weights.astype(np.float64), np.sort(draws, axis=1))
    return distance - pairs / (num_draws * (num_draws - 1) * draws.shape[2])


class Reliability(NamedTuple):
    """Probabilities against what happened, by bin of probability.

    error: expected calibration error, the mean over all of |share - probability| by bin,        (3)
    by_chance: what it would be on average if the probabilities were right and all hits independent.
    probability, share, weight: of each bin that is not empty: the mean probability, how often it happened,
        and the share of all that are in this bin.
    """

    error: float
    by_chance: float
    probability: list[float]
    share: list[float]
    weight: list[float]


def reliability(probability: np.ndarray, hit: np.ndarray, num_bins: int = 10) -> Reliability:
    """Compare probabilities [N] with what happened [N], 0 or 1, in bins of equal width.

    Raises ValueError for probabilities that are not [N] in 0..1, hits that are not as many, each 0 or 1, and
    fewer than one bin.
    """
    require_int("num_bins", num_bins, 1, 1_000_000)
    probability, hit = rows("probability", probability).astype(np.float64), rows("hit", hit)
    same_shape(probability=probability, hit=hit)
    if probability.min() < 0 or probability.max() > 1:
        raise ValueError("probability must be in 0..1")
    if not np.isin(hit, (0, 1)).all():
        raise ValueError("hit must be 0 or 1")
    bins = np.minimum((probability * num_bins).astype(int), num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    total = np.bincount(bins, probability, num_bins)

    def error(hits):
        return float(np.abs(np.bincount(bins, hits, num_bins) - total).sum() / len(bins))

    rng = np.random.default_rng(0)
    chance = [error(rng.random(len(bins)) < probability) for _ in range(20)]
    filled = count > 0
    share = np.bincount(bins, hit, num_bins)[filled] / count[filled]
    return Reliability(
        error(hit), float(np.mean(chance)), (total[filled] / count[filled]).tolist(),
        share.tolist(), (count[filled] / len(bins)).tolist(),
    )  # fmt: skip
