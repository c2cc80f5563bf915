"""From a config to a run: building, the stages in order, and the command line."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.app", "train", "flax", "absl", "ml_collections")
