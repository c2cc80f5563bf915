r"""Linear diffusions: how data become noise, and what the score gives back.

Every process here is linear with scalar coefficients, dx = f(t) x dt + g(t) dw on t in [0, 1],
and data are at t = 0. A linear function of Gaussians is Gaussian, so given the clean x_0

    x_t = alpha(t) x_0 + sigma(t) eps,    eps ~ N(0, I).    (1)

Matching mean and variance gives alpha' = f alpha and (sigma^2)' = 2 f sigma^2 + g^2, that is,

    f = (ln alpha)',    g^2 = (sigma^2)' - 2 f sigma^2.    (2)

So a process is a pair (alpha, sigma), and the pair is all that the samplers read:

    VP      alpha = exp(-I/2), sigma^2 = 1 - exp(-I), I = b0 t + (b1 - b0) t^2 / 2;   g^2 = b = I'
    sub-VP  the same alpha, sigma = 1 - exp(-I);                        g^2 = b (1 - exp(-2 I))
    VE      alpha = 1, sigma = s0 (s1/s0)^t;                            g^2 = 2 ln(s1/s0) sigma^2
    EDM     alpha = 1, sigma = (s0^(1/q) + t (s1^(1/q) - s0^(1/q)))^q;  g^2 = 2 sigma sigma'

Let L = ln(alpha^2 / sigma^2), the log signal-to-noise ratio. From (2), for every linear process,

    -L' = (ln sigma^2)' - (ln alpha^2)' = g^2 / sigma^2 > 0.    (3)

L falls strictly, so it is a clock of its own, and `time` inverts it in closed form. (3) also says
what the likelihood weighting g^2 of denoising score matching costs: a time drawn with density
proportional to g^2 / sigma^2 is a time whose L is uniform, for all four processes alike.

The score s = grad ln p_t carries every other prediction. Differentiating the logarithm of p_t =
E_x0 N(alpha x_0, sigma^2 I) gives s = -E[eps | x_t] / sigma, hence with (1)

    eps_hat = -sigma s,      x0_hat = (x_t + sigma^2 s) / alpha.    (4)

Backwards in time, a stochastic and an ordinary equation produce the same marginals p_t:

    dx = [f x - g^2 s] dt + g dw,            dx/dt = f x - g^2 s / 2.    (5)

In the coordinates y = x/alpha and r = sigma/alpha the second is dy/dr = eps_hat: by (4) a
straight line whenever the prediction is constant, which is why the few-step solvers work there.

Sources: Song et al. 2021 (arXiv:2011.13456) for VP, sub-VP, VE and (5); Karras et al. 2022
(arXiv:2206.00364) for EDM and y, r; Kingma et al. 2021 (arXiv:2107.00630) for the clock L; Song
et al. 2021 (arXiv:2101.09258) for the likelihood weighting.
"""

import abc
import dataclasses
import math

import jax
import jax.numpy as jnp

from sbmae_jax._check import (
    require_alike,
    require_key,
    require_number,
    require_numbers,
    require_one_of,
    require_shape,
)
from sbmae_jax.types import Array, Key

# Beyond it alpha(1)^2 = exp(-I(1)), by which samplers divide, is 0 in float32.
MAX_INTEGRAL = 80.0
NOISE_RANGE = (1e-9, 1e9)  # of sigma, whose squares float32 holds


def expand(coefficient: Array, x: Array) -> Array:
    """Give a coefficient, `[]` or `[B]`, the rank of `x: [B, ...]`, so that it multiplies rows.

    Raises ValueError for any other shape of the coefficient.
    """
    coefficient = jnp.asarray(coefficient)
    if coefficient.ndim and coefficient.shape != jnp.shape(x)[:1]:
        raise ValueError(
            f"t must be one number, or one for each row of {jnp.shape(x)}, got shape {coefficient.shape}"
        )
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))


class SDE(abc.ABC):
    """A linear diffusion on t in [0, 1]; the methods take `t: [] or [B]` and return its shape.

    They are arithmetic: NaN and times out of range are not looked for. Those that take rows as well raise
    ValueError for arrays that are not numbers, or whose shapes do not fit each other.
    """

    @property
    @abc.abstractmethod
    def prior_scale(self) -> float:
        """Standard deviation of the prior, the Gaussian from which sampling starts at t = 1."""

    @abc.abstractmethod
    def log_alpha(self, t: Array) -> Array:
        """Return ln alpha(t), at most 0."""

    @abc.abstractmethod
    def sigma(self, t: Array) -> Array:
        """Return the standard deviation of the noise at time t."""

    @abc.abstractmethod
    def drift(self, t: Array) -> Array:
        """Return the coefficient f(t) of the drift f x."""

    @abc.abstractmethod
    def diffusion(self, t: Array) -> Array:
        """Return the coefficient g(t) of the noise."""

    @abc.abstractmethod
    def time(self, log_snr: Array) -> Array:
        """Return the time of this log signal-to-noise ratio: the inverse of `log_snr`."""

    def alpha(self, t: Array) -> Array:
        """Return the factor by which clean data have shrunk at time t."""
        return jnp.exp(self.log_alpha(t))

    def log_snr(self, t: Array) -> Array:
        """Return ln(alpha^2 / sigma^2), in nats; it falls with t, and is +inf where sigma is 0."""
        return 2 * (self.log_alpha(t) - jnp.log(self.sigma(t)))

    def perturb(self, x: Array, eps: Array, t: Array) -> Array:
        """Noise clean data: alpha(t) x + sigma(t) eps, for `x, eps: [B, ...]`, `t: [] or [B]`."""
        require_alike(x=x, eps=eps)
        require_numbers("t", t)
        return expand(self.alpha(t), x) * x + expand(self.sigma(t), x) * eps

    def probability_flow_drift(self, x: Array, score: Array, t: Array) -> Array:
        """Return dx/dt of the probability-flow ODE at `x: [B, ...]`, from the score there; (5)."""
        require_alike(x=x, score=score)
        require_numbers("t", t)
        g = expand(self.diffusion(t), x)
        return expand(self.drift(t), x) * x - 0.5 * g**2 * score

    def prior(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Draw starting points at t = 1. Raises ValueError for an untyped key, or what is no shape."""
        require_key(key)
        require_shape(shape)
        return self.prior_scale * jax.random.normal(key, shape)

    def prior_log_prob(self, x: Array) -> Array:
        """Return the log-density of the prior for each row of `x: [B, ...]`, in nats: `[B]`."""
        require_numbers("x", x)
        if not jnp.ndim(x):
            raise ValueError("x must be [B, ...], one point per row, got a single number")
        x = x.reshape(x.shape[0], math.prod(x.shape[1:])) / self.prior_scale
        constant = 0.5 * math.log(2 * math.pi) + math.log(self.prior_scale)
        return -0.5 * jnp.sum(x**2, axis=1) - x.shape[1] * constant

    def score_from_noise(self, eps: Array, t: Array) -> Array:
        """Return the score of a prediction of the noise, by (4); infinite where sigma is 0."""
        require_numbers("eps", eps)
        require_numbers("t", t)
        return -eps / expand(self.sigma(t), eps)

    def noise_from_score(self, score: Array, t: Array) -> Array:
        """Return the prediction of the noise of a score, by (4)."""
        require_numbers("score", score)
        require_numbers("t", t)
        return -expand(self.sigma(t), score) * score

    def score_from_denoised(self, denoised: Array, x: Array, t: Array) -> Array:
        """Return the score of a prediction of the clean data at x, by (4)."""
        require_alike(x=x, denoised=denoised)
        require_numbers("t", t)
        return (expand(self.alpha(t), x) * denoised - x) / expand(self.sigma(t), x) ** 2

    def denoised_from_score(self, score: Array, x: Array, t: Array) -> Array:
        """Return the prediction of the clean data of a score at x, by (4): Tweedie's formula."""
        require_alike(x=x, score=score)
        require_numbers("t", t)
        return (x + expand(self.sigma(t), x) ** 2 * score) / expand(self.alpha(t), x)

    def sample_time(
        self, key: Key, shape: tuple[int, ...], weighting: str = "noise", t_min: float = 1e-5
    ) -> Array:
        """Draw training times in [t_min, 1] for the loss mean |sigma s + eps|^2.

        weighting: "noise" draws t uniformly; "likelihood" uniformly in log-SNR, which by (3) turns
            the loss into an estimate of its g^2-weighted form, of low variance.
        Raises ValueError for any other weighting, an untyped key, what is no shape, and a t_min not in 0..1.
        """
        require_key(key)
        require_shape(shape)
        require_one_of("weighting", weighting, ("noise", "likelihood"))
        require_number("t_min", t_min, above=0, below=1)
        u = jax.random.uniform(key, shape)
        if weighting == "noise":
            return t_min + (1 - t_min) * u
        low, high = self.log_snr(jnp.asarray(1.0)), self.log_snr(jnp.asarray(t_min))
        return jnp.clip(self.time(low + (high - low) * u), t_min, 1.0)


class _Beta(SDE):
    """What VP and sub-VP share: the linear rate b(t) and its integral I(t)."""

    beta_min: float
    beta_max: float

    def __post_init__(self):
        require_number("beta_min", self.beta_min, above=0)
        require_number("beta_max", self.beta_max, low=self.beta_min)
        require_number("beta_max", self.beta_max, high=2 * MAX_INTEGRAL - self.beta_min)

    @property
    def prior_scale(self) -> float:
        return 1.0

    def beta(self, t: Array) -> Array:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def beta_integral(self, t: Array) -> Array:
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def log_alpha(self, t: Array) -> Array:
        return -0.5 * self.beta_integral(t)

    def drift(self, t: Array) -> Array:
        return -0.5 * self.beta(t)

    def _time(self, beta_integral: Array) -> Array:
        # The root of I(t) = integral, in the form that does not cancel for small I or b1 = b0.
        root = jnp.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * beta_integral)
        return 2 * beta_integral / (self.beta_min + root)


@dataclasses.dataclass(frozen=True)
class VP(_Beta):
    """Variance preserving: unit-variance data keep unit variance; alpha^2 + sigma^2 = 1.

    Raises ValueError unless 0 < beta_min <= beta_max <= 160 - beta_min.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigma(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(-self.beta_integral(t)))

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(self.beta(t))

    def time(self, log_snr: Array) -> Array:
        return self._time(jax.nn.softplus(-log_snr))  # exp(L) = exp(-I) / (1 - exp(-I))


@dataclasses.dataclass(frozen=True)
class SubVP(_Beta):
    """Sub-variance preserving: VP's alpha, VP's sigma squared; less noise at every time. Errors as `VP`."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigma(self, t: Array) -> Array:
        return -jnp.expm1(-self.beta_integral(t))

    def diffusion(self, t: Array) -> Array:
        return jnp.sqrt(-self.beta(t) * jnp.expm1(-2 * self.beta_integral(t)))

    def time(self, log_snr: Array) -> Array:
        # With w = sigma, 1 - w = exp(L) w^2; its root in (0, 1) is 2 / (1 + sqrt(1 + 4 exp(L))).
        log_sigma = jnp.log(2.0) - jnp.log1p(jnp.sqrt(1 + 4 * jnp.exp(log_snr)))
        return self._time(-(log_snr + 2 * log_sigma))


class _Exploding(SDE):
    """What VE and EDM share: data do not shrink, noise grows from sigma_min to sigma_max."""

    sigma_min: float
    sigma_max: float

    def __post_init__(self):
        require_number("sigma_min", self.sigma_min, *NOISE_RANGE)
        require_number("sigma_max", self.sigma_max, high=NOISE_RANGE[1], above=self.sigma_min)

    @property
    def prior_scale(self) -> float:
        return self.sigma_max

    def log_alpha(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def drift(self, t: Array) -> Array:
        return jnp.zeros_like(t)


@dataclasses.dataclass(frozen=True)
class VE(_Exploding):
    """Variance exploding: the noise grows geometrically.

    Raises ValueError unless 1e-9 <= sigma_min < sigma_max <= 1e9.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def sigma(self, t: Array) -> Array:
        return self.sigma_min * jnp.exp(t * math.log(self.sigma_max / self.sigma_min))

    def diffusion(self, t: Array) -> Array:
        return self.sigma(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def time(self, log_snr: Array) -> Array:
        return (-0.5 * log_snr - math.log(self.sigma_min)) / math.log(
            self.sigma_max / self.sigma_min
        )


@dataclasses.dataclass(frozen=True)
class EDM(_Exploding):
    """EDM's noise schedule as a process: sigma^(1/rho) is linear in t.

    Raises ValueError as `VE`, and for a rho not in 1..100.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        super().__post_init__()
        require_number("rho", self.rho, 1, 100)

    def _ends(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

    def sigma(self, t: Array) -> Array:
        low, high = self._ends()
        return (low + t * (high - low)) ** self.rho

    def diffusion(self, t: Array) -> Array:
        low, high = self._ends()
        return jnp.sqrt(
            2 * self.rho * (high - low) * (low + t * (high - low)) ** (2 * self.rho - 1)
        )

    def time(self, log_snr: Array) -> Array:
        low, high = self._ends()
        return (jnp.exp(-0.5 * log_snr / self.rho) - low) / (high - low)
