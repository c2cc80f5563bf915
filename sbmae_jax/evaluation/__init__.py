"""Evaluation: what is measured of a model, and its report."""
