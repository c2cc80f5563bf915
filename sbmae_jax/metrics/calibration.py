r"""Calibration: are generated values as uncertain as they should be?

Let y be the true value and x_1..x_K draws given the same observation. If all K + 1 are exchangeable, the rank
of y among the draws, the number of draws below it, is uniform over 0..K (Hamill 2001). Draws that vary too
little put the truth at the ends, draws that vary too much put it in the middle, and a bias puts it on one
side. In particular, the interval from the smallest to the largest draw contains the truth with probability

    P(0 < rank < K) = (K - 1) / (K + 1),                                                             (1)

which is 90 % for K = 19, whatever the distribution. Ties, as between counts, are broken at random, and (1)
stays exact.

The continuous ranked probability score (CRPS) of draws x_1..x_K is

    mean_k |x_k - y| - sum_ij |x_i - x_j| / (2 K (K - 1)).                                           (2)

For any K its mean is the CRPS of the distribution that the draws come from: it is a fair score (Ferro 2014).
Lower is better, and no distribution does better than the true one.

For probabilities p_i of events that happen (h_i = 1) or not (h_i = 0), the expected calibration error is

    sum over bins of |sum of (h_i - p_i) in the bin| / N.                                            (3)

Sources: Hamill 2001, Mon. Wea. Rev. 129; Gneiting and Raftery 2007, JASA 102; Ferro 2014, Q. J. R. Meteorol.
Soc. 140; for (3) Guo et al. 2017 (arXiv:1706.04599).
"""

from typing import NamedTuple

import numpy as np

from sbmae_jax._check import require_int
from sbmae_jax.metrics.rows import as_rows, require_same_shape


def ranks(truth: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how many draws lie below the truth.

    Args:
        truth: True values, `[N, F]`.
        draws: K draws for each row, `[N, K, F]`.
        rng: Breaks ties at random.

    Returns:
        `[N, F]`, integers in 0..K.

    Raises:
        ValueError: If the shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.calibration import ranks
        >>> draws = np.array([[[1.0], [2.0], [3.0]]])
        >>> ranks(np.array([[2.5]]), draws, np.random.default_rng(0)).tolist()
        [[2]]
    """
    truth, draws = as_rows("truth", truth, "N, F"), as_rows("draws", draws, "N, K, F")
    if draws.ndim != 3 or truth.shape != (draws.shape[0], draws.shape[2]):
        raise ValueError(
            f"truth must be [N, F] and draws [N, K, F], got {truth.shape} and {draws.shape}"
        )
    below = (draws < truth[:, None]).sum(axis=1)
    ties = (draws == truth[:, None]).sum(axis=1)
    return below + rng.integers(ties + 1)


def rank_shares(found: np.ndarray, num_draws: int) -> np.ndarray:
    """Return how often each rank occurs in a row.

    Args:
        found: Ranks as `ranks` returns them, `[N, F]` integers in 0..num_draws.
        num_draws: Number of draws K, in 1..100,000.

    Returns:
        `[N, K + 1]`; each row sums to 1.

    Raises:
        ValueError: If a rank or the number of draws is out of range, or the shape is another one.

    Example:
        >>> from sbmae_jax.metrics.calibration import rank_shares
        >>> rank_shares([[0, 2, 2, 1]], num_draws=2).tolist()
        [[0.25, 0.25, 0.5]]
    """
    require_int("num_draws", num_draws, 1, 100_000)
    found = as_rows("found", found, "N, F", integers=True)
    if found.min() < 0 or found.max() > num_draws:
        raise ValueError(f"found must be in 0..{num_draws}, got {found.min()} to {found.max()}")
    return np.stack([(found == rank).mean(axis=1) for rank in range(num_draws + 1)], axis=1)


def nominal_coverage(num_draws: int) -> float:
    """Return how often the range of the draws contains the truth if they are calibrated, equation (1).

    Args:
        num_draws: Number of draws K, at least 1.

    Returns:
        (K - 1) / (K + 1).

    Raises:
        ValueError: If there is less than one draw.

    Example:
        >>> from sbmae_jax.metrics.calibration import nominal_coverage
        >>> nominal_coverage(19)
        0.9
    """
    require_int("num_draws", num_draws, 1)
    return (num_draws - 1) / (num_draws + 1)


def coverage(shares: np.ndarray) -> np.ndarray:
    """Return how often the truth lies within the range of the draws.

    Args:
        shares: Shares of the ranks as `rank_shares` returns them, `[N, K + 1]`.

    Returns:
        `[N]` in 0..1; compare its mean with `nominal_coverage`.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.calibration import coverage
        >>> coverage([[0.25, 0.25, 0.5]]).tolist()
        [0.25]
    """
    shares = as_rows("shares", shares, "N, K + 1")
    return shares[:, 1:-1].sum(axis=1)


def bias(shares: np.ndarray) -> np.ndarray:
    """Return by how much the truth ranks too high.

    Args:
        shares: Shares of the ranks as `rank_shares` returns them, `[N, K + 1]`.

    Returns:
        `[N]` in -1/2..1/2: 0 without bias; above 0 if the draws are too low, because the truth then ranks
        high; below 0 if they are too high.

    Raises:
        ValueError: If the shape is another one, or a value is not finite.

    Example:
        >>> from sbmae_jax.metrics.calibration import bias
        >>> narrow, too_low = [0.5, 0.0, 0.5], [0.25, 0.25, 0.5]
        >>> bias([narrow, too_low]).tolist()
        [0.0, 0.125]
    """
    shares = as_rows("shares", shares, "N, K + 1")
    return shares @ np.linspace(-0.5, 0.5, shares.shape[1])


def crps(truth: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score, equation (2), averaged over the features.

    Args:
        truth: True values, `[N, F]`.
        draws: K draws for each row, `[N, K, F]` with K at least 2.

    Returns:
        `[N]`, in the unit of the values; lower is better.

    Raises:
        ValueError: If there are fewer than two draws, the shapes do not fit, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> from sbmae_jax.metrics.calibration import crps
        >>> truth, draws = np.array([[1.0, 0.0]]), np.array([[[0.0, 1.0], [4.0, 1.0]]])
        >>> crps(truth, draws).tolist()  # (1 + 3) / 2 - 4 / 2 = 0, and 1 - 0
        [0.5]
    """
    truth, draws = as_rows("truth", truth, "N, F"), as_rows("draws", draws, "N, K, F")
    require_same_shape(truth=truth, draws=draws[:, 0])
    num_draws = draws.shape[1]
    if num_draws < 2:
        raise ValueError(f"draws must be [N, K, F] with K at least 2, got shape {draws.shape}")
    distance = np.abs(draws - truth[:, None]).mean(axis=(1, 2), dtype=np.float64)
    # Once sorted, draw number i is added i times and subtracted K - 1 - i times in the sum over pairs.
    weights = 2 * np.arange(num_draws) - num_draws + 1
    pairs = np.einsum("k,nkf->n", weights.astype(np.float64), np.sort(draws, axis=1))
    return distance - pairs / (num_draws * (num_draws - 1) * draws.shape[2])


class Reliability(NamedTuple):
    """Predicted probabilities against observed frequencies, by bins of probability.

    Attributes:
        error: Expected calibration error, equation (3).
        by_chance: What the error would be on average if the probabilities were right and events independent.
        probability: Mean probability of each bin that is not empty.
        share: How often the event happened in each of these bins.
        weight: Share of all events that are in each of these bins.

    Example:
        >>> from sbmae_jax.metrics.calibration import Reliability
        >>> found = Reliability(0.1, 0.02, [0.3, 0.8], [0.2, 0.9], [0.5, 0.5])
        >>> found.error > 2 * found.by_chance  # not calibrated
        True
    """

    error: float
    by_chance: float
    probability: list[float]
    share: list[float]
    weight: list[float]


def reliability(probability: np.ndarray, hit: np.ndarray, num_bins: int = 10) -> Reliability:
    """Compare predicted probabilities with what happened, in bins of equal width.

    Args:
        probability: `[N]` in 0..1.
        hit: Whether the event happened, `[N]`, 0 or 1.
        num_bins: Number of bins, at least 1.

    Returns:
        The calibration error and the bins.

    Raises:
        ValueError: If a value or the number of bins is out of range, or the shapes do not fit.

    Example:
        >>> from sbmae_jax.metrics.calibration import reliability
        >>> found = reliability([0.2, 0.2, 0.9, 0.9], [0, 0, 1, 1])
        >>> round(found.error, 3), found.share
        (0.15, [0.0, 1.0])
    """
    require_int("num_bins", num_bins, 1, 1_000_000)
    probability, hit = as_rows("probability", probability).astype(np.float64), as_rows("hit", hit)
    require_same_shape(probability=probability, hit=hit)
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
