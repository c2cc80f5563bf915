"""Information from scores, against Gaussians and a mixture of which it is known exactly."""

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VE,
    VP,
    mutual_information,
    o_information,
    product_score,
    total_correlation,
)

SDE, SIZE = VP(), 4


def of_gaussian(cov, a, b, c=()):
    """Return I(a; b | c) of coordinates of a Gaussian."""

    def entropy(*parts):
        chosen = np.concatenate([np.asarray(part, int) for part in parts])
        return 0.5 * np.linalg.slogdet(np.asarray(cov)[np.ix_(chosen, chosen)])[1]

    return entropy(a, c) + entropy(b, c) - entropy(a, b, c) - entropy(c)


def gaussian_score(cov, sde, clean, seen):
    """Return the score of the coordinates that are seen but not clean, given those that are clean."""

    def score(x, t):
        h = jnp.where(seen, jnp.where(clean, 1.0, sde.alpha(t)), 0.0)
        r = jnp.where(seen, jnp.where(clean, 1e-9, sde.sigma(t) ** 2), 1.0)
        noised = h[:, None] * cov * h[None] + jnp.diag(r)
        return jnp.where((seen & ~clean)[None], -jnp.linalg.solve(noised, x.T).T, 0)

    return score


def estimate(*args, t_min=1e-5):
    """Estimate I(a; b | c) from masks of coordinates; one program for all of them."""
    return compiled(*args, t_min)


@jax.jit
def compiled(key, cov, x, a, b, c, t_min):
    alone, told = (gaussian_score(cov, SDE, ~a, seen) for seen in (a | c, a | b | c))
    return mutual_information(key, SDE, alone, told, x, mask=~a, num_levels=24, t_min=t_min)


def rows(cov, num=1000, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.multivariate_normal(np.zeros(len(cov)), cov, num))


def correlated(nats, noise=0.0):
    """Return the covariance of a pair with an information, and of two more that share half of it."""
    r, half = np.sqrt(1 - np.exp(-2 * nats)), np.sqrt(1 - np.exp(-nats))
    cov = np.eye(SIZE)
    cov[0, 2] = cov[2, 0] = r
    cov[1, 3] = cov[3, 1] = half
    cov[2, 2] += noise
    return cov


@pytest.mark.parametrize("nats", [0.1, 1.0, 5.0])
def test_information_of_gaussians_is_exact_and_adds_up(x64, nats):
    cov, key, none = jnp.asarray(correlated(nats)), jax.random.key(1), np.zeros(SIZE, bool)
    x, (a, b, c, d) = rows(cov), np.eye(SIZE, dtype=bool)
    pair, half, both = (
        estimate(key, cov, x, *parts, none) for parts in ((a, c), (b, d), (a | b, c | d))
    )
    for found, true in ((pair, nats), (half, nats / 2), (both, 1.5 * nats)):
        assert abs(found.value - true) < 3 * found.se + 0.003 * true
        assert found.se < 0.08 * true
        assert abs(found.by_error - true) < 4 * found.by_error_se
    assert abs(both.value - pair.value - half.value) < 3 * both.se
    # What is known already says nothing more; what is unrelated says nothing.
    assert estimate(key, cov, x, a, d, c).value < 1e-9
    assert estimate(key, cov, x, a, b | d, none).value < 1e-9
    # A copy with noise knows less, for the same noise of a.
    noisy = jnp.asarray(correlated(nats, noise=0.1))
    assert estimate(key, noisy, rows(noisy), a, c, none).value < pair.value - 0.1 * nats


def test_truncation_leaves_the_information_of_noised_data(x64):
    """Up to some noise, the integral is the information that b has of a with this noise."""
    cov, none = jnp.asarray(correlated(5.0)), np.zeros(SIZE, bool)
    a, _, c, _ = np.eye(SIZE, dtype=bool)
    for t_min in (0.1, 1e-4, 1e-5):
        found = estimate(jax.random.key(0), cov, rows(cov), a, c, none, t_min=t_min)
        snr = np.exp(float(SDE.log_snr(jnp.asarray(t_min))))
        r2 = (1 - np.exp(-10)) * snr / (1 + snr)  # of the pair, once a has noise
        true = -0.5 * np.log(1 - r2)
        assert abs(found.value - true) < 3 * found.se + 0.015
        if t_min < 1e-2:  # the end is near: what is left out shows
            assert 0.7 < found.left_out / (5 - true) < 1.2
    # A copy: the information is infinite, and what is shown of it grows with the last snr.
    copy = correlated(1.0)
    copy[0, 2] = copy[2, 0] = 1.0
    found = estimate(jax.random.key(0), copy, rows(copy), a, c, none)
    assert abs(found.value - 0.5 * np.log1p(snr)) < 3 * found.se
    assert found.left_out > 0.2


PARTS = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)


@jax.jit
def of_parts(key, cov, x):
    """Return total correlation and O-information of three parts."""
    every = np.ones(SIZE, bool)
    marginals = [gaussian_score(cov, SDE, ~every, part) for part in PARTS]

    def alone(x, t):
        return jnp.sum(jnp.stack([score(x, t) for score in marginals]), axis=0)

    def given(x, t, clean):
        return gaussian_score(cov, SDE, clean[0], every)(x, t)

    joint = gaussian_score(cov, SDE, ~every, every)
    return (
        total_correlation(key, SDE, joint, alone, x, num_levels=24),
        o_information(key, SDE, joint, alone, given, x, PARTS, num_levels=24),
    )


def test_several_parts(x64):
    """Total correlation and O-information, with redundancy and with synergy."""
    summed = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0.5]])
    first, second, third = (np.flatnonzero(part) for part in PARTS)
    for cov, sign in ((0.5 + 0.5 * np.eye(SIZE), 1), (summed @ summed.T, -1)):
        pair = of_gaussian(cov, first, second)
        total = pair + of_gaussian(cov, third, [0, 1, 2])
        for result, true in zip(
            of_parts(jax.random.key(2), jnp.asarray(cov), rows(cov)),
            (total, pair - of_gaussian(cov, first, second, third)),
            strict=True,
        ):
            assert abs(result.value - true) < 3 * result.se + 0.003 * abs(true)
            assert abs(result.by_error - true) < 4 * result.by_error_se
            assert result.se < 0.12 * abs(true)
        assert np.sign(result.value) == sign


@pytest.mark.slow
def test_a_mixture_and_another_process(x64):
    """Not Gaussian, and by the process whose data do not shrink."""
    data, sde, mask = analytic.two_modes(), VE(), jnp.array([False, True])
    alone = [
        analytic.Mixture(data.weights, data.means[:, [i]], data.cov[[i]][:, [i]]) for i in (0, 1)
    ]
    x = np.asarray(data.sample(jax.random.key(0), 20_000))
    parts = sum(one.log_prob(x[:, [i]]) for i, one in enumerate(alone))
    true = (data.log_prob(x) - parts).mean()

    score = product_score(np.eye(2, dtype=bool), [one.score(sde) for one in alone])
    told = data.conditional_score(sde, mask)
    found = jax.jit(lambda key, x: mutual_information(key, sde, score, told, x, mask=mask))(
        jax.random.key(1), x[:2000]
    )
    assert abs(found.value - true) < 3 * found.se + 0.015
    assert found.se < 0.05
    low, high = found.interval
    assert 3.9 * found.se < high - low < 4 * found.se


def test_a_score_that_imagines_a_relation_shows_in_the_difference_of_errors():
    b, x = jax.random.normal(jax.random.key(0), (2, 500, 1))

    @jax.jit
    def imagined(key, b, x):
        return mutual_information(
            key, SDE, lambda x, t: -x, lambda x, t: 0.3 * b - x, x, num_levels=8
        )

    found = imagined(jax.random.key(1), b, x)
    assert found.value > 0.1
    assert found.by_error < -0.1


GOOD, T = np.random.default_rng(0).normal(size=(4, 3)), jnp.asarray(0.5)
PAIR = np.array([[True, True, False], [False, False, True]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GOOD[:1]}, "at least two rows"),
        ({"x": GOOD[0]}, r"x must be \[B, D\]"),
        ({"x": GOOD[:, :0]}, r"x must be \[B, D\]"),
        ({"x": GOOD.astype(int)}, "floating-point"),
        ({"x": np.where(GOOD > 1, np.nan, GOOD)}, "x must be finite"),
        ({"x": np.where(GOOD > 1, np.inf, GOOD)}, "x must be finite"),
        ({"mask": np.ones(3, bool)}, "holds all coordinates"),
        ({"mask": np.zeros(2, bool)}, r"mask must be \[3\]"),
        ({"mask": np.zeros((4, 3), bool)}, r"mask must be \[3\]"),
        ({"mask": np.zeros(3)}, "mask must be a boolean array"),
        ({"num_levels": 1}, "num_levels"),
        ({"t_min": 0.0}, "t_min"),
        ({"key": 0}, "key"),
        ({"conditional_score": lambda x, t: x[0]}, "conditional_score must return the shape of x"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, message):
    given = {
        "key": jax.random.key(0), "sde": SDE, "score": lambda x, t: -x,
        "conditional_score": lambda x, t: -x, "x": GOOD,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        mutual_information(**{**given, **change})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.array([[True, True, False], [False, True, True]]), "coordinate 1 is in 2 of them"),
        (np.array([[True, True, False], [False, False, False]]), "group 1 is empty"),
        (np.array([[True, False, False], [False, True, False]]), "coordinate 2 is in 0 of them"),
        (np.ones((1, 3), bool), "at least two groups"),
        (np.eye(2, dtype=bool), r"groups must be \[G, 3\]"),
        (np.eye(3), "boolean array"),
        (None, "boolean array"),
    ],
)
def test_groups_that_are_no_partition_are_refused(groups, message):
    def score(x, t):
        return -x

    with pytest.raises(ValueError, match=message):
        o_information(
            jax.random.key(0), SDE, score, score, lambda x, t, mask: -x, jnp.asarray(GOOD), groups
        )


def test_scores_must_fit_the_groups():
    with pytest.raises(ValueError, match="one for each group, 2, got 1"):
        product_score(PAIR, [lambda x, t: -x])
    with pytest.raises(ValueError, match=r"scores\[1\] must return the shape of x"):
        product_score(PAIR, [lambda x, t: -x, lambda x, t: x[:, :0]])(jnp.asarray(GOOD), T)
    with pytest.raises(ValueError, match=r"x must be \[B, 3\]"):
        product_score(PAIR, [lambda x, t: -x] * 2)(jnp.ones((4, 2)), T)


@pytest.mark.slow
@pytest.mark.parametrize("nats", [0.1, 1.0, 5.0])
def test_intervals_hold_the_truth(x64, nats):
    cov, none = jnp.asarray(correlated(nats)), np.zeros(SIZE, bool)
    a, _, c, _ = np.eye(SIZE, dtype=bool)
    found = [
        estimate(jax.random.key(seed), cov, rows(cov, 300, seed), a, c, none) for seed in range(100)
    ]
    held = [low <= nats <= high for low, high in (one.interval for one in found)]
    assert 0.9 <= np.mean(held) <= 1
    assert abs(np.mean([one.value for one in found]) - nats) < 0.03 * nats
