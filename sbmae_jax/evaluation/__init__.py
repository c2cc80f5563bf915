"""Evaluation: what is measured of a model, and its report."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.evaluation", "train", "matplotlib", "flax")
