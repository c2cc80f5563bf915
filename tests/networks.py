"""What the tests of networks share: parameters, shapes, and ways to see what an output depends on."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

# Without optimisation, which takes longer than it saves in a test.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shapes(network, *inputs, **options):
    """Return the shapes of a network's parameters; nothing is computed."""
    init = functools.partial(network.init, **options)
    return jax.eval_shape(init, jax.random.key(0), *inputs)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def filled(network, *inputs, **options):
    """Return parameters drawn by NumPy, none of them zero; compiling `init` takes longer than a test may."""
    rng = np.random.default_rng(0)

    def draw(p):
        if len(p.shape) == 1:
            return jnp.asarray(rng.uniform(0.5, 1, p.shape), p.dtype)
        return jnp.asarray(rng.normal(size=p.shape) / math.sqrt(math.prod(p.shape[:-1])), p.dtype)

    return jax.tree.map(draw, shapes(network, *inputs, **options))


def others_changed(x):
    """Return what differs from x in its first two rows."""
    return np.concatenate([-3 * np.asarray(x[:2]), x[2:]])


def unused(apply, params, *inputs):
    """Return the names of the parameters on which the output does not depend."""
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves, output = [np.asarray(leaf) for _, leaf in paths], apply(params, *inputs)
    names = []
    for i, (path, _) in enumerate(paths):
        factor = 1 + 0.1 * np.cos(np.arange(leaves[i].size, dtype=np.float32))
        changed = [*leaves[:i], leaves[i] * factor.reshape(leaves[i].shape), *leaves[i + 1 :]]
        difference = np.subtract(apply(tree.unflatten(changed), *inputs), output)
        if not np.abs(difference).max() > 1e-6:
            names.append(jax.tree_util.keystr(path))
    return names


def assert_rows_are_alone(apply, params, *inputs):
    """Check that the output for a row does not depend on the other rows of its batch; return the output."""
    output = np.asarray(apply(params, *inputs))
    other = apply(params, *map(others_changed, inputs))
    np.testing.assert_allclose(other[2:], output[2:], atol=1e-5)
    assert np.abs(other[:2] - output[:2]).min() > 0
    return output


def check(network, apply, params, *inputs):
    """Check that rows are alone, all parameters have an effect and bfloat16 is close; return the output."""
    output = assert_rows_are_alone(apply, params, *inputs)
    assert unused(apply, params, *inputs) == []
    if hasattr(network, "dtype"):
        half = jit(network.clone(dtype="bfloat16").apply)(params, *inputs)
        assert half.dtype == jnp.float32
        assert 0 < np.std(np.subtract(half, output)) < 0.03 * np.std(output)
    return output
