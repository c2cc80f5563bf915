import sys

import analytic
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbmae_jax import EDM, VP, RectifiedFlow, adams, clamp, given, sample, sample_adaptive, vp_times

SDE = VP()


def drawn(data, x, sde=SDE, **options):
    score = data.score(sde)
    return jax.jit(lambda x: sample_adaptive(sde, score, x, **options))(x)


@pytest.mark.parametrize("sde", [VP(), EDM(), RectifiedFlow()], ids=repr)
def test_gaussians_are_moved_by_their_own_map(sde, x64):
    data = analytic.gaussian(np.zeros(3), np.diag([0.01, 1.0, 4.0]))
    x = sde.prior(jax.random.key(0), (6, 3))
    found = drawn(data, x, sde, t_min=1e-3, rtol=1e-8, atol=1e-8)
    # The flow keeps each coordinate in units of its deviation at its time.
    start, end = (np.sqrt(np.diag(np.squeeze(data.noised(sde, t).cov))) for t in (sde.t_max, 1e-3))
    np.testing.assert_allclose(found.x, x * (end / start)[None], rtol=1e-5, atol=1e-7)


def test_data_of_the_assumed_scale_need_the_fewest_steps():
    data = analytic.gaussian(np.zeros(2), 9 * np.eye(2))
    x = SDE.prior(jax.random.key(0), (4, 2))
    right, other = drawn(data, x, data_scale=3.0), drawn(data, x)
    assert right.num_evaluations.max() < other.num_evaluations.min()
    np.testing.assert_allclose(right.x, other.x, atol=0.02)


def test_a_tighter_tolerance_costs_more_and_is_nearer_to_fine_steps(x64):
    data = analytic.two_modes()
    x, score = SDE.prior(jax.random.key(0), (50, 2)), data.score(SDE)
    fine = jax.jit(lambda x: sample(jax.random.key(0), adams(SDE, score), x, vp_times(SDE, 2000)))
    exact, errors, costs = fine(x), [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        found = drawn(data, x, rtol=tolerance, atol=tolerance)
        errors.append(float(jnp.sqrt(jnp.mean((found.x - exact) ** 2))))
        costs.append(float(found.num_evaluations.mean()))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert costs[0] < costs[1] < costs[2]


def test_rows_do_not_depend_on_each_other():
    data, x = analytic.two_modes(), SDE.prior(jax.random.key(0), (8, 2))
    both, alone = drawn(data, x), drawn(data, x[:3])
    np.testing.assert_allclose(alone.x, both.x[:3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(alone.num_evaluations, both.num_evaluations[:3])


def test_what_is_held_stays_and_is_read_clean(x64):
    data, mask = analytic.three_modalities(), np.array([True, False, False, True, False])
    value, score = data.sample(jax.random.key(0), 1)[0], data.conditional_score(SDE, mask)
    x = jnp.where(mask[None], value[None], SDE.prior(jax.random.key(1), (20, 5)))
    mask = jnp.asarray(mask)
    run = jax.jit(
        lambda x: sample_adaptive(SDE, score, x, mask=mask, rtol=1e-6, atol=1e-6, t_min=1e-2)
    )
    found = run(x).x
    np.testing.assert_array_equal(found[:, mask], x[:, mask])
    step, times = given(adams(SDE, score), clamp(value, mask)), vp_times(SDE, 1000, 1e-2)
    fine = jax.jit(lambda x: sample(jax.random.key(0), step, x, times))
    np.testing.assert_allclose(found, fine(x), atol=1e-4)


def test_a_state_may_have_several_arrays_and_keeps_their_types():
    x = {"a": jnp.ones((3, 2, 2), jnp.bfloat16), "b": jnp.ones((3, 1))}

    def score(x, t):
        return jax.tree.map(lambda x: -x, x)

    run = jax.jit(lambda x: sample_adaptive(SDE, score, x, mask={"a": False, "b": jnp.array(True)}))
    found = run(x).x
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, x)
    assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, x)
    np.testing.assert_array_equal(found["b"], x["b"])


def test_rows_with_conditions_of_their_own_are_mapped():
    means = jnp.array([[0.0], [3.0]])

    def one(x, mean):
        def score(x, t):
            return -(x - SDE.alpha(t) * mean[None])

        return sample_adaptive(SDE, score, x[None]).x[0]

    found = jax.jit(jax.vmap(one))(jnp.zeros((2, 1)), means)
    np.testing.assert_allclose(found, means, atol=0.03)


GOOD = {"sde": SDE, "score": lambda x, t: -x, "x": jnp.ones((2, 3))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sde": {"a": SDE}}, "sde must be one process for all arrays of x"),
        ({"rtol": 0.0}, "rtol must be above 0"),
        ({"t_min": 0.0}, "t_min must be above 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"data_scale": -1.0}, "data_scale must be above 0"),
        ({"x": jnp.ones((2, 3), int)}, "x must be a floating-point array"),
        ({"mask": jnp.ones(4, bool)}, r"mask must broadcast to the shape of x, \(2, 3\)"),
        ({"mask": jnp.ones(3)}, "mask must be .*bool"),
        ({"score": lambda x, t: x[:, :1]}, r"score must return the shape of x, \(1, 3\)"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        sample_adaptive(**{**GOOD, **change})


def test_too_few_steps_are_an_error():
    def rough(x, t):
        return -x + 5 * jnp.sin(20 * x)

    with pytest.raises(RuntimeError, match="maximum number of solver steps"):
        jax.block_until_ready(sample_adaptive(SDE, rough, jnp.ones((2, 3)), max_steps=1).x)


def test_without_diffrax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ImportError, match=r"pip install 'sbmae_jax\[ode\]'"):
        sample_adaptive(**GOOD)
