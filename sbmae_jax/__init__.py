"""Pure sampling functions: bring a score, sample from it, also conditionally. Imports JAX only."""

from sbmae_jax.conditioning import (
    amortised,
    amortised_times,
    clamp,
    given,
    jump,
    renoise,
    resample,
)
from sbmae_jax.guidance import classifier_free, guide
from sbmae_jax.likelihood import log_density, log_density_adaptive
from sbmae_jax.ode import dpm_solver, heun, lift, probability_flow, remember
from sbmae_jax.particles import Particles, draw, steer, twisted_sample
from sbmae_jax.samplers import (
    ancestral,
    annealed_langevin,
    by_level,
    by_norm,
    chain,
    denoise,
    edm_times,
    euler_maruyama,
    ladder_times,
    langevin,
    log_snr_times,
    repeat,
    sample,
    uniform_times,
)
from sbmae_jax.sde import EDM, SDE, VE, VP, SubVP

__all__ = [
    "EDM",
    "SDE",
    "VE",
    "VP",
    "Particles",
    "SubVP",
    "amortised",
    "amortised_times",
    "ancestral",
    "annealed_langevin",
    "by_level",
    "by_norm",
    "chain",
    "clamp",
    "classifier_free",
    "denoise",
    "dpm_solver",
    "draw",
    "edm_times",
    "euler_maruyama",
    "given",
    "guide",
    "heun",
    "jump",
    "ladder_times",
    "langevin",
    "lift",
    "log_density",
    "log_density_adaptive",
    "log_snr_times",
    "probability_flow",
    "remember",
    "renoise",
    "repeat",
    "resample",
    "sample",
    "steer",
    "twisted_sample",
    "uniform_times",
]
