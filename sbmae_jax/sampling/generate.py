"""From observed latents to all latents: the prior, the observed part, one scan over noise levels."""

from dataclasses import dataclass

import jax
import numpy as np

from sbmae_jax._check import (
    MAX_COUNT,
    require_int,
    require_key,
    require_mask,
    require_number,
    require_numbers,
    require_one_of,
)
from sbmae_jax.sampling.conditioning import clamp, given, renoise
from sbmae_jax.sampling.ode import dpm_solver, init_multistep, lift
from sbmae_jax.sampling.samplers import (
    ancestral,
    chain,
    denoise,
    langevin,
    log_snr_times,
    repeat,
    sample,
)  # fmt: skip
from sbmae_jax.sampling.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

SAMPLERS = ("langevin", "predictor_corrector", "dpm_solver")
CONDITIONINGS = ("amortised", "clamp", "renoise")


@dataclass(frozen=True)
class SamplingConfig:
    """How latents are drawn.

    sampler: "langevin" walks down the noise levels by Langevin steps alone; "predictor_corrector" takes
        an ancestral step to each level first, which is too narrow where levels are few and data broad;
        "dpm_solver" a step of order 2 instead, which keeps the spread.
    conditioning: what the score sees of an observed latent at a noise level. "amortised": its clean
        value, and the network is told so, as it was in training
        (`ScoreMatchingConfig.conditioning_prob`); no bias but
        the network's own. "clamp": its clean value, the network not knowing. "renoise": the value with
        fresh noise of that level at every sub-step. The last two need corrections.
    num_levels: noise levels, equally spaced in log-SNR between t = 1 and t_min.
    num_corrections: Langevin steps at each level.
    snr: size of a Langevin step relative to the noise: 2 (snr sigma)^2.
    guidance: strength of the coherence energy, where one was trained; 0 is none.
    classifier_free: weight of classifier-free guidance, for "amortised" conditioning; 1 is none, more is more
        coherent with what is observed, less diverse, and takes two evaluations for one.
    t_min: the last time, in 1e-9..1.
    eta: for "dpm_solver", 1 follows the reverse SDE, 0 the ODE, and what is between them a part of its noise.
    temperature: of the noise that each step adds, the prior aside; below 1 is colder than the distribution:
        more coherent, less diverse, at no further evaluation.

    Raises ValueError for a name that there is not, and for a value out of its range or of another type.
    """

    sampler: str = "predictor_corrector"
    conditioning: str = "amortised"
    num_levels: int = 32
    num_corrections: int = 0
    snr: float = 0.5
    t_min: float = 1e-3
    guidance: float = 0.0
    classifier_free: float = 1.0
    eta: float = 1.0
    temperature: float = 1.0

    def __post_init__(self):
        require_one_of("sampler", self.sampler, SAMPLERS)
        require_one_of("conditioning", self.conditioning, CONDITIONINGS)
        require_int("num_levels", self.num_levels, 1, MAX_COUNT)
        require_int("num_corrections", self.num_corrections, 0, MAX_COUNT)
        # Beyond 1 a Langevin step throws x farther out than it was.
        require_number("snr", self.snr, high=1, above=0)
        require_number("t_min", self.t_min, low=1e-9, below=1)
        require_number("guidance", self.guidance, low=0, high=1e6)
        require_number("classifier_free", self.classifier_free, low=0, high=1e6)
        require_number("eta", self.eta, low=0, high=1)
        require_number("temperature", self.temperature, low=0, high=1)
        if self.classifier_free != 1 and self.conditioning != "amortised":
            raise ValueError(
                "classifier_free needs conditioning 'amortised', whose score knows what is "
                f"observed, got {self.conditioning!r}: set classifier_free to 1"
            )
        noiseless = self.sampler == "dpm_solver" and self.eta == 0 and self.num_corrections == 0
        if self.temperature != 1 and noiseless:
            raise ValueError(
                "temperature scales the noise of steps, and sampler 'dpm_solver' with eta 0 and no "
                "corrections adds none: set temperature to 1, or eta above 0"
            )
        if self.sampler == "langevin" and self.num_corrections < 1:
            raise ValueError("num_corrections must be at least 1 for sampler 'langevin'")

    @property
    def num_evaluations(self) -> int:
        """Score evaluations for one batch of samples, the final denoising included."""
        num = self.num_levels * (self.num_corrections + (self.sampler != "langevin")) + 1
        return num if self.classifier_free == 1 else 2 * num


def generate_latents(
    key: Key, sde: SDE, score: ScoreFn, sampling: SamplingConfig, value: Array, mask: Array
) -> Array:
    """Draw the unobserved coordinates given the observed ones.

    score: for conditioning "amortised" that of the rest given the observed part, else that of the joint.
    value: [B, D], read where mask is True.  mask: [B, D] bool, an array, so that one compiled function
    serves every subset; rows may differ. Returns [B, D] with the observed coordinates as in `value`.

    Raises ValueError for an untyped key, a value that is not [B, D] of floats, and a mask of another shape or
    type. The values are not looked at: a NaN that is observed comes back.
    """
    require_key(key)
    require_mask(mask)
    require_numbers("value", value, floating=True)
    if value.ndim != 2 or np.shape(mask) != value.shape:
        raise ValueError(
            f"value and mask must both be [B, D], got {value.shape} and {np.shape(mask)}"
        )
    prior_key, loop_key = jax.random.split(key)
    clamped = clamp(value, mask)
    observe = renoise(sde, value, mask) if sampling.conditioning == "renoise" else clamped
    scale = sampling.temperature
    corrector = langevin(sde, score, sampling.snr, mask=mask, temperature=scale)
    correct = repeat(given(corrector, observe), sampling.num_corrections)
    times = log_snr_times(sde, sampling.num_levels, sampling.t_min)
    last = chain(observe, denoise(sde, score), clamped)
    x = sde.prior(prior_key, value.shape)
    if sampling.sampler == "dpm_solver":
        predict = given(dpm_solver(sde, score, sampling.eta, scale), lift(observe))
        step = chain(predict, lift(correct))
        return sample(loop_key, step, init_multistep(x), times, last=lift(last)).x
    predict = given(ancestral(sde, score, temperature=scale), observe)
    step = chain(predict, correct) if sampling.sampler == "predictor_corrector" else correct
    return sample(loop_key, step, x, times, last=last)
