"""Configs of the runs, files of values; installed as `sbmae_jax.configs`."""
