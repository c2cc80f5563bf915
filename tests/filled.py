"""Parameters for tests of networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def filled(network, *inputs):
    """Return parameters drawn by NumPy, none of them zero; compiling `init` takes longer than a test may."""
    rng = np.random.default_rng(0)

    def draw(p):
        if len(p.shape) == 1:
            return jnp.asarray(rng.uniform(0.5, 1, p.shape), p.dtype)
        return jnp.asarray(rng.normal(size=p.shape) / math.sqrt(math.prod(p.shape[:-1])), p.dtype)

    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0), *inputs))
