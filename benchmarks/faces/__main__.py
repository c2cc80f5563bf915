"""Faces: SBM-VAE and SBM-RAE on ToyFaces, guidance, and the reference's sampler; results/celeba.json.

    python -m benchmarks.faces runs --seeds 0 1 2   # both kinds of autoencoders; an hour on two cores
    python -m benchmarks.faces guidance             # its strength, with the VAE of seed 0
    python -m benchmarks.faces samplers             # the default and the reference's sampler, likewise
    python -m benchmarks.faces full_size            # operations of a sample at full size

Seeds change weights, batches, samples and which rows of the test split are measured; the faces are the same.
The supervised networks of a seed are trained once and serve both kinds of autoencoders.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.cost import score_cost
from benchmarks.faces.report import ERROR, F1, FEATURES, PIXELS, REPORT
from benchmarks.reference import complete, gflop_of_one_sample, joint
from benchmarks.runner import Options, main, reuse
from benchmarks.runs import count, run_seeds, trained
from configs import celebahq
from sbmae_jax.app.build import build
from sbmae_jax.app.run import Run, load_evaluators, load_model
from sbmae_jax.data.description import Description
from sbmae_jax.evaluation.faces.protocol import (
    compile_reader,
    pairwise_distances,
    random_groups,
    score_faces,
)
from sbmae_jax.evaluation.generator import Generator
from sbmae_jax.models import model as models
from sbmae_jax.models.model import Model

KINDS = {"vae": "toy", "rae": "toy-rae"}
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
NUM_ROWS, NUM_CONDITIONS, NUM_REPEATS = 280, 60, 4
REFERENCE_LEVELS = 1000


def workdir_of(name: str, options: Options, seed: int = 0) -> Path:
    """Return the folder of a run."""
    return options.runs / f"celeba-{name}-{seed}"


def config_of(options: Options, kind: str = "vae") -> Any:
    """Return the config of a kind of autoencoder."""
    config = celebahq.get_config("smoke" if options.smoke else KINDS[kind])
    if options.smoke and kind == "rae":
        celebahq.regularised(config)
    return config


def copy_networks(name: str, options: Options, folders: tuple[str, ...]) -> Path:
    """Copy finished networks of the VAE of seed 0 into the workdir of a new run, and return it."""
    workdir = workdir_of(name, options)
    reuse(workdir_of("vae", options), workdir, folders, ("moments.npz", "data.json"))
    return workdir


def measure_runs(options: Options) -> dict[str, Any]:
    """Run both kinds of autoencoders with several seeds."""
    found: dict[str, Any] = {"seeds": options.seeds}
    for kind in KINDS:
        for seed in options.seeds if kind != "vae" else ():
            source = workdir_of("vae", options, seed)
            reuse(source, workdir_of(kind, options, seed), ("predictor",))
        workdir = options.runs / f"celeba-{kind}"
        get_config = partial(config_of, options, kind)
        found[kind] = run_seeds(get_config, options.seeds, workdir)
    return found


def read_back(run: Run, make: Any, split: str, num_rows: int) -> dict[str, float]:
    """Ask for faces by attributes, and measure what is read from them, and how they differ.

    make: as `Model.complete`, with the model bound.
    """
    protocol, names = run.parts.protocol, run.parts.layout.names
    source, size = run.data.source(split, num_rows), protocol.batch_size
    rows = {name: source.arrays[name] for name in names}
    generator = Generator(names=names, complete=make, reconstruct=dict, batch_size=size)
    read = compile_reader(protocol.predictors, load_evaluators(run), size)
    observed = np.array([name == "attributes" for name in names])
    key, repeats_key = jax.random.split(run.trainer.stage_key("read back"))
    made = generator.complete_rows(key, rows, observed)
    seen = read(made["image"])
    scores, scores_of_mask = score_faces(rows, seen), score_faces(made, seen)
    num = min(NUM_CONDITIONS, num_rows // NUM_REPEATS)
    repeated = {name: np.repeat(x[:num], NUM_REPEATS, axis=0) for name, x in rows.items()}
    images = generator.complete_rows(repeats_key, repeated, observed)["image"]
    gaps = pairwise_distances(images.reshape(num, NUM_REPEATS, *images.shape[1:]), read)
    real = pairwise_distances(random_groups(rows["image"], num, NUM_REPEATS), read)
    return {
        F1: scores["attribute_f1"]["mean"],
        ERROR: scores["attribute_f1"]["se"],
        "mask F1 with own mask": scores_of_mask["mask_f1"]["mean"],
        PIXELS: gaps["pixels"] / real["pixels"],
        FEATURES: gaps["features"] / real["features"],
    }


def measure_guidance(options: Options) -> dict[str, Any]:
    """Measure guidance against its strength on the validation split, for energies of both kinds of negatives.

    The strength that is chosen has the best coherence among those that keep 90 % of the diversity, in pixels
    and in features.
    """
    found: dict[str, dict[str, Any]] = {"valid": {}, "test": {}, "chosen": {}}
    num_rows = 20 if options.smoke else NUM_ROWS
    for negatives in ("batch", "two"):
        config = config_of(options).to_dict()
        same = ("energy",) if negatives == config["nce"]["negatives"] else ()
        config["nce"]["negatives"] = negatives
        folders = ("autoencoder", "score", "predictor", *same)
        run = trained(config, copy_networks(f"vae-{negatives}", options, folders), ("energy",))
        model = load_model(run)

        def measure(split: str, strengths: Iterable[float], run=run, model=model):
            ways = {s: partial(models.complete, model.with_sampling(guidance=s)) for s in strengths}
            return {s: read_back(run, way, split, num_rows) for s, way in ways.items()}

        curve = measure("valid", STRENGTHS)
        allowed = [
            strength
            for strength, row in curve.items()
            if all(row[key] >= 0.9 * curve[0.0][key] for key in (PIXELS, FEATURES))
        ]
        best = max(allowed, key=lambda strength, curve=curve: curve[strength][F1])
        for split, rows in (("valid", curve), ("test", measure("test", (0.0, best)))):
            found[split] |= {f"{negatives}, strength {s}": row for s, row in rows.items()}
        found["chosen"][negatives] = best
    return found


def measure_samplers(options: Options) -> dict[str, Any]:
    """Compare the reference's sampler, with the joint score of our network, with our default."""

    def row(run: Run, model: Model, make: Any, num_evaluations: int) -> dict[str, Any]:
        num_rows = 20 if options.smoke else NUM_ROWS
        return {
            "parameters": count(model.params["score"]),
            "evaluations": num_evaluations,
            "GFLOP a sample": score_cost(model)["flops"] * num_evaluations / 1e9,
            **read_back(run, partial(make, model), "test", num_rows),
        }

    config = config_of(options).to_dict()
    run = Run(config, workdir_of("vae", options))
    ours = load_model(run)
    plain, evaluations = ours.with_sampling(guidance=0.0), ours.sampling.num_evaluations
    other = joint(config, config["network"])
    workdir = copy_networks("joint-hub", options, ("autoencoder", "predictor", "energy"))
    joint_run = trained(other, workdir, ("score",))
    levels = 4 if options.smoke else REFERENCE_LEVELS
    theirs = partial(complete, num_levels=levels)
    rows = {
        "default": row(run, ours, models.complete, evaluations),
        "default, strength 0": row(run, plain, models.complete, evaluations),
        "the reference's, hub": row(joint_run, load_model(joint_run), theirs, 2 * levels),
    }
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
    main("faces", __doc__, REPORT, measures, seeds=(0, 1, 2))
