"""A config that runs all stages in seconds."""

from sbmae_jax.configs import polydigits


def config():
    """Return plain values: two modalities, networks of few layers, twenty steps."""
    values = polydigits.get_config("smoke").to_dict()
    values["modalities"] = {name: values["modalities"][name] for name in ("hubble", "retina")}
    widths = {"widths": (16,)}
    values["encoder_decoders"] = {"patch": {"name": "dense", "encoder": widths, "decoder": widths}}
    values["network"] = {"name": "mlp", "width": 16, "num_blocks": 1, "level_width": 8}
    values["classifier"] = {"name": "patch", "channels": (4, 4), "width": 8, "dropout": 0.1}
    values["num_train"] = 200
    return values
