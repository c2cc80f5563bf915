"""Joint variational autoencoders, the baselines: MVAE, MMVAE, MoPoE, MVTCAE and MMVAE+."""

from sbmae_jax._extras import require_extra

require_extra("sbmae_jax.baselines", "train", "flax")
