"""Configs: files of values, one for each kind of run. Installed as `sbmae_jax.configs`."""
