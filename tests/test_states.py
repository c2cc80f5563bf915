"""States of every dtype, and of several arrays, each with its own process, temperature and mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VE,
    VP,
    adams,
    ancestral,
    chain,
    clamp,
    denoise,
    dpm_solver,
    euler_maruyama,
    forward_transition,
    given,
    hamiltonian,
    heun,
    langevin,
    log_density,
    log_snr_times,
    probability_flow,
    renoise,
    repaint,
    sample,
    substeps,
    twisted_sample,
    uniform_times,
)  # fmt: skip

X = jnp.asarray([[0.5, -1.0, 0.3], [0.1, 0.2, -0.7]])
VALUE, MASK = jnp.asarray([5.0, 0.0, 0.0]), jnp.asarray([True, False, False])
T, NEXT = jnp.asarray(0.6), jnp.asarray(0.4)


def score(x, t):
    return jax.tree.map(lambda x: -x, x)


def everything(sde, value, mask, temperature=0.5):
    """Return a kernel made of all there are."""
    put = renoise(sde, value, mask)
    return chain(
        given(ancestral(sde, score, temperature=temperature), put),
        repaint(given(dpm_solver(sde, score, 1.0, temperature), clamp(value, mask)), sde, 2),
        given(heun(sde, score), put),
        probability_flow(sde, score),
        substeps(euler_maruyama(sde, score), 2),
        langevin(sde, score, mask=mask, temperature=temperature),
        adams(sde, score),
        hamiltonian(sde, score, mask=mask),
        forward_transition(sde),
    )


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float32, jnp.float64], ids=lambda d: d.__name__
)
def test_a_state_keeps_its_dtype_whatever_that_of_the_times(dtype, x64):
    x, times = X.astype(dtype), uniform_times(4)
    assert times.dtype == jnp.float64
    step = everything(VP(), np.asarray(VALUE), MASK)

    def run(x):
        end, path = sample(jax.random.key(0), step, x, times, every=2, last=denoise(VP(), score))
        return end, path, log_density(VP(), score, x, times[::-1])

    end, path, log_p = jax.eval_shape(run, x)
    assert end.dtype == path.dtype == dtype
    assert log_p.dtype == jnp.promote_types(dtype, jnp.float32)


def test_times_of_float64_do_not_widen_what_the_score_is_given(x64):
    seen = []

    def watched(x, t):
        seen.append((x.dtype, t.dtype))
        return -x

    x = X.astype(jnp.float32)
    jax.eval_shape(lambda x: sample(jax.random.key(0), heun(VP(), watched), x, uniform_times(4)), x)
    assert set(seen) == {(jnp.dtype("float32"), jnp.dtype("float32"))}


def test_bfloat16_is_rounded_and_no_more():
    # Steps are computed in float32, so the error is that of storing x at each of them.
    step, times = dpm_solver(VP(), score), log_snr_times(VP(), 20)
    run = jax.jit(lambda x: sample(jax.random.key(0), step, x, times))
    exact, rounded = run(X), run(X.astype(jnp.bfloat16))
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(jnp.float32), exact, atol=0.05)


def test_particles_in_float64(x64):
    times = log_snr_times(VP(), 4)
    args = VP(), score, VALUE.astype(jnp.float32), MASK, times, 4
    found = jax.eval_shape(lambda key: twisted_sample(key, *args), jax.random.key(0))
    assert found.x.dtype == jnp.float64


def test_a_step_of_the_users_own_that_widens_x_is_told_how_to_cast(x64):
    with pytest.raises(
        ValueError, match=r"like x, float32\[2, 3\], got float64.* cast it with \.astype"
    ):
        sample(
            jax.random.key(0),
            lambda key, x, t, s: x.astype(float),
            X.astype("float32"),
            uniform_times(2),
        )


# ---------------------------------------------------------------- several arrays


STATE = {"a": X, "b": {"c": X[:, :2], "d": jnp.ones((2, 4, 1))}}
SDES = {"a": VP(), "b": VE()}  # one for each array, or for each group


def test_a_dict_moves_as_its_arrays_do_alone():
    # No noise, so that the arrays alone need no keys of their own.
    mask = {"a": MASK, "b": False}
    value = {"a": VALUE, "b": 0.0}
    temperature = {"a": 0.0, "b": {"c": 0.0, "d": 0.0}}
    noise = {"a": jnp.ones(3), "b": 1.0}

    def kernel(sde, value, mask, temperature, noise):
        put = renoise(sde, value, mask, noise)
        return chain(
            given(ancestral(sde, score, temperature=temperature), put),
            given(dpm_solver(sde, score, temperature=temperature), clamp(value, mask)),
            given(heun(sde, score, observe=put), put),
            probability_flow(sde, score),
            langevin(sde, score, mask=mask, temperature=temperature),
            denoise(sde, score),
        )

    def run(x, *options):
        return sample(jax.random.key(0), kernel(*options), x, uniform_times(2, 0.5))

    @jax.jit
    def both():
        whole = run(STATE, SDES, value, mask, temperature, noise)
        a = run(STATE["a"], VP(), VALUE, MASK, 0.0, jnp.ones(3))
        return whole, a, run(STATE["b"]["c"], VE(), 0.0, False, 0.0, 1.0)

    whole, a, c = both()
    assert jax.tree.map(jnp.shape, whole) == jax.tree.map(jnp.shape, STATE)
    np.testing.assert_allclose(whole["a"], a, rtol=1e-5)
    np.testing.assert_allclose(whole["b"]["c"], c, rtol=1e-5)


def test_each_array_has_noise_of_its_own_and_options_of_its_own():
    x = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((2, 3))}
    made = forward_transition({"a": VP(), "b": VP()})(jax.random.key(0), x, NEXT, T)
    assert not jnp.any(made["a"] == made["b"])
    step = ancestral(VP(), score, temperature={"a": 0.0, "b": 1.0})
    made = step(jax.random.key(0), x, T, NEXT)
    assert jnp.all(made["a"] == 0)
    assert jnp.all(made["b"] != 0)


def test_all_kernels_take_a_dict():
    step = everything(SDES, {"a": VALUE, "b": 0.0}, {"a": MASK, "b": False}, {"a": 0.5, "b": 1.0})

    def run(x):
        return sample(jax.random.key(0), step, x, uniform_times(4), every=3)

    end, path = jax.eval_shape(run, STATE)
    assert jax.tree.map(jnp.shape, end) == jax.tree.map(jnp.shape, STATE)
    assert path["b"]["d"].shape == (3, 2, 4, 1)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (ancestral({"a": VP()}, score), "sde must be one for the whole state, or one for each"),
        (
            ancestral(VP(), score, temperature={"z": 1.0}),
            "temperature must be one for the whole state",
        ),
        (clamp({"a": VALUE}, {"a": MASK, "b": False}), "value must be one for the whole state"),
        (langevin(VP(), score, mask={"b": False}), "mask must be one for the whole state"),
        (ancestral(VP(), lambda x, t: x["a"]), "score must return a pytree like x"),
        (heun(VP(), lambda x, t: {**x, "a": x["a"][0]}), "score must return the shape of x"),
    ],
)
def test_options_that_do_not_fit_the_state_are_named(step, message):
    with pytest.raises(ValueError, match=message):
        step(jax.random.key(0), STATE, T, NEXT)


def test_wrong_options_of_an_array_are_named():
    with pytest.raises(ValueError, match="temperature must be at least 0, got -1"):
        dpm_solver(VP(), score, temperature={"a": -1.0})
    with pytest.raises(ValueError, match="mask must be a boolean array"):
        clamp({"a": 0.0}, {"a": 1.0})
    with pytest.raises(ValueError, match="churn needs one sde"):
        heun(SDES, score, churn=0.1)
