"""Runs on an accelerator, each in calls of a few minutes."""
