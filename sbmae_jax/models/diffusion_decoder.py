r"""A generative decoder of one modality: diffusion of pictures given their latent.

The mean Dec(z) of an autoencoder is blurred where the latent leaves something open. Here p(x|z) is learned by
denoising. With x_tau = x + tau n, n ~ N(0, I), and the base b, what the latent says of the picture,

    D(x_tau) = b + s^2 / (s^2 + tau^2) (x_tau - b) + s tau / sqrt(s^2 + tau^2) F,                 (1)

where s^2 is the mean of (x - b)^2, and the network F sees (x_tau - b) / sqrt(s^2 + tau^2), b, the latent and
ln(s^2 / tau^2). With F = 0 this is the denoiser of a Gaussian around b, so that sampling starts from b and a
little noise rather than from noise alone. The loss is |F - target|^2, by D = x in (1),

    target = (tau (x - b) / s - s n) / sqrt(s^2 + tau^2),        ln(tau / s) ~ N(-1/2, 1.2^2),    (2)

of mean square 1 at every level.

In training the latent is Enc(x) + c std eps, with c uniform in 0..`latent_noise` and told to the network, std
the deviations of the latents, and b its decoded mean. Latents that a score has drawn are not exact, and so
the decoder learns to mend them. With the probability `drop_latent` no latent is shown: b is what the mean
latent decodes to, and s is measured around that. This allows classifier-free guidance,

    D = D_dropped + w (D_shown - D_dropped)        at the same x_tau.                             (3)

No other modality is seen: what goes together is the business of the latents, texture that of the decoder.

Sources: Karras et al. 2022 (arXiv:2206.00364) for (1) and (2), there with b = 0; Pandey et al. 2022
(arXiv:2201.00308) for diffusion around the decoded mean; Ho and Salimans 2022 (arXiv:2207.12598) for (3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sbmae_jax._check import require_int, require_number, require_one_of
from sbmae_jax.models.autoencoder import as_float
from sbmae_jax.models.latents import MIN_STD
from sbmae_jax.models.likelihoods import Likelihood
from sbmae_jax.models.task import Params, Task
from sbmae_jax.sampling.grids import log_snr_times
from sbmae_jax.sampling.ode import dpm_solver
from sbmae_jax.sampling.predictors import denoise
from sbmae_jax.sampling.samplers import sample
from sbmae_jax.sampling.sde import VE
from sbmae_jax.types import Array, Key

DECODERS = ("diffusion", "mean")
MIN_SPREAD = 1e-3
"""The smallest s: a decoder that is exact must not divide by 0."""


@dataclass(frozen=True)
class DecodingConfig:
    """How latents become data, where a modality has a diffusion decoder.

    Attributes:
        decoder: "diffusion" draws from p(x|z); "mean" takes the decoded mean, as where there is none.
        num_steps: Steps of DPM-Solver++, in 1..1000.
        weight: Of classifier-free guidance, in 0..100. 1 is none, more is nearer to what the latent says and
            less diverse, at twice the evaluations.
        latent_noise: How uncertain latents are taken to be, in standard deviations, in 0..10; at most what
            the decoder was trained with.
        start: Noise at which decoding starts around the decoded mean, relative to the error of that mean;
            above `stop`, at most 10,000.
        stop: Noise from which a picture is denoised at once, at least 0.001. Where the network is small, more
            is smoother, and less is grainy.
        eta: In 0..1; 1 follows the reverse SDE, 0 the ODE.

    Raises:
        ValueError: For an unknown name, and for a value that is out of range or of the wrong type.

    Example:
        >>> DecodingConfig(num_steps=8, weight=1.5).num_evaluations
        18
    """

    decoder: str = "diffusion"
    num_steps: int = 8
    weight: float = 1.0
    latent_noise: float = 0.1
    start: float = 2.0
    stop: float = 0.5
    eta: float = 0.0

    def __post_init__(self):
        require_one_of("decoder", self.decoder, DECODERS)
        require_int("num_steps", self.num_steps, 1, 1000)
        require_number("weight", self.weight, low=0, high=100)
        require_number("latent_noise", self.latent_noise, low=0, high=10)
        require_number("stop", self.stop, low=1e-3, high=1e4)
        require_number("start", self.start, above=self.stop, high=1e4)
        require_number("eta", self.eta, low=0, high=1)

    @property
    def num_evaluations(self) -> int:
        """Evaluations of the network for each modality, the final denoising included."""
        return (self.num_steps + 1) * (1 if self.weight == 1 else 2)


class Spreads(NamedTuple):
    """What is measured of a modality before its decoder is trained.

    Attributes:
        mean: Mean of its latents, `[d]`.
        std: Standard deviation of its latents, `[d]`.
        exact: s of equation (1) with the latents as they are, a scalar.
        noised: s with latents that are noised by `latent_noise`, a scalar.
        dropped: s without a latent, a scalar.

    The example of `DiffusionDecoder` measures some.
    """

    mean: Array
    std: Array
    exact: Array
    noised: Array
    dropped: Array


def no_spreads(latent_size: int) -> Spreads:
    """Return spreads of the right shapes, for a decoder whose parameters are only loaded."""
    one = jnp.ones(())
    return Spreads(jnp.zeros(latent_size), jnp.ones(latent_size), one, one, one)


@dataclass(frozen=True)
class DiffusionDecoder:
    """A network that denoises the pictures of one modality, given their latent.

    Attributes:
        network: A Flax module, `(x, base, z, log_snr, spread) -> F`, see `nets.mixer.MixerDenoiser`.
        latent_noise: Largest noise on latents in training, in standard deviations, in 0..10.
        drop_latent: Probability that no latent is shown in training, at least 0 and below 1.

    Raises:
        ValueError: For a number that is out of range.

    Example:
        Train one on pictures, given a trained autoencoder and its parameters::

            decoder = DiffusionDecoder(MixerDenoiser())
            spreads = decoder.measure(autoencoder, params, jax.random.key(0), pictures[:2000])
            task = decoder.task(autoencoder, params, spreads)  # for `training.loop.train`

    Source:
        The head of `models/diffusion_decoder.py`.
    """

    network: Any
    latent_noise: float = 0.5
    drop_latent: float = 0.1

    def __post_init__(self):
        require_number("latent_noise", self.latent_noise, low=0, high=10)
        require_number("drop_latent", self.drop_latent, low=0, below=1)

    def measure(self, autoencoder: Any, params: Params, key: Key, x: Array) -> Spreads:
        """Measure `Spreads` on training rows.

        Args:
            autoencoder: That of the modality, trained.
            params: Its parameters.
            key: A typed key, for the noise on latents.
            x: Rows `[N, *shape]`, bytes or floats in [0, 1].

        Returns:
            The spreads, in the units of latents and of pictures in [0, 1].
        """
        x = as_float(x)
        z = autoencoder.encode(params, x)
        mean, std = jnp.mean(z, axis=0), jnp.maximum(jnp.std(z, axis=0), MIN_STD)
        noise = self.latent_noise * std[None] * jax.random.normal(key, z.shape)

        def error(z):
            off = jnp.mean((x - autoencoder.decode(params, z)) ** 2)
            return jnp.maximum(jnp.sqrt(off), MIN_SPREAD)

        dropped = jnp.broadcast_to(mean[None], z.shape)
        return Spreads(mean, std, error(z), error(z + noise), error(dropped))

    def task(self, autoencoder: Any, params: Params, spreads: Spreads) -> Task:
        """Return its training, on batches `{"x": [B, *shape]}`.

        Args:
            autoencoder: That of the modality; None for a task that only tells what parameters there are.
            params: The parameters of the autoencoder, which stay as they are.
            spreads: What `measure` returned. They become a part of the parameters.

        Returns:
            A task whose loss is that of equation (2), the mean over the entries of a picture.
        """

        def init(key, batch):
            x = as_float(batch["x"][:1])
            z, one = jnp.zeros((1, spreads.mean.size)), jnp.zeros(1)
            network = self.network.init(key, x, x, z, one, one)
            return {"network": network, "spreads": spreads._asdict()}

        def loss(own, key, batch):
            x = as_float(batch["x"])
            keys = jax.random.split(key, 5)
            num = x.shape[0]
            z = autoencoder.encode(params, x)
            c = self.latent_noise * jax.random.uniform(keys[0], (num,))
            shown = ~jax.random.bernoulli(keys[1], self.drop_latent, (num,))
            z = z + c[:, None] * spreads.std[None] * jax.random.normal(keys[2], z.shape)
            z = jnp.where(shown[:, None], z, spreads.mean[None])
            base, s = autoencoder.decode(params, z), self._spread(spreads, c, shown)
            tau = s * jnp.exp(1.2 * jax.random.normal(keys[3], (num,)) - 0.5)
            noise = jax.random.normal(keys[4], x.shape)
            s_, tau_ = _over(s, x), _over(tau, x)
            seen = x + tau_ * noise
            output = self._output(
                own | {"spreads": spreads._asdict()}, seen, tau, base, z, c, shown
            )
            target = (tau_ * (x - base) / s_ - s_ * noise) / jnp.hypot(s_, tau_)
            axes = tuple(range(1, x.ndim))
            return jnp.mean((output - target) ** 2, axis=axes), {}

        return Task(init, loss)

    def draw(
        self, params: Params, key: Key, decode: Callable[[Array], Array], z: Array,
        config: DecodingConfig,
    ) -> Array:  # fmt: skip
        """Draw from p(x|z).

        Args:
            params: Of the decoder.
            key: A typed key.
            decode: `z [B, d] -> decoded mean [B, *shape]`, that of the autoencoder.
            z: Latents `[B, d]`.
            config: Steps, weight, noise and so on.

        Returns:
            Pictures `[B, *shape]`, which may leave [0, 1] by a little. Row i gets the same noise however many
            rows follow it.
        """
        spreads = Spreads(**params["spreads"])
        num, base, mean = z.shape[0], decode(z), decode(spreads.mean[None])
        c = jnp.full((num,), config.latent_noise)
        shown = jnp.ones((num,), bool)
        s = self._spread(spreads, c, shown)[0]

        def denoised(x, tau):
            tau = jnp.broadcast_to(tau, (num,))
            found = self._denoised(params, x, tau, base, z, c, shown)
            if config.weight == 1:
                return found
            blank = (
                jnp.broadcast_to(mean, base.shape),
                jnp.broadcast_to(spreads.mean[None], z.shape),
            )
            without = self._denoised(params, x, tau, *blank, c, ~shown)
            return without + config.weight * (found - without)

        # In units of s around the base, so that one grid of levels serves every modality.
        sde = VE(config.stop, config.start)

        def score(y, t):
            found = (denoised(base + s * y, s * sde.sigma(t)) - base) / s
            return sde.score_from_denoised(found, y, t)

        start_key, loop_key = jax.random.split(key)
        y = jnp.hypot(1.0, config.start) * jax.random.normal(start_key, base.shape)
        times = log_snr_times(sde, config.num_steps, 0.0)
        step = dpm_solver(sde, score, config.eta)
        return base + s * sample(loop_key, step, y, times, last=denoise(sde, score))

    def _spread(self, spreads: Spreads, c: Array, shown: Array) -> Array:
        """Return s `[B]`, whose square grows with that of the noise."""
        share = (c / self.latent_noise) ** 2 if self.latent_noise else jnp.zeros_like(c)
        squared = spreads.exact**2 + share * (spreads.noised**2 - spreads.exact**2)
        return jnp.where(shown, jnp.sqrt(squared), spreads.dropped)

    def _output(self, params, x, tau, base, z, c, shown):
        """Return F of equation (1)."""
        spreads = Spreads(**params["spreads"])
        s = self._spread(spreads, c, shown)
        scaled = (x - base) / _over(jnp.hypot(s, tau), x)
        z = jnp.where(shown[:, None], (z - spreads.mean[None]) / spreads.std[None], 0.0)
        told = jnp.where(shown, c / max(self.latent_noise, 1e-6), 2.0)
        return self.network.apply(params["network"], scaled, base, z, 2 * jnp.log(s / tau), told)

    def _denoised(self, params, x, tau, base, z, c, shown):
        """Return D of equation (1)."""
        s = self._spread(Spreads(**params["spreads"]), c, shown)
        output = self._output(params, x, tau, base, z, c, shown)
        s, tau = _over(s, x), _over(tau, x)
        variance = s**2 + tau**2
        return base + s**2 / variance * (x - base) + s * tau / jnp.sqrt(variance) * output


def as_values(likelihood: Likelihood, drawn: Array) -> Array:
    """Return drawn pictures as values that data of a likelihood can have: in [0, 1], or bits of masks."""
    if likelihood.values == "bernoulli":
        return (drawn > 0.5).astype(jnp.float32)
    return jnp.clip(drawn, 0.0, 1.0) if likelihood.values == "gaussian" else drawn


def require_decodable(decoding: DecodingConfig, decoders: Mapping[str, DiffusionDecoder]) -> None:
    """Raise ValueError if decoders were not trained for how they are to decode."""
    if decoding.decoder == "mean":
        return
    if not decoders:
        raise ValueError(
            "decoder 'diffusion': the model has no diffusion decoder: train one by a section "
            "config.decoder_diffusion, or choose 'mean'"
        )
    for name, decoder in decoders.items():
        if decoding.weight != 1 and not decoder.drop_latent:
            raise ValueError(
                f"weight must be 1, got {decoding.weight:g}: the decoder of {name} was trained with "
                "drop_latent = 0, so that it does not know pictures without their latent"
            )
        if decoding.latent_noise > decoder.latent_noise:
            raise ValueError(
                f"latent_noise must be at most {decoder.latent_noise:g}, with which the decoder of {name} "
                f"was trained, got {decoding.latent_noise:g}"
            )


def _over(values: Array, like: Array) -> Array:
    """Give values `[B]` the axes of pictures `[B, ...]`."""
    return values.reshape(values.shape + (1,) * (like.ndim - 1))
