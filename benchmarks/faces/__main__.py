"""Faces: SBM-VAE and SBM-RAE on ToyFaces, guidance, and the reference's sampler; results/celeba.json.

    python -m benchmarks.faces runs --seeds 0 1 2   # both kinds of autoencoders; an hour on two cores
    python -m benchmarks.faces guidance             # its strength, with the VAE of seed 0
    python -m benchmarks.faces samplers             # the default and the reference's sampler, likewise
    python -m benchmarks.faces full_size            # operations of a sample at full size
    python -m benchmarks.faces conversion           # of CelebAMask-HQ's layout, six minutes and 2 GB of disk

Seeds change weights, batches, samples and which rows of the test split are measured; the faces are the same.
The supervised networks of a seed are trained once and serve both kinds of autoencoders.
"""

from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.cost import score_cost
from benchmarks.faces.conversion import measure_conversion
from benchmarks.faces.report import ERROR, F1, FEATURES, PIXELS, REPORT
from benchmarks.reference import complete, gflop_of_one_sample, joint
from benchmarks.runner import Options, main, reuse
from benchmarks.runs import run_seeds, trained
from configs import celebahq
from sbmae_jax.app.build import build
from sbmae_jax.app.run import Run, load_evaluators, load_model
from sbmae_jax.data.description import Description
from sbmae_jax.evaluation.faces import protocol as faces
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.models import model as models

KINDS = {"vae": "toy", "rae": "toy-rae"}
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
NUM_ROWS, NUM_CONDITIONS, NUM_REPEATS = 280, 60, 4
REFERENCE_LEVELS = 1000


def config_of(options: Options, kind: str = "vae") -> Any:
    config = celebahq.get_config("smoke" if options.smoke else KINDS[kind])
    if options.smoke and kind == "rae":
        celebahq.regularised(config)
    return config


def train_on(keep: tuple[str, ...], name: str, config: dict, stage: str, options: Options) -> Run:
    """Train a stage on finished networks of the VAE of seed 0. keep: their folders."""
    workdir = options.runs / f"celeba-{name}-0"
    reuse(options.runs / "celeba-vae-0", workdir, keep, ("moments.npz", "data.json"))
    return trained(config, workdir, (stage,))


def measure_runs(options: Options) -> dict[str, Any]:
    """Run both kinds of autoencoders with several seeds."""
    found = {"vae": run_seeds(options, "celeba-vae", config_of(options))}
    for seed in options.seeds:
        runs = (options.runs / f"celeba-{kind}-{seed}" for kind in KINDS)
        reuse(*runs, ("predictor",))
    found["rae"] = run_seeds(options, "celeba-rae", config_of(options, "rae"))
    return {"seeds": options.seeds, **found}


def read_back(run: Run, make: Any, split: str, options: Options) -> dict[str, float]:
    """Ask for faces by attributes, and measure what is read from them, and how they differ.

    make: as `Model.complete`, with the model bound.
    """
    protocol, names = run.parts.protocol, run.parts.layout.names
    num_rows, size = 16 if options.smoke else NUM_ROWS, protocol.batch_size
    source = run.data.source(split, num_rows)
    rows = {name: source.arrays[name] for name in names}
    generator = Generator(names=names, complete=make, reconstruct=dict, batch_size=size)
    read = faces.compile_reader(protocol.predictors, load_evaluators(run), size)
    observed = np.array([name == "attributes" for name in names])
    key, repeats_key = jax.random.split(run.trainer.stage_key("read back"))
    made = generator.complete_rows(key, rows, observed)
    seen = read(made["image"])
    scores = faces.score_faces(rows, seen)["attribute_f1"]
    num = min(NUM_CONDITIONS, num_rows // NUM_REPEATS)
    repeated = {name: np.repeat(x[:num], NUM_REPEATS, axis=0) for name, x in rows.items()}
    images = generator.complete_rows(repeats_key, repeated, observed)["image"]
    gaps = faces.pairwise_distances(images.reshape(num, NUM_REPEATS, *images.shape[1:]), read)
    real = faces.pairwise_distances(faces.random_groups(rows["image"], num, NUM_REPEATS), read)
    return {
        F1: scores["mean"],
        ERROR: scores["se"],
        "mask F1 with own mask": faces.score_faces(made, seen)["mask_f1"]["mean"],
        PIXELS: gaps["pixels"] / real["pixels"],
        FEATURES: gaps["features"] / real["features"],
    }


def measure_guidance(options: Options) -> dict[str, Any]:
    """Measure guidance against its strength on the validation split, for energies of both kinds of negatives.

    The strength that is chosen has the best coherence among those that keep 90 % of the diversity, in pixels
    and in features.
    """
    found: dict[str, dict[str, Any]] = {"valid": {}, "test": {}, "chosen": {}}
    for negatives in ("batch", "two"):
        config = config_of(options).to_dict()
        same = ("energy",) if negatives == config["nce"]["negatives"] else ()
        config["nce"]["negatives"] = negatives
        folders = ("autoencoder", "score", "predictor", *same)
        run = train_on(folders, f"vae-{negatives}", config, "energy", options)
        model, curve = load_model(run), {}
        ways = {s: partial(models.complete, model.with_sampling(guidance=s)) for s in STRENGTHS}
        for strength, way in ways.items():
            curve[strength] = read_back(run, way, "valid", options)
            found["valid"][f"{negatives}, strength {strength}"] = curve[strength]
        least = {key: 0.9 * curve[0.0][key] for key in (PIXELS, FEATURES)}
        allowed = [s for s in STRENGTHS if all(curve[s][k] >= bound for k, bound in least.items())]
        best = max(allowed, key=lambda strength, curve=curve: curve[strength][F1])
        for strength in {0.0, best}:
            row = read_back(run, ways[strength], "test", options)
            found["test"][f"{negatives}, strength {strength}"] = row
        found["chosen"][negatives] = best
    return found


def measure_samplers(options: Options) -> dict[str, Any]:
    """Compare the reference's sampler, with the joint score of our network, with our default."""
    config = config_of(options).to_dict()
    ours = Run(config, options.runs / "celeba-vae-0")
    other = joint(config, config["network"])
    folders = ("autoencoder", "predictor", "energy")
    theirs = train_on(folders, "joint-hub", other, "score", options)
    levels, model = 4 if options.smoke else REFERENCE_LEVELS, load_model(ours)
    plain, default = model.with_sampling(guidance=0.0), model.sampling.num_evaluations
    rows, reference = {}, partial(complete, num_levels=levels)
    for name, run, sampled, make, evaluations in (
        ("default", ours, model, models.complete, default),
        ("default, strength 0", ours, plain, models.complete, default),
        ("the reference's, hub", theirs, load_model(theirs), reference, 2 * levels),
    ):  # fmt: skip
        cost = score_cost(sampled)["flops"] * evaluations / 1e9
        row = read_back(run, partial(make, sampled), "test", options)
        rows[name] = {"evaluations": evaluations, "GFLOP a sample": cost, **row}
    return {"rows": rows}


def measure_full_size(options: Options) -> dict[str, Any]:
    """Count the operations of a sample of `configs/celebahq.py`, and with the reference's sampler."""
    del options
    config = celebahq.get_config().to_dict()
    shapes = {"image": (128, 128, 3), "mask": (128, 128, 1), "attributes": (18,)}
    names = tuple(map(str, range(18)))
    data = Description(shapes, dict.fromkeys(shapes, np.dtype(np.uint8)), {"attributes": names})
    unet = {"name": "unet", "dim": 256, "mults": (1, 2, 2, 2, 2)}
    ours, theirs = build(config, data), build(joint(config, unet), data)
    return {"gflop_of_one_sample": gflop_of_one_sample(ours, theirs, REFERENCE_LEVELS)}


if __name__ == "__main__":
    measures = (measure_runs, measure_guidance, measure_samplers, measure_full_size)
    main("faces", __doc__, REPORT, (*measures, measure_conversion), seeds=(0, 1, 2))
