"""A run of seconds, with a checkpoint after every second step: what `benchmarks.scale kill` kills."""

import ml_collections

from configs import polydigits


def get_config() -> ml_collections.ConfigDict:
    """Return configs/polydigits.py:smoke with two modalities and small networks."""
    config = polydigits.get_config("smoke")
    for name in ("coffee", "rocket", "chelsea"):
        del config.modalities[name]
    widths = {"patch": 4, "channels": 8, "width": 32}
    config.encoder_decoders = {"patch": {"name": "patch", "encoder": widths, "decoder": widths}}
    with config.unlocked():
        config.network = {"name": "mlp", "width": 32, "num_blocks": 1, "level_width": 8}
    config.num_train = 200
    for name in ("autoencoder", "score", "classifier"):
        config[f"{name}_training"].update(steps_per_call=2, checkpoint_every=2)
    return config
