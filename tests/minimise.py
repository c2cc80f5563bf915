"""A fit in one scan, for tests of losses."""

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from networks import jit


def minimise(mean_loss, params, num_steps, learning_rate, **adam):
    """Minimise `mean_loss(params, key)` by Adam with a cosine decay, and return the parameters.

    They are one vector, which takes the least time to compile.
    """
    start, unravel = ravel_pytree(params)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps), **adam)

    def body(state, i):
        flat, opt_state = state
        key = jax.random.fold_in(jax.random.key(1), i)
        gradient = jax.grad(lambda flat: mean_loss(unravel(flat), key))(flat)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(flat, updates), opt_state), None

    @jit
    def run(flat):
        return jax.lax.scan(body, (flat, optimizer.init(flat)), jnp.arange(num_steps))[0][0]

    return unravel(run(start))
