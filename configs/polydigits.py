"""PolyDigits: handwritten digits on five photographs. Runs on two cores in minutes.

python launch.py --config=configs/polydigits.py --workdir=runs/polydigits
python launch.py --config=configs/polydigits.py:smoke --workdir=runs/smoke    # all stages, under a minute
python launch.py --config=configs/polydigits.py:captions --workdir=runs/captions    # with text about one
python launch.py --config=configs/polydigits.py:dq --workdir=runs/dq    # two shared factors
python launch.py --config=configs/polydigits.py:dq --config.data.holes --workdir=runs/holes    # and holes
python launch.py --config=configs/polydigits.py:diffusion --workdir=runs/diffusion    # decoders that draw
python launch.py --config=configs/polydigits.py:small --workdir=runs/small    # networks of 5 MB
"""

import ml_collections


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """Return the values of a run. The variant is "default" or one at the head of this file."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = {
        "name": "polydigits",
        "missing": 0.0,  # share of images that training rows lack
        "holes": "random",  # which they lack together: also "pairs", "chain", "single", "by_value"
        "complete_only": False,  # whether to train on complete rows only
    }
    config.num_train = 20_000
    config.resident_bytes = 2**32  # smaller data stay on the device, larger data are streamed
    config.num_state_shards = 1  # devices that share one copy of the training state
    names = ("hubble", "retina", "coffee", "rocket", "chelsea")
    config.modalities = {
        name: {"likelihood": "gaussian", "network": "patch", "latent_size": 32, "weight": 0.15}
        for name in names
    }
    config.autoencoder = {"kind": "vae"}
    config.stack_autoencoders = False  # True trains equal architectures together; slower on a CPU
    widths = {"patch": 4, "channels": 48, "width": 384}
    config.encoder_decoders = {"patch": {"name": "patch", "encoder": widths, "decoder": widths}}
    config.autoencoder_training = {
        "num_steps": 1500, "batch_size": 128, "learning_rate": 2e-3, "b2": 0.99, "clip_norm": 50.0,
        "steps_per_call": 50, "checkpoint_every": 500,
    }  # fmt: skip
    config.sde = {"name": "vp", "beta_min": 0.1, "beta_max": 20.0}
    config.network = {"name": "hub", "width": 128, "hub_width": 192, "num_blocks": 2}
    config.score = {
        "weighting": "unit", "level_mean": 0.0, "level_std": 1.3, "conditioning_prob": 0.6,
        "subset_size_power": 1.0,
    }  # fmt: skip
    config.score_training = {
        "num_steps": 4500, "batch_size": 256, "learning_rate": 1e-3, "b2": 0.99, "warmup_steps": 200,
        "ema_decay": 0.999, "steps_per_call": 100, "checkpoint_every": 1000,
    }  # fmt: skip
    config.energy = None  # the score alone is coherent enough
    config.classifier = {"name": "patch", "channels": (32, 64), "width": 128, "dropout": 0.3}
    config.classifier_training = {
        "num_steps": 600, "batch_size": 256, "learning_rate": 2e-3, "b2": 0.99, "weight_decay": 1e-3,
        "steps_per_call": 50, "checkpoint_every": 600,
    }  # fmt: skip
    config.sampling = {
        "sampler": "dpm_solver", "conditioning": "amortised", "num_levels": 32, "num_corrections": 0,
        "snr": 0.3, "eta": 1.0, "t_min": 3e-3, "temperature": 1.0,
    }  # fmt: skip
    config.evaluation = {
        "name": "classes", "num_rows": 1000, "num_unconditional": 1000, "batch_size": 500,
        "protocols": ("nested",),  # "prefix" and "all_subsets" compare with published figures
        "subsets_per_size": 10,
    }  # fmt: skip
    if variant == "captions":
        add_captions(config)
    elif variant == "dq":
        share_two_factors(config)
    elif variant == "smoke":
        shrink(config)
    elif variant == "diffusion":
        draw_pictures(config)
    elif variant == "small":
        narrow(config)
    elif variant != "default":
        raise ValueError(
            f"unknown variant {variant!r}: use configs/polydigits.py, :smoke, :captions, :dq, :diffusion or "
            ":small"
        )
    return config


def add_captions(config: ml_collections.ConfigDict) -> None:
    """Add text about the first photograph, and the digit as a class; another evaluation measures both."""
    config.modalities.caption = {
        "likelihood": "tokens", "network": "text", "latent_size": 24, "weight": 0.2,
    }  # fmt: skip
    sizes = {"vocabulary": 512}  # at least that of the tokens of the data
    config.encoder_decoders.text = {"name": "text", "encoder": sizes, "decoder": sizes}
    config.modalities.digit = {
        "likelihood": "categorical", "network": "vector", "latent_size": 9, "weight": 0.2,
    }  # fmt: skip
    widths = {"width": 128}
    config.encoder_decoders.vector = {"name": "vector", "encoder": widths, "decoder": widths}
    del config.classifier, config.classifier_training
    config.evaluation = {
        "name": "paired", "num_rows": 500, "num_unconditional": 1000, "batch_size": 500,
        "num_samples": 19,
    }  # fmt: skip


def share_two_factors(config: ml_collections.ConfigDict) -> None:
    """Show the digit in a quadrant of three larger views, and make both labels modalities."""
    config.data = {"name": "polydigits_dq", "holes": False}  # whether training rows lack views
    config.num_train = 40_000
    config.modalities = {
        name: {"likelihood": "gaussian", "network": "patch", "latent_size": 40, "weight": 0.2}
        for name in ("hubble", "retina", "coffee")
    }
    for name, latent_size in (("digit", 9), ("quadrant", 3)):
        config.modalities[name] = {
            "likelihood": "categorical", "network": "vector", "latent_size": latent_size, "weight": 0.2,
            "training": {"num_steps": 500},
        }  # fmt: skip
    config.autoencoder_training.num_steps = 2000
    config.network.update(width=192, hub_width=320)
    config.score_training.num_steps = 9000
    widths = {"width": 128}
    config.encoder_decoders.vector = {"name": "vector", "encoder": widths, "decoder": widths}
    config.evaluation = {
        "name": "factors", "factors": ("digit", "quadrant"), "num_rows": 1000,
        "num_unconditional": 1000, "batch_size": 500,
    }  # fmt: skip


def draw_pictures(config: ml_collections.ConfigDict) -> None:
    """Let a diffusion decoder draw the pictures of each modality."""
    config.decoder_diffusion = {
        "patch": {
            "name": "mixer", "patch": 4, "width": 96, "num_blocks": 3, "latent_noise": 1.0,
            "drop_latent": 0.1,
        },
    }  # fmt: skip
    config.decoder_training = {
        "num_steps": 600, "batch_size": 128, "learning_rate": 2e-3, "b2": 0.99, "ema_decay": 0.995,
        "steps_per_call": 50, "checkpoint_every": 300,
    }  # fmt: skip
    config.decoding = {
        "num_steps": 2, "weight": 3.0, "latent_noise": 0.5, "start": 2.0, "stop": 1.0,
    }  # fmt: skip


def narrow(config: ml_collections.ConfigDict) -> None:
    """Make the networks small enough to be installed with the package, and train them for longer."""
    for modality in config.modalities.values():
        modality.update(latent_size=24, weight=0.35)
    # As in the installed file.
    config.sampling.update(sampler="predictor_corrector", num_corrections=1)
    widths = {"patch": 4, "channels": 18, "width": 192}
    config.encoder_decoders.patch = {"name": "patch", "encoder": widths, "decoder": widths}
    config.network.update(width=96, hub_width=160)
    config.autoencoder_training.num_steps = 2000
    config.score_training.num_steps = 6000


def shrink(config: ml_collections.ConfigDict) -> None:
    """Make every stage as short as possible."""
    config.num_train = 500
    for name in (
        "autoencoder_training",
        "score_training",
        "decoder_training",
        "classifier_training",
    ):
        if name in config:
            config[name].update(num_steps=20, batch_size=32, steps_per_call=10, checkpoint_every=10)
    for modality in config.modalities.values():
        if "training" in modality:
            modality.training.num_steps = 20
    config.sampling.update(num_levels=4)
    config.evaluation.update(num_rows=40, num_unconditional=40, batch_size=40)
    if config.evaluation.name != "paired":
        config.evaluation.fine_levels = 8
