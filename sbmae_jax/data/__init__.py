"""Data sets: descriptions, scalings and readers."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.data", "train", "grain", "etils")
