"""Learning from rows that lack modalities."""
