"""Falling grids of times, from noise at t = 1 to nearly 0, over which `sample` runs a kernel.

Sources: Lu et al. 2022 (arXiv:2211.01095) and Karras et al. 2022 (arXiv:2206.00364), equation 5.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array


def uniform_times(num: int, t_min: float = 1e-3) -> Array:
    """Return times from 1 to t_min, equally spaced.

    Args:
        num: steps, in 1..1,000,000.
        t_min: the last time, at least 0 and below 1.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import uniform_times
        >>> uniform_times(4, t_min=0.0).tolist()
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    _require_grid(num, t_min)
    return jnp.linspace(1.0, t_min, num + 1)


def log_snr_times(sde: SDE, num: int, t_min: float = 1e-3) -> Array:
    """Return times from t_max to t_min, equally spaced in log-SNR: the grid of few-step samplers.

    Args:
        sde: the process.
        num: steps, in 1..1,000,000.
        t_min: the last time, below 1, and so large that the process has noise there.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import VP, log_snr_times
        >>> [round(t, 2) for t in log_snr_times(VP(), 4).tolist()]
        [1.0, 0.72, 0.3, 0.03, 0.0]

    Source: Lu et al. 2022 (arXiv:2211.01095).
    """
    _require_grid(num, t_min)
    ends = sde.log_snr(jnp.asarray([sde.t_max, t_min]))
    if not isinstance(ends, jax.core.Tracer) and not np.isfinite(np.asarray(ends)).all():
        raise ValueError(
            f"t_min is too small: the process has no noise there, its SNR is infinite; got {t_min}"
        )
    return _pin_ends(sde.time(jnp.linspace(ends[0], ends[1], num + 1)), sde.t_max, t_min)


def edm_times(sde: SDE, num: int, t_min: float = 1e-3, rho: float = 7.0) -> Array:
    """Return times from t_max to t_min, equally spaced in (sigma / alpha)^(1/rho): the grid of EDM.

    Args:
        sde: the process.
        num: steps, in 1..1,000,000.
        t_min: the last time, at least 0 and below 1.
        rho: in 1..100; the larger, the more steps are at low noise.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import EDM, edm_times
        >>> [round(t, 2) for t in edm_times(EDM(), 4, t_min=0.0).tolist()]  # uniform on its own process
        [1.0, 0.75, 0.5, 0.25, 0.0]

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 5.
    """
    _require_grid(num, t_min)
    checks.require_number("rho", rho, 1, 100)
    ends = jnp.exp(-0.5 * sde.log_snr(jnp.asarray([sde.t_max, t_min])) / rho)
    roots = jnp.linspace(ends[0], ends[1], num + 1)
    return _pin_ends(sde.time(-2 * rho * jnp.log(roots)), sde.t_max, t_min)


def vp_times(sde: SDE, num: int, t_min: float = 1e-3, rho: float = 5.0) -> Array:
    """Return times from t_max to t_min, equally spaced in I^(1/rho): it keeps the weights of modes.

    I = ln(1 + sigma^2 / alpha^2) is the integral of beta in the variance-preserving process that has the same
    log-SNR. Data of unit scale decide for a mode where sigma / alpha is about 1. This grid has most of its
    steps there and below; `log_snr_times` spends a quarter of its steps where all is noise.

    Args:
        sde: the process.
        num: steps, in 1..1,000,000.
        t_min: the last time, at least 0 and below 1.
        rho: in 1..100; the larger, the more steps are at low noise. The default was chosen on mixtures of
            unequal widths.

    Returns:
        `[num + 1]`, falling.

    Raises:
        ValueError: for a number out of range.

    Example:
        >>> from sbmae_jax import VP, vp_times
        >>> [round(t, 2) for t in vp_times(VP(), 4).tolist()]
        [1.0, 0.53, 0.22, 0.06, 0.0]
    """
    _require_grid(num, t_min)
    checks.require_number("rho", rho, 1, 100)
    ends = _beta_integral(sde.log_snr(jnp.asarray([sde.t_max, t_min]))) ** (1 / rho)
    integral = jnp.linspace(ends[0], ends[1], num + 1) ** rho
    return _pin_ends(sde.time(-jnp.log(jnp.expm1(integral))), sde.t_max, t_min)


def ladder_times(sde: SDE, sigmas: Array) -> Array:
    """Return the times of given noise levels, for `annealed_langevin`.

    Args:
        sde: the process.
        sigmas: `[N]`, values of sigma / alpha, above 0 and never rising.

    Returns:
        `[N + 1]`, with the first time doubled, as Langevin steps act on t_next.

    Raises:
        ValueError: for levels of another shape, or that are not above 0, or rise.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VE, ladder_times
        >>> [round(t, 2) for t in ladder_times(VE(), jnp.asarray([50.0, 1.0, 0.01])).tolist()]
        [1.0, 1.0, 0.54, 0.0]
    """
    checks.require_numbers("sigmas", sigmas, floating=True)
    if jnp.ndim(sigmas) != 1 or not len(sigmas):
        raise ValueError(f"sigmas must be [N] with N at least 1, got shape {jnp.shape(sigmas)}")
    if not isinstance(sigmas, jax.core.Tracer):
        levels = np.asarray(sigmas)
        if not (np.isfinite(levels) & (levels > 0)).all() or (np.diff(levels) > 0).any():
            raise ValueError("sigmas must be finite numbers above 0 that never rise")
    return sde.time(-2 * jnp.log(jnp.concatenate([sigmas[:1], sigmas])))


def _beta_integral(log_snr: Array) -> Array:
    return jax.nn.softplus(-log_snr)


def _require_grid(num: int, t_min: float) -> None:
    checks.require_int("num", num, 1, checks.MAX_COUNT)
    checks.require_number("t_min", t_min, low=0, below=1)


def _pin_ends(times: Array, t_max: float, t_min: float) -> Array:
    # Inverting the log-SNR rounds, but the ends are known exactly.
    return times.at[0].set(t_max).at[-1].set(t_min)
