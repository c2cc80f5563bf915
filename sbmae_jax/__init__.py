"""Score-based multimodal autoencoders, and the samplers they are made of.

The samplers need JAX alone and are imported at once: bring your own score, and sample from it. What needs
Flax, Orbax or data (`Model`, `load`) is imported when it is first used (PEP 562).

Example:
    >>> import jax
    >>> from sbmae_jax import VP, dpm_solver, log_snr_times, sample
    >>> sde, score = VP(), lambda x, t: -x  # the score of standard normal data
    >>> prior_key, loop_key = jax.random.split(jax.random.key(0))
    >>> x = sde.prior(prior_key, (4, 2))
    >>> step, times = dpm_solver(sde, score), log_snr_times(sde, 20)
    >>> draw = jax.jit(lambda key, x: sample(key, step, x, times))  # compiled once, then milliseconds
    >>> draw(loop_key, x).shape
    (4, 2)
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from sbmae_jax.sampling.adaptive import AdaptiveSamples, sample_adaptive
from sbmae_jax.sampling.composition import composed_score
from sbmae_jax.sampling.conditioning import (
    amortised,
    amortised_by_time,
    clamp,
    forward_transition,
    given,
    renoise,
    repaint,
    substeps,
)
from sbmae_jax.sampling.correctors import (
    acceptance_rates,
    annealed_langevin,
    by_level,
    by_norm,
    hamiltonian,
    langevin,
)
from sbmae_jax.sampling.grids import (
    edm_times,
    ladder_times,
    log_snr_times,
    uniform_times,
    vp_times,
)
from sbmae_jax.sampling.guidance import classifier_free, guide, noise_condition
from sbmae_jax.sampling.information import (
    Information,
    mutual_information,
    o_information,
    product_score,
    total_correlation,
)
from sbmae_jax.sampling.likelihood import log_density, log_density_adaptive
from sbmae_jax.sampling.ode import adams, dpm_solver, heun, probability_flow
from sbmae_jax.sampling.particles import (
    Particles,
    draw_particles,
    feynman_kac,
    twisted_sample,
)
from sbmae_jax.sampling.predictors import ancestral, denoise, euler_maruyama
from sbmae_jax.sampling.processes import CosineVP, DiscreteVP, Process, RectifiedFlow
from sbmae_jax.sampling.samplers import chain, repeat, sample
from sbmae_jax.sampling.sde import EDM, SDE, VE, VP, SubVP
from sbmae_jax.sampling.twists import (
    Twisted,
    reconstruction_guidance,
    tilt,
    twist,
    twisted_score,
)
from sbmae_jax.types import MemoryStep

if TYPE_CHECKING:
    from sbmae_jax.app.fit import fit as fit
    from sbmae_jax.app.loading import load as load
    from sbmae_jax.models.coders import FrozenCoder as FrozenCoder
    from sbmae_jax.models.model import Model as Model

__version__: str

_LAZY = {
    "FrozenCoder": "sbmae_jax.models.coders",
    "Model": "sbmae_jax.models.model",
    "fit": "sbmae_jax.app.fit",
    "load": "sbmae_jax.app.loading",
}

__all__ = [
    "EDM",
    "SDE",
    "VE",
    "VP",
    "AdaptiveSamples",
    "CosineVP",
    "DiscreteVP",
    "FrozenCoder",
    "Information",
    "MemoryStep",
    "Model",
    "Particles",
    "Process",
    "RectifiedFlow",
    "SubVP",
    "Twisted",
    "acceptance_rates",
    "adams",
    "amortised",
    "amortised_by_time",
    "ancestral",
    "annealed_langevin",
    "by_level",
    "by_norm",
    "chain",
    "clamp",
    "classifier_free",
    "composed_score",
    "denoise",
    "dpm_solver",
    "draw_particles",
    "edm_times",
    "euler_maruyama",
    "feynman_kac",
    "fit",
    "forward_transition",
    "given",
    "guide",
    "hamiltonian",
    "heun",
    "ladder_times",
    "langevin",
    "load",
    "log_density",
    "log_density_adaptive",
    "log_snr_times",
    "mutual_information",
    "noise_condition",
    "o_information",
    "probability_flow",
    "product_score",
    "reconstruction_guidance",
    "renoise",
    "repaint",
    "repeat",
    "sample",
    "sample_adaptive",
    "substeps",
    "tilt",
    "total_correlation",
    "twist",
    "twisted_sample",
    "twisted_score",
    "uniform_times",
    "vp_times",
]


def __getattr__(name: str) -> Any:
    """Import a lazy name when it is first used."""
    if name == "__version__":
        return importlib.metadata.version("sbmae_jax")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "__version__"])
