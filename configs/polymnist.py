"""Extended PolyMNIST: handwritten digits on up to ten photographs, which share only the class.

python launch.py --config=configs/polymnist.py --workdir=runs/polymnist            # ten modalities, one GPU
python launch.py --config=configs/polymnist.py:five --workdir=runs/polymnist-five  # five, the original task
python launch.py --config=configs/polymnist.py:cpu --workdir=runs/polymnist-cpu    # five, on two cores
python launch.py --config=configs/polymnist.py:smoke --workdir=runs/smoke-poly     # in a minute

MNIST is read from its four files in $SBMAE_DATA_DIR/mnist, or downloaded. The photographs are those of
scikit-image, or of a folder of yours: --config.data.backgrounds=FOLDER.
"""

import ml_collections

VARIANTS = ("default", "five", "cpu", "smoke")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """Return the values of a run. The head of this file lists the variants."""
    if variant not in VARIANTS:
        known = ", ".join(f":{name}" for name in VARIANTS[1:])
        raise ValueError(f"unknown variant {variant!r}: use configs/polymnist.py or one of {known}")
    config = accelerator(10 if variant == "default" else 5)
    if variant in ("cpu", "smoke"):
        two_cores(config)
    if variant == "smoke":
        shrink(config)
    return config


def accelerator(num_modalities: int) -> ml_collections.ConfigDict:
    """Return the reference's autoencoders, and a score that one GPU trains in minutes."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = {"name": "polymnist", "num_modalities": num_modalities, "backgrounds": ""}
    config.num_train = 0  # 0 takes all
    config.resident_bytes = 2**32  # smaller data stay on the device, larger data are streamed
    config.num_state_shards = 1  # devices that share one copy of the training state
    config.modalities = {
        f"m{m:02}": {"likelihood": "gaussian", "network": "image", "latent_size": 64, "weight": 0.5}
        for m in range(num_modalities)
    }
    config.autoencoder = {"kind": "vae"}
    config.stack_autoencoders = False  # True trains equal architectures together; slower on a CPU
    config.encoder_decoders = {
        "image": {
            "name": "resnet",
            "encoder": {
                "stem": 64, "stages": ((64, 64, 2), (128, 128, 2), (256, 256, 2)), "padding": 2,
                "dtype": "bfloat16",
            },
            "decoder": {
                "start": 256, "stages": ((128, 128, 2), (128, 64, 2), (64, 64, 2)), "padding": 2,
                "dtype": "bfloat16",
            },
        },
    }  # fmt: skip
    config.autoencoder_training = {
        "num_steps": 4000, "batch_size": 256, "learning_rate": 1e-3, "clip_norm": 50.0,
        "steps_per_call": 100, "checkpoint_every": 1000,
    }  # fmt: skip
    config.sde = {"name": "vp", "beta_min": 0.1, "beta_max": 20.0}
    config.network = {"name": "hub", "width": 256, "hub_width": 384, "num_blocks": 3}
    config.score = {
        "weighting": "unit", "level_mean": 0.0, "level_std": 1.3, "conditioning_prob": 0.6,
    }  # fmt: skip
    config.score_training = {
        "num_steps": 20_000, "batch_size": 512, "learning_rate": 1e-3, "b2": 0.99, "warmup_steps": 500,
        "ema_decay": 0.9995, "steps_per_call": 200, "checkpoint_every": 5000,
    }  # fmt: skip
    config.energy = None  # the score alone is coherent enough
    config.classifier = {"name": "conv", "channels": (32, 64, 128), "width": 512}
    config.classifier_training = {
        "num_steps": 5000, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 1e-3,
        "steps_per_call": 100, "checkpoint_every": 5000,
    }  # fmt: skip
    # As coherent as more steps, at a hundredth of the reference's operations: see docs/polymnist.md.
    config.sampling = {
        "sampler": "predictor_corrector", "conditioning": "amortised", "num_levels": 25,
        "num_corrections": 0, "snr": 0.3, "t_min": 3e-3, "temperature": 1.0,
    }  # fmt: skip
    config.evaluation = {
        "name": "classes", "num_rows": 10_000, "num_unconditional": 10_000, "batch_size": 1000,
        "protocols": ("nested", "prefix", "all_subsets"),
    }  # fmt: skip
    return config


def two_cores(config: ml_collections.ConfigDict) -> None:
    """Use dense layers on patches, as the gradient of a convolution is slow on a CPU, and fewer steps."""
    for modality in config.modalities.values():
        modality.update(network="patch", latent_size=48, weight=0.1)
    widths = {"patch": 4, "channels": 48, "width": 384}
    config.encoder_decoders = {"patch": {"name": "patch", "encoder": widths, "decoder": widths}}
    config.autoencoder_training.update(
        num_steps=2500, batch_size=128, learning_rate=2e-3, b2=0.99, steps_per_call=50, checkpoint_every=500,
    )  # fmt: skip
    config.network.update(width=160, hub_width=256)
    config.score_training.update(
        num_steps=6000, batch_size=256, warmup_steps=200, ema_decay=0.999, steps_per_call=100,
        checkpoint_every=1000,
    )  # fmt: skip
    config.classifier = {"name": "patch", "channels": (32, 64), "width": 128, "dropout": 0.3}
    config.classifier_training.update(
        num_steps=1500, learning_rate=2e-3, b2=0.99, steps_per_call=50, checkpoint_every=500
    )
    config.sampling.update(num_levels=32, num_corrections=1)  # slightly more diverse
    config.evaluation.update(num_rows=1000, num_unconditional=1000, batch_size=500)


def shrink(config: ml_collections.ConfigDict) -> None:
    """Make every stage as short as possible."""
    config.data.sizes = (400, 100, 100)
    for training in (
        config.autoencoder_training, config.score_training, config.classifier_training,
    ):  # fmt: skip
        training.update(num_steps=20, batch_size=32, steps_per_call=10, checkpoint_every=10)
    config.sampling.update(num_levels=4)
    config.evaluation.update(
        num_rows=40, num_unconditional=40, batch_size=40, protocols=("nested", "prefix"), fine_levels=8,
    )  # fmt: skip
