"""Training: one loop for every task, its checkpoints, and many devices."""
