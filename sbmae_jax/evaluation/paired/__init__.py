"""The evaluation of any paired data."""
