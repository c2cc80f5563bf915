r"""Autoencoders of one modality: variational (VAE) or regularised (RAE).

With a decoder p(x|z), an encoder q(z|x) = N(mu, diag exp(logvar)) and the prior N(0, I), the VAE
minimises the negative evidence lower bound with the KL term weighted by beta,

    L = R(x, Dec(z)) + beta KL(q(z|x) || N(0, I)),          z = mu + exp(logvar / 2) eps,        (1)

and the regularised autoencoder replaces the posterior by fixed noise of scale c on the code,

    L = R(x, Dec(z + c eps)) + lambda |z|^2,                z = Enc(x).                          (2)

R is the negative log-likelihood up to a constant, see `likelihoods`. Sums run over dimensions, so beta
does not depend on the size of the picture. The score model is trained on mu or on z: a draw from the
posterior would only add noise that the decoder has learned to ignore.

So a sample is decoded from a code without noise, which leaves a smaller residual than the variance that
minimises R says. Where the variance is learned, one for all entries, the model therefore also learns the
variance of each entry of x - Dec(mu), beside (1) or (2) and without a gradient to the networks. This is the
noise of a draw.

Sources: Kingma and Welling 2014 (arXiv:1312.6114), Higgins et al. 2017 for beta, Ghosh et al. 2020
(arXiv:1903.12436) for (2).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_fields, require_int, require_number, require_one_of
from sbmae_jax.models import gaussian
from sbmae_jax.models.likelihoods import LIKELIHOODS, Likelihood, negative_log_likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array, Key

Values = TypeVar("Values", Array, np.ndarray)

AUTOENCODER_KINDS = ("vae", "rae")
"""The two losses of the head of this file, by the name that `config.autoencoder.kind` has for them."""

MAX_LATENT_SIZE = 2**16
"""Larger values are almost certainly typos."""


@dataclass(frozen=True)
class Modality:
    """One modality of the data, and how it is encoded.

    Attributes:
        name: Its name in the data, in batches and in configs.
        shape: Shape of one example, without the batch axis: (28, 28, 3) for a picture, (18,) for a vector.
        likelihood: The distribution of an example given its latent, a name in `likelihoods.LIKELIHOODS`.
        network: The section of `config.encoder_decoders` that describes its networks.
        latent_size: Length of its latent vector, in 1..65536.
        weight: The weight beta of the VAE, or lambda of the regularised autoencoder; at least 0.
        code_noise: The scale c of equation (2); the VAE does not use it.

    Raises:
        ValueError: For an unknown likelihood, and for a value that is out of range or of the wrong type.

    Example:
        >>> Modality("photo", (28, 28, 3), "gaussian", "patch", latent_size=16, weight=0.1).code_noise
        0.01
    """

    name: str
    shape: tuple[int, ...]
    likelihood: str
    network: str
    latent_size: int
    weight: float
    code_noise: float = 0.01

    def __post_init__(self):
        require_fields(self, f"{self.name}: ")
        require_one_of(f"{self.name}: likelihood", self.likelihood, tuple(LIKELIHOODS))
        require_int(f"{self.name}: latent_size", self.latent_size, 1, MAX_LATENT_SIZE)
        require_number(f"{self.name}: weight", self.weight, low=0)
        require_number(f"{self.name}: code_noise", self.code_noise, low=0)


@dataclass(frozen=True)
class Autoencoder:
    """A trainable pair of maps between a modality and its latent.

    It binds an encoder and a decoder to the loss of a VAE, equation (1), or of an RAE, equation (2).
    Parameters are an argument of every method.

    Attributes:
        modality: What is encoded, how long the latent is, and the weight of the penalty.
        kind: "vae" or "rae".
        encoder: A Flax module, `x [B, *shape] -> [B, 2 latent_size]`, mean and log-variance, for the VAE, or
            `-> [B, latent_size]` for the RAE.
        decoder: A Flax module, `z [B, latent_size] -> [B, *shape]`; for the likelihood "tokens"
            `-> [B, T, V]`.

    Raises:
        ValueError: For an unknown kind.

    Example:
        >>> from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
        >>> modality = Modality("site", (3,), "gaussian", "vector", latent_size=2, weight=0.1)
        >>> vae = Autoencoder(modality, "vae", VectorEncoder(2, 2, width=4), VectorDecoder((3,), width=4))
        >>> params = vae.task.init(jax.random.key(0), {"x": jnp.zeros((1, 3))})
        >>> vae.encode(params, jnp.zeros((5, 3))).shape
        (5, 2)
    """

    modality: Modality
    kind: str
    encoder: Any
    decoder: Any

    def __post_init__(self):
        require_one_of("kind", self.kind, AUTOENCODER_KINDS)

    @property
    def task(self) -> Task:
        """Its training, on batches `{"x": [B, *shape]}`.

        The metrics are `reconstruction` and `penalty`, the two terms of the loss before weighting.
        """
        return Task(self._init, self._loss)

    def encode(self, params: Params, x: Array) -> Array:
        """Return the latents `[B, latent_size]` of x `[B, *shape]`, bytes or floats, without noise."""
        return self._code(params, x)[:, : self.modality.latent_size]

    def decode(self, params: Params, z: Array) -> Array:
        """Return the mean of p(x|z), `[B, *shape]`; of tokens the most probable ones."""
        return self._likelihood.mean(self._output(params, z))

    def draw(self, params: Params, key: Key, z: Array) -> Array:
        """Return a draw from p(x|z), `[B, *shape]`."""
        return self._likelihood.draw(key, self._output(params, z), params.get("noise"))

    @property
    def _likelihood(self) -> Likelihood:
        return LIKELIHOODS[self.modality.likelihood]

    def _code(self, params, x):
        return self.encoder.apply(params["encoder"], self._likelihood.features(as_float(x)))

    def _output(self, params, z):
        return self.decoder.apply(params["decoder"], z)

    def _init(self, key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": self.encoder.init(encoder_key, as_float(batch["x"][:1])),
            "decoder": self.decoder.init(decoder_key, jnp.zeros((1, self.modality.latent_size))),
        }
        if self._likelihood.has_variance:
            # One for all entries: with a variance each, and beta below 1, a latent would rather copy one
            # entry exactly than hold what many entries share.
            one = (1,) * len(self.modality.shape)
            params |= {"log_var": jnp.zeros(one), "noise": jnp.zeros(self.modality.shape)}
        return params

    def _loss(self, params, key, batch):
        x, code = as_float(batch["x"]), self._code(params, batch["x"])
        if self.kind == "vae":
            mean, log_var = jnp.split(code, 2, axis=-1)
            z, penalty = gaussian.sample(key, mean, log_var), gaussian.kl_to_standard(mean, log_var)
        else:
            noise = self.modality.code_noise * jax.random.normal(key, code.shape)
            z, penalty = code + noise, jnp.sum(code**2, axis=-1)
        error = self._nll(x, self._output(params, z), params.get("log_var"))
        total = error + self.modality.weight * penalty
        if self._likelihood.has_variance:
            mean = code[:, : self.modality.latent_size]
            decoded = jax.lax.stop_gradient(self._output(params, mean))
            total = total + self._nll(x, decoded, params["noise"])
        return total, {"reconstruction": error, "penalty": penalty}

    def _nll(self, x, output, log_var):
        return negative_log_likelihood(self.modality.likelihood, x, output, log_var)


def as_float(x: Values) -> Values:
    """Scale bytes to [0, 1], and leave floats alone. NumPy arrays stay NumPy arrays."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
