"""Networks, the only place that imports Flax."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.nets", "train", "flax")
