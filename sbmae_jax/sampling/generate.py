"""From observed latents to all latents: the prior, the observed part, and one scan over noise levels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sbmae_jax import _check as checks
from sbmae_jax.sampling.conditioning import clamp, given, renoise
from sbmae_jax.sampling.correctors import langevin
from sbmae_jax.sampling.grids import log_snr_times
from sbmae_jax.sampling.ode import dpm_solver
from sbmae_jax.sampling.particles import draw_particles, twisted_sample
from sbmae_jax.sampling.predictors import ancestral, denoise
from sbmae_jax.sampling.samplers import chain, repeat, sample
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

SAMPLERS = ("langevin", "predictor_corrector", "dpm_solver")
CONDITIONINGS = ("amortised", "clamp", "renoise", "particles")

MAX_PARTICLES = 8192
"""Particles that are followed at once, of all rows together; it bounds memory."""


@dataclass(frozen=True)
class SamplingConfig:
    """How latents are sampled.

    Attributes:
        sampler: how a sample gets from one noise level to the next. "dpm_solver": by a step of order 2, which
            keeps the spread, then Langevin steps. "predictor_corrector": by an ancestral step, which is too
            narrow where levels are few and data broad, then Langevin steps. "langevin": by Langevin steps at
            the next level alone.
        conditioning: what the score sees of an observed latent at a noise level. "amortised": its clean
            value, by a network that is told so, as it was in training
            (`ScoreMatchingConfig.conditioning_prob`); there is no bias but the network's own. "clamp": its
            clean value, by a network that is not told. "renoise": its value with fresh noise of that
            level at every step. These two need corrections. "particles": each row is drawn from particles
            with weights, as `twisted_sample` makes them. This needs the joint score alone, and is exact as
            `num_particles` and `num_levels` grow, at `num_particles` times the evaluations, each with a
            derivative.
        num_levels: noise levels, equally spaced in log-SNR from t = 1 to t_min; in 1..1,000,000.
        num_corrections: Langevin steps at each level, in 0..1,000,000; at least 1 for "langevin".
        snr: size of a Langevin step relative to the noise, above 0 and at most 1: a step is 2 (snr sigma)^2,
            and a larger one throws x farther out than it was.
        t_min: the last time, at least 1e-9 and below 1.
        guidance: strength of the coherence energy, where one was trained, in 0..1e6; 0 is none.
        classifier_free: weight of classifier-free guidance, in 0..1e6, for conditioning "amortised". 1 is
            none; more is more coherent with what is observed and less diverse, at twice the evaluations.
        eta: for "dpm_solver", in 0..1; 1 follows the reverse SDE, 0 the ODE.
        temperature: in 0..1; it multiplies the standard deviation of the noise that each step adds, but not
            that of the prior. 1 samples the distribution; less is more coherent and less diverse, at no
            further evaluation.
        num_particles: for conditioning "particles", how many are followed for each row that is drawn; in
            1..1,000,000. The more is observed, the more are needed. 1 is reconstruction guidance.

    Raises:
        ValueError: for an unknown name, a value out of range or of another type, or values that contradict
            each other.

    Example:
        >>> from sbmae_jax.sampling.generate import SamplingConfig
        >>> SamplingConfig("dpm_solver", num_levels=24).num_evaluations
        25
    """

    sampler: str = "dpm_solver"
    conditioning: str = "amortised"
    num_levels: int = 32
    num_corrections: int = 0
    snr: float = 0.5
    t_min: float = 1e-3
    guidance: float = 0.0
    classifier_free: float = 1.0
    eta: float = 1.0
    temperature: float = 1.0
    num_particles: int = 64

    def __post_init__(self):
        checks.require_one_of("sampler", self.sampler, SAMPLERS)
        checks.require_one_of("conditioning", self.conditioning, CONDITIONINGS)
        checks.require_int("num_levels", self.num_levels, 1, checks.MAX_COUNT)
        checks.require_int("num_corrections", self.num_corrections, 0, checks.MAX_COUNT)
        checks.require_number("snr", self.snr, high=1, above=0)
        checks.require_number("t_min", self.t_min, low=1e-9, below=1)
        checks.require_number("guidance", self.guidance, low=0, high=1e6)
        checks.require_number("classifier_free", self.classifier_free, low=0, high=1e6)
        checks.require_number("eta", self.eta, low=0, high=1)
        checks.require_number("temperature", self.temperature, low=0, high=1)
        checks.require_int("num_particles", self.num_particles, 1, checks.MAX_COUNT)
        if self.conditioning == "particles":
            self._require_weighable()
        # The numbers come last, as they may be traced where the names allow any.
        if self.conditioning != "amortised" and self.classifier_free != 1:
            raise ValueError(
                "classifier_free needs conditioning 'amortised', whose score knows what is observed, "
                f"got {self.conditioning!r}: set classifier_free to 1"
            )
        noiseless = self.sampler == "dpm_solver" and self.eta == 0 and self.num_corrections == 0
        if noiseless and self.temperature != 1:
            raise ValueError(
                "temperature scales the noise of steps, and sampler 'dpm_solver' with eta 0 and no "
                "corrections adds none: set temperature to 1, or eta above 0"
            )
        if self.sampler == "langevin" and self.num_corrections < 1:
            raise ValueError("num_corrections must be at least 1 for sampler 'langevin'")

    @property
    def num_evaluations(self) -> int:
        """Evaluations of the score for one batch of samples, the final denoising included."""
        if self.conditioning == "particles":
            return self.num_particles * (self.num_levels + 1) + 1
        num = self.num_levels * (self.num_corrections + (self.sampler != "langevin")) + 1
        return num if self.classifier_free == 1 else 2 * num

    def _require_weighable(self) -> None:
        """Raise ValueError for settings with which particles have no weights, or wrong ones."""
        for name, wanted in (("guidance", 0), ("temperature", 1), ("num_corrections", 0)):
            value = getattr(self, name)
            if value != wanted:
                raise ValueError(
                    f"conditioning 'particles' samples the joint score without {name}: set {name} to "
                    f"{wanted}, got {value}"
                )
        if self.sampler == "langevin" or (self.sampler == "dpm_solver" and self.eta == 0):
            raise ValueError(
                "conditioning 'particles' needs steps with noise from level to level: set sampler to "
                f"'predictor_corrector', or to 'dpm_solver' with eta above 0, got {self.sampler!r}"
            )


def generate_latents(
    key: Key, sde: SDE, score: ScoreFn, sampling: SamplingConfig, value: Array, mask: Array
) -> Array:
    """Sample the unobserved latent coordinates given the observed ones.

    Args:
        key: a typed key.
        sde: the process.
        score: for conditioning "amortised" the score of the rest given the observed part, as `amortised`
            makes it; otherwise the score of all coordinates together.
        sampling: how to sample.
        value: `[B, D]` of floats, read where mask is True. NaN is not looked for: one that is observed comes
            back.
        mask: `[B, D]` of bool, True where observed. It is an array, so that one compiled function serves
            every subset, and rows may differ.

    Returns:
        `[B, D]`, with the observed coordinates as in `value`, bit for bit.

    Raises:
        ValueError: for an untyped key, a value that is not `[B, D]` of floats, or a mask of another shape or
            type.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from sbmae_jax import VP
        >>> from sbmae_jax.sampling.generate import SamplingConfig, generate_latents
        >>> value, mask = jnp.zeros((4, 2)), jnp.zeros((4, 2), bool)  # nothing is observed
        >>> sampling = SamplingConfig(num_levels=4)
        >>> generate_latents(jax.random.key(0), VP(), lambda x, t: -x, sampling, value, mask).shape
        (4, 2)
    """
    checks.require_key(key)
    checks.require_mask(mask)
    checks.require_numbers("value", value, floating=True)
    if value.ndim != 2 or np.shape(mask) != value.shape:
        raise ValueError(
            f"value and mask must both be [B, D], got {value.shape} and {np.shape(mask)}"
        )
    if sampling.conditioning == "particles":
        return _by_particles(key, sde, score, sampling, value, mask)
    prior_key, loop_key = jax.random.split(key)
    clamped = clamp(value, mask)
    observe = renoise(sde, value, mask) if sampling.conditioning == "renoise" else clamped
    temperature = sampling.temperature
    corrector = langevin(sde, score, sampling.snr, mask=mask, temperature=temperature)
    correct = repeat(given(corrector, observe), sampling.num_corrections)
    times = log_snr_times(sde, sampling.num_levels, sampling.t_min)
    last = chain(observe, denoise(sde, score), clamped)
    x = sde.prior(prior_key, value.shape)
    if sampling.sampler == "dpm_solver":
        predictor = dpm_solver(sde, score, sampling.eta, temperature)
    else:
        predictor = ancestral(sde, score, temperature=temperature)
    step = correct if sampling.sampler == "langevin" else chain(given(predictor, observe), correct)
    return sample(loop_key, step, x, times, last=last)


def _by_particles(
    key: Key, sde: SDE, score: ScoreFn, sampling: SamplingConfig, value: Array, mask: Array
) -> Array:
    """Draw each row from a cloud of its own, so that rows may observe different coordinates."""
    draw_key, last_key = jax.random.split(key)
    times = log_snr_times(sde, sampling.num_levels, sampling.t_min)
    eta = sampling.eta if sampling.sampler == "dpm_solver" else None

    def draw(row):
        number, value, mask = row
        run_key, pick_key = jax.random.split(jax.random.fold_in(draw_key, number))
        found = twisted_sample(
            run_key, sde, score, value, mask, times, sampling.num_particles, eta=eta
        )
        return draw_particles(pick_key, found, 1)[0]

    num_rows = value.shape[0]
    num_at_once = max(1, MAX_PARTICLES // sampling.num_particles)
    # A number of rows that is a symbol, while a function is exported, cannot be divided: one after another.
    batch_size = min(num_at_once, num_rows) if isinstance(num_rows, int) else None
    rows = jnp.arange(num_rows), value, mask
    x = jax.lax.map(draw, rows, batch_size=batch_size)
    last = chain(renoise(sde, value, mask), denoise(sde, score), clamp(value, mask))
    return last(last_key, x, times[-1], times[-1])
