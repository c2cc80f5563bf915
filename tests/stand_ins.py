"""Generators of paired data whose conditionals are known exactly."""

import itertools

import jax
import numpy as np
from scipy.stats import norm

NOISE = 0.5  # of the values, around the latents of `Gaussian`


def rng_of(key):
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


class Gaussian:
    """Vectors x = z + noise with one joint Gaussian z; the generator knows p(z | observed x)."""

    def __init__(self, sizes, seed=0):
        self.names = tuple(sizes)
        total = sum(sizes.values())
        mix = np.random.default_rng(seed).normal(size=(total, 3)) / np.sqrt(3)
        self.cov = mix @ mix.T + 0.1 * np.eye(total)
        ends = np.cumsum([0, *sizes.values()])
        self.parts = [np.arange(a, b) for a, b in itertools.pairwise(ends)]

    def rows(self, num, seed):
        rng = np.random.default_rng(seed)
        z = rng.multivariate_normal(np.zeros(len(self.cov)), self.cov, num)
        return self.named(z + NOISE * rng.normal(size=z.shape))

    def named(self, x):
        return {
            name: x[:, part].astype(np.float32)
            for name, part in zip(self.names, self.parts, strict=True)
        }

    def posterior(self, observed):
        """Return gain and covariance of z given the modalities observed [M]."""
        seen = np.concatenate([p for p, o in zip(self.parts, observed, strict=True) if o] or [[]])
        seen = seen.astype(int)
        noisy = self.cov[np.ix_(seen, seen)] + NOISE**2 * np.eye(len(seen))
        gain = self.cov[:, seen] @ np.linalg.inv(noisy)
        return seen, gain, self.cov - gain @ self.cov[seen]

    def latents(self, key, batch, observed):
        rng, x = rng_of(key), np.concatenate([batch[name] for name in self.names], axis=1)
        z = np.zeros(x.shape)
        for pattern in np.unique(observed, axis=0):
            rows = (observed == pattern).all(axis=1)
            seen, gain, cov = self.posterior(pattern)
            noise = rng.multivariate_normal(np.zeros(len(cov)), cov, rows.sum())
            z[rows] = x[rows][:, seen] @ gain.T + noise
        return z, rng

    def complete(self, key, batch, observed):
        return self.named(self.latents(key, batch, np.asarray(observed))[0])

    def draw(self, key, batch, observed):
        z, rng = self.latents(key, batch, np.asarray(observed))
        return self.named(z + NOISE * rng.normal(size=z.shape))

    def error(self, m, observed):
        """Return the error of the exact conditional mean of modality m over its variance."""
        _, _, cov = self.posterior(observed)
        part = self.parts[m]
        left = np.trace(cov[np.ix_(part, part)]) + NOISE**2 * len(part)
        return left / (np.trace(self.cov[np.ix_(part, part)]) + NOISE**2 * len(part))

    def coverage_without_noise(self, m, observed, num_draws):
        """Return how often the range of draws of z holds x = z + noise, mean over modality m.

        Around the conditional mean a draw is s n and the truth r s n, n ~ N(0, 1), r^2 = 1 + NOISE^2 / s^2. A
        truth r s u lies below all K draws with probability Phi(-r u)^K, and above them as often, so the
        range holds it with probability 1 - 2 E_u Phi(-r u)^K.
        """
        _, _, cov = self.posterior(observed)
        ratio = np.sqrt(1 + NOISE**2 / np.diag(cov)[self.parts[m]])
        u = np.linspace(-9, 9, 20_001)
        missed = norm.cdf(-ratio[:, None] * u) ** num_draws
        return np.mean(1 - 2 * np.trapezoid(missed * norm.pdf(u), u))


class Mixture:
    """A word, flags, counts and a picture that depend on a label alone; the generator knows p(label | x)."""

    def __init__(self, classes=3):
        self.likelihoods = {
            "counts": "poisson", "flags": "bernoulli", "picture": "gaussian", "word": "categorical",
        }  # fmt: skip
        self.names = tuple(self.likelihoods)
        rng = np.random.default_rng(7)
        self.rates = rng.uniform(0.5, 8, size=(classes, 2))
        self.flags = rng.uniform(0.1, 0.9, size=(classes, 5))
        self.pictures = rng.uniform(60, 200, size=(classes, 6, 6, 1))
        self.words = np.where(np.eye(classes) > 0, 0.8, 0.2 / (classes - 1))
        self.classes = classes

    def means(self, label):
        return {
            "counts": self.rates[label], "flags": self.flags[label],
            "picture": self.pictures[label] / 255, "word": self.words[label],
        }  # fmt: skip

    def sample(self, rng, label):
        means = self.means(label)
        pixels = 255 * means["picture"] + 30 * rng.normal(size=means["picture"].shape)
        word = (rng.random((len(label), 1)) > means["word"].cumsum(axis=1)[:, :-1]).sum(axis=1)
        return {
            "counts": rng.poisson(means["counts"]).astype(np.float32),
            "flags": (rng.random(means["flags"].shape) < means["flags"]).astype(np.float32),
            "picture": np.clip(np.round(pixels), 0, 255).astype(np.uint8),
            "word": np.eye(self.classes, dtype=np.float32)[word],
        }

    def rows(self, num, seed):
        rng = np.random.default_rng(seed)
        label = rng.integers(self.classes, size=num)
        return {**self.sample(rng, label), "label": label.astype(np.int32)}

    def log_likelihoods(self, batch):
        x, means = batch, self.means(np.arange(self.classes))
        counts, flags, words = x["counts"][:, None], x["flags"][:, None], x["word"][:, None]
        pixels = x["picture"][:, None] / 255 - means["picture"]
        return np.stack([
            (counts * np.log(means["counts"]) - means["counts"]).sum(axis=-1),
            np.log(np.where(flags > 0.5, means["flags"], 1 - means["flags"])).sum(axis=-1),
            -0.5 * ((pixels * 255 / 30) ** 2).sum(axis=(2, 3, 4)),
            np.log((words * means["word"]).sum(axis=-1) + 1e-300),
        ])  # fmt: skip

    def posterior(self, batch, observed):
        """Return p(label | observed): [B, C]."""
        batch = {name: np.asarray(batch[name]) for name in self.names}
        logits = (self.log_likelihoods(batch) * np.asarray(observed).T[..., None]).sum(axis=0)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def labels(self, rng, batch, observed):
        shares = self.posterior(batch, observed)
        return (rng.random((len(shares), 1)) > shares.cumsum(axis=1)[:, :-1]).sum(axis=1)

    def complete(self, key, batch, observed):
        return self.means(self.labels(rng_of(key), batch, observed))

    def draw(self, key, batch, observed):
        rng = rng_of(key)
        label = self.labels(rng, batch, observed)
        return self.sample(rng, label) | {"picture": self.means(label)["picture"]}
