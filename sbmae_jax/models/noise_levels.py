r"""Noise levels of the joint latents: how training draws them, and how a network learns of them.

Each modality m of the joint latents z is either clean or noised to a time t_m of its own,
x = alpha z + sigma eps. Standardised latents have variance 1, so x has the variance
v = alpha^2 + sigma^2. A network gets inputs of variance 1, and one number for each modality:

    x_m / sqrt v(t_m)   and   ln snr(t_m) = ln alpha^2 / sigma^2        where m is noised,
    z_m                 and   MAX_LOG_SNR                               where m is clean.            (1)

Source: Karras et al. 2022 (arXiv:2206.00364), where 1 / sqrt v is c_in with sigma_data = 1, and sigma / alpha
is log-normal in training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sbmae_jax.models.latents import Layout
from sbmae_jax.models.task import Params
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key

T_MIN = 1e-5
"""The smallest time in training; at 0 the score may be infinite."""

MAX_LEVEL = 20.0
"""The largest |ln(sigma / alpha)| that a config may ask for; no process spans more."""

MAX_LOG_SNR = 14.0
"""The ln snr that stands for a clean modality, whose own is infinite."""


@dataclass(frozen=True)
class LatentNetwork:
    """A network over the joint latents, with all that is needed to call it.

    Attributes:
        apply: The network's function, `(params, x [B, D], ln snr [B, M], ...) -> output`.
        params: Its parameters.
        sde: The process that noises the latents.
        layout: The order and the sizes of the modalities in x.

    The example of `score_fn` makes one.
    """

    apply: Callable[..., Any]
    params: Params
    sde: SDE
    layout: Layout

    def __call__(self, x: Array, t: Array, clean: Array, *args: Any, **options: Any) -> Any:
        """Call the network on unscaled latents.

        Args:
            x: Latents `[B, D]`, noised except where clean.
            t: Times `[B, M]`, one for each modality; not used where clean.
            clean: `[B, M]` bool, the modalities that x holds without noise.
            *args: Passed on to `apply`, after ln snr.
            **options: Passed on to `apply`.

        Returns:
            What the network returns.
        """
        return self.apply(self.params, *self.inputs(x, t, clean), *args, **options)

    def inputs(self, x: Array, t: Array, clean: Array) -> tuple[Array, Array]:
        """Return the network's inputs by (1): x scaled to variance 1 `[B, D]`, and ln snr `[B, M]`.

        Args:
            x: Latents `[B, D]`, noised except where clean.
            t: Times `[B, M]`.
            clean: `[B, M]` bool.
        """
        scale = jnp.where(clean, 1.0, jnp.sqrt(self.sde.alpha(t) ** 2 + self.sde.sigma(t) ** 2))
        log_snr = jnp.where(clean, MAX_LOG_SNR, jnp.minimum(self.sde.log_snr(t), MAX_LOG_SNR))
        return x / self.layout.expand(scale), log_snr


def lognormal_times(key: Key, sde: SDE, num: int, mean: float, std: float) -> Array:
    """Draw times at which sigma / alpha is log-normal.

    Args:
        key: A typed key.
        sde: The process, which turns noise levels into times.
        num: Number of times.
        mean: Mean of ln(sigma / alpha).
        std: Standard deviation of ln(sigma / alpha).

    Returns:
        Times `[num]`, clipped to `T_MIN`..1.
    """
    level = mean + std * jax.random.normal(key, (num,))
    return jnp.clip(sde.time(-2 * level), T_MIN, 1.0)
