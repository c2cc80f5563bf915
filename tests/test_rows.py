"""Guidance, particles and densities of states of several arrays: they are those of their rows."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VE,
    VP,
    amortised,
    amortised_by_time,
    classifier_free,
    draw_particles,
    guide,
    log_density,
    log_snr_times,
    noise_condition,
    reconstruction_guidance,
    tilt,
    twist,
    twisted_sample,
    uniform_times,
)  # fmt: skip

X = jnp.asarray([[0.5, -1.0, 0.3], [0.1, 0.2, -0.7]])
STATE = {"a": X, "b": {"c": X[:, :2], "d": jnp.ones((2, 4, 1))}}
MASK, T = jnp.asarray([True, False, False]), jnp.asarray(0.6)


def score(x, t):
    return jax.tree.map(lambda x: -x, x)


ROWS = analytic.three_modalities()


def apart(x):
    """Split rows [B, 5], one of whose arrays has a shape of its own."""
    return {"a": x[:, :2], "b": {"c": x[:, 2:3], "d": x[:, 3:].reshape(-1, 1, 2)}}


def together(x):
    return jnp.concatenate([x["a"], x["b"]["c"], x["b"]["d"].reshape(x["a"].shape[0], -1)], axis=1)


def joined(v):
    return together(v) if isinstance(v, dict) else v


def dict_score(sde):
    flat = ROWS.score(sde)
    return lambda x, t: apart(flat(together(x), t))


SEEN = np.array([True, False, False, True, True])
SEEN_APART = {"a": SEEN[:2], "b": {"c": SEEN[2:3], "d": SEEN[None, 3:]}}
Y = np.array([0.4, 0.0, 0.0, -0.3, 0.8], np.float32)
Y_APART = {"a": Y[:2], "b": {"c": Y[2:3], "d": Y[None, 3:]}}
EACH = {"a": VP(), "b": {"c": VP(), "d": VP()}}


def test_guidance_and_densities_of_a_dict_are_those_of_its_rows():
    sde = EACH
    x, t = jax.random.normal(jax.random.key(1), (3, 5)), jnp.asarray(0.3)
    score, whole = ROWS.score(VP()), dict_score(VP())
    cov, times = jnp.asarray(ROWS.cov, jnp.float32), uniform_times(3)[::-1]
    where = jnp.asarray([True, False, False, False, False])

    def flat(x):
        yield from (
            twist(VP(), score, Y, jnp.asarray(SEEN), noise=0.2, covariance=c)(x, t)
            for c in (0.7, cov, "jacobian")
        )
        yield twist(VP(), score, Y[:2], lambda x: x[:, :2] ** 2, noise=0.2)(x, t)
        yield tilt(VP(), score, lambda x, t, x0: jnp.sum(x0[:, :2], 1))(x, t)
        yield guide(score, lambda x, t: jnp.sum(x[:, :2] ** 2, 1), mask=where, weights=2.0)(x, t)
        yield classifier_free(score, lambda x, t: -x, jnp.asarray([1.0, 1, 3, 3, 3]))(x, t)
        yield noise_condition(score, VP(), jnp.ones(5), where)(x, t)
        yield amortised(lambda x, t, mask: score(x + mask, t), where)(x, t)
        yield amortised_by_time(lambda x, times: -x * times, where)(x, t)
        yield log_density(VP(), score, x, times, mask=where)

    def dicts(x):
        yield from (
            twist(sde, whole, Y_APART, SEEN_APART, noise=0.2, covariance=c)(x, t)
            for c in (0.7, cov, "jacobian")
        )
        yield twist(sde, whole, Y[:2], lambda x: x["a"] ** 2, noise=0.2)(x, t)
        yield tilt(sde, whole, lambda x, t, x0: jnp.sum(x0["a"], 1))(x, t)
        one = {"a": jnp.asarray([True, False]), "b": False}
        yield guide(
            whole, lambda x, t: jnp.sum(x["a"] ** 2, 1), mask=one, weights={"a": 2.0, "b": 0.5}
        )(x, t)
        yield classifier_free(
            whole, lambda x, t: jax.tree.map(jnp.negative, x), {"a": 1.0, "b": 3.0}
        )(x, t)
        yield noise_condition(whole, sde, {"a": jnp.ones(2), "b": 1.0}, one)(x, t)

        def told(x, t, mask):
            return whole(jax.tree.map(jnp.add, x, mask), t)

        yield amortised(told, one)(x, t)
        yield amortised_by_time(lambda x, times: jax.tree.map(lambda x, t: -x * t, x, times), one)(
            x, t
        )
        yield log_density(sde, whole, x, times, mask=one)

    plain, found = jax.jit(lambda: (list(flat(x)), list(dicts(apart(x)))))()
    for one, other in zip(plain, found, strict=True):
        rows = jax.tree.map(joined, other, is_leaf=lambda v: isinstance(v, dict))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), one, rows)


def test_a_process_for_each_array_is_that_of_its_coordinates():
    # Independent arrays: the density of both is the sum, and each is guided as it would be alone.
    sdes, x = {"a": VP(), "b": VE()}, {"a": X[:, :1], "b": X[:, 1:2]}
    scores = {name: analytic.gaussian([0.3], [[2.0]]).score(sde) for name, sde in sdes.items()}
    times = uniform_times(4, 0.01)[::-1]

    def both(x, t):
        return {name: scores[name](x[name], t) for name in sdes}

    @jax.jit
    def run():
        whole = log_density(sdes, both, x, times)
        parts = [log_density(sdes[name], scores[name], x[name], times) for name in sdes]
        args = jnp.asarray([1.0]), jnp.asarray([True])
        mask, y = {"a": args[1], "b": args[1]}, {"a": args[0], "b": args[0]}
        options = {"noise": 0.2, "frozen_below": 0.1}
        found = []
        for c in (0.7, "jacobian"):
            guided = reconstruction_guidance(sdes, both, y, mask, covariance=c, **options)(x, 0.4)
            alone = {
                name: reconstruction_guidance(
                    sdes[name], scores[name], *args, covariance=c, **options
                )(x[name], 0.4)
                for name in sdes
            }
            found.append((guided, alone))
        square = reconstruction_guidance(
            sdes, both, y, mask, noise=0.2, covariance=0.7 * jnp.eye(2)
        )
        found.append((square(x, 0.4), found[0][1]))
        return whole, sum(parts), found

    whole, parts, found = run()
    np.testing.assert_allclose(whole, parts, rtol=1e-5)
    for guided, alone in found:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), guided, alone)


def test_particles_of_a_dict_are_those_of_its_rows():
    times, run_key = log_snr_times(VP(), 3), jax.random.key(0)
    options = {"covariance": jnp.asarray(ROWS.cov, jnp.float32), "eta": 1.0}

    @jax.jit
    def run():
        args = VP(), dict_score(VP()), Y_APART, SEEN_APART, times, 6
        found = twisted_sample(run_key, *args, **options)
        flat = VP(), ROWS.score(VP()), jnp.asarray(Y), jnp.asarray(SEEN), times, 6
        return (
            found,
            twisted_sample(jax.random.clone(run_key), *flat, **options),
            draw_particles(jax.random.key(1), found, 5),
        )

    found, flat, drawn = run()
    assert jax.tree.map(jnp.shape, drawn) == {"a": (5, 2), "b": {"c": (5, 1), "d": (5, 1, 2)}}
    for one, other in zip(found._replace(x=together(found.x)), flat, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.x["a"][:, 0], jnp.full(6, Y[0]))


def test_states_of_several_arrays_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="operator must be masks or a function"):
        twist(VP(), score, Y[:1], jnp.ones((1, 5)))(STATE, T)
    with pytest.raises(ValueError, match="value must broadcast to each array of x"):
        twist(VP(), score, {"a": jnp.ones(7), "b": 0.0}, {"a": MASK, "b": False})(STATE, T)
    with pytest.raises(ValueError, match="as many rows each"):
        log_density(VP(), score, {"a": X, "b": X[:1]}, uniform_times(2)[::-1])
    with pytest.raises(ValueError, match="must be one, as x is one array"):
        twist(VP(), score, {"a": 0.0}, {"a": MASK})(X, T)
