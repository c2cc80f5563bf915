"""Joint variational autoencoders, the baselines: MVAE, MMVAE, MoPoE, MVTCAE and MMVAE+."""
