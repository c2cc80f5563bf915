"""From observed latents to all latents: the prior, the observed part, one scan over noise levels."""

from dataclasses import dataclass

import jax

from sbmae_jax.conditioning import clamp, given, renoise
from sbmae_jax.ode import dpm_solver, lift, remember
from sbmae_jax.samplers import (
    ancestral,
    chain,
    denoise,
    langevin,
    log_snr_times,
    repeat,
    sample,
)  # fmt: skip
from sbmae_jax.sde import SDE
from sbmae_jax.types import Array, Key, ScoreFn

SAMPLERS = ("langevin", "predictor_corrector", "dpm_solver")
CONDITIONINGS = ("amortised", "clamp", "renoise")


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn.

    sampler: "langevin" walks down the noise levels by Langevin steps alone; "predictor_corrector" takes
        an ancestral step to each level first, which is too narrow where levels are few and data broad;
        "dpm_solver" a step of order 2 instead, which keeps the spread.
    conditioning: what the score sees of an observed latent at a noise level. "amortised": its clean
        value, and the network is told so, as it was in training (`Matching.observed_share`); no bias but
        the network's own. "clamp": its clean value, the network not knowing. "renoise": the value with
        fresh noise of that level at every sub-step. The last two need corrections.
    num_levels: noise levels, equally spaced in log-SNR between t = 1 and t_min.
    num_corrections: Langevin steps at each level.
    snr: size of a Langevin step relative to the noise: 2 (snr sigma)^2.
    guidance: strength of the coherence energy, where one was trained; 0 is none.
    eta: for "dpm_solver", 1 follows the reverse SDE, 0 the ODE.
    """

    sampler: str = "predictor_corrector"
    conditioning: str = "amortised"
    num_levels: int = 32
    num_corrections: int = 0
    snr: float = 0.5
    t_min: float = 1e-3
    guidance: float = 0.0
    eta: float = 1.0

    def __post_init__(self):
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampling.sampler must be one of {SAMPLERS}, got {self.sampler!r}")
        if self.conditioning not in CONDITIONINGS:
            raise ValueError(
                f"sampling.conditioning must be one of {CONDITIONINGS}, got {self.conditioning!r}"
            )
        if self.sampler == "langevin" and self.num_corrections < 1:
            raise ValueError("sampling.num_corrections must be at least 1 for sampler 'langevin'")

    @property
    def num_evaluations(self) -> int:
        """Score evaluations for one batch of samples, the final denoising included."""
        return self.num_levels * (self.num_corrections + (self.sampler != "langevin")) + 1


def generate_latents(
    key: Key, sde: SDE, score: ScoreFn, sampling: Sampling, value: Array, mask: Array
) -> Array:
    """Draw the unobserved coordinates given the observed ones.

    score: for conditioning "amortised" that of the rest given the observed part, else that of the joint.
    value: [B, D], read where mask is True.  mask: [B, D] bool, an array, so that one compiled function
    serves every subset; rows may differ. Returns [B, D] with the observed coordinates as in `value`.
    """
    prior_key, loop_key = jax.random.split(key)
    clamped = clamp(value, mask)
    observe = renoise(sde, value, mask) if sampling.conditioning == "renoise" else clamped
    correct = repeat(
        given(langevin(sde, score, sampling.snr, mask=mask), observe), sampling.num_corrections
    )
    times = log_snr_times(sde, sampling.num_levels, sampling.t_min)
    last = chain(observe, denoise(sde, score), clamped)
    x = sde.prior(prior_key, value.shape)
    if sampling.sampler == "dpm_solver":
        predict = given(dpm_solver(sde, score, sampling.eta), lift(observe))
        step = chain(predict, lift(correct))
        return sample(loop_key, step, remember(x), times, last=lift(last)).x
    predict = given(ancestral(sde, score), observe)
    step = chain(predict, correct) if sampling.sampler == "predictor_corrector" else correct
    return sample(loop_key, step, x, times, last=last)
