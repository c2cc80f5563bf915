import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import jit

from sbmae_jax.models.completion import complete_rows
from sbmae_jax.models.factor_gaussian import FactorGaussian
from sbmae_jax.models.latents import Layout
from sbmae_jax.models.noise_levels import LatentNetwork
from sbmae_jax.models.score import ScoreMatchingConfig, score_fn, score_task
from sbmae_jax.models.task import Average
from sbmae_jax.sampling.sde import VP

LAYOUT = Layout(("a", "b", "c"), (1, 2, 1))
LOADINGS = np.array([[0.9, 0.0], [0.6, 0.6], [-0.5, 0.7], [0.8, -0.4]])
EXACT = FactorGaussian(jnp.asarray(LOADINGS), jnp.asarray(1 - np.sum(LOADINGS**2, axis=1)))
COV = LOADINGS @ LOADINGS.T + np.diag(np.asarray(EXACT.noise))
PAIRS = np.array([(1, 1, 0), (1, 0, 1), (0, 1, 1)], bool)


class Mean:
    """A network that adds, to what the Gaussian says, a number of times the mean of what it is shown."""

    @staticmethod
    def apply(params, x, log_snr):
        return params * jnp.mean(x, axis=1, keepdims=True) * jnp.asarray([[1.0, 1.0, -1.0, 1.0]])


def pairs(num):
    """Return draws of the Gaussian that lack one modality each: z [num, 4], and what is present [num, 3]."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(num, 4)) @ np.linalg.cholesky(COV).T
    present = PAIRS[rng.integers(0, 3, num)]
    return jnp.asarray(np.where(LAYOUT.expand(present), z, np.nan)), jnp.asarray(present)


def test_what_is_drawn_has_the_distribution_of_what_is_missing(x64):
    (z, present), sde = pairs(9_000), VP()
    teacher = LatentNetwork(Mean.apply, 0.0, sde, LAYOUT)

    @jit
    def draw(key, z):
        score = score_fn(teacher, present, EXACT)
        return complete_rows(key, sde, score, z, LAYOUT.expand(present), 24)

    x = np.asarray(draw(jax.random.key(0), jnp.nan_to_num(z)))
    for pattern in PAIRS:
        found = x[(np.asarray(present) == pattern).all(axis=1)]
        # The standard error of a covariance of variables of variance 1 is at most (2 / 3000)^1/2.
        np.testing.assert_allclose(np.cov(found.T), COV, atol=4 * 2**0.5 / 3000**0.5)
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=4 / 3000**0.5)


def test_the_exact_score_is_a_fixed_point_where_rows_have_two_of_three_modalities(x64):
    num, config = 5_000, ScoreMatchingConfig(
        "unit", 0.0, 1.3, 0.6, base="gaussian", completed_share=0.999, completion_start=0.0,
        completion_steps=24,
    )  # fmt: skip
    batch = dict(zip(("z", "present"), pairs(num), strict=True))
    loss = score_task(Mean, VP(), LAYOUT, config, EXACT).training_loss

    @jit
    def slope(key, teacher):
        """Return how the loss of each row changes with what is added to the exact score."""
        average = Average(teacher, jnp.asarray(0.5))

        losses = functools.partial(loss, key=key, batch=batch, average=average)
        return jax.jvp(lambda added: losses(added)[0], (jnp.zeros(()),), (jnp.ones(()),))[1]

    def standard_errors(teacher):
        each = np.asarray(slope(jax.random.key(3), teacher))
        return each.mean() / (each.std() / num**0.5)

    assert abs(standard_errors(0.0)) < 4
    assert abs(standard_errors(2.0)) > 8  # a teacher that draws something else


def test_before_the_teacher_is_trusted_the_loss_is_that_of_available_cases(key):
    z, present = pairs(64)
    config = ScoreMatchingConfig(conditioning_prob=0.5, completed_share=0.5, completion_start=0.3)
    task, batch = (
        score_task(Mean, VP(), LAYOUT, config),
        {"z": z.astype(jnp.float32), "present": present},
    )

    @jit
    def losses(key, progress):
        average = Average(jnp.zeros(()), progress)
        found = task.training_loss(jnp.ones(()), key, batch, average)[0]
        return found, task.loss(jnp.ones(()), jax.random.clone(key), batch)[0]

    np.testing.assert_array_equal(*losses(key, 0.29))
    later, plain = losses(jax.random.clone(key), 0.3)
    assert (np.asarray(later) != plain).mean() > 0.9
    assert np.isfinite(later).all()


def test_rows_that_lack_nothing_train_as_ever(key):
    config = ScoreMatchingConfig(conditioning_prob=0.5, completed_share=0.5, completion_start=0.0)
    task = score_task(Mean, VP(), LAYOUT, config)
    batch = {"z": jnp.ones((8, 4))}
    found = task.training_loss(jnp.ones(()), key, batch, Average(jnp.zeros(()), jnp.asarray(0.5)))[
        0
    ]
    again = task.loss(jnp.ones(()), jax.random.clone(key), batch)[0]
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"completed_share": 1.0}, "completed_share must be .*below 1"),
        ({"completed_share": 0.5, "conditioning_prob": 0.0}, "set conditioning_prob above 0"),
        ({"completion_steps": 0}, "completion_steps"),
    ],
)
def test_settings_without_a_meaning_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ScoreMatchingConfig(**{"conditioning_prob": 0.5} | values)
