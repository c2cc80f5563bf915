"""Models: networks bound to a loss, and what they make together."""
