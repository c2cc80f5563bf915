"""Distributions of which everything is known: mixtures of Gaussians, and the Gaussian.

Noised, conditioned or both, such a mixture stays one. With C_k the covariance of component k, which the
components may share, and C_kt = alpha^2 C_k + sigma^2 I,

    p_t(x)       = sum_k w_k N(x; alpha m_k, C_kt),     one eigenbasis of each C_k for all t
    p(x_U | x_O) = sum_k r_k(x_O) N(x_U; m_kU + A_k (x_O - m_kO), C_kUU - A_k C_kOU),
                   A_k = C_kUO C_kOO^-1,   r_k(x_O) proportional to w_k N(x_O; m_kO, C_kOO).

So the score at any t, the density, every conditional and its own score are exact; for one component so is
the flow of the probability-flow ODE, which only rescales each eigenvector.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """weights: [K].  means: [K, D].  cov: [D, D] of all components, or [K, D, D]; all numpy float64."""

    weights: np.ndarray
    means: np.ndarray
    cov: np.ndarray

    @property
    def covs(self):
        """Covariance of each component, [K, D, D]."""
        return np.broadcast_to(self.cov, (len(self.weights), *self.cov.shape[-2:]))

    @property
    def mean(self):
        return self.weights @ self.means

    @property
    def covariance(self):
        """Covariance of the whole mixture."""
        gap = self.means - self.mean
        within = np.tensordot(self.weights, self.covs, 1)
        return within + (self.weights[:, None] * gap).T @ gap

    def noised(self, sde, t):
        """Return p_t, for a float t."""
        alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
        noise = sigma**2 * np.eye(self.cov.shape[-1])
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.cov + noise)

    def sample(self, key, num):
        pick_key, noise_key = jax.random.split(key)
        pick = jax.random.choice(pick_key, len(self.weights), (num,), p=jnp.asarray(self.weights))
        roots = jnp.asarray(np.linalg.cholesky(self.cov))
        noise = jax.random.normal(noise_key, (num, self.cov.shape[-1]))
        roots = roots.astype(noise.dtype)
        if roots.ndim == 2:
            return jnp.asarray(self.means)[pick] + noise @ roots.T
        return jnp.asarray(self.means)[pick] + jnp.einsum("nde,ne->nd", roots[pick], noise)

    def log_joint(self, x, coordinates=slice(None)):
        """Return ln w_k N(x; m_k, C_k) on some coordinates, in float64: [B, K]."""
        x = np.asarray(x, np.float64)[:, coordinates]
        means, covs = self.means[:, coordinates], self.covs[:, coordinates][:, :, coordinates]
        logs = []
        for weight, mean, root in zip(self.weights, means, np.linalg.cholesky(covs), strict=True):
            square = (((x - mean) @ np.linalg.inv(root).T) ** 2).sum(-1)
            constant = np.log(np.diag(root)).sum() + 0.5 * x.shape[1] * np.log(2 * np.pi)
            logs.append(np.log(weight) - 0.5 * square - constant)
        return np.stack(logs, axis=1)

    def log_prob(self, x):
        return np.logaddexp.reduce(self.log_joint(x), axis=1)

    def responsibilities(self, x, coordinates=slice(None)):
        """Return the posterior probabilities of the components given some coordinates: [B, K].

        Their mean over exact samples is `weights`, however much the components overlap.
        """
        log_joint = self.log_joint(x, coordinates)
        return np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=1)[:, None])

    def conditionals(self, mask):
        """Return the coordinates O and U, each A_k and each covariance of U given O."""
        seen, free = np.flatnonzero(mask), np.flatnonzero(~np.asarray(mask))
        cross = self.covs[:, free][:, :, seen]
        gains = cross @ np.linalg.inv(self.covs[:, seen][:, :, seen])
        covs = self.covs[:, free][:, :, free] - gains @ cross.transpose(0, 2, 1)
        if self.cov.ndim == 2:
            return seen, free, gains[0], covs[0]
        return seen, free, gains, covs

    def given(self, value, mask):
        """Return the mixture of the coordinates outside the mask, given one value: [D], [D]."""
        seen, free, gains, covs = self.conditionals(mask)
        value = np.asarray(value, np.float64)
        gap = (value[seen] - self.means[:, seen])[:, :, None]
        weights = self.responsibilities(value[None], seen)[0]
        return Mixture(weights, self.means[:, free] + (gains @ gap)[..., 0], covs)

    def score(self, sde):
        """Return the exact `(x, t) -> score` of p_t, differentiable and batched."""
        values, vectors = np.linalg.eigh(self.cov)
        means = (self.means[:, None] @ vectors)[:, 0]
        values, vectors, means = (jnp.asarray(v) for v in (values, vectors, means))
        log_weights = jnp.log(jnp.asarray(self.weights))

        def score(x, t):
            if self.cov.ndim == 3:
                return _widths_score(sde, x, t, values, vectors, means[None], log_weights[None])
            return _mixture_score(sde, x, t, values, vectors, means, log_weights[None])

        return score

    def conditional_score(self, sde, mask):
        """Return the exact score of p_t(x_U | x_O), reading the clean x_O from x; zero on O."""
        seen, free, gains, covs = self.conditionals(mask)
        values, vectors = np.linalg.eigh(covs)
        roots = np.linalg.inv(np.linalg.cholesky(self.covs[:, seen][:, :, seen]))
        log_weights = np.log(self.weights) + np.log(np.diagonal(roots, 0, 1, 2)).sum(1)
        means, seen_means = (self.means[:, None, free] @ vectors)[:, 0], self.means[:, seen]
        constants = values, vectors, np.swapaxes(gains, -1, -2) @ vectors, roots, means, seen_means
        values, vectors, gains, roots, means, seen_means = (jnp.asarray(v) for v in constants)
        log_weights = jnp.asarray(log_weights)

        def score(x, t):
            gap = x[:, None, seen] - seen_means[None]
            white = jnp.einsum("kde,bke->bkd", roots, gap)
            log_r = log_weights[None] - 0.5 * jnp.sum(white**2, axis=-1)
            if self.cov.ndim == 3:
                moved = means[None] + jnp.einsum("bks,ksu->bku", gap, gains)
                part = _widths_score(sde, x[:, free], t, values, vectors, moved, log_r)
            else:
                shift, moved = x[:, seen] @ gains, means - seen_means @ gains
                part = _mixture_score(sde, x[:, free], t, values, vectors, moved, log_r, shift)
            return jnp.zeros_like(x).at[:, free].set(part)

        return score

    def flow(self, sde, x, t, t_next):
        """Follow the probability-flow ODE exactly, for one component: [B, D] -> [B, D]."""
        values, vectors = np.linalg.eigh(self.covs[0])
        mean = self.means[0]

        def spread(s):
            return np.sqrt(float(sde.alpha(s)) ** 2 * values + float(sde.sigma(s)) ** 2)

        y = (np.asarray(x, np.float64) - float(sde.alpha(t)) * mean) @ vectors
        y = y * spread(t_next) / spread(t)
        return y @ vectors.T + float(sde.alpha(t_next)) * mean


def _mixture_score(sde, x, t, values, vectors, means, log_weights, shift=0.0):
    # In the eigenbasis, components are products of one-dimensional Gaussians that differ in mean only,
    # so the squares of x cancel in the responsibilities and the rest is two matrix products.
    alpha = sde.alpha(t)
    precision = 1 / (alpha**2 * values + sde.sigma(t) ** 2)[None]
    y = x @ vectors - alpha * shift
    scaled = alpha * means * precision
    log_r = log_weights + y @ scaled.T - 0.5 * alpha * jnp.sum(means * scaled, axis=1)[None]
    r = jax.nn.softmax(log_r, axis=-1)
    return (r @ scaled - y * precision) @ vectors.T


def _widths_score(sde, x, t, values, vectors, means, log_weights):
    # As above, but each component k has an eigenbasis of its own, in which means, [B or 1, K, D], are given.
    alpha = sde.alpha(t)
    precision = 1 / (alpha**2 * values + sde.sigma(t) ** 2)[None]
    gap = jnp.einsum("bd,kde->bke", x, vectors) - alpha * means
    log_r = log_weights + 0.5 * jnp.sum(jnp.log(precision) - gap**2 * precision, axis=-1)
    r = jax.nn.softmax(log_r, axis=-1)[..., None]
    return -jnp.einsum("bke,kde->bd", r * precision * gap, vectors)


def gaussian(mean, cov):
    return Mixture(np.ones(1), np.asarray(mean, np.float64)[None], np.asarray(cov, np.float64))


def three_modalities():
    """One Gaussian over modalities of 1, 2 and 2 coordinates, correlated within and across."""
    rng = np.random.default_rng(7)
    factors = rng.normal(size=(5, 3))
    cov = factors @ factors.T + 0.5 * np.eye(5)
    scale = np.sqrt(np.diag(cov))
    return gaussian([0.3, -0.5, 0.2, 0.0, 0.4], cov / np.outer(scale, scale))


def pair(correlation=0.8):
    """Two unit-variance Gaussian coordinates."""
    return gaussian([0.0, 0.0], [[1.0, correlation], [correlation, 1.0]])


def two_modes():
    """A mixture in the plane, of unequal components."""
    return Mixture(
        np.array([0.3, 0.7]),
        np.array([[1.5, 1.0], [-0.7, -0.6]]),
        np.array([[0.2, 0.05], [0.05, 0.1]]),
    )


def two_width():
    """Two modes of equal weight in 12 dimensions, one of them 7 times as narrow: N(.5, .02) and N(-.5, 1)."""
    means, cov = np.full((2, 12), 0.5), np.eye(12)
    return Mixture(np.array([0.5, 0.5]), means * [[1], [-1]], np.stack([0.02 * cov, cov]))


def three_widths():
    """Three modes of unequal weights in 12 dimensions, each rotated; deviations from .04 to 4.6."""
    rng = np.random.default_rng(25)
    covs = []
    for low, high in ((0.04, 0.4), (0.1, 1.5), (0.3, 4.6)):
        rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
        covs.append(rotation * np.geomspace(low, high, 12) ** 2 @ rotation.T)
    return Mixture(np.array([0.6, 0.3, 0.1]), rng.normal(size=(3, 12)), np.stack(covs))


def product(means, variances):
    """Multiply diagonal Gaussians, two at a time, completing the square."""
    mean, variance = means[0], variances[0]
    for m, v in zip(means[1:], variances[1:], strict=True):
        mean, variance = (mean * v + m * variance) / (variance + v), variance * v / (variance + v)
    return mean, variance
