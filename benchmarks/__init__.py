"""Benchmarks: each is run as `python -m benchmarks.NAME`, and writes results/NAME.json."""
