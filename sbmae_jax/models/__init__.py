"""Models: networks bound to a loss, and what they make together."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.models", "train", "optax", "etils", "safetensors")
