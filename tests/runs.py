"""A config that runs all stages in seconds."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "configs"))
import polydigits


def tiny_config():
    """Return plain values: two modalities, small networks, twenty steps."""
    config = polydigits.get_config("smoke").to_dict()
    config["modalities"] = {name: config["modalities"][name] for name in ("hubble", "retina")}
    config["coders"] = {"patch": {"patch": 4, "channels": 4, "width": 16}}
    config["network"] = {"name": "mlp", "width": 16, "num_blocks": 1, "level_width": 8}
    config["classifier"] = {"channels": (4, 4), "width": 8, "dropout": 0.1}
    config["num_train"] = 200
    return config
