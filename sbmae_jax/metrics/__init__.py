"""Metrics of samples and predictions, as functions of NumPy arrays."""
