r"""Fit a `FactorGaussian` to rows, some of which may lack modalities, by maximum likelihood.

EM alternates two steps. With P the coordinates that a row has, the posterior of its factors is that of
`factor_gaussian` without noise,

    C_P = (I + W_P^T psi_P^-1 W_P)^-1,      m = C_P W_P^T psi_P^-1 (z_P - mu_P),

and the rows that have coordinate i give its new values by a regression on the factors,

    (w_i, mu_i) = [sum z_i (m, 1)^T] [sum (m, 1) (m, 1)^T + (C_P, 0)]^-1,
    psi_i = mean of z_i^2 - z_i (w_i, mu_i)^T (m, 1).

Where the factors are known well, this hardly moves the scale of W. So the factors are given a mean eta and a
covariance L L^T too, found from all rows and then put into mu + W eta and W L: the model is the same, and the
iterations are few (PX-EM).

A row counts for what it has, which is right if values are missing at random given those that are not. Sums
over the rows of one pattern P depend on these rows through their second moments only. So the rows of a
pattern are replaced by the R of their QR decomposition, which has |P| + 1 rows or fewer, and the cost of an
iteration does not grow with the number of complete rows.

The number of factors is the smallest whose likelihood of held-out rows is within one standard error of the
best (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3).

Sources: Rubin and Thayer 1982 (Psychometrika 47, 69-76) for EM; Little and Rubin 2002, section 11.3, for rows
that lack values; Liu, Rubin and Wu 1998 (Biometrika 85, 755-770) for PX-EM.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sbmae_jax.models.factor_gaussian import FactorGaussian

NUMBERS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of factors that are tried."""

MAX_ROWS = 20_000
"""Rows that a fit uses; these moments need no more."""

MIN_NOISE = 1e-4
"""The smallest psi: nothing is taken to be known to better than a hundredth of its standard deviation."""

MAX_ITERATIONS, CHECK_EVERY = 500, 20
TOLERANCE = 1e-3  # nats per row gained in `CHECK_EVERY` iterations, below which EM ends
HELD_OUT_SHARE = 0.2


class _Group(NamedTuple):
    """The rows of one pattern: their number, what they have, and R, whose last column stands for the 1."""

    num: int
    modalities: np.ndarray  # [M] bool
    coordinates: np.ndarray  # [P]
    r: np.ndarray  # [m, P + 1]


class _Parameters(NamedTuple):
    loadings: np.ndarray  # [D, K]
    noise: np.ndarray  # [D]
    mean: np.ndarray  # [D]


def fit_factors(
    z: np.ndarray, sizes: Sequence[int], present: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, FactorGaussian]:
    """Fit a mean and a covariance, with as many factors as held-out rows ask for.

    Args:
        z: Standardised latents, `[N, D]`.
        sizes: Sizes of the latents, by modality; they sum to D.
        present: `[N, M]` bool, the modalities that each row has; None is all.
        seed: Decides which rows are held out, and which are used if there are many.

    Returns:
        The mean `[D]`, which is near 0 unless values are missing for a reason, and the Gaussian, in float32.

    Raises:
        ValueError: For latents that are present and not finite.
    """
    rows = np.random.default_rng(seed).permutation(len(z))[:MAX_ROWS]
    here = np.ones((len(rows), len(sizes)), bool) if present is None else np.asarray(present)[rows]
    z = np.where(np.repeat(here, sizes, axis=1), np.asarray(z, np.float64)[rows], 0)
    if not np.isfinite(z).all():
        raise ValueError(
            "latents must be finite: the encoder of some modality gives NaN or infinity"
        )
    num_held_out = int(HELD_OUT_SHARE * len(rows))
    number = 0
    if num_held_out > 1:
        train = _grouped(z[num_held_out:], here[num_held_out:], sizes)
        number = _choose_number(train, z[:num_held_out], here[:num_held_out], sizes)
    found = _fit(_grouped(z, here, sizes), number, sizes)
    loadings, noise = (jnp.asarray(array, jnp.float32) for array in found[:2])
    return found.mean.astype(np.float32), FactorGaussian(loadings, noise)


def _choose_number(
    train: list[_Group], z: np.ndarray, present: np.ndarray, sizes: Sequence[int]
) -> int:
    """Return the smallest number of factors whose likelihood of held-out rows is as good as the best."""
    numbers = [k for k in NUMBERS if k <= sum(sizes) // 2]
    values: list[np.ndarray] = []
    for number in numbers:
        values.append(_log_likelihoods(_fit(train, number, sizes), z, present, sizes))
        if len(values) > np.argmax(np.mean(values, axis=1)) + 2:  # two in a row have not helped
            break
    best = values[int(np.argmax(np.mean(values, axis=1)))]
    gaps = [best - value for value in values]
    return next(
        number
        for number, gap in zip(numbers, gaps, strict=False)
        if gap.mean() <= gap.std() / np.sqrt(len(gap))
    )


def _fit(groups: list[_Group], number: int, sizes: Sequence[int]) -> _Parameters:
    """Return the parameters of largest likelihood, from those of principal components."""
    found, last = _initial(groups, number, sizes), -np.inf
    num_rows = sum(group.num for group in groups)
    for i in range(MAX_ITERATIONS):
        found, value = _iteration(found, groups, sizes)
        if i % CHECK_EVERY == 0:
            if value - last < TOLERANCE * num_rows:
                break
            last = value
    return found


def _iteration(
    found: _Parameters, groups: list[_Group], sizes: Sequence[int]
) -> tuple[_Parameters, float]:
    """Return the parameters after an iteration of EM, and the log-likelihood of all rows before it."""
    size, number = found.loadings.shape
    with_factors, squares = np.zeros((size, number + 1)), np.zeros(size)
    second = np.zeros((len(sizes), number + 1, number + 1))
    of_all = np.zeros((number + 1, number + 1))
    counts, total = np.zeros(len(sizes)), 0.0
    for group in groups:
        z = group.r[:, :-1]
        factors, cov, value = _posterior(found, group)
        total += value.sum()
        known = np.concatenate([factors, group.r[:, -1:]], axis=1)
        of_group = known.T @ known
        of_group[:number, :number] += group.num * cov
        second[group.modalities] += of_group[None]
        of_all += of_group
        with_factors[group.coordinates] += z.T @ known
        squares[group.coordinates] += (z**2).sum(axis=0)
        counts[group.modalities] += group.num
    # The identity is for modalities that no row has.
    inverse = np.repeat(np.linalg.inv(second + 1e-6 * np.eye(number + 1)), sizes, axis=0)
    weights = (inverse @ with_factors[..., None])[..., 0]
    spent = np.einsum("dk,dkl,dl->d", weights, np.repeat(second, sizes, axis=0), weights)
    left = squares - 2 * (weights * with_factors).sum(axis=1) + spent
    noise = np.maximum(left / np.repeat(np.maximum(counts, 1), sizes), MIN_NOISE)
    noise = np.where(np.repeat(counts, sizes) > 0, noise, 1.0)
    of_all /= of_all[-1, -1]
    eta = of_all[:-1, -1]
    root = np.linalg.cholesky(of_all[:-1, :-1] - np.outer(eta, eta))
    mean = weights[:, -1] + weights[:, :-1] @ eta
    return _Parameters(weights[:, :-1] @ root, noise, mean), total


def _posterior(found: _Parameters, group: _Group) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means and covariance of the factors, and log-likelihoods, which sum to those of the rows."""
    w, psi = found.loadings[group.coordinates], found.noise[group.coordinates]
    gap = group.r[:, :-1] - group.r[:, -1:] * found.mean[group.coordinates]
    precision = np.eye(w.shape[1]) + w.T @ (w / psi[:, None])
    cov, said = np.linalg.inv(precision), gap @ (w / psi[:, None])
    factors = said @ cov
    square = (gap**2 / psi).sum(axis=1) - (said * factors).sum(axis=1)
    constant = np.linalg.slogdet(precision)[1] + np.log(2 * np.pi * psi).sum()
    return factors, cov, -0.5 * (square + constant * group.num / len(gap))


def _log_likelihoods(
    found: _Parameters, z: np.ndarray, present: np.ndarray, sizes: Sequence[int]
) -> np.ndarray:
    """Return the log-likelihood of each row [N]."""
    values = np.zeros(len(z))
    for pattern, rows in _patterns(present):
        values[rows] = _posterior(found, _group(z[rows], pattern, sizes, compressed=False))[2]
    return values


def _initial(groups: list[_Group], number: int, sizes: Sequence[int]) -> _Parameters:
    """Return the probabilistic principal components of the second moments of pairs, 0 where none are seen."""
    size = sum(sizes)
    sums, counts = np.zeros((size, size)), np.zeros((size, size))
    for group in groups:
        here = np.ix_(group.coordinates, group.coordinates)
        sums[here] += group.r[:, :-1].T @ group.r[:, :-1]
        counts[here] += group.num
    values, vectors = np.linalg.eigh(sums / np.maximum(counts, 1))
    kept = slice(size - number, size)
    rest = values[: size - number].mean()
    loadings = vectors[:, kept] * np.sqrt(np.maximum(values[kept] - rest, 0))
    noise = np.diag(sums) / np.maximum(np.diag(counts), 1) - (loadings**2).sum(axis=1)
    return _Parameters(loadings, np.maximum(noise, 0.01), np.zeros(size))


def _grouped(z: np.ndarray, present: np.ndarray, sizes: Sequence[int]) -> list[_Group]:
    """Return the rows by their patterns."""
    return [_group(z[rows], pattern, sizes) for pattern, rows in _patterns(present)]


def _patterns(present: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each pattern [M] with something present, and its rows."""
    patterns, numbers = np.unique(present, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    return [(p, np.flatnonzero(numbers == i)) for i, p in enumerate(patterns) if p.any()]


def _group(
    z: np.ndarray, pattern: np.ndarray, sizes: Sequence[int], compressed: bool = True
) -> _Group:
    """Return rows of one pattern, by the R of their QR decomposition if that is smaller."""
    coordinates = np.flatnonzero(np.repeat(pattern, sizes))
    rows = np.concatenate([z[:, coordinates], np.ones((len(z), 1))], axis=1)
    if compressed and len(rows) > rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    return _Group(len(z), pattern, coordinates, rows)
