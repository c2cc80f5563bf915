"""CelebAMask-HQ: a face, its mask and 18 attributes, each generated from any of the others.

python launch.py --config=configs/celebahq.py --workdir=runs/celebahq    # the real data, on a GPU or TPU VM
python launch.py --config=configs/celebahq.py:rae --workdir=runs/celebahq-rae    # regularised autoencoders
python launch.py --config=configs/celebahq.py:toy --workdir=runs/toy       # drawn faces, 64x64, two cores
python launch.py --config=configs/celebahq.py:toy-rae --workdir=runs/toy-rae
python launch.py --config=configs/celebahq.py:toy-captions --workdir=runs/toy-captions    # with text
python launch.py --config=configs/celebahq.py:smoke --workdir=runs/smoke-faces   # all stages, about a minute

The real data come from their authors. Without them, the first command says where to get them and where to
put them.
"""

import ml_collections

VARIANTS = ("default", "rae", "toy", "toy-rae", "toy-captions", "smoke")


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """Return the values of a run. The head of this file lists the variants."""
    if variant not in VARIANTS:
        known = ", ".join(f":{name}" for name in VARIANTS[1:])
        raise ValueError(f"unknown variant {variant!r}: use configs/celebahq.py or one of {known}")
    config = full_size()
    if variant.startswith(("toy", "smoke")):
        two_cores(config)
    if variant == "smoke":
        shrink(config)
    if variant.endswith("rae"):
        regularised(config)
    if variant.endswith("captions"):
        add_captions(config)
    return config


def full_size() -> ml_collections.ConfigDict:
    """Return the reference's sizes. The numbers of steps are its epochs of 24,183 examples."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = {"name": "celebahq", "folder": "", "side": 128}
    config.num_train = 0  # 0 takes all
    config.resident_bytes = 2**32  # smaller data stay on the device, larger data are streamed
    config.num_state_shards = 1  # devices that share one copy of the training state
    config.modalities = {
        "image": {
            "likelihood": "gaussian", "network": "image", "latent_size": 256, "weight": 0.1,
            "training": {"num_steps": 28_300, "clip_norm": 1e3},
        },
        "mask": {
            "likelihood": "bernoulli", "network": "mask", "latent_size": 256, "weight": 1.0,
            "training": {"num_steps": 18_900},
        },
        "attributes": {
            "likelihood": "bernoulli", "network": "attributes", "latent_size": 256, "weight": 0.1,
            "training": {"num_steps": 14_200, "batch_size": 512},
        },
    }  # fmt: skip
    config.autoencoder = {"kind": "vae"}
    config.stack_autoencoders = False  # True trains equal architectures together; slower on a CPU
    config.encoder_decoders = {
        "image": {
            "name": "resnet",
            "encoder": {
                "stem": 64, "stages": ((128, 128, 2), (256, 256, 2), (512, 512, 2)),
                "activation": "gelu", "negative_slope": 0.1, "dtype": "bfloat16",
            },
            "decoder": {
                "start": 512, "stages": ((512, 256, 2), (256, 128, 2), (128, 64, 2)),
                "activation": "gelu", "upsampling": "bilinear", "dtype": "bfloat16",
            },
        },
        "mask": {
            "name": "resnet",
            "encoder": {
                "stem": 64, "stages": ((128, 128, 4), (256, 256, 4)), "activation": "gelu",
                "negative_slope": 0.1, "dtype": "bfloat16",
            },
            "decoder": {
                "start": 256, "stages": ((256, 128, 4), (128, 64, 4)), "activation": "gelu",
                "upsampling": "bilinear", "dtype": "bfloat16",
            },
        },
        "attributes": {
            "name": "dense",
            "encoder": {"widths": (128, 256, 512, 512, 512)},
            "decoder": {"widths": (512, 512, 512, 256, 128)},
        },
    }  # fmt: skip
    config.autoencoder_training = {
        "num_steps": 18_900, "batch_size": 256, "learning_rate": 2e-4, "b2": 0.999, "clip_norm": 1e3,
        "steps_per_call": 20, "checkpoint_every": 1000,
    }  # fmt: skip
    config.sde = {"name": "vp", "beta_min": 0.1, "beta_max": 20.0}
    config.network = {"name": "hub", "width": 768, "hub_width": 1024, "num_blocks": 4}
    config.score = {
        "weighting": "unit", "level_mean": 0.0, "level_std": 1.3, "conditioning_prob": 0.6,
    }  # fmt: skip
    config.score_training = {
        "num_steps": 60_000, "batch_size": 256, "learning_rate": 3e-4, "warmup_steps": 1000,
        "ema_decay": 0.9995, "steps_per_call": 100, "checkpoint_every": 5000,
    }  # fmt: skip
    config.energy = {"name": "tower", "width": 512, "embedding": 128}
    config.nce = {"negatives": "batch", "level_mean": 0.0, "level_std": 1.3}
    config.energy_training = {
        "num_steps": 10_000, "batch_size": 512, "learning_rate": 5e-4, "steps_per_call": 100,
        "checkpoint_every": 5000, "weight_decay": 1e-3,
    }  # fmt: skip
    config.predictor = {"attributes": "image", "mask": "image"}  # the networks that read an image
    config.predictor_training = {
        name: {
            "num_steps": 5_000, "batch_size": 256, "learning_rate": 2e-4, "weight_decay": 1e-2,
            "clip_norm": 1e3, "steps_per_call": 20, "checkpoint_every": 1000,
        }
        for name in ("attributes", "mask")
    }  # fmt: skip
    config.sampling = {
        "sampler": "predictor_corrector", "conditioning": "amortised", "num_levels": 128,
        "num_corrections": 0, "snr": 0.3, "t_min": 3e-3, "temperature": 1.0, "guidance": 0.5,
    }  # fmt: skip
    config.evaluation = {
        "name": "faces", "num_rows": 0, "batch_size": 200, "num_conditions": 100, "num_repeats": 5,
    }  # fmt: skip
    return config


def regularised(config: ml_collections.ConfigDict) -> None:
    """Use regularised autoencoders: `weight` is lambda, and `code_noise` the noise c on the code."""
    config.autoencoder.kind = "rae"
    config.modalities.image.update(weight=1e-4, code_noise=0.001)
    config.modalities.mask.update(weight=1e-5, code_noise=0.001)
    config.modalities.attributes.update(weight=1e-4, code_noise=0.1)


def two_cores(config: ml_collections.ConfigDict) -> None:
    """Use drawn faces of 64x64, and networks that two cores train in minutes."""
    config.data = {"name": "toyfaces", "num_faces": 8000, "side": 64}
    for name in ("image", "mask", "attributes"):
        config.modalities[name].latent_size = 64
    config.modalities.image.update(weight=0.05, training={"num_steps": 2000})
    config.modalities.mask.update(weight=0.05, training={"num_steps": 1000})
    config.modalities.attributes.training = {"num_steps": 1500, "batch_size": 256}
    # The gradient of a convolution is slow on a CPU, so the autoencoders are dense layers on patches, with
    # outputs in [0, 1]. The network that reads attributes from faces stays convolutional, at one step a call.
    for name, channels, width in (("image", 96, 640), ("mask", 32, 256)):
        widths = {"patch": 8, "channels": channels, "width": width}
        config.encoder_decoders[name] = {"name": "patch", "encoder": widths, "decoder": widths}
    config.modalities.mask.likelihood = "gaussian"
    config.encoder_decoders.attributes.encoder.widths = (128, 256, 256)
    config.encoder_decoders.attributes.decoder.widths = (256, 256, 128)
    config.predictor.attributes = "evaluator"
    config.encoder_decoders.evaluator = {
        "name": "resnet",
        "encoder": {
            "stem": 16, "stages": ((32, 32, 2), (64, 64, 2), (64, 64, 2)), "activation": "gelu",
        },
    }  # fmt: skip
    config.autoencoder_training.update(
        num_steps=1000, batch_size=64, learning_rate=1.5e-3, b2=0.99, steps_per_call=50, checkpoint_every=500,
    )  # fmt: skip
    config.network.update(width=192, hub_width=256, num_blocks=2)
    config.score_training.update(
        num_steps=4000, learning_rate=1e-3, warmup_steps=200, ema_decay=0.999, checkpoint_every=2000,
    )  # fmt: skip
    config.energy.update(width=192, embedding=64)
    config.energy_training.update(num_steps=1000, batch_size=256, learning_rate=1e-3)
    config.predictor_training.attributes.update(
        num_steps=600, batch_size=64, learning_rate=1e-3, steps_per_call=1, checkpoint_every=300,
    )  # fmt: skip
    config.predictor_training.mask.update(
        num_steps=1500, batch_size=64, learning_rate=1.5e-3, steps_per_call=50, checkpoint_every=750,
    )  # fmt: skip
    config.evaluation.update(num_rows=600, batch_size=100)


def add_captions(config: ml_collections.ConfigDict) -> None:
    """Add text about four of the attributes, which is what another evaluation measures."""
    config.modalities.caption = {
        "likelihood": "tokens", "network": "text", "latent_size": 24, "weight": 0.2, "training": {},
    }  # fmt: skip
    sizes = {"vocabulary": 512}  # at least that of the tokens of the data
    config.encoder_decoders.text = {"name": "text", "encoder": sizes, "decoder": sizes}
    del config.predictor, config.predictor_training, config.encoder_decoders.evaluator
    config.evaluation = {
        "name": "paired", "num_rows": 500, "num_unconditional": 500, "batch_size": 250,
        "num_samples": 19,
    }  # fmt: skip


def shrink(config: ml_collections.ConfigDict) -> None:
    """Make every stage as short as possible."""
    config.data.num_faces = 200
    trainings = [
        config.autoencoder_training, config.score_training, config.energy_training,
        *config.predictor_training.values(), *(m.training for m in config.modalities.values()),
    ]  # fmt: skip
    for training in trainings:
        training.update(num_steps=10, batch_size=16, checkpoint_every=5)
    for training in (config.score_training, config.energy_training):
        training.update(steps_per_call=5)
    config.network.update(width=32, hub_width=32, num_blocks=1)
    config.energy.update(width=32, embedding=16, num_blocks=1)
    config.encoder_decoders.evaluator.encoder.stages = ((16, 16, 4), (16, 16, 4))
    config.sampling.update(num_levels=4)
    config.evaluation.update(num_rows=16, batch_size=16, num_conditions=8, num_repeats=2)
