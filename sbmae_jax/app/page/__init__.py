"""A local web page that generates with a trained model: any modalities from any others."""
