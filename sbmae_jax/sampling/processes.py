r"""Processes of which only alpha and sigma are given; `SDE` derives the rest by automatic differentiation.

    cosine          alpha^2 = cos^2(a(t)) / cos^2(a(0)),  sigma^2 = 1 - alpha^2,  a = (pi/2) (t + s) / (1 + s)
    discrete        ln(alpha_i^2 / sigma_i^2) of N given steps, linear in between,  alpha^2 + sigma^2 = 1
    rectified flow  alpha = 1 - t,  sigma = t

At t = 1 the first and the last leave nothing of the data: alpha is 0, and samplers divide by it. They start
from `t_max` instead, a little below 1, and the grids of times know it.

Sources: Nichol and Dhariwal 2021 (arXiv:2102.09672), equation 17; Ho et al. 2020 (arXiv:2006.11239),
section 4; Liu et al. 2022 (arXiv:2209.03003) and Lipman et al. 2022 (arXiv:2210.02747).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Process(SDE):
    """A linear diffusion given by two functions of time; all else follows from them.

    Attributes:
        log_alpha_fn: `t -> ln alpha(t)`, 0 at t = 0 and falling; elementwise, and differentiable by JAX.
        sigma_fn: `t -> sigma(t)`, such that alpha / sigma falls.
        t_max: the time from which sampling starts, above 0 and at most 1.

    Raises:
        ValueError: for a function that is not callable, or a t_max out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VE, Process
        >>> sde = Process(lambda t: jnp.zeros_like(t), lambda t: 0.01 * 5000.0**t)  # VE by hand
        >>> t = jnp.asarray(0.5)
        >>> round(float(sde.diffusion(t)), 3) == round(float(VE().diffusion(t)), 3)
        True
        >>> round(float(sde.time(sde.log_snr(t))), 3)
        0.5
    """

    log_alpha_fn: Callable[[Array], Array]
    sigma_fn: Callable[[Array], Array]
    t_max: float = 1.0

    def __post_init__(self):
        for name in ("log_alpha_fn", "sigma_fn"):
            if not callable(getattr(self, name)):
                raise ValueError(f"{name} must be a function of t, got {getattr(self, name)!r}")
        checks.require_number("t_max", self.t_max, high=1, above=0)

    def log_alpha(self, t: Array) -> Array:
        """Return what `log_alpha_fn` does."""
        return self.log_alpha_fn(t)

    def sigma(self, t: Array) -> Array:
        """Return what `sigma_fn` does."""
        return self.sigma_fn(t)


@dataclasses.dataclass(frozen=True)
class CosineVP(SDE):
    """The cosine schedule: the signal falls slowly at both ends, and alpha^2 + sigma^2 = 1.

    Attributes:
        offset: s, above 0 and at most 1; it leaves some noise in the first steps.
        t_max: the time from which sampling starts, above 0 and below 1. The default leaves .8 % of the data,
            as VP does.

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import CosineVP
        >>> [round(value, 2) for value in CosineVP().alpha(jnp.asarray([0.0, 0.5, 0.995])).tolist()]
        [1.0, 0.7, 0.01]

    Source: Nichol and Dhariwal 2021 (arXiv:2102.09672), equation 17.
    """

    offset: float = 0.008
    t_max: float = 0.995

    def __post_init__(self):
        checks.require_number("offset", self.offset, high=1, above=0)
        checks.require_number("t_max", self.t_max, above=0, below=1)

    def _angle(self, t: Array | float):
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)

    def log_alpha(self, t: Array) -> Array:
        """Return ln cos a(t) - ln cos a(0)."""
        return jnp.log(jnp.cos(self._angle(t))) - math.log(math.cos(self._angle(0.0)))

    def sigma(self, t: Array) -> Array:
        """Return sqrt(1 - alpha^2), as a product that does not cancel at small t."""
        start = self._angle(0.0)
        gap = 0.5 * math.pi * t / (1 + self.offset)
        return jnp.sqrt(jnp.sin(gap) * jnp.sin(gap + 2 * start)) / math.cos(start)

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, whose angle has cos^2 a = cos^2 a(0) / (1 + exp(-L))."""
        start = self._angle(0.0)
        cos2 = math.cos(start) ** 2 * jax.nn.sigmoid(log_snr)
        sin2 = math.sin(start) ** 2 + math.cos(start) ** 2 * jax.nn.sigmoid(-log_snr)
        angle = jnp.arctan2(jnp.sqrt(sin2), jnp.sqrt(cos2))
        return angle * 2 / math.pi * (1 + self.offset) - self.offset


@dataclasses.dataclass(frozen=True)
class DiscreteVP(SDE):
    """The schedule of a network trained on N discrete steps, such as the 1,000 of DDPM.

    Step i of 0..N - 1 is the time i / (N - 1): give such a network `t * (N - 1)`. In between, the log-SNR is
    linear in t, and alpha^2 + sigma^2 = 1.

    Attributes:
        betas: N variances, each above 0 and below 1, such as `numpy.linspace(1e-4, 0.02, 1000)`; at least 2.

    Raises:
        ValueError: for betas that are not numbers in that range, or are fewer than two.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from sbmae_jax import DiscreteVP
        >>> sde = DiscreteVP(np.linspace(1e-4, 0.02, 1000))
        >>> round(float(sde.sigma(jnp.asarray(0.0))), 3), round(float(sde.alpha(jnp.asarray(1.0))), 4)
        (0.01, 0.0064)

    Source: Ho et al. 2020 (arXiv:2006.11239), section 4, for the betas of the default.
    """

    betas: Any

    def __post_init__(self):
        try:
            betas = np.asarray(self.betas, np.float64)
        except (TypeError, ValueError):
            betas = np.zeros(())
        if betas.ndim != 1 or len(betas) < 2 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError(
                "betas must be two or more variances, each above 0 and below 1, got "
                + checks.short_repr(self.betas)
            )
        # So that equal ones are equal.
        object.__setattr__(self, "betas", tuple(float(beta) for beta in betas))

    def _levels(self) -> tuple[Array, Array]:
        """Return the times of the steps, and their log-SNR, which falls."""
        log_alpha2 = np.cumsum(np.log1p(-np.asarray(self.betas)))
        log_snr = log_alpha2 - np.log(-np.expm1(log_alpha2))
        return jnp.linspace(0.0, 1.0, len(log_snr)), jnp.asarray(log_snr, float)

    def log_snr(self, t: Array) -> Array:
        """Return the log-SNR, linear between the steps."""
        return jnp.interp(t, *self._levels())

    def log_alpha(self, t: Array) -> Array:
        """Return ln alpha, by alpha^2 = 1 / (1 + exp(-L))."""
        return 0.5 * jax.nn.log_sigmoid(self.log_snr(t))

    def sigma(self, t: Array) -> Array:
        """Return sqrt(1 / (1 + exp(L)))."""
        return jnp.exp(0.5 * jax.nn.log_sigmoid(-self.log_snr(t)))

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, by interpolation the other way round."""
        times, levels = self._levels()
        return jnp.interp(log_snr, levels[::-1], times[::-1])


@dataclasses.dataclass(frozen=True)
class RectifiedFlow(SDE):
    """The straight paths of flow matching: x_t = (1 - t) x_0 + t eps.

    A network of the velocity, trained to predict eps - x_0, becomes a score by `score_from_velocity`. Where
    your flow has the data at t = 1, call the network with 1 - t, and negate what it returns.

    Attributes:
        t_max: the time from which sampling starts, above 0 and below 1: at 1 nothing is left of the data.

    Raises:
        ValueError: for a t_max out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import RectifiedFlow, dpm_solver, log_snr_times, sample
        >>> sde = RectifiedFlow()
        >>> def velocity(x, t):  # of standard normal data, by E[eps - x_0 | x_t]
        ...     return (2 * t - 1) / (t**2 + (1 - t) ** 2) * x
        >>> score = lambda x, t: sde.score_from_velocity(velocity(x, t), x, t)
        >>> x = sde.prior(jax.random.key(0), (4, 2))
        >>> step, times = dpm_solver(sde, score), log_snr_times(sde, 20)
        >>> end = jax.jit(lambda x: sample(jax.random.key(1), step, x, times))(x)
        >>> bool(jnp.abs(end - x).max() < 0.1)  # the flow of a normal to itself moves nothing
        True

    Source: Liu et al. 2022 (arXiv:2209.03003); Lipman et al. 2022 (arXiv:2210.02747), with time reversed.
    """

    t_max: float = 0.999

    def __post_init__(self):
        checks.require_number("t_max", self.t_max, above=0, below=1)

    def log_alpha(self, t: Array) -> Array:
        """Return ln(1 - t)."""
        return jnp.log1p(-t)

    def sigma(self, t: Array) -> Array:
        """Return t."""
        return 1.0 * jnp.asarray(t)

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, by t = 1 / (1 + exp(L / 2))."""
        return jax.nn.sigmoid(-0.5 * log_snr)
