"""Samplers of diffusions: processes, kernels, conditioning, guidance and likelihood, on JAX alone."""
