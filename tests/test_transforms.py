"""Every documented function under each of JAX's transformations: the values are those of a plain jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from sbmae_jax import (
    VP,
    ancestral,
    chain,
    clamp,
    denoise,
    dpm_solver,
    euler_maruyama,
    given,
    heun,
    langevin,
    log_density,
    log_snr_times,
    renoise,
    repaint,
    sample,
    twisted_sample,
)  # fmt: skip

SDE, TIMES = VP(), log_snr_times(VP(), 4)
VALUE, MASK = jnp.asarray([0.5, 0.0]), jnp.asarray([True, False])


def score(x, t):
    return -x * (1 + 0.1 * t)


# Without noise of its own, so that a row is the same alone, in a shard and in a batch.
def quiet(step):
    return lambda x: sample(jax.random.key(0), step, x, TIMES)


def every(x):
    end, path = sample(jax.random.key(0), dpm_solver(SDE, score), x, TIMES, every=3)
    return jnp.concatenate([jnp.moveaxis(path, 0, 1), end[:, None]], axis=1)  # rows first


def particles(x):
    def one(value):
        found = twisted_sample(jax.random.key(0), SDE, score, value, MASK, TIMES, 4, eta=1.0)
        return found.x[:, 1]

    return jax.vmap(one)(x)


RUNS = {
    "dpm_solver": quiet(dpm_solver(SDE, score)),
    "clamp": quiet(given(heun(SDE, score), clamp(VALUE, MASK))),
    "renoise": quiet(given(heun(SDE, score), renoise(SDE, VALUE, MASK, noise=jnp.ones(2)))),
    "langevin": quiet(
        chain(
            ancestral(SDE, score, temperature=0.0),
            langevin(SDE, score, num_steps=2, mask=MASK, temperature=0.0),
        )
    ),
    "every": every,
    "log_density": lambda x: log_density(SDE, score, x, TIMES[::-1]),
    "probes": lambda x: log_density(
        SDE, score, jnp.tile(x, 2), TIMES[::-1], key=jax.random.key(0)
    ).astype(jnp.float32),
    "twisted_sample": particles,
}
X = np.asarray([[0.5, -1.0], [0.1, 0.2], [1.5, 0.3], [-0.4, 2.0]], np.float32)


@pytest.fixture(scope="module")
def expected():
    """Give what each run returns, compiled in one program."""
    made = jax.jit(lambda x: {name: run(x) for name, run in RUNS.items()})(X)
    assert not np.isnan(jax.tree.reduce(np.add, jax.tree.map(np.sum, made)))
    return made


def all_runs(x):
    # The probes of a row depend on its number, so only their shapes can be compared.
    return {name: run(x) for name, run in RUNS.items()}


def assert_same(made, expected):
    for name in RUNS:
        assert made[name].shape == expected[name].shape, name
        if name != "probes":
            np.testing.assert_allclose(
                made[name], expected[name], rtol=2e-4, atol=1e-5, err_msg=name
            )


def test_shard_map_with_its_default_check(expected):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    split = jax.shard_map(all_runs, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"))
    assert_same(jax.jit(split)(X), expected)


@pytest.mark.slow
def test_a_mesh_of_explicit_axes(expected):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        rows = jax.device_put(X, NamedSharding(mesh, P("rows")))
        # JAX cannot vmap a scan over an explicit axis: observations are on every device, or in a shard_map.
        runs = {name: run for name, run in RUNS.items() if name != "twisted_sample"}
        made = jax.jit(lambda x: {name: run(x) for name, run in runs.items()})(rows)
        assert all("rows" in jax.typeof(v).sharding.spec for v in made.values())
        made["twisted_sample"] = jax.jit(particles)(X)
        assert_same(made, expected)


def test_pmap_and_vmap_can_trace_all(expected):
    shapes = {name: v.shape for name, v in expected.items()}
    split = jax.eval_shape(jax.pmap(all_runs), X.reshape(2, 2, 2))
    assert {name: (4, *v.shape[2:]) for name, v in split.items()} == shapes
    one_by_one = jax.eval_shape(jax.vmap(lambda x: all_runs(x[None])), X)
    assert {name: (4, *v.shape[2:]) for name, v in one_by_one.items()} == shapes


def noisy(x):
    """Run the kernels that draw noise, which the tests above leave out; their rows share one key."""
    put = renoise(SDE, VALUE, MASK)
    step = chain(
        given(euler_maruyama(SDE, score), put),
        repaint(given(dpm_solver(SDE, score, eta=1.0), put), SDE, 2),
        given(heun(SDE, score, churn=0.1, observe=put), put),
        langevin(SDE, score),
    )
    return sample(jax.random.key(0), step, x, TIMES, last=denoise(SDE, score))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["shard_map", "explicit"])
def test_kernels_that_draw_noise_can_be_traced(kind):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(kind,))
    if kind == AxisType.Auto:
        split = jax.shard_map(noisy, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"))
        assert jax.eval_shape(split, X).shape == X.shape
        return
    with jax.set_mesh(mesh):
        rows = jax.device_put(X, NamedSharding(mesh, P("rows")))
        assert jax.eval_shape(jax.jit(noisy), rows).sharding.spec == P("rows", None)


def test_a_score_that_differs_on_each_device_makes_x_differ():
    # x is the same everywhere at first; the loop must begin with what it goes on with.
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))

    def run(centre):
        step = dpm_solver(SDE, lambda x, t: centre - x)
        return sample(jax.random.key(0), step, jnp.zeros((1, 2)), TIMES, every=2)[1][-1]

    split = jax.shard_map(run, mesh=mesh, in_specs=P("rows"), out_specs=P("rows"))
    made = jax.jit(split)(jnp.asarray([[1.0, 1.0], [-1.0, -1.0]]))
    np.testing.assert_allclose(made[0], -made[1], rtol=1e-5)
    assert abs(made[0, 0]) > 0.5


def test_a_checkpointed_score_has_the_same_gradient():
    def end(scale, remat):
        def scaled(x, t):
            return -scale * x

        step = dpm_solver(SDE, jax.checkpoint(scaled) if remat else scaled)
        return jnp.sum(sample(jax.random.key(0), step, jnp.asarray(X), TIMES) ** 2)

    plain, remat = jax.jit(lambda s: [jax.grad(end)(s, r) for r in (False, True)])(1.2)
    assert abs(plain) > 0.1
    np.testing.assert_allclose(plain, remat, rtol=1e-5)
