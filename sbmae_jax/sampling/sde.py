r"""Linear diffusions: how data become noise, and what the score gives back.

Every process here is linear with scalar coefficients, dx = f(t) x dt + g(t) dw on t in [0, 1],
and the data are at t = 0. A linear function of Gaussians is Gaussian, so given the clean x_0

    x_t = alpha(t) x_0 + sigma(t) eps,    eps ~ N(0, I).    (1)

Matching mean and variance gives alpha' = f alpha and (sigma^2)' = 2 f sigma^2 + g^2, that is,

    f = (ln alpha)',    g^2 = (sigma^2)' - 2 f sigma^2.    (2)

So a process is a pair (alpha, sigma), and the samplers read nothing else:

    VP      alpha = exp(-I/2), sigma^2 = 1 - exp(-I), I = b0 t + (b1 - b0) t^2 / 2;   g^2 = b = I'
    sub-VP  the same alpha, sigma = 1 - exp(-I);                        g^2 = b (1 - exp(-2 I))
    VE      alpha = 1, sigma = s0 (s1/s0)^t;                            g^2 = 2 ln(s1/s0) sigma^2
    EDM     alpha = 1, sigma = (s0^(1/q) + t (s1^(1/q) - s0^(1/q)))^q;  g^2 = 2 sigma sigma'

Let L = ln(alpha^2 / sigma^2), the log signal-to-noise ratio. From (2), for every linear process,

    -L' = (ln sigma^2)' - (ln alpha^2)' = g^2 / sigma^2 > 0.    (3)

L falls strictly, so it can serve as a clock, and `time` inverts it. (3) also tells
how to draw times for the likelihood weighting g^2 of denoising score matching: a time with density
proportional to g^2 / sigma^2 is a time whose L is uniform, for all four processes alike.

The score s = grad ln p_t determines every other prediction. Differentiating the logarithm of p_t =
E_x0 N(alpha x_0, sigma^2 I) gives s = -E[eps | x_t] / sigma, hence with (1)

    eps_hat = -sigma s,      x0_hat = (x_t + sigma^2 s) / alpha.    (4)

Flow matching predicts the velocity u = alpha' x0 + sigma' eps of the path (1), and v prediction
v = alpha eps - sigma x0. Each, with x = alpha x0 + sigma eps, gives the noise, and so the score -eps / sigma:

    eps = (alpha u - alpha' x) / (alpha sigma' - alpha' sigma),                                        (6)
    eps = (alpha v + sigma x) / (alpha^2 + sigma^2).                                                   (7)

Backwards in time, a stochastic and an ordinary equation have the same marginals p_t:

    dx = [f x - g^2 s] dt + g dw,            dx/dt = f x - g^2 s / 2.    (5)

In the coordinates y = x/alpha and r = sigma/alpha the second is dy/dr = eps_hat: by (4) its
solution is a straight line while the prediction is constant, so the few-step solvers work there.

Sources: Song et al. 2021 (arXiv:2011.13456) for VP, sub-VP, VE and (5); Karras et al. 2022
(arXiv:2206.00364) for EDM and y, r; Kingma et al. 2021 (arXiv:2107.00630) for the clock L; Song
et al. 2021 (arXiv:2101.09258) for the likelihood weighting; Lipman et al. 2022 (arXiv:2210.02747) for
(6), Salimans and Ho 2022 (arXiv:2202.00512) for (7).
"""

import abc
import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from sbmae_jax import _check as checks
from sbmae_jax.types import Array, Key

MAX_BETA_INTEGRAL = 80.0  # beyond it, alpha(1)^2, by which samplers divide, is 0 in float32
NOISE_RANGE = (1e-9, 1e9)  # of sigma, whose squares float32 can hold


def expand(coefficient: Array, x: Array) -> Array:
    """Reshape a coefficient, `[]` or `[B]`, so that it multiplies the rows of `x: [B, ...]`.

    Raises ValueError for a coefficient of any other shape.
    """
    coefficient = jnp.asarray(coefficient)
    if coefficient.ndim and coefficient.shape != jnp.shape(x)[:1]:
        raise ValueError(
            f"t must be one number, or one for each row of {jnp.shape(x)}, got shape {coefficient.shape}"
        )
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim))


class SDE(abc.ABC):
    """A linear diffusion on t in [0, 1], from data at t = 0 to noise at t = 1.

    A subclass says how data shrink (`log_alpha`) and how noise grows (`sigma`), by functions that JAX can
    differentiate. All else follows from the two, here and in the samplers. A subclass may override `drift`,
    `diffusion`, `time` and `prior_scale` by closed forms, which are quicker and hold where sigma is 0.

    Methods take a time `t: [] or [B]`, one for all rows or one per row, and return its shape. They do not
    look at values: NaN and times out of range pass through. Methods that also take rows raise ValueError
    for arrays that are not numbers, or whose shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VE, VP
        >>> alpha, sigma = VP().alpha(jnp.asarray(0.5)), VP().sigma(jnp.asarray(0.5))
        >>> round(float(alpha), 3), round(float(sigma), 3), round(float(alpha**2 + sigma**2), 3)
        (0.281, 0.96, 1.0)
        >>> VE().prior_scale
        50.0
    """

    t_max: float = 1.0
    """The time from which sampling starts; below 1 where alpha(1) is 0."""

    @property
    def prior_scale(self) -> float | Array:
        """Standard deviation of the prior, the centred Gaussian from which sampling starts: sigma(t_max)."""
        return self.sigma(jnp.asarray(self.t_max, float))

    @abc.abstractmethod
    def log_alpha(self, t: Array) -> Array:
        """Return ln alpha(t), at most 0."""

    @abc.abstractmethod
    def sigma(self, t: Array) -> Array:
        """Return the standard deviation of the noise at time t."""

    def drift(self, t: Array) -> Array:
        """Return the coefficient f(t) of the drift f x, by (2)."""
        return _slope(self.log_alpha, t)[1]

    def diffusion(self, t: Array) -> Array:
        """Return the coefficient g(t) of the noise, by (2); it may be NaN where sigma is 0."""
        sigma2, slope = _slope(lambda t: self.sigma(t) ** 2, t)
        return jnp.sqrt(jnp.maximum(slope - 2 * self.drift(t) * sigma2, 0.0))

    def time(self, log_snr: Array) -> Array:
        """Return the time at which the log signal-to-noise ratio has this value; inverts `log_snr`.

        Without a closed form it halves [0, t_max] forty times, and then takes a Newton step. That step has
        the derivative of the inverse function, in `log_snr` and in the parameters of the process.
        """
        low = jnp.zeros_like(jnp.asarray(log_snr, float))

        def halve(_, ends):
            middle = 0.5 * (ends[0] + ends[1])
            too_clean = self.log_snr(middle) > log_snr
            return jnp.where(too_clean, middle, ends[0]), jnp.where(too_clean, ends[1], middle)

        low, high = jax.lax.fori_loop(0, 40, halve, (low, jnp.full_like(low, self.t_max)))
        t = jax.lax.stop_gradient(0.5 * (low + high))
        reached, slope = _slope(self.log_snr, t)
        gap = (reached - log_snr) / jax.lax.stop_gradient(slope)
        usable = jnp.isfinite(gap)
        return jnp.clip(t - jnp.where(usable, jnp.where(usable, gap, 0.0), 0.0), 0.0, self.t_max)

    def alpha(self, t: Array) -> Array:
        """Return the factor by which clean data have shrunk at time t, in (0, 1]."""
        return jnp.exp(self.log_alpha(t))

    def log_snr(self, t: Array) -> Array:
        """Return ln(alpha^2 / sigma^2), in nats; it falls with t, and is +inf where sigma is 0."""
        return 2 * (self.log_alpha(t) - jnp.log(self.sigma(t)))

    def perturb(self, x: Array, eps: Array, t: Array) -> Array:
        """Add noise to clean data, by (1).

        Args:
            x: clean data, `[B, ...]`.
            eps: standard normal noise, of the shape of x.
            t: `[]` or `[B]`, in [0, 1].

        Returns:
            alpha(t) x + sigma(t) eps, of the shape of x.
        """
        checks.require_alike(x=x, eps=eps)
        checks.require_numbers("t", t)
        return expand(self.alpha(t), x) * x + expand(self.sigma(t), x) * eps

    def probability_flow_drift(self, x: Array, score: Array, t: Array) -> Array:
        """Return the velocity dx/dt of the probability-flow ODE, by (5).

        Args:
            x: points, `[B, ...]`.
            score: the score at these points and this time, of the shape of x.
            t: `[]` or `[B]`, in [0, 1].

        Returns:
            f x - g^2 s / 2, of the shape of x.
        """
        checks.require_alike(x=x, score=score)
        checks.require_numbers("t", t)
        g = expand(self.diffusion(t), x)
        return expand(self.drift(t), x) * x - 0.5 * g**2 * score

    def prior(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Draw the points at t_max from which sampling starts.

        Args:
            key: a typed key.
            shape: of the result, usually `(B, D)`.

        Returns:
            Draws of N(0, prior_scale^2), in JAX's default type of floats.

        Raises:
            ValueError: for an untyped key, or a shape that is not a tuple of integers.
        """
        checks.require_key(key)
        checks.require_shape(shape)
        return self.prior_scale * jax.random.normal(key, shape)

    def prior_log_prob(self, x: Array) -> Array:
        """Return the log-density of the prior.

        Args:
            x: points, `[B, ...]`, one per row.

        Returns:
            One log-density per row, `[B]`, in nats.
        """
        checks.require_numbers("x", x)
        if not jnp.ndim(x):
            raise ValueError("x must be [B, ...], one point per row, got a single number")
        x = x.reshape(x.shape[0], math.prod(x.shape[1:])) / self.prior_scale
        constant = 0.5 * math.log(2 * math.pi) + _log(self.prior_scale)
        return -0.5 * jnp.sum(x**2, axis=1) - x.shape[1] * constant

    def score_from_noise(self, eps: Array, t: Array) -> Array:
        """Turn a prediction of the noise, `[B, ...]`, into a score, by (4); infinite where sigma is 0."""
        checks.require_numbers("eps", eps)
        checks.require_numbers("t", t)
        return -eps / expand(self.sigma(t), eps)

    def noise_from_score(self, score: Array, t: Array) -> Array:
        """Turn a score, `[B, ...]`, into the prediction of the noise, by (4)."""
        checks.require_numbers("score", score)
        checks.require_numbers("t", t)
        return -expand(self.sigma(t), score) * score

    def score_from_denoised(self, denoised: Array, x: Array, t: Array) -> Array:
        """Turn a prediction of the clean data at `x: [B, ...]` into a score, by (4)."""
        checks.require_alike(x=x, denoised=denoised)
        checks.require_numbers("t", t)
        return (expand(self.alpha(t), x) * denoised - x) / expand(self.sigma(t), x) ** 2

    def denoised_from_score(self, score: Array, x: Array, t: Array) -> Array:
        """Turn a score at `x: [B, ...]` into the prediction of the clean data, by (4): Tweedie's formula."""
        checks.require_alike(x=x, score=score)
        checks.require_numbers("t", t)
        return (x + expand(self.sigma(t), x) ** 2 * score) / expand(self.alpha(t), x)

    def score_from_velocity(self, velocity: Array, x: Array, t: Array) -> Array:
        """Turn a velocity of flow matching at `x: [B, ...]`, alpha' x0 + sigma' eps, into a score, by (6).

        Where a flow has the data at t = 1, call its network with 1 - t and negate what it returns.
        `probability_flow_drift` is the way back.
        """
        checks.require_alike(x=x, velocity=velocity)
        checks.require_numbers("t", t)
        alpha, d_alpha = _slope(self.alpha, t)
        sigma, d_sigma = _slope(self.sigma, t)
        eps = expand(alpha, x) * velocity - expand(d_alpha, x) * x
        return -eps / expand((alpha * d_sigma - d_alpha * sigma) * sigma, x)

    def score_from_v(self, v: Array, x: Array, t: Array) -> Array:
        """Turn a v prediction at `x: [B, ...]`, alpha eps - sigma x0, into a score, by (7)."""
        checks.require_alike(x=x, v=v)
        checks.require_numbers("t", t)
        alpha, sigma = expand(self.alpha(t), x), expand(self.sigma(t), x)
        return -(alpha * v + sigma * x) / ((alpha**2 + sigma**2) * sigma)

    def v_from_score(self, score: Array, x: Array, t: Array) -> Array:
        """Turn a score at `x: [B, ...]` into a v prediction, by (7); infinite where alpha is 0."""
        checks.require_alike(x=x, score=score)
        checks.require_numbers("t", t)
        alpha, sigma = expand(self.alpha(t), x), expand(self.sigma(t), x)
        return -sigma * ((alpha**2 + sigma**2) * score + x) / alpha

    def sample_time(
        self, key: Key, shape: tuple[int, ...], weighting: str = "noise", t_min: float = 1e-5
    ) -> Array:
        """Draw training times for the loss mean |sigma s + eps|^2.

        Args:
            key: a typed key.
            shape: of the result, usually `(B,)`.
            weighting: "noise" draws t uniformly. "likelihood" draws it uniformly in log-SNR, which by (3)
                turns the loss into a low-variance estimate of its g^2-weighted form.
            t_min: the smallest time, above 0 and below 1; at 0 the score may be infinite.

        Returns:
            Times in [t_min, 1]; for "likelihood" in [t_min, t_max].

        Raises:
            ValueError: for any other weighting, an untyped key, or a t_min out of range.
        """
        checks.require_key(key)
        checks.require_shape(shape)
        checks.require_one_of("weighting", weighting, ("noise", "likelihood"))
        checks.require_number("t_min", t_min, above=0, below=1)
        u = jax.random.uniform(key, shape)
        if weighting == "noise":
            return t_min + (1 - t_min) * u
        low, high = self.log_snr(jnp.asarray(self.t_max)), self.log_snr(jnp.asarray(t_min))
        return jnp.clip(self.time(low + (high - low) * u), t_min, self.t_max)


def _slope(fn: Callable[[Array], Array], t: Array) -> tuple[Array, Array]:
    """Return a function of time and its derivative, entry by entry."""
    t = jnp.asarray(t)
    t = t if jnp.issubdtype(t.dtype, jnp.floating) else t.astype(float)
    return jax.jvp(fn, (t,), (jnp.ones_like(t),))


def _log(scale: float | Array) -> float | Array:
    return math.log(scale) if isinstance(scale, float | int) else jnp.log(scale)


class _LinearBeta(SDE):
    """What VP and sub-VP share: the linear beta b(t) and its integral I(t)."""

    beta_min: float
    beta_max: float

    def __post_init__(self):
        checks.require_number("beta_min", self.beta_min, above=0)
        checks.require_number("beta_max", self.beta_max, low=self.beta_min)
        highest = 2 * MAX_BETA_INTEGRAL - self.beta_min
        checks.require_number("beta_max", self.beta_max, high=highest)

    @property
    def prior_scale(self) -> float:
        return 1.0

    def beta(self, t: Array) -> Array:
        """Return b(t), which rises linearly from beta_min to beta_max."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def beta_integral(self, t: Array) -> Array:
        """Return I(t), the integral of b from 0 to t."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def log_alpha(self, t: Array) -> Array:
        return -0.5 * self.beta_integral(t)

    def drift(self, t: Array) -> Array:
        return -0.5 * self.beta(t)

    def _time(self, beta_integral: Array) -> Array:
        # Solves I(t) = beta_integral in the form that does not cancel for small I or b1 = b0.
        root = jnp.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * beta_integral)
        return 2 * beta_integral / (self.beta_min + root)


@dataclasses.dataclass(frozen=True)
class VP(_LinearBeta):
    """The variance-preserving process: data of unit variance keep it, as alpha^2 + sigma^2 = 1.

    Attributes:
        beta_min: b(0), above 0. The defaults are those of Song et al. and leave 0.7 % of the data at t = 1.
        beta_max: b(1), from beta_min to 160 - beta_min.

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP
        >>> key = jax.random.key(0)
        >>> x, eps = jnp.ones((4, 2)), jax.random.normal(key, (4, 2))
        >>> VP().perturb(x, eps, jnp.asarray([0.1, 0.4, 0.7, 1.0])).shape  # a time for each row
        (4, 2)

    Source: Song et al. 2021 (arXiv:2011.13456), equation 11.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigma(self, t: Array) -> Array:
        """Return sqrt(1 - exp(-I(t)))."""
        return jnp.sqrt(-jnp.expm1(-self.beta_integral(t)))

    def diffusion(self, t: Array) -> Array:
        """Return sqrt(b(t))."""
        return jnp.sqrt(self.beta(t))

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L: it solves exp(L) = exp(-I) / (1 - exp(-I))."""
        return self._time(jax.nn.softplus(-log_snr))


@dataclasses.dataclass(frozen=True)
class SubVP(_LinearBeta):
    """The sub-variance-preserving process: VP's alpha and VP's sigma squared, so less noise at any time.

    Attributes:
        beta_min: b(0), above 0.
        beta_max: b(1), from beta_min to 160 - beta_min.

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VP, SubVP
        >>> t = jnp.asarray(0.2)
        >>> round(float(VP().sigma(t)), 3), round(float(SubVP().sigma(t)), 3)
        (0.584, 0.342)

    Source: Song et al. 2021 (arXiv:2011.13456), equation 12.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigma(self, t: Array) -> Array:
        """Return 1 - exp(-I(t))."""
        return -jnp.expm1(-self.beta_integral(t))

    def diffusion(self, t: Array) -> Array:
        """Return sqrt(b(t) (1 - exp(-2 I(t))))."""
        return jnp.sqrt(-self.beta(t) * jnp.expm1(-2 * self.beta_integral(t)))

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, whose sigma solves 1 - sigma = exp(L) sigma^2."""
        # The root in (0, 1) is 2 / (1 + sqrt(1 + 4 exp(L))).
        log_sigma = jnp.log(2.0) - jnp.log1p(jnp.sqrt(1 + 4 * jnp.exp(log_snr)))
        return self._time(-(log_snr + 2 * log_sigma))


class _Exploding(SDE):
    """What VE and EDM share: data do not shrink, noise grows from sigma_min to sigma_max."""

    sigma_min: float
    sigma_max: float

    def __post_init__(self):
        checks.require_number("sigma_min", self.sigma_min, *NOISE_RANGE)
        checks.require_number(
            "sigma_max", self.sigma_max, high=NOISE_RANGE[1], above=self.sigma_min
        )

    @property
    def prior_scale(self) -> float:
        return self.sigma_max

    def log_alpha(self, t: Array) -> Array:
        return jnp.zeros_like(t)

    def drift(self, t: Array) -> Array:
        return jnp.zeros_like(t)


@dataclasses.dataclass(frozen=True)
class VE(_Exploding):
    """The variance-exploding process: noise grows geometrically.

    Attributes:
        sigma_min: the noise at t = 0, at least 1e-9; small beside the detail of the data.
        sigma_max: the noise at t = 1, above sigma_min and at most 1e9; large beside the spread of the data.

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import VE
        >>> sigma = VE(sigma_min=0.01, sigma_max=100.0).sigma(jnp.asarray([0.0, 0.5, 1.0]))
        >>> [round(value, 3) for value in sigma.tolist()]
        [0.01, 1.0, 100.0]

    Source: Song et al. 2021 (arXiv:2011.13456), equation 9.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def sigma(self, t: Array) -> Array:
        """Return sigma_min (sigma_max / sigma_min)^t."""
        return self.sigma_min * jnp.exp(t * math.log(self.sigma_max / self.sigma_min))

    def diffusion(self, t: Array) -> Array:
        """Return sigma(t) sqrt(2 ln(sigma_max / sigma_min))."""
        return self.sigma(t) * math.sqrt(2 * math.log(self.sigma_max / self.sigma_min))

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, whose sigma is exp(-L / 2)."""
        growth = math.log(self.sigma_max / self.sigma_min)
        return (-0.5 * log_snr - math.log(self.sigma_min)) / growth


@dataclasses.dataclass(frozen=True)
class EDM(_Exploding):
    """The noise schedule of EDM as a process: sigma^(1/rho) is linear in t.

    Attributes:
        sigma_min: the noise at t = 0, at least 1e-9.
        sigma_max: the noise at t = 1, above sigma_min and at most 1e9.
        rho: in 1..100; the larger, the more time is spent at low noise.

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from sbmae_jax import EDM
        >>> [round(value, 3) for value in EDM().sigma(jnp.asarray([0.0, 0.5, 1.0])).tolist()]
        [0.002, 2.515, 80.0]

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 5.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        super().__post_init__()
        checks.require_number("rho", self.rho, 1, 100)

    def _ends(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

    def sigma(self, t: Array) -> Array:
        """Return the noise whose 1/rho-th power is linear in t."""
        low, high = self._ends()
        return (low + t * (high - low)) ** self.rho

    def diffusion(self, t: Array) -> Array:
        """Return sqrt(2 sigma sigma')."""
        low, high = self._ends()
        root = low + t * (high - low)
        return jnp.sqrt(2 * self.rho * (high - low) * root ** (2 * self.rho - 1))

    def time(self, log_snr: Array) -> Array:
        """Return the time with this L, whose sigma is exp(-L / 2)."""
        low, high = self._ends()
        return (jnp.exp(-0.5 * log_snr / self.rho) - low) / (high - low)
