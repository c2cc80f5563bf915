import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import VP, classifier_free, guide, noise_condition

X = jnp.asarray([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]])
T = jnp.asarray(0.4)


def score(x, t):
    return -x * (1 + t)


def energy(x, t):
    return jnp.sum(x**3, axis=1) * (1 + t)


def test_strength_zero_is_none():
    np.testing.assert_array_equal(guide(score, energy, 0.0)(X, T), score(X, T))


def test_the_gradient_is_subtracted_for_each_row():
    found = guide(score, energy, 2.0)(X, T)
    np.testing.assert_allclose(found, score(X, T) - 2 * 3 * X**2 * 1.4, rtol=1e-6)


def test_strength_does_not_depend_on_the_batch():
    guided = guide(score, energy, 2.0)
    np.testing.assert_allclose(guided(X, T)[:1], guided(X[:1], T), rtol=1e-6)


def test_strength_may_depend_on_time():
    found = guide(score, energy, lambda t: 5 * t)(X, T)
    np.testing.assert_allclose(found, guide(score, energy, 2.0)(X, T), rtol=1e-6)


def test_observed_coordinates_feel_nothing():
    mask = jnp.asarray([[True, False, False], [False, False, True]])
    found = guide(score, energy, 2.0, mask=mask)(X, T)
    np.testing.assert_allclose(found, np.where(mask, score(X, T), guide(score, energy, 2.0)(X, T)))


def test_weights_scale_each_coordinate():
    weights = jnp.asarray([0.0, 1.0, 3.0])
    push = score(X, T) - guide(score, energy, 2.0, weights=weights)(X, T)
    np.testing.assert_allclose(push, 6 * X**2 * 1.4 * weights[None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("window", "active"), [((0.0, 0.3), 0), ((0.4, 0.9), 1), ((0.5, 1.0), 0)])
def test_outside_its_window_guidance_rests(window, active):
    found = guide(score, energy, 2.0, window=window)(X, T)
    np.testing.assert_allclose(found, guide(score, energy, 2.0 * active)(X, T), rtol=1e-6)


def test_bayes_rule_turns_a_marginal_score_into_a_conditional_one(x64):
    # Steer the marginal of U by E = -ln p_t(x_O | x_U): the joint score's entries in U.
    data, sde, t = analytic.three_modalities(), VP(), 0.4
    noised = data.noised(sde, t)
    free, seen = np.array([0, 1]), np.array([2, 3, 4])
    marginal = analytic.gaussian(data.mean[free], data.cov[np.ix_(free, free)])
    gain = noised.cov[np.ix_(seen, free)] @ np.linalg.inv(noised.cov[np.ix_(free, free)])
    rest = noised.cov[np.ix_(seen, seen)] - gain @ noised.cov[np.ix_(free, seen)]
    precision = jnp.asarray(np.linalg.inv(rest))
    x = jax.random.normal(jax.random.key(0), (4, 5))

    def surprise(u, t):
        gap = x[:, seen] - noised.mean[seen][None] - (u - noised.mean[free][None]) @ gain.T
        return 0.5 * jnp.sum(gap @ precision * gap, axis=1)

    found = guide(marginal.score(sde), surprise)(x[:, free], jnp.asarray(t))
    np.testing.assert_allclose(found, data.score(sde)(x, jnp.asarray(t))[:, free], rtol=1e-8)


def test_a_quadratic_energy_tilts_a_gaussian_exactly(x64):
    # Precisions add, and precision times mean adds.
    data, sde, t, strength = analytic.pair(), VP(), 0.4, 1.7
    centre = jnp.asarray([[0.5, -1.0]])
    noised = data.noised(sde, t)
    precision = np.linalg.inv(noised.cov) + strength * np.eye(2)
    mean = np.linalg.solve(precision, strength * np.asarray(centre[0]))
    x = jax.random.normal(jax.random.key(0), (4, 2))
    pull = guide(data.score(sde), lambda x, t: 0.5 * jnp.sum((x - centre) ** 2, axis=1), strength)
    np.testing.assert_allclose(pull(x, jnp.asarray(t)), -(x - mean[None]) @ precision, rtol=1e-8)


def other(x, t):
    return 0.3 * x + t


@pytest.mark.parametrize(("weight", "plain"), [(1.0, score), (0.0, other)])
def test_classifier_free_ends_in_its_two_scores(weight, plain):
    np.testing.assert_array_equal(classifier_free(score, other, weight)(X, T), plain(X, T))


def test_classifier_free_extrapolates_by_coordinate():
    found = classifier_free(score, other, jnp.asarray([0.0, 1.0, 3.0]))(X, T)
    u, c = other(X, T), score(X, T)
    expected = jnp.stack([u[:, 0], c[:, 1], u[:, 2] + 3 * (c - u)[:, 2]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_noised_condition_is_known_as_well_as_its_noise_lets_it(key):
    sde, t = VP(), jnp.asarray(0.3)
    truth = analytic.gaussian(
        np.zeros(3), np.array([[1.0, 0.8, 0.3], [0.8, 1.5, 0.2], [0.3, 0.2, 0.7]])
    )
    mask, noise = np.array([True, False, False]), jax.random.normal(key, X.shape)
    found = noise_condition(truth.score(sde), sde, noise, mask)(X, t)
    np.testing.assert_array_equal(found[:, 0], 0)
    for b in range(len(X)):
        seen = sde.alpha(t) * X[b] + sde.sigma(t) * noise[b]
        exact = truth.noised(sde, t).given(seen, mask)
        gap = np.asarray(X[b, 1:], np.float64) - exact.mean
        np.testing.assert_allclose(found[b, 1:], -np.linalg.solve(exact.cov, gap), rtol=1e-4)


def test_an_energy_of_the_wrong_shape_is_named():
    with pytest.raises(
        ValueError, match=r"energy must return one number per row, \(2,\), got \(\)"
    ):
        guide(score, lambda x, t: jnp.sum(x**2))(X, T)


def test_an_empty_window_is_named():
    with pytest.raises(ValueError, match=r"window must be \(low, high\)"):
        guide(score, energy, window=(0.8, 0.2))


def test_the_weight_of_classifier_free_may_follow_time_and_act_in_a_window():
    conditional, unconditional = (lambda x, t: -2 * x), (lambda x, t: -x)
    x = jnp.ones((2, 3))
    by_time = classifier_free(conditional, unconditional, lambda t: 1 + 4 * t)
    np.testing.assert_allclose(by_time(x, 0.5), -4 * x)  # weight 3
    inside = classifier_free(conditional, unconditional, 3.0, window=(0.2, 0.6))
    for t, expected in ((0.1, -2 * x), (0.2, -4 * x), (0.6, -4 * x), (0.7, -2 * x)):
        np.testing.assert_allclose(inside(x, jnp.float32(t)), expected, rtol=1e-6)
    rows = classifier_free(conditional, unconditional, lambda t: jnp.asarray([1.0, 3.0, 1.0]))
    np.testing.assert_allclose(
        rows(x, 0.5), jnp.broadcast_to(jnp.asarray([-2.0, -4.0, -2.0]), (2, 3))
    )
    with pytest.raises(ValueError, match="window must be"):
        classifier_free(conditional, unconditional, 3.0, window=(0.6, 0.2))
    with pytest.raises(ValueError, match="weight must broadcast to the shape of x"):
        classifier_free(conditional, unconditional, lambda t: jnp.ones(4))(x, 0.5)


def test_a_window_may_be_traced():
    def at(high):
        return guide(lambda x, t: -x, lambda x, t: x[:, 0], window=(0.0, high))(
            jnp.ones((1, 2)), 0.5
        )

    found = jax.jit(jax.vmap(at))(jnp.asarray([0.4, 0.6]))
    np.testing.assert_allclose(found[:, 0, 0], [-1.0, -2.0])
