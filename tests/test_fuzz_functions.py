"""Any arrays given to the importable functions either work, or are refused in a sentence that names one.

Kernels and scores are arithmetic on traced arrays: their shapes and types are checked, their values are not,
and a NaN that goes in comes out. So most cases are traced, not computed; times, which are concrete, are
looked at.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from fuzz_arguments import TOGETHER, X, odd, score
from fuzz_conditional_calls import CONDITIONAL_CALLS
from fuzz_sampler_calls import SAMPLER_CALLS
from fuzzing import attempt, counts, fuzz
from hypothesis import strategies as st

import sbmae_jax
from sbmae_jax import VP, ancestral, euler_maruyama, heun, langevin, probability_flow, sample

CALLS = SAMPLER_CALLS | CONDITIONAL_CALLS


@st.composite
def cases(draw):
    """Draw a function, and values for one or two of its arguments."""
    name = draw(st.sampled_from(sorted(CALLS)))
    call = CALLS[name]
    names = [a for a, (kind, _) in call.arguments.items() if kind != "fixed"]
    chosen = draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    return name, {a: draw(odd(call.arguments[a][0])) for a in chosen}


def check(case):
    name, changes = case
    call = CALLS[name]
    values = {a: value for a, (_, value) in call.arguments.items()} | changes
    names = [*changes, *(word for a in changes for word in TOGETHER.get(a, ()))]
    made = attempt(lambda: call.run(values), names if changes else ["energy"])
    if made is None:
        assert changes or call.like is None
        return
    assert call.like is not None or changes
    if call.like is not None and not set(changes) - {"sde"}:
        assert made.shape == call.like
    if name in ("uniform_times", "log_snr_times", "edm_times", "vp_times", "ladder_times"):
        assert made[0] == 1 or name == "ladder_times"
        assert np.isfinite(made).all()
        assert (np.diff(made) <= 0).all()
    elif not call.traced:
        assert np.isfinite(made).all()


def test_every_exported_function_is_fuzzed():
    words = {word for name in CALLS for word in name.replace(".", " ").split()}
    assert set(sbmae_jax.__all__) - {"Information", "Particles", *sbmae_jax._LAZY} <= words


@counts(150, 4500)
def test_arrays_that_do_not_fit_are_refused_by_name(num):
    fuzz(num, cases(), check)


KERNELS = {
    "euler_maruyama": euler_maruyama(VP(), score), "ancestral": ancestral(VP(), score),
    "flow": probability_flow(VP(), score), "heun": heun(VP(), score), "langevin": langevin(VP(), score),
}  # fmt: skip


@functools.cache
def compiled(name, every):
    def run(key, x, times):
        return sample(key, KERNELS[name], x, times, every=every)

    return jax.jit(run)


@st.composite
def runs(draw):
    times = sorted(draw(st.lists(st.integers(1, 1000), min_size=3, max_size=3)), reverse=True)
    return draw(st.sampled_from(sorted(KERNELS))), times, draw(st.integers(0, 2**32 - 1))


@counts(30, 500)
def test_samples_of_any_falling_times_are_finite(num):
    def finite(case):
        name, times, seed = case
        made = compiled(name, None)(jax.random.key(seed), X, jnp.asarray(times) / 1000)
        assert jnp.isfinite(made).all()

    fuzz(num, runs(), finite)
