"""Ours and other methods at equal operations of training."""
