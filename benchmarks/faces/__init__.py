"""Faces: autoencoders, guidance, the reference's sampler, and how fast the data are read."""
