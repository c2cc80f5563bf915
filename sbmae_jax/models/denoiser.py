"""What a score network says of the latents: the pieces of equation (1) of `models.score`."""

from collections.abc import Callable

import jax.numpy as jnp

from sbmae_jax.models.factor_gaussian import FactorGaussian, Posterior
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.types import Array


def ask(
    network: LatentNetwork,
    covariance: FactorGaussian | None,
    x: Array,
    t: Array,
    clean: Array,
    absent: Array,
    posterior: Callable[[Array, Array, Array], Posterior],
) -> tuple[Posterior, Array]:
    """Return what the Gaussian knows of the latents, and what the network says, F `[B, D]`.

    Args:
        network: The score network.
        covariance: The Gaussian that it starts from; None stands for the covariance I. The network is then
            shown x even where a modality is absent.
        x: Latents `[B, D]`, noised except where clean.
        t: Times `[B, 1]`, or of one row that stands for all, `[1, 1]`.
        clean: `[B, M]` bool, or `[1, M]`: the modalities that x holds without noise.
        absent: `[B, M]` bool, or `[1, M]`: the modalities of which x says nothing.
        posterior: That of the Gaussian, a method of `FactorGaussian` or one that fixes more of its arguments.
    """
    sde, expand = network.sde, network.layout.expand
    alpha = jnp.where(expand(clean), 1.0, jnp.where(expand(absent), 0.0, sde.alpha(t)))
    sigma = jnp.where(expand(clean), 0.0, sde.sigma(t))
    known = posterior(x, alpha, sigma)
    shown, log_snr = network.inputs(x, jnp.where(absent, 1.0, t), clean)
    shown = shown if covariance is None else known.guess
    log_snr = jnp.broadcast_to(log_snr, (x.shape[0], log_snr.shape[1]))
    return known, network.apply(network.params, shown, log_snr)


def denoised(known: Posterior, output: Array, x: Array, alpha: Array, sigma: Array) -> Array:
    """Return the denoiser, equation (1) of `models.score`, `[B, D]`; it holds where x is noised.

    Args:
        known: What the Gaussian knows.
        output: F, what the network says, `[B, D]`.
        x: The noised latents, `[B, D]`.
        alpha: The signal in x, `[B, 1]`.
        sigma: The standard deviation of its noise, `[B, 1]`.
    """
    guess = known.common + known.own * (x - alpha * known.common)
    return guess + sigma * known.spread * output


def network_target(known: Posterior, z: Array, eps: Array, sigma: Array) -> Array:
    """Return what F should be for latents z that were noised by eps: (z - g) / (sigma b), `[B, D]`.

    By equation (4) of `factor_gaussian`, in which no digits cancel at low noise.

    Args:
        known: What the Gaussian knows.
        z: Latents, `[B, D]`.
        eps: Their noise, of variance 1, `[B, D]`.
        sigma: By which the noise was scaled, `[B, 1]`.
    """
    return (sigma * known.gain * (z - known.common) - known.own * eps) / known.spread
