"""Data of one's own: prediction, calibration and missing modalities."""
