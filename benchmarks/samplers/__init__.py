"""Samplers and conditionings against distributions whose conditionals are exact."""
