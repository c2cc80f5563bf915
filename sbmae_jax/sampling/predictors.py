r"""Kernels that move x from t to t_next by one evaluation of the score, and `denoise`, which ends a run.

With primes at t_next, x0 = (x + sigma^2 score) / alpha and n ~ N(0, I),

    reverse SDE    x + (f x - g^2 score) (t' - t) + g sqrt(t - t') n        order 1 in law
    ancestral      k (alpha'/alpha) x + alpha' (1 - k) x0 + sigma' sqrt(1 - k) n, with
                   k = (alpha sigma' / alpha' sigma)^2, the Gaussian p(x' | x, x0)

Those of higher order, and without noise, are in `ode`.

Sources: Song et al. 2021 (arXiv:2011.13456), equation 6; Ho et al. 2020 (arXiv:2006.11239), equation 7.
"""

import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax._placement import normal_like
from sbmae_jax.sampling.leaves import SDETree, leaf_keys, leafwise, require_each
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, ScoreFn, StepFn


def euler_maruyama(sde: SDETree, score: ScoreFn) -> StepFn:
    """Take an Euler step of the reverse SDE; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.

    Returns:
        A kernel for a hundred steps or more, as its error is of order 1.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, euler_maruyama
        >>> step = euler_maruyama(VP(), lambda x, t: -x)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.49).shape
        (4, 2)

    Source: Song et al. 2021 (arXiv:2011.13456), equation 6.
    """
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        def move(x, score_x, key, sde):
            g, dt = sde.diffusion(t), t - t_next
            mean = x - dt * (sde.drift(t) * x - g**2 * score_x)
            return (mean + g * jnp.sqrt(dt) * normal_like(key, x)).astype(x.dtype)

        return leafwise(move, x, score(x, t), leaf_keys(key, x), sde=sde)

    return kernel


def ancestral(
    sde: SDETree, score: ScoreFn, data_scale: float = 0.0, temperature: float = 1.0
) -> StepFn:
    """Draw from p(x_next | x), with x0 predicted from x; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.
        data_scale: standard deviation that the data are assumed to have, at least 0. 0 takes the prediction
            of x0 for certain, as DDPM does with its smaller variance: too narrow on broad data. 1 makes each
            step exact on Gaussian data of unit variance: too wide on data in tight clusters.
        temperature: multiplies the standard deviation of the noise that each step adds; 1 samples the
            distribution, and less draws nearer to its modes.

    Returns:
        A kernel, best over `log_snr_times`.

    Raises:
        ValueError: for a number below 0.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, ancestral
        >>> step = ancestral(VP(), lambda x, t: -x, data_scale=1.0)
        >>> step(jax.random.key(0), jax.numpy.ones((4, 2)), 0.5, 0.4).shape
        (4, 2)

    Source: Ho et al. 2020 (arXiv:2006.11239), equation 7, for any linear process.
    """
    require_each(checks.require_number, "data_scale", data_scale, low=0)
    require_each(checks.require_number, "temperature", temperature, low=0)
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        def move(x, score_x, key, sde, data_scale, temperature):
            mean, std = reverse_kernel(sde, x, score_x, t, t_next, data_scale)
            return (mean + temperature * std * normal_like(key, x)).astype(x.dtype)

        options = {"sde": sde, "data_scale": data_scale, "temperature": temperature}
        return leafwise(move, x, score(x, t), leaf_keys(key, x), **options)

    return kernel


def reverse_kernel(
    sde: SDE, x: Array, score: Array, t: Array, t_next: Array, data_scale: float = 0.0
) -> tuple[Array, Array]:
    """Return the mean, of the shape of x, and the scalar standard deviation of `ancestral`'s step."""
    alpha, sigma = sde.alpha(t), sde.sigma(t)
    alpha_next, sigma_next = sde.alpha(t_next), sde.sigma(t_next)
    kept = (alpha * sigma_next) ** 2 / (alpha_next * sigma) ** 2  # the ratio of the two SNRs
    gained = jnp.maximum(1 - kept, 0.0)
    denoised = sde.denoised_from_score(score, x, t)
    mean = kept * alpha_next / alpha * x + alpha_next * gained * denoised
    # The variance of x0 given x, for Gaussian data of this scale.
    unknown = (data_scale * sigma) ** 2 / ((data_scale * alpha) ** 2 + sigma**2)
    variance = sigma_next**2 * gained + (alpha_next * gained) ** 2 * unknown
    return mean, jnp.sqrt(variance)


def denoise(sde: SDETree, score: ScoreFn) -> StepFn:
    """Replace x at time t by the prediction of the clean data; one evaluation of the score.

    Args:
        sde: the process.
        score: `(x, t) -> score`, for `x: [B, ...]` and a scalar t.

    Returns:
        A kernel for the end of a run, `sample(..., last=denoise(sde, score))`.

    Example:
        >>> import jax
        >>> from sbmae_jax import VP, denoise
        >>> x = jax.numpy.ones((4, 2))
        >>> denoised = denoise(VP(), lambda x, t: -x)(jax.random.key(0), x, 0.1, 0.1)
        >>> round(float(denoised[0, 0]), 3) == round(float(VP().alpha(0.1)), 3)
        True

    Source: Tweedie's formula; `sde`, equation 4.
    """
    score = checks.checked_score(score)

    def kernel(key, x, t, t_next):
        del key, t_next

        def predict(x, score_x, sde):
            return sde.denoised_from_score(score_x, x, t).astype(x.dtype)

        return leafwise(predict, x, score(x, t), sde=sde)

    return kernel
