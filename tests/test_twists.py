import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import (
    VP,
    draw_particles,
    feynman_kac,
    log_snr_times,
    reconstruction_guidance,
    tilt,
    twist,
    twisted_sample,
)

SDE, T = VP(), jnp.asarray(0.3)
MATRIX = np.array([[1.0, -0.5, 0.3, 0.0, 0.2], [0.0, 0.4, 1.0, -1.0, 0.0]])
MASK = np.array([True, False, False, True, False])
ROW = np.array([0.9, 0.0, 0.0, -0.4, 0.0])
X = jax.random.normal(jax.random.key(0), (4, 5))


def posterior_score(data, x, t, value, matrix, noise):
    """Return the score of p_t(x | y) for Gaussian data, which stays Gaussian."""
    seen = matrix @ data.cov @ matrix.T + noise**2 * np.eye(len(matrix))
    gain = data.cov @ matrix.T @ np.linalg.inv(seen)
    alpha, sigma = float(SDE.alpha(t)), float(SDE.sigma(t))
    mean = data.mean + gain @ (value - matrix @ data.mean)
    cov = alpha**2 * (data.cov - gain @ matrix @ data.cov) + sigma**2 * np.eye(len(data.cov))
    return -np.linalg.solve(cov, (np.asarray(x) - alpha * mean).T).T


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("covariance", ["jacobian", "of the data"])
def test_guidance_is_exact_on_gaussian_data(x64, noise, covariance):
    data, y, x = analytic.three_modalities(), np.array([0.7, -1.1]), X.astype(float)
    if covariance != "jacobian":
        covariance = jnp.asarray(data.cov)
    options = {"noise": noise, "covariance": covariance}
    args, matrix = (SDE, data.score(SDE), jnp.asarray(y)), jnp.asarray(MATRIX)

    @jax.jit
    def both(x):
        linear = reconstruction_guidance(*args, matrix, **options)(x, T)
        return linear, reconstruction_guidance(*args, lambda x: x @ matrix.T, **options)(x, T)

    expected = posterior_score(data, x, T, y, MATRIX, noise)
    for found in both(x):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("covariance", [1.0, 0.5, "of the data", "jacobian"])
def test_a_mask_is_the_matrix_and_the_function_of_its_rows(covariance):
    data = analytic.two_modes()
    if covariance == "of the data":
        covariance = jnp.asarray(data.covariance, jnp.float32)
    mask, value, score = np.array([False, True]), jnp.asarray([9.0, 0.3]), data.score(SDE)
    options = {"noise": 0.2, "covariance": covariance}
    x = X[:, :2]

    @jax.jit
    def all_forms(traced):
        matrix, function = jnp.asarray([[0.0, 1.0]]), lambda x: x[:, 1:]
        observed = [(value, mask), (value, traced), (value[1:], matrix), (value[1:], function)]
        return [twist(SDE, score, *one, **options)(x, T) for one in observed]

    found, *others = all_forms(mask)
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), found, other)


@pytest.mark.parametrize("covariance", [1.0, "of the data", "jacobian"])
def test_a_batch_of_observations_is_each_of_them_alone(covariance):
    data = analytic.three_modalities()
    if covariance == "of the data":
        covariance = jnp.asarray(data.cov, jnp.float32)
    score, values = data.score(SDE), jnp.stack([jnp.asarray(ROW), jnp.asarray(ROW) - 1])
    masks = np.stack([MASK, ~MASK])  # one per row
    matrix, sums = jnp.asarray(MATRIX, jnp.float32), values[:, :2]

    @jax.jit
    def guided(values, masks, sums, x):
        masked = reconstruction_guidance(SDE, score, values, masks, covariance=covariance)
        summed = reconstruction_guidance(SDE, score, sums, matrix, noise=0.1)
        return masked(x, T), summed(x, T)

    together = guided(values, masks, sums, X[:2])
    for i in range(2):
        alone = guided(values[i], masks[i], sums[i], X[i : i + 1])
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(found[i], expected[0], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_jacobian_knows_how_wide_the_mode_is(x64):
    # Against the moments of the exact p(x_0 | x_t), which is a mixture as well.
    data, y, noise = analytic.two_width(), jnp.asarray([0.4]), 0.3
    row = np.arange(12.0)[None] / 12
    x = np.asarray(data.noised(SDE, T).sample(jax.random.key(3), 6), float)
    alpha, sigma = float(SDE.alpha(T)), float(SDE.sigma(T))
    parts = data.noised(SDE, T).responsibilities(x)
    gains = np.stack(
        [alpha * c @ np.linalg.inv(alpha**2 * c + sigma**2 * np.eye(12)) for c in data.cov]
    )
    means = data.means[:, None] + (x - alpha * data.means[:, None]) @ gains.transpose(0, 2, 1)
    covs = data.cov - alpha * gains @ data.cov
    mean = np.einsum("bk,kbd->bd", parts, means)
    gap = means - mean
    cov = np.einsum("bk,kij->bij", parts, covs) + np.einsum("bk,kbi,kbj->bij", parts, gap, gap)
    variance = np.einsum("i,bij,j->b", row[0], cov, row[0]) + noise**2
    expected = -0.5 * (y - mean @ row[0]) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    options = {"noise": noise, "covariance": "jacobian"}
    at = jax.jit(twist(SDE, data.score(SDE), y, jnp.asarray(row), **options))
    np.testing.assert_allclose(at(x, T).log_value, expected, rtol=1e-3)
    # All of the gradient is there, and the part that `frozen_below` leaves out is not small.
    step = 1e-4 * np.eye(12)[:1]
    slope = (at(x + step, T).log_value - at(x - step, T).log_value) / 2e-4
    np.testing.assert_allclose(at(x, T).gradient[:, 0], slope, rtol=1e-4, atol=1e-4)
    at = jax.jit(twist(SDE, data.score(SDE), y, jnp.asarray(row), **options, frozen_below=9.0))
    frozen = at(x, T)
    np.testing.assert_allclose(frozen.log_value, expected, rtol=1e-3)
    assert np.abs(frozen.gradient[:, 0] - slope).max() > 0.1 * np.abs(slope).max()


def test_the_variance_of_the_data_goes_to_dps():
    # With no uncertainty of x_0 it is the gradient of |y - A(x0_hat)|^2 / (2 noise^2).
    def score(x, t):
        return -jnp.tanh(x)

    def misfit(x):
        denoised = SDE.denoised_from_score(score(x, T), x, T)
        return 0.5 * jnp.sum((0.5 - jnp.sin(denoised[:, :2])) ** 2) / 0.2**2

    options = {"noise": 0.2, "covariance": 0.0}
    at = twist(SDE, score, jnp.full(2, 0.5), lambda x: jnp.sin(x[:, :2]), **options)
    found, expected = jax.jit(lambda x: (at(x, T).gradient, -jax.grad(misfit)(x)))(X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_particles_of_a_noisy_sum_have_its_posterior():
    data, y, noise = analytic.two_modes(), jnp.asarray([-1.0]), 0.2
    row = np.array([[1.0, 1.0]])
    both = analytic.Mixture(  # of x and y together
        data.weights,
        np.concatenate([data.means, data.means @ row.T], axis=1),
        np.block(
            [[data.cov, data.cov @ row.T], [row @ data.cov, row @ data.cov @ row.T + noise**2]]
        ),
    )
    exact = both.given(np.array([0.0, 0.0, -1.0]), np.array([False, False, True]))
    traces = []

    def score(x, t):
        traces.append(x.shape)
        return data.score(SDE)(x, t)

    args = SDE, score, y, jnp.asarray(row, jnp.float32), log_snr_times(SDE, 200), 512
    found = jax.jit(lambda key: twisted_sample(key, *args, noise=noise))(jax.random.key(1))
    assert len(traces) == 1  # a program has one copy of the score
    mean = jnp.exp(found.log_weights) @ found.x
    error = np.sqrt(np.diag(exact.covariance) / float(found.ess.min()))
    assert np.all(np.abs(mean - exact.mean) < 3 * error + 0.02)
    density = np.logaddexp.reduce(both.log_joint(np.array([[0.0, 0.0, -1.0]]), [2])[0])
    assert abs(found.log_evidence - density) < 0.1
    rows = draw_particles(jax.random.key(1), found, 512)
    np.testing.assert_allclose(np.cov(rows.T), exact.covariance, atol=0.15)


def good(**change):
    case = {
        "value": jnp.zeros(2),
        "operator": jnp.asarray(MATRIX, jnp.float32),
        "noise": 0.1,
    } | change
    return reconstruction_guidance(SDE, lambda x, t: -x, **case)(X, T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": -0.1}, "noise must be at least 0, got -0.1"),
        ({"value": jnp.zeros(3)}, r"value must be an observation, \(2,\), or one per row of x, \(4, 2\)"),
        ({"value": jnp.zeros((3, 2))}, r"value must be .* got shape \(3, 2\)"),
        ({"operator": jnp.zeros((2, 3))}, r"operator must be \[m, D\] for x of D = 5"),
        ({"operator": jnp.zeros(5)}, r"operator must be a matrix \[m, D\], a mask of bool"),
        ({"operator": jnp.ones((2, 5)), "noise": 0.0}, "operator has rows that depend on each other"),
        ({"operator": jnp.ones(5, int)}, "mask must be a boolean array"),
        ({"operator": lambda x: x[:2]}, r"operator must return one row .* \(4, m\), got shape \(2, 5\)"),
        ({"operator": lambda x: jnp.sum(x, 1)}, r"operator must return one row .* got shape \(4,\)"),
        ({"operator": lambda x: np.asarray(x) @ MATRIX.T}, "operator must be a function .* differentiate"),
        ({"operator": lambda x: x > 0}, "operator must be an array of floating-point numbers"),
        ({"covariance": "hessian"}, "covariance must be one of jacobian"),
        ({"covariance": -1.0}, "covariance must be at least 0"),
        ({"covariance": 0.0, "noise": 0.0}, "covariance 0 leaves no spread but the noise"),
        ({"covariance": jnp.eye(3)}, r"covariance must be \[D, D\] for an operator of D coordinates"),
        ({"covariance": jnp.ones((5, 2))}, r"covariance must be one number, \[D, D\]"),
        ({"frozen_below": -1.0}, "frozen_below must be at least 0"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        good(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": lambda x: x[:, :2]}, "size must be D"),
        ({"value": jnp.zeros((3, 2))}, r"value must be \[m\], one observation; vmap over several"),
        ({"operator": np.array([True, False])}, None),
        (
            {"operator": np.ones(3, bool)},
            r"value must be \[D\], as the mask, .* got \(2,\) and \(3,\)",
        ),
        ({"key": jax.random.split(jax.random.key(0))}, "key must be a single key"),
        ({"key": 3}, "key must be a typed key"),
        ({"num_particles": 0}, "num_particles must be at least 1"),
    ],
)
def test_bad_input_of_particles_is_named(change, message):
    case = {"key": jax.random.key(0), "value": jnp.zeros(2), "operator": jnp.eye(2)} | change
    case |= {"num_particles": case.get("num_particles", 4), "times": log_snr_times(SDE, 2)}
    call = lambda: jax.eval_shape(lambda: twisted_sample(sde=SDE, score=lambda x, t: -x, **case))  # noqa: E731
    if message is None:
        assert call().x.shape == (4, 2)
        return
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_potentials_and_shapes_are_named():
    wrong = tilt(SDE, lambda x, t: -x, lambda x, t, denoised: jnp.sum(denoised))
    with pytest.raises(ValueError, match=r"log_potential must return one number per row, \(4,\)"):
        wrong(X, T)
    for shape, message in (((4,), r"shape must be .* \(P, ...\)"), ((0, 2), "number of particles")):
        with pytest.raises(ValueError, match=message):
            feynman_kac(jax.random.key(0), SDE, wrong, log_snr_times(SDE, 2), shape)
