"""The evaluation of modalities that share a label."""
