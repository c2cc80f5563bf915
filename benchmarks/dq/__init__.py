"""Two shared factors, digit and quadrant: agreement in what no input says; results/dq.json."""
