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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_fields, require_int, require_number, require_one_of
from sbmae_jax.models import gaussian
from sbmae_jax.models.likelihoods import LIKELIHOODS, negative_log_likelihood
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


class Autoencoder(NamedTuple):
    """A trainable pair of maps between a modality and its latent.

    Attributes:
        task: Its training, on batches `{"x": [B, *shape]}`. The metrics are `reconstruction` and `penalty`,
            the two terms of the loss before weighting.
        encode: `(params, x [B, *shape]) -> z [B, latent_size]`, deterministic. Bytes are scaled to [0, 1].
        decode: `(params, z) -> mean of p(x|z) [B, *shape]`.
        draw: `(params, key, z) -> draw from p(x|z) [B, *shape]`.
    """

    task: Task
    encode: Callable[[Params, Array], Array]
    decode: Callable[[Params, Array], Array]
    draw: Callable[[Params, Key, Array], Array]


def autoencoder(modality: Modality, kind: str, encoder: Any, decoder: Any) -> Autoencoder:
    """Bind an encoder and a decoder to the loss of a VAE, equation (1), or of an RAE, equation (2).

    Args:
        modality: What is encoded, how long the latent is, and the weight of the penalty.
        kind: "vae" or "rae".
        encoder: A Flax module, `x [B, *shape] -> [B, 2 latent_size]`, mean and log-variance, for the VAE, or
            `-> [B, latent_size]` for the RAE.
        decoder: A Flax module, `z [B, latent_size] -> [B, *shape]`.

    Returns:
        The functions of the autoencoder; nothing is initialised yet.

    Raises:
        ValueError: For an unknown kind.

    Example:
        >>> from sbmae_jax.nets.vector import VectorDecoder, VectorEncoder
        >>> modality = Modality("site", (3,), "gaussian", "vector", latent_size=2, weight=0.1)
        >>> vae = autoencoder(modality, "vae", VectorEncoder(2, 2, width=4), VectorDecoder((3,), width=4))
        >>> params = vae.task.init(jax.random.key(0), {"x": jnp.zeros((1, 3))})
        >>> vae.encode(params, jnp.zeros((5, 3))).shape
        (5, 2)
    """
    require_one_of("kind", kind, AUTOENCODER_KINDS)
    size, likelihood = modality.latent_size, LIKELIHOODS[modality.likelihood]

    def code_of(params, x):
        return encoder.apply(params["encoder"], likelihood.features(as_float(x)))

    def init(key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": encoder.init(encoder_key, as_float(batch["x"][:1])),
            "decoder": decoder.init(decoder_key, jnp.zeros((1, size))),
        }
        if likelihood.has_variance:
            # One for all entries: with a variance each, and beta below 1, a latent would rather copy one
            # entry exactly than hold what many entries share.
            one = (1,) * len(modality.shape)
            params |= {"log_var": jnp.zeros(one), "noise": jnp.zeros(modality.shape)}
        return params

    def encode(params, x):
        return code_of(params, x)[:, :size]

    def decode(params, z):
        return likelihood.mean(decoder.apply(params["decoder"], z))

    def draw(params, key, z):
        return likelihood.draw(key, decoder.apply(params["decoder"], z), params.get("noise"))

    def nll(x, output, log_var):
        return negative_log_likelihood(modality.likelihood, x, output, log_var)

    def loss(params, key, batch):
        x, code = as_float(batch["x"]), code_of(params, batch["x"])
        if kind == "vae":
            mean, log_var = jnp.split(code, 2, axis=-1)
            z, penalty = gaussian.sample(key, mean, log_var), gaussian.kl_to_standard(mean, log_var)
        else:
            noise = modality.code_noise * jax.random.normal(key, code.shape)
            z, penalty = code + noise, jnp.sum(code**2, axis=-1)
        error = nll(x, decoder.apply(params["decoder"], z), params.get("log_var"))
        total = error + modality.weight * penalty
        if likelihood.has_variance:
            decoded = jax.lax.stop_gradient(decoder.apply(params["decoder"], code[:, :size]))
            total = total + nll(x, decoded, params["noise"])
        return total, {"reconstruction": error, "penalty": penalty}

    return Autoencoder(Task(init, loss), encode, decode, draw)


def as_float(x: Values) -> Values:
    """Scale bytes to [0, 1], and leave floats alone. NumPy arrays stay NumPy arrays."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
