"""What is compared: a sampler, a conditioning, and how a budget of score evaluations becomes steps."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import sbmae_jax as sbm


def leave(key, x, t, t_next):
    """Return x as it is: nothing is observed."""
    return x


@dataclasses.dataclass(frozen=True)
class Path:
    """A way to sample.

    make: (sde, score, put) -> step, where `put` restores what is observed, or does nothing.
    cost: Score evaluations of a step; one more goes to the final prediction. Guided scores are counted once,
        although their derivative makes them cost about three.
    grid: The times.  conditioning: How what is observed is imposed.
    """

    sampler: str
    make: Callable[..., Any]
    cost: int = 1
    grid: Callable[..., Any] = sbm.log_snr_times
    conditioning: str = "none"

    def names(self) -> dict[str, str]:
        """Return what tells one path from another."""
        return {"sampler": self.sampler, "conditioning": self.conditioning}

    def _run(self, sde, score, budget, x, key, put, last):
        num = max((budget - 1) // self.cost, 1)
        times = sbm.uniform_times(num) if self.grid is sbm.uniform_times else self.grid(sde, num)
        step = self.make(sde, score, put)
        return sbm.sample(key, step, x, times, last=last)

    def run(self, sde, score, budget, shape, key):
        """Draw rows from nothing."""
        prior_key, loop_key = jax.random.split(key)
        x = sde.prior(prior_key, shape)
        return self._run(sde, score, budget, x, loop_key, leave, sbm.denoise(sde, score))

    def run_given(self, sde, joint, exact, mask, covariance, budget, key, value):
        """Draw rows given the masked coordinates of `value`."""
        prior_key, noise_key, loop_key = jax.random.split(key, 3)
        guided = partial(sbm.reconstruction_guidance, sde, joint, value, mask)
        clamped, noised = sbm.clamp(value, mask), partial(sbm.renoise, sde, value, mask)
        put, score = {
            "clamp": lambda: (clamped, joint),
            "renoise": lambda: (noised(), joint),
            "fixed noise": lambda: (noised(jax.random.normal(noise_key, value.shape)), joint),
            # Guidance moves the observed part as well; it must not be overwritten.
            "reconstruction": lambda: (leave, guided()),
            "with covariance": lambda: (leave, guided(covariance=covariance)),
            "amortised": lambda: (clamped, sbm.amortised(lambda x, t, mask: exact(x, t), mask)),
        }[self.conditioning]()
        x = sde.prior(prior_key, value.shape)
        last = sbm.chain(put, sbm.denoise(sde, score), clamped)
        return self._run(sde, score, budget, x, loop_key, put, last)


def wrapped(kernel, *options):
    """Return how a kernel is followed by `put`."""
    return lambda sde, score, put: sbm.given(kernel(sde, score, *options), put)


def corrected(num, snr):
    """Return the ancestral sampler with Langevin corrections."""

    def make(sde, score, put):
        correct = sbm.given(sbm.langevin(sde, score, snr), put)
        return sbm.chain(sbm.given(sbm.ancestral(sde, score, 1.0), put), sbm.repeat(correct, num))

    return make


def dpm(eta):
    """Return DPM-Solver++ of second order; eta above 0 adds noise."""
    return lambda sde, score, put: sbm.given(sbm.dpm_solver(sde, score, eta), put)


def song(sde, score, put):
    """Return the classic predictor-corrector."""
    correct = sbm.given(sbm.langevin(sde, score, rule=sbm.by_norm), put)
    return sbm.chain(wrapped(sbm.euler_maruyama)(sde, score, put), correct)


def repainted(sde, score, put):
    """Return RePaint around the ancestral sampler."""
    return sbm.repaint(ANCESTRAL(sde, score, put), sde, 5)


ANCESTRAL = wrapped(sbm.ancestral, 1.0)
UNCONDITIONAL = (
    Path("Euler-Maruyama", wrapped(sbm.euler_maruyama), grid=sbm.uniform_times),
    Path("EM + norm rule", song, 2, sbm.uniform_times),
    Path("ancestral", ANCESTRAL),
    Path("ancestral, DDPM", wrapped(sbm.ancestral, 0.0)),
    Path("ancestral + 3", corrected(3, 0.3), 4),
    Path("Langevin only", lambda sde, score, put: sbm.langevin(sde, score, 0.5)),
    Path("DDIM", wrapped(sbm.probability_flow), grid=sbm.edm_times),
    Path("Heun", wrapped(sbm.heun), 2, sbm.edm_times),
    Path("Heun, churn 0.2", wrapped(sbm.heun, 0.2), 2, sbm.edm_times),
    Path("DPM++(2M)", dpm(0.0)),
    Path("DPM++(2M) SDE", dpm(1.0)),
)
CONDITIONAL = (
    Path("ancestral", ANCESTRAL, conditioning="clamp"),
    Path("ancestral + 3", corrected(3, 0.3), 4, conditioning="clamp"),
    Path("ancestral", ANCESTRAL, conditioning="renoise"),
    Path("ancestral + 3", corrected(3, 0.3), 4, conditioning="renoise"),
    Path("ancestral + 8", corrected(8, 0.5), 9, conditioning="renoise"),
    Path("Heun, churn 0.2", wrapped(sbm.heun, 0.2), 2, sbm.edm_times, "renoise"),
    Path("Heun", wrapped(sbm.heun), 2, sbm.edm_times, "fixed noise"),
    Path("RePaint, 5 visits", repainted, 5, conditioning="renoise"),
    Path("ancestral", ANCESTRAL, conditioning="reconstruction"),
    Path("DPM++(2M) SDE", dpm(1.0), conditioning="reconstruction"),
    Path("DPM++(2M) SDE", dpm(1.0), conditioning="with covariance"),
    Path("ancestral", ANCESTRAL, conditioning="amortised"),
    Path("Heun", wrapped(sbm.heun), 2, sbm.edm_times, "amortised"),
    Path("DPM++(2M)", dpm(0.0), conditioning="amortised"),
)
