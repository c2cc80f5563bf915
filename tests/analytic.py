"""Distributions of which everything is known: Gaussian mixtures with one covariance, and the Gaussian.

Noised, conditioned or both, such a mixture stays one. With C = cov and C_t = alpha^2 C + sigma^2 I,

    p_t(x)       = sum_k w_k N(x; alpha m_k, C_t),     one eigenbasis for all t
    p(x_U | x_O) = sum_k r_k(x_O) N(x_U; m_kU + A (x_O - m_kO), C_UU - A C_OU),   A = C_UO C_OO^-1,
                   r_k(x_O) proportional to w_k N(x_O; m_kO, C_OO).

So the score at any t, the density, every conditional and its own score are exact; for one component so is
the flow of the probability-flow ODE, which only rescales each eigenvector.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """weights: [K].  means: [K, D].  cov: [D, D], shared; all numpy float64."""

    weights: np.ndarray
    means: np.ndarray
    cov: np.ndarray

    @property
    def mean(self):
        return self.weights @ self.means

    @property
    def covariance(self):
        """Covariance of the whole mixture."""
        gap = self.means - self.mean
        return self.cov + (self.weights[:, None] * gap).T @ gap

    def noised(self, sde, t):
        """Return p_t, for a float t."""
        alpha, sigma = float(sde.alpha(t)), float(sde.sigma(t))
        noise = sigma**2 * np.eye(len(self.cov))
        return Mixture(self.weights, alpha * self.means, alpha**2 * self.cov + noise)

    def sample(self, key, num):
        pick_key, noise_key = jax.random.split(key)
        pick = jax.random.choice(pick_key, len(self.weights), (num,), p=jnp.asarray(self.weights))
        root = jnp.asarray(np.linalg.cholesky(self.cov))
        noise = jax.random.normal(noise_key, (num, len(self.cov)))
        return jnp.asarray(self.means)[pick] + noise @ root.T.astype(noise.dtype)

    def log_joint(self, x, coordinates=slice(None)):
        """Return ln w_k N(x; m_k, C) on some coordinates, in float64: [B, K]."""
        x = np.asarray(x, np.float64)[:, coordinates]
        means, cov = self.means[:, coordinates], self.cov[coordinates][:, coordinates]
        root = np.linalg.cholesky(cov)
        white = np.linalg.inv(root).T
        square = (((x @ white)[:, None] - (means @ white)[None]) ** 2).sum(-1)
        constant = np.log(np.diag(root)).sum() + 0.5 * x.shape[1] * np.log(2 * np.pi)
        return np.log(self.weights) - 0.5 * square - constant

    def log_prob(self, x):
        return np.logaddexp.reduce(self.log_joint(x), axis=1)

    def given(self, value, mask):
        """Return the mixture of the coordinates outside the mask, given one value: [D], [D]."""
        seen, free = np.flatnonzero(mask), np.flatnonzero(~np.asarray(mask))
        gain = self.cov[np.ix_(free, seen)] @ np.linalg.inv(self.cov[np.ix_(seen, seen)])
        value = np.asarray(value, np.float64)
        log_r = self.log_joint(value[None], seen)[0]
        weights = np.exp(log_r - np.logaddexp.reduce(log_r))
        means = self.means[:, free] + (value[seen] - self.means[:, seen]) @ gain.T
        cov = self.cov[np.ix_(free, free)] - gain @ self.cov[np.ix_(seen, free)]
        return Mixture(weights, means, cov)

    def score(self, sde):
        """Return the exact `(x, t) -> score` of p_t, differentiable and batched."""
        values, vectors = np.linalg.eigh(self.cov)
        values, vectors, means = (jnp.asarray(v) for v in (values, vectors, self.means @ vectors))
        log_weights = jnp.log(jnp.asarray(self.weights))

        def score(x, t):
            return _mixture_score(sde, x, t, values, vectors, means, log_weights[None])

        return score

    def conditional_score(self, sde, mask):
        """Return the exact score of p_t(x_U | x_O), reading the clean x_O from x; zero on O."""
        seen, free = np.flatnonzero(mask), np.flatnonzero(~np.asarray(mask))
        gain = self.cov[np.ix_(free, seen)] @ np.linalg.inv(self.cov[np.ix_(seen, seen)])
        cov = self.cov[np.ix_(free, free)] - gain @ self.cov[np.ix_(seen, free)]
        values, vectors = np.linalg.eigh(cov)
        root = np.linalg.inv(np.linalg.cholesky(self.cov[np.ix_(seen, seen)]))
        constants = values, vectors, gain.T @ vectors, root.T, self.means[:, seen] @ root.T
        values, vectors, gain, root, seen_means = (jnp.asarray(v) for v in constants)
        means = jnp.asarray(self.means[:, free] @ vectors) - self.means[:, seen] @ gain
        log_weights = jnp.log(jnp.asarray(self.weights))

        def score(x, t):
            gap = (x[:, seen] @ root)[:, None] - seen_means[None]
            log_r = log_weights[None] - 0.5 * jnp.sum(gap**2, axis=-1)
            shift = x[:, seen] @ gain
            part = _mixture_score(sde, x[:, free], t, values, vectors, means, log_r, shift)
            return jnp.zeros_like(x).at[:, free].set(part)

        return score

    def flow(self, sde, x, t, t_next):
        """Follow the probability-flow ODE exactly, for one component: [B, D] -> [B, D]."""
        values, vectors = np.linalg.eigh(self.cov)
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


def product(means, variances):
    """Multiply diagonal Gaussians, two at a time, completing the square."""
    mean, variance = means[0], variances[0]
    for m, v in zip(means[1:], variances[1:], strict=True):
        mean, variance = (mean * v + m * variance) / (variance + v), variance * v / (variance + v)
    return mean, variance
