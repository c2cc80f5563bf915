r"""Autoencoders of one modality, as a VAE or as a regularised autoencoder.

With a decoder p(x|z), an encoder q(z|x) = N(mu, diag exp(logvar)) and the prior N(0, I), the VAE
minimises the negative evidence bound with the KL term weighted by beta,

    L = R(x, Dec(z)) + beta KL(q(z|x) || N(0, I)),          z = mu + exp(logvar / 2) eps,        (1)

and the regularised autoencoder replaces the posterior by fixed noise of scale c on the code,

    L = R(x, Dec(z + c eps)) + lambda |z|^2,                z = Enc(x).                          (2)

R is the negative log-likelihood up to a constant, see `observation`. Sums run over dimensions, so beta
does not depend on the size of the picture. The score model is trained on mu or on z: a draw from the
posterior would only add noise that the decoder has learned to ignore.

So a sample is decoded from a code without noise, and what is left of x there is less than R says. Where the
variance is learned, one for all entries, another one of each entry of x - Dec(mu) is learned beside (1) or
(2), with no gradient to the networks; it is the noise of a draw.

Sources: Kingma and Welling 2014 (arXiv:1312.6114), Higgins et al. 2017 for beta, Ghosh et al. 2020
(arXiv:1903.12436) for (2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax._check import require_fields, require_int, require_number
from sbmae_jax.models import gaussian
from sbmae_jax.models.likelihoods import OBSERVATIONS, reconstruction_error
from sbmae_jax.models.task import Params, Task
from sbmae_jax.types import Array, Key

Values = TypeVar("Values", Array, np.ndarray)

AUTOENCODER_KINDS = ("vae", "rae")
LONGEST = 2**16  # latents


@dataclass(frozen=True)
class Modality:
    """One kind of observation, and how it is encoded.

    shape: of one example, without the batch: (28, 28, 3) for a picture, (18,) for a vector.
    likelihood: of a decoded example, one of `observation.OBSERVATIONS`.
    network: name of its networks, a section of `config.encoder_decoders`.
    latent_size: length of the latent vector.
    weight: beta of the VAE, lambda of the regularised autoencoder.
    code_noise: c of equation (2); not used by the VAE.

    Raises ValueError for a likelihood that there is not, and for a value out of its range or of another type.
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
        if self.likelihood not in OBSERVATIONS:
            known = ", ".join(OBSERVATIONS)
            raise ValueError(f"{self.name}: unknown likelihood {self.likelihood!r}: use {known}")
        require_int(f"{self.name}: latent_size", self.latent_size, 1, LONGEST)
        require_number(f"{self.name}: weight", self.weight, low=0)
        require_number(f"{self.name}: code_noise", self.code_noise, low=0)


class Autoencoder(NamedTuple):
    """A trainable pair of maps between a modality and its latent.

    encode: (params, x [B, *shape]) -> z [B, latent_size], deterministic. Bytes are scaled to [0, 1].
    decode: (params, z) -> the mean of p(x|z) [B, *shape].
    draw: (params, key, z) -> a draw from p(x|z) [B, *shape].
    """

    task: Task
    encode: Callable[[Params, Array], Array]
    decode: Callable[[Params, Array], Array]
    draw: Callable[[Params, Key, Array], Array]


def autoencoder(modality: Modality, kind: str, encoder: Any, decoder: Any) -> Autoencoder:
    """Bind an encoder and a decoder to the loss of a VAE, equation (1), or of an RAE, equation (2).

    encoder: a Flax module, x [B, *shape] -> [B, 2 latent_size] (mean and log-variance) for the VAE,
        [B, latent_size] for the RAE. decoder: z -> [B, *shape].

    Raises ValueError for an unknown kind.
    """
    if kind not in AUTOENCODER_KINDS:
        raise ValueError(
            f"autoencoder.kind must be one of {', '.join(AUTOENCODER_KINDS)}, got {kind!r}"
        )
    size, observation = modality.latent_size, OBSERVATIONS[modality.likelihood]

    def code_of(params, x):
        return encoder.apply(params["encoder"], observation.features(as_float(x)))

    def init(key, batch):
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": encoder.init(encoder_key, as_float(batch["x"][:1])),
            "decoder": decoder.init(decoder_key, jnp.zeros((1, size))),
        }
        if observation.has_variance:
            # One for all entries: with a variance each, and beta below 1, a latent would rather copy an entry
            # to the last digit than hold what many entries share.
            one = (1,) * len(modality.shape)
            params |= {"log_var": jnp.zeros(one), "noise": jnp.zeros(modality.shape)}
        return params

    def encode(params, x):
        return code_of(params, x)[:, :size]

    def decode(params, z):
        return observation.mean(decoder.apply(params["decoder"], z))

    def draw(params, key, z):
        return observation.draw(key, decoder.apply(params["decoder"], z), params.get("noise"))

    def loss(params, key, batch):
        x, code = as_float(batch["x"]), code_of(params, batch["x"])
        if kind == "vae":
            mean, log_var = jnp.split(code, 2, axis=-1)
            z, penalty = gaussian.sample(key, mean, log_var), gaussian.kl_to_standard(mean, log_var)
        else:
            noise = modality.code_noise * jax.random.normal(key, code.shape)
            z, penalty = code + noise, jnp.sum(code**2, axis=-1)
        output = decoder.apply(params["decoder"], z)
        error = reconstruction_error(modality.likelihood, x, output, params.get("log_var"))
        total = error + modality.weight * penalty
        if observation.has_variance:
            total = total + leftover(params, x, code[:, :size])
        return total, {"reconstruction": error, "penalty": penalty}

    def leftover(params, x, z):
        y = jax.lax.stop_gradient(decoder.apply(params["decoder"], z))
        return reconstruction_error(modality.likelihood, x, y, params["noise"])

    return Autoencoder(Task(init, loss), encode, decode, draw)


def as_float(x: Values) -> Values:
    """Scale bytes to [0, 1]; leave floats as they are. Arrays of NumPy stay that."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x
