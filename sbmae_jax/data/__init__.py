"""Data sets: descriptions, scalings and readers."""
