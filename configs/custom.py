"""Your own data: from files to any-to-any generation. See docs/your_data.md.

python launch.py --config=configs/custom.py --config.data.path=DATA --workdir=runs/mine
python launch.py --workdir=runs/mine --stage=impute --input=new.npz --output=filled.npz --num_samples=20

DATA is an .npz or .h5ad file, a table (.csv, .parquet, .feather, .xlsx), a folder of .npy files or of tables
with a common key, a TFDS or Hugging Face directory, or a folder of image folders and tables.
Open values here are chosen from the data, and printed with the reason. Values that you set are kept, for
example the kind of the modality lab with --config.modalities.lab.kind=counts, or None for any value.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from sbmae_jax.data.user.table_files import MISSING_MARKERS


def get_config(variant: str = "default") -> ml_collections.ConfigDict:
    """Return the values of a run. The variant is "default", or "smoke" to test that all stages run."""
    if variant not in ("default", "smoke"):
        raise ValueError(f"unknown variant {variant!r}: use configs/custom.py or :smoke")
    config = ml_collections.ConfigDict()
    config.seed = 0
    config.data = {
        "name": "files",
        "path": "",
        "kinds": {},  # {name: kind} to correct kinds that are inferred wrongly
        "leave_out": (),  # names of arrays and columns that are not modelled
        # Which columns of a table form which vector: {"labs": ("hb", "crp"), "vitals": ("vital_*",)}, with
        # every other column its own; "each" column its own; by "prefix"; None makes one of each file.
        "groups": placeholder(object),
        "key": "",  # the column of a table that names the rows; "" for id or file
        "missing_markers": MISSING_MARKERS,  # strings that mark a missing cell or category
        # Vectors that are NaN in part: "split" learns them in parts that are missing together, "missing"
        # takes such rows for not measured, and "refuse" refuses them.
        "partial_rows": "split",
        "parts": placeholder(object),  # {"lab": "each"}, or {"lab": (("hb", "crp"), ("iron",))}
    }
    config.num_train = 0  # 0 takes all
    config.resident_bytes = 2**32  # smaller data stay on the device, larger data are streamed
    config.num_state_shards = 1  # devices that share one copy of the training state
    config.modalities = {}  # {name: {"latent_size": 8, ..}}; everything else is chosen
    config.autoencoder = {"kind": "vae"}
    config.stack_autoencoders = False
    config.encoder_decoders = {}
    config.autoencoder_training = {
        "num_steps": placeholder(int), "batch_size": placeholder(int), "patience": placeholder(int),
        "learning_rate": 2e-3, "b2": 0.99, "clip_norm": 50.0, "ema_decay": 0.99,
        "steps_per_call": 50, "checkpoint_every": 500, "held_out_every": 50,
    }  # fmt: skip
    config.sde = {"name": "vp", "beta_min": 0.1, "beta_max": 20.0}
    config.network = {
        "name": "hub", "width": placeholder(int), "hub_width": placeholder(int), "num_blocks": 2,
    }  # fmt: skip
    # With share=0.2, wider networks contend on held-out rows before the score is trained.
    config.race = {"share": 0.0, "max_minutes": 10.0, "score": placeholder(object)}
    config.score = {
        "weighting": "unit", "level_mean": placeholder(float), "level_std": 1.4, "conditioning_prob": 0.6,
        "base": placeholder(str), "absent_prob": 0.0,
    }  # fmt: skip
    config.score_training = {
        "num_steps": placeholder(int), "patience": placeholder(int), "batch_size": 256,
        "learning_rate": placeholder(float), "weight_decay": placeholder(float),
        "b2": 0.99, "warmup_steps": 200, "ema_decay": 0.999,
        "steps_per_call": 100, "checkpoint_every": 1000, "held_out_every": 100,
    }  # fmt: skip
    config.energy = None
    config.sampling = {
        "sampler": "dpm_solver", "conditioning": "amortised", "num_levels": placeholder(int),
        "num_corrections": placeholder(int), "snr": 0.3, "eta": 1.0, "t_min": placeholder(float),
        "temperature": 1.0,
    }  # fmt: skip
    config.evaluation = {
        "name": "paired", "num_rows": 0, "num_unconditional": 500, "batch_size": 500,
        "num_samples": 19,
        "sampling_rates": {},  # {name: values a second} of signals that are sounds: the report plays them
    }  # fmt: skip
    if variant == "smoke":
        shrink(config)
    return config


def shrink(config: ml_collections.ConfigDict) -> None:
    """Make every stage as short as possible."""
    for training in (config.autoencoder_training, config.score_training):
        training.update(
            num_steps=20, batch_size=32, patience=20, steps_per_call=10, checkpoint_every=10,
            held_out_every=10,
        )  # fmt: skip
    config.sampling.num_levels = 4
    config.evaluation.update(num_rows=20, num_unconditional=20, batch_size=40, num_samples=3)
