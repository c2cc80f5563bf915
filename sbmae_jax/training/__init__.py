"""Training: one loop for every task, its checkpoints, and many devices."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.training", "train", "orbax", "optax", "grain")
