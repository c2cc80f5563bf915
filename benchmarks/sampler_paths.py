"""The paths that `samplers.py` measures: a sampler, a conditioning, and how a budget becomes steps."""

import dataclasses
from collections.abc import Callable

import jax

from sbmae_jax import (
    amortised,
    ancestral,
    by_norm,
    chain,
    clamp,
    denoise,
    dpm_solver,
    edm_times,
    euler_maruyama,
    given,
    heun,
    init_multistep,
    langevin,
    lift,
    log_snr_times,
    probability_flow,
    reconstruction_guidance,
    renoise,
    repaint,
    repeat,
    sample,
    uniform_times,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Path:
    """make(sde, score, put) -> step, where `put` restores what is observed, or does nothing.

    cost: evaluations per step; one more goes to the final prediction. Steered scores are counted once,
    although their derivative makes them cost about three.
    """

    sampler: str
    make: Callable
    cost: int = 1
    grid: Callable = log_snr_times
    conditioning: str = "none"
    memory: bool = False

    def names(self):
        return {"sampler": self.sampler, "conditioning": self.conditioning}

    def _run(self, sde, score, budget, x, key, step, last):
        num = max((budget - 1) // self.cost, 1)
        times = uniform_times(num) if self.grid is uniform_times else self.grid(sde, num)
        if self.memory:
            end = sample(key, step, init_multistep(x), times).x
            return last(jax.random.fold_in(key, num), end, times[-1], times[-1])
        return sample(key, step, x, times, last=last)

    def run(self, sde, score, budget, rows, key):
        prior_key, loop_key = jax.random.split(key)
        x = sde.prior(prior_key, (rows, 320))
        step = self.make(sde, score, lambda key, x, t, t_next: x)
        return self._run(sde, score, budget, x, loop_key, step, denoise(sde, score))

    def run_given(self, sde, joint, exact, mask, covariance, budget, key, value):
        prior_key, noise_key, loop_key = jax.random.split(key, 3)
        noise = jax.random.normal(noise_key, value.shape)
        put, score = {
            "clamp": (clamp(value, mask), joint),
            "renoise": (renoise(sde, value, mask), joint),
            "fixed noise": (renoise(sde, value, mask, noise), joint),
            "reconstruction": (
                renoise(sde, value, mask),
                reconstruction_guidance(sde, joint, value, mask),
            ),
            "with covariance": (
                renoise(sde, value, mask),
                reconstruction_guidance(sde, joint, value, mask, covariance),
            ),
            "amortised": (clamp(value, mask), amortised(lambda x, t, mask: exact(x, t), mask)),
        }[self.conditioning]
        # Reconstruction steers the observed part as well; it must not be overwritten.
        steered = self.conditioning in ("reconstruction", "with covariance")
        inner = (lambda key, x, t, t_next: x) if steered else put
        step = self.make(sde, score, inner)
        x = sde.prior(prior_key, value.shape)
        last = chain(inner, denoise(sde, score), clamp(value, mask))
        return self._run(sde, score, budget, x, loop_key, step, last)


def corrected(num, snr):
    def make(sde, score, put):
        correct = given(langevin(sde, score, snr), put)
        return chain(given(ancestral(sde, score, 1.0), put), repeat(correct, num))

    return make


def with_memory(eta):
    def make(sde, score, put):
        return given(dpm_solver(sde, score, eta), lift(put))

    return make


def wrapped(kernel, *options):
    return lambda sde, score, put: given(kernel(sde, score, *options), put)


def song(sde, score, put):
    return chain(
        wrapped(euler_maruyama)(sde, score, put), given(langevin(sde, score, rule=by_norm), put)
    )


ANCESTRAL = wrapped(ancestral, 1.0)
UNCONDITIONAL = (
    Path("Euler-Maruyama", wrapped(euler_maruyama), grid=uniform_times),
    Path("EM + norm rule", song, 2, uniform_times),
    Path("ancestral", ANCESTRAL),
    Path("ancestral, DDPM", wrapped(ancestral, 0.0)),
    Path("ancestral + 3", corrected(3, 0.3), 4),
    Path("Langevin only", lambda sde, score, put: langevin(sde, score, 0.5)),
    Path("DDIM", wrapped(probability_flow), grid=edm_times),
    Path("Heun", wrapped(heun), 2, edm_times),
    Path("Heun, churn 0.2", wrapped(heun, 0.2), 2, edm_times),
    Path("DPM++(2M)", with_memory(0.0), memory=True),
    Path("DPM++(2M) SDE", with_memory(1.0), memory=True),
)
CONDITIONAL = (
    Path("ancestral", ANCESTRAL, conditioning="clamp"),
    Path("ancestral + 3", corrected(3, 0.3), 4, conditioning="clamp"),
    Path("ancestral", ANCESTRAL, conditioning="renoise"),
    Path("ancestral + 3", corrected(3, 0.3), 4, conditioning="renoise"),
    Path("ancestral + 8", corrected(8, 0.5), 9, conditioning="renoise"),
    Path("Heun, churn 0.2", wrapped(heun, 0.2), 2, edm_times, "renoise"),
    Path("Heun", wrapped(heun), 2, edm_times, "fixed noise"),
    Path(
        "RePaint, 5 visits",
        lambda sde, score, put: repaint(ANCESTRAL(sde, score, put), sde, 5),
        5,
        conditioning="renoise",
    ),
    Path("ancestral", ANCESTRAL, conditioning="reconstruction"),
    Path("DPM++(2M) SDE", with_memory(1.0), conditioning="reconstruction", memory=True),
    Path("DPM++(2M) SDE", with_memory(1.0), conditioning="with covariance", memory=True),
    Path("ancestral", ANCESTRAL, conditioning="amortised"),
    Path("Heun", wrapped(heun), 2, edm_times, "amortised"),
    Path("DPM++(2M)", with_memory(0.0), conditioning="amortised", memory=True),
)
