"""From a config to a run: building, the stages in order, and the command line."""
