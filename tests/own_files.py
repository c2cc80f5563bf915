"""Files as a user brings them: one array of each kind, with holes, and labels."""

import numpy as np

N = 200
SPLITS = ("train", "valid", "test")


def arrays(seed=0):
    """Return one array of each kind, with holes in three of them, and labels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    vector = rng.normal(5, 3, (N, 4)) + label[:, None]
    vector[:, 2] = 7
    vector[[3, 50]] = np.nan
    town = np.array(["Bonn", "Oslo", "Rome"])[label]
    town[9] = ""
    return {
        "vector": vector, "label": label, "town": town,
        "photo": rng.integers(0, 256, (N, 6, 6, 3), np.uint8), "photo_present": rng.random(N) < 0.6,
        "count": rng.poisson(4, (N, 3)), "signal": rng.normal(2, 3, (N, 20, 2)).astype(np.float32),
        "mask": rng.integers(0, 2, (N, 6, 6)).astype(np.uint8),
    }  # fmt: skip
