r"""Fit the Gaussian from which a score starts: what modalities share by factors, the rest in full.

Standardised latents of modality m are modelled as z_m = mu_m + W_m f + u_m, with factors f ~ N(0, I) that all
modalities share, and u_m ~ N(0, Psi_m) of its own, of any covariance. So K factors need to hold only what one
modality says of another, and K is small. With the eigenvectors R_m of Psi_m = R_m diag(psi_m) R_m^T, the
rotated latents R_m^T (z_m - mu_m) have loadings R_m^T W_m and independent remainders. Noise of one level for
a whole modality stays the same noise when it is rotated. So rotated latents are all that a `FactorGaussian`
needs: the score is learned of them, and they are rotated back before they are decoded.

EM alternates two steps. With P the coordinates that a row has, the posterior of its factors has

    C_P = (I + sum_{m in P} W_m^T Psi_m^-1 W_m)^-1,      f_P = C_P sum_{m in P} W_m^T Psi_m^-1 (z_m - mu_m),

and the rows that have modality m give its new values by a regression on the factors,

    (W_m, mu_m) = [sum z_m (f_P, 1)^T] [sum (f_P, 1) (f_P, 1)^T + (C_P, 0)]^-1,
    Psi_m = mean of z_m z_m^T - z_m (f_P, 1)^T (W_m, mu_m)^T.

Where the factors are known well, this hardly moves the scale of W. So the factors are given a mean eta and a
covariance L L^T too, found from all rows and then put into mu + W eta and W L: the model is the same, and the
iterations are few (PX-EM). Of few rows, Psi_m is drawn towards its diagonal, as if by d_m + 1 more rows.

A row counts for what it has, which is right if values are missing at random given those that are not. Rows
are sorted by what they have (`factor_rows`), so that the cost of an iteration does not grow with the number
of complete rows.

The number of factors is the smallest whose likelihood of held-out rows is within one standard error of the
best (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3).

Sources: Browne 1980 (Brit. J. Math. Stat. Psych. 33, 184-199) and Bach and Jordan 2005 for the model, which
for two modalities is canonical correlation analysis; Rubin and Thayer 1982 (Psychometrika 47, 69-76) for EM;
Little and Rubin 2002, section 11.3, for rows that lack values; Liu, Rubin and Wu 1998 (Biometrika 85,
755-770) for PX-EM.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.factor_rows import (
    Group,
    Single,
    SortedRows,
    by_pattern,
    coordinates_of,
    group_rows,
    sort_rows,
)
from sbmae_jax.types import Array

NUMBERS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of factors that are tried."""

MAX_ROWS = 20_000
"""Rows that a fit uses; these moments need no more."""

MIN_NOISE = 1e-4
"""The smallest psi: nothing is taken to be known to better than a hundredth of its standard deviation."""

MAX_ITERATIONS, CHECK_EVERY = 200, 20
TOLERANCE = 1e-3  # nats per row gained in `CHECK_EVERY` iterations, below which EM ends
HELD_OUT_SHARE = 0.2
MIN_START = 0.1  # of the squared loadings that EM starts from, whitened


class Fit(NamedTuple):
    """A Gaussian of standardised latents.

    Attributes:
        mean: mu, `[D]`; near 0 unless values are missing for a reason.
        rotation: R_m of each modality, `[d_m, d_m]`.
        gaussian: The Gaussian of the rotated latents.
    """

    mean: Array
    rotation: tuple[Array, ...]
    gaussian: FactorGaussian


class _Parameters(NamedTuple):
    loadings: np.ndarray  # [D, K]
    noise: list[np.ndarray]  # [d, d] of each modality
    mean: np.ndarray  # [D]


def fit_factors(
    z: np.ndarray, sizes: Sequence[int], present: np.ndarray | None = None, seed: int = 0
) -> Fit:
    """Fit a mean and a covariance, with as many shared factors as held-out rows ask for.

    Args:
        z: Standardised latents, `[N, D]`.
        sizes: Sizes of the latents, by modality; they sum to D.
        present: `[N, M]` bool, the modalities that each row has; None is all.
        seed: Decides which rows are held out, and which are used if there are many.

    Returns:
        The Gaussian and the rotation of the latents that it is for.

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
    num, number = int(HELD_OUT_SHARE * len(rows)), 0
    if num > 1 and len(sizes) > 1:
        number = _choose_number(sort_rows(z[num:], here[num:], sizes), z[:num], here[:num])
    return _rotated(_fit(sort_rows(z, here, sizes), number))


def _choose_number(train: SortedRows, z: np.ndarray, present: np.ndarray) -> int:
    """Return the smallest number of factors whose likelihood of held-out rows is as good as the best."""
    numbers = [k for k in NUMBERS if k <= z.shape[1] // 2]
    values: list[np.ndarray] = []
    for number in numbers:
        found = _fit(train, number)
        values.append(_log_likelihoods(found, z, present, train.blocks))
        if len(values) > np.argmax(np.mean(values, axis=1)) + 2:  # two in a row have not helped
            break
    best = values[int(np.argmax(np.mean(values, axis=1)))]
    gaps = [best - value for value in values]
    return next(
        number
        for number, gap in zip(numbers, gaps, strict=False)
        if gap.mean() <= gap.std() / np.sqrt(len(gap))
    )


def _rotated(found: _Parameters) -> Fit:
    """Return the Gaussian of the latents rotated to the eigenvectors of each modality's own covariance."""
    pairs = [np.linalg.eigh(noise) for noise in found.noise]
    rotation = [vectors for _, vectors in pairs]
    parts = np.split(found.loadings, np.cumsum([len(r) for r in rotation])[:-1])
    loadings = np.concatenate([r.T @ w for r, w in zip(rotation, parts, strict=True)])
    noise = np.concatenate([values for values, _ in pairs])
    gaussian = FactorGaussian(jnp.asarray(loadings, jnp.float32), jnp.asarray(noise, jnp.float32))
    rotations = tuple(jnp.asarray(r, jnp.float32) for r in rotation)
    return Fit(jnp.asarray(found.mean, jnp.float32), rotations, gaussian)


def _fit(rows: SortedRows, number: int) -> _Parameters:
    """Return the parameters of largest likelihood, from those of canonical correlations."""
    found, last = _initial(rows, number), -np.inf
    num_rows = sum(group.num for group in rows.groups) + sum(len(some.z) for some in rows.single)
    for i in range(MAX_ITERATIONS):
        if i % CHECK_EVERY == 0:
            value = sum(each.sum() for each in _of_groups(found, rows.groups, rows.blocks))
            value += sum(_of_single(found, some, rows.blocks).sum() for some in rows.single)
            if value - last < TOLERANCE * num_rows:
                break
            last = value
        found = _iteration(found, rows)
    return found


def _iteration(found: _Parameters, rows: SortedRows) -> _Parameters:
    """Return the parameters after an iteration of EM."""
    size, number = found.loadings.shape
    with_factors = np.zeros((size, number + 1))
    second = np.zeros((len(rows.blocks), number + 1, number + 1))
    of_all = np.zeros((number + 1, number + 1))
    weighted = _weighted(found, rows.blocks)
    for group in rows.groups:
        _, said, cov = _posterior(found, weighted, group)
        known = np.concatenate([said @ cov, group.r[:, -1:]], axis=1)
        of_group = known.T @ known
        of_group[:number, :number] += group.num * cov
        second[group.modalities] += of_group[None]
        of_all += of_group
        with_factors[group.coordinates] += group.r[:, :-1].T @ known
    for some in rows.single:
        _, said, cov = _posteriors(found, weighted, some, rows.blocks)
        factors = np.einsum("nk,nkl->nl", said, cov)
        known = np.concatenate([factors, np.ones((len(factors), 1))], axis=1)
        of_rows = known[:, :, None] * known[:, None]
        of_rows[:, :number, :number] += cov
        flat = of_rows.reshape(len(known), (number + 1) ** 2)
        second += (some.modalities.T.astype(float) @ flat).reshape(second.shape)
        of_all += of_rows.sum(axis=0)
        with_factors += some.z.T @ known
    of_all /= of_all[-1, -1]
    eta = of_all[:-1, -1]
    root = np.linalg.cholesky(of_all[:-1, :-1] - np.outer(eta, eta))
    loadings, noise, mean = np.zeros((size, number)), [], np.zeros(size)
    for m, block in enumerate(rows.blocks):
        # The identity is for a modality that no row has.
        w = np.linalg.solve(second[m] + 1e-6 * np.eye(number + 1), with_factors[block].T).T
        explained = with_factors[block] @ w.T
        left = rows.squares[m] - explained - explained.T + w @ second[m] @ w.T
        noise.append(_shrunk(left / max(rows.counts[m], 1), rows.counts[m]))
        loadings[block], mean[block] = w[:, :-1] @ root, w[:, -1] + w[:, :-1] @ eta
    return _Parameters(loadings, noise, mean)


def _weighted(found: _Parameters, blocks: list[slice]) -> np.ndarray:
    """Return Psi^-1 W, `[D, K]`."""
    return np.concatenate([
        np.linalg.solve(noise, found.loadings[block])
        for noise, block in zip(found.noise, blocks, strict=True)
    ])  # fmt: skip


def _posterior(
    found: _Parameters, weighted: np.ndarray, group: Group
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z - mu, the sum of W^T Psi^-1 (z - mu), and the covariance C of the factors."""
    here = group.coordinates
    gap = group.r[:, :-1] - group.r[:, -1:] * found.mean[here]
    precision = np.eye(found.loadings.shape[1]) + found.loadings[here].T @ weighted[here]
    return gap, gap @ weighted[here], np.linalg.inv((precision + precision.T) / 2)


def _of_groups(
    found: _Parameters, groups: Sequence[Group], blocks: list[slice]
) -> Iterator[np.ndarray]:
    """Yield, for each group, log-likelihoods of R; they sum to that of the rows that it stands for."""
    weighted = _weighted(found, blocks)
    inverses = [np.linalg.inv(noise) for noise in found.noise]
    logs = [np.linalg.slogdet(noise)[1] for noise in found.noise]
    for group in groups:
        gap, said, cov = _posterior(found, weighted, group)
        square = -np.einsum("nk,kl,nl->n", said, cov, said)
        constant = -np.linalg.slogdet(cov)[1] + gap.shape[1] * np.log(2 * np.pi)
        start = 0
        for m in np.flatnonzero(group.modalities):
            part = gap[:, start : start + len(inverses[m])]
            square += (part * (part @ inverses[m])).sum(axis=1)
            constant += logs[m]
            start += part.shape[1]
        yield -0.5 * (square + constant * group.num / len(gap))


def _posteriors(
    found: _Parameters, weighted: np.ndarray, some: Single, blocks: list[slice]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `_posterior` does for rows of many patterns: `[n, D]`, `[n, K]` and `[n, K, K]`."""
    gap = some.z - np.where(coordinates_of(some.modalities, blocks), found.mean, 0)
    number = found.loadings.shape[1]
    each = np.stack([found.loadings[block].T @ weighted[block] for block in blocks])
    flat = each.reshape(len(blocks), number * number)
    shape = (len(gap), number, number)
    precision = (some.modalities.astype(float) @ flat).reshape(shape)
    precision = np.eye(number) + (precision + precision.transpose(0, 2, 1)) / 2
    return gap, gap @ weighted, np.linalg.inv(precision)


def _of_single(found: _Parameters, some: Single, blocks: list[slice]) -> np.ndarray:
    """Return the log-likelihood of each row [n]."""
    gap, said, cov = _posteriors(found, _weighted(found, blocks), some, blocks)
    here = coordinates_of(some.modalities, blocks)
    value = -np.einsum("nk,nkl,nl->n", said, cov, said) - np.linalg.slogdet(cov)[1]
    value += here.sum(axis=1) * np.log(2 * np.pi)
    for m, (block, noise) in enumerate(zip(blocks, found.noise, strict=True)):
        value += (gap[:, block] * (gap[:, block] @ np.linalg.inv(noise))).sum(axis=1)
        value += some.modalities[:, m] * np.linalg.slogdet(noise)[1]
    return -0.5 * value


def _log_likelihoods(
    found: _Parameters, z: np.ndarray, present: np.ndarray, blocks: list[slice]
) -> np.ndarray:
    """Return the log-likelihood of each row [N]."""
    values = np.zeros(len(z))
    patterns, alone = by_pattern(present)
    for rows in alone:
        values[rows] = _of_single(found, Single(z[rows], present[rows]), blocks)
    groups = [group_rows(z[rows], pattern, blocks, compressed=False) for pattern, rows in patterns]
    for (_, rows), each in zip(patterns, _of_groups(found, groups, blocks), strict=True):
        values[rows] = each
    return values


def _initial(rows: SortedRows, number: int) -> _Parameters:
    """Return parameters by the leading correlations of whitened modalities; pairs never seen have none."""
    size = rows.blocks[-1].stop
    sums, counts = np.zeros((size, size)), np.zeros((size, size))
    for group in rows.groups:
        here = np.ix_(group.coordinates, group.coordinates)
        sums[here] += group.r[:, :-1].T @ group.r[:, :-1]
        counts[here] += group.num
    for some in rows.single:
        sums += some.z.T @ some.z
        here = coordinates_of(some.modalities, rows.blocks).astype(float)
        counts += here.T @ here
    cov, root, whiten = sums / np.maximum(counts, 1), np.zeros_like(sums), np.zeros_like(sums)
    for m, block in enumerate(rows.blocks):
        values, vectors = np.linalg.eigh(_shrunk(cov[block, block], rows.counts[m]))
        root[block, block] = (vectors * np.sqrt(values)) @ vectors.T
        whiten[block, block] = (vectors / np.sqrt(values)) @ vectors.T
    values, vectors = np.linalg.eigh(whiten @ cov @ whiten)
    kept = slice(size - number, size)
    # From loadings of 0 EM would not move, and of single columns a factor may have a value below 1.
    white = vectors[:, kept] * np.sqrt(np.maximum(values[kept] - 1, MIN_START))
    noise = []
    for block in rows.blocks:
        left = np.eye(len(white[block])) - white[block] @ white[block].T
        values, vectors = np.linalg.eigh(left)
        vectors = root[block, block] @ vectors
        noise.append((vectors * np.maximum(values, 0.05)) @ vectors.T)
    return _Parameters(root @ white, noise, np.zeros(size))


def _shrunk(cov: np.ndarray, num: float) -> np.ndarray:
    """Return a covariance [d, d] of `num` rows, drawn towards its diagonal, with a little more on it."""
    if not num:
        return np.eye(len(cov))
    diagonal = np.diag(np.diag(cov))
    cov = cov + (len(cov) + 1) / (num + len(cov) + 1) * (diagonal - cov)
    return (cov + cov.T) / 2 + MIN_NOISE * np.eye(len(cov))
