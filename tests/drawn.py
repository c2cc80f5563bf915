"""The noise of a step, drawn once more."""

import jax


def noise(key, *indices, shape):
    """Return what a step draws whose key is this one, folded with each of the indices."""
    for i in indices:
        key = jax.random.fold_in(key, i)
    return jax.random.normal(key, shape)
