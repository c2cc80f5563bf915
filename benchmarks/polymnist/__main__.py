"""Extended PolyMNIST on two cores: coherence, and what it depends on; results/polymnist.json.

    python -m benchmarks.polymnist runs --seeds 0   # configs/polymnist.py:cpu, under 45 minutes a seed
    python -m benchmarks.polymnist networks         # score networks on the autoencoders of seed 0
    python -m benchmarks.polymnist autoencoders     # VAE of several betas, and the RAE
    python -m benchmarks.polymnist samplers         # numbers of levels and corrections, with seed 0
    python -m benchmarks.polymnist growth           # the cost with 2 to 32 modalities
    python -m benchmarks.polymnist reference        # operations of a sample, ours and the reference's

Networks, autoencoders and samplers are compared on the validation split by the nested protocol, on 500
examples and 500 samples from nothing; networks after 1,000 steps, a sixth of what the variant takes;
autoencoders on the modalities m00 and m04, after 400 steps of each of them and of the score. All need the run
of seed 0. MNIST is needed for all but growth and reference, see configs/polymnist.py.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks.cost import parts_of
from benchmarks.polymnist.growth import measure_growth
from benchmarks.polymnist.report import REPORT
from benchmarks.reference import gflop_of_one_sample, joint
from benchmarks.runner import Options, main, reuse
from benchmarks.runs import forget_compiled, quality, run_seeds, stage_seconds, trained
from configs import polymnist
from sbmae_jax.app.run import Run, load_model

# The reference's score network and the levels of its sampler, which evaluates it twice at each.
UNET, LEVELS = {"name": "unet", "dim": 128, "mults": (1, 2, 2, 2)}, 100
NETWORK_STEPS, AUTOENCODER_STEPS = 1000, 400
NETWORKS = {
    "hub": {},
    "hub, half as wide": {"name": "hub", "width": 80, "hub_width": 128, "num_blocks": 3},
    "mlp": {"name": "mlp", "width": 512, "num_blocks": 4},
    "transformer": {"name": "transformer", "width": 192, "num_blocks": 4, "num_heads": 4},
}
MODALITIES = ("m00", "m04")  # on which autoencoders are compared
BETAS = (0.05, 0.1, 0.2, 0.4)
SAMPLINGS = ((32, 1), (16, 1), (12, 1), (50, 0), (25, 0))  # levels, and corrections at each


def variant_of(options: Options) -> str:
    return "smoke" if options.smoke else "cpu"


def base(options: Options, num_steps: int = 0, stages: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config of two cores, measured by the nested protocol on fewer examples.

    num_steps: How long some stages are trained.
    """
    config = polymnist.get_config(variant_of(options)).to_dict()
    num = 40 if options.smoke else 500
    config["evaluation"] |= {"num_rows": num, "num_unconditional": num, "protocols": ("nested",)}
    for stage in stages:
        config[f"{stage}_training"]["num_steps"] = 10 if options.smoke else num_steps
    return config


def measure_runs(options: Options) -> dict[str, Any]:
    return run_seeds(options, "polymnist-cpu", polymnist.get_config(variant_of(options)))


def compared(name: str, config: dict[str, Any], keep: tuple[str, ...], options: Options) -> dict:
    """Train a config on finished networks of the run of seed 0, and measure it. keep: their folders."""
    slug = name.lower().replace(", ", "-").replace(" ", "-")
    workdir = options.runs / f"polymnist-{slug}"
    reuse(options.runs / "polymnist-cpu-0", workdir, keep)
    run = trained(config, workdir, ("autoencoders", "score", "evaluators"))
    found = quality(run, load_model(run), "valid")
    forget_compiled()
    return found | {"seconds of training the score": stage_seconds(workdir)}


def measure_networks(options: Options) -> dict[str, Any]:
    """Compare score networks on the latents of seed 0, all after the same number of steps."""
    rows = {}
    for name, network in NETWORKS.items():
        config = base(options, NETWORK_STEPS, ("score",))
        config["network"] = network or config["network"]
        kept = ("autoencoder", "classifier")
        rows[name] = compared(f"network {name}", config, kept, options)
    return {"rows": rows}


def measure_autoencoders(options: Options) -> dict[str, Any]:
    """Compare VAE of several betas, and the RAE, on some of the modalities."""
    cases = {f"VAE, beta {beta}": ("vae", beta) for beta in BETAS} | {"RAE": ("rae", 1e-4)}
    rows = {}
    for name, (kind, weight) in cases.items():
        config = base(options, AUTOENCODER_STEPS, ("autoencoder", "score"))
        (first, *_) = config["modalities"].values()
        config["modalities"] = {name: {**first, "weight": weight} for name in MODALITIES}
        config["autoencoder"] = {"kind": kind}
        rows[name] = compared(f"autoencoder {name}", config, ("classifier",), options)
    return {"rows": rows}


def measure_samplers(options: Options) -> dict[str, Any]:
    """Compare numbers of levels and of corrections, with the networks of seed 0."""
    workdir, rows = options.runs / "polymnist-samplers", {}
    kept = ("autoencoder", "classifier", "score")
    reuse(options.runs / "polymnist-cpu-0", workdir, kept, ("data.json", "moments.npz"))
    run = Run(base(options), workdir)
    model = load_model(run)
    for num_levels, num_corrections in SAMPLINGS:
        other = model.with_sampling(num_levels=num_levels, num_corrections=num_corrections)
        rows[f"{num_levels} levels, {num_corrections} corrections"] = quality(run, other, "valid")
    return {"rows": rows}


def measure_reference(options: Options) -> dict[str, Any]:
    """Count the operations of a sample of ten modalities, ours and the reference's."""
    config = polymnist.get_config("smoke" if options.smoke else "default").to_dict()
    if options.smoke:
        config["modalities"] = {n: m | {"latent_size": 64} for n, m in config["modalities"].items()}
    ours, theirs = parts_of(config), parts_of(joint(config, UNET))
    return {"gflop_of_one_sample": gflop_of_one_sample(ours, theirs, LEVELS)}


if __name__ == "__main__":
    measures = (measure_runs, measure_networks, measure_autoencoders, measure_samplers)
    measures += (measure_growth, measure_reference)
    main("polymnist", __doc__, REPORT, measures, seeds=(0,))
