"""Faces: SBM-VAE and SBM-RAE on ToyFaces, guidance, and the reference's sampler; results/celeba.json.

    python benchmarks/celeba.py --seeds 0 1 2        # about an hour and a half on two cores
    python benchmarks/celeba.py --conversion FILE    # adds what `benchmarks/convert.py --output FILE` said
    python benchmarks/celeba.py --claims             # compares what was measured with the targets again

Runs are kept under runs/celeba-KIND-SEED and not repeated. Seeds change weights, batches, samples and which
rows of the test split are measured; the faces are the same. The supervised networks of a seed are trained
once and serve both kinds of autoencoders.
"""

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "configs"))

import celebahq  # noqa: E402
import reference  # noqa: E402
from celeba_claims import claims, figures, markdown  # noqa: E402
from reuse import reuse  # noqa: E402

from sbmae_jax.app import pipeline, provenance  # noqa: E402
from sbmae_jax.app.run import Run, load_evaluators, load_model  # noqa: E402
from sbmae_jax.data.description import Description  # noqa: E402
from sbmae_jax.evaluation.faces.protocol import (  # noqa: E402
    compile_reader,
    pairwise_distances,
    random_groups,
    score_faces,
)
from sbmae_jax.evaluation.generator import Generator  # noqa: E402
from sbmae_jax.models import model as models  # noqa: E402

RESULTS = ROOT / "results" / "celeba.json"
KINDS = {"vae": "toy", "rae": "toy-rae"}
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
NUM_ROWS, NUM_CONDITIONS, NUM_REPEATS = 280, 60, 4
DIVERSITIES = ("diversity_pixels", "diversity_features")
REFERENCE_LEVELS = 1000
REFERENCE_ROWS = 280


def workdir_of(name: str, seed: int) -> Path:
    """Return the folder of a run."""
    return ROOT / "runs" / f"celeba-{name}-{seed}"


def config_of(kind: str, seed: int) -> dict[str, Any]:
    """Return the config of a kind of autoencoder."""
    config = celebahq.get_config(KINDS[kind])
    config.seed = seed
    return config.to_dict()


def train(kind: str, seed: int) -> dict[str, Any]:
    """Run all stages, and return the results."""
    workdir, other = workdir_of(kind, seed), workdir_of("vae", seed) / "predictor"
    if kind != "vae" and other.exists() and not (workdir / "predictor").exists():
        shutil.copytree(other, workdir / "predictor")
    pipeline.run(config_of(kind, seed), workdir)
    return json.loads((workdir / "results.json").read_text())


def read_back(run: Run, complete: Any, split: str, num_rows: int) -> dict[str, float]:
    """Ask for faces by attributes, and measure what is read from them, and how they differ.

    complete: as `Model.complete`, with the model bound.
    """
    protocol = run.parts.protocol
    source = run.data.source(split, num_rows)
    rows = {name: source.arrays[name] for name in run.parts.layout.names}
    names, size = run.parts.layout.names, protocol.batch_size
    generator = Generator(names=names, complete=complete, reconstruct=dict, batch_size=size)
    read = compile_reader(protocol.predictors, load_evaluators(run), size)
    observed = np.array([name == "attributes" for name in names])
    key, spread_key = jax.random.split(run.trainer.stage_key("read back"))
    made = generator.complete_rows(key, rows, observed)
    scores = score_faces(rows, read(made["image"]))
    scores_of_mask = score_faces(made, read(made["image"]))
    num = min(NUM_CONDITIONS, num_rows // NUM_REPEATS)
    repeated = {name: np.repeat(x[:num], NUM_REPEATS, axis=0) for name, x in rows.items()}
    images = generator.complete_rows(spread_key, repeated, observed)["image"]
    spread = pairwise_distances(images.reshape(num, NUM_REPEATS, *images.shape[1:]), read)
    real = pairwise_distances(random_groups(rows["image"], num, NUM_REPEATS), read)
    return {
        "attribute_f1": scores["attribute_f1"]["mean"],
        "attribute_f1_se": scores["attribute_f1"]["se"],
        "mask_f1_with_own_mask": scores_of_mask["mask_f1"]["mean"],
        "diversity_pixels": spread["pixels"] / real["pixels"],
        "diversity_features": spread["features"] / real["features"],
    }


def sweep(kind: str, seed: int, negatives: str) -> dict[str, Any]:
    """Measure guidance against its strength on the validation split, for an energy of some negatives.

    The strength that is chosen has the best coherence among those that keep 90 % of the diversity, in pixels
    and in features.
    """
    config = config_of(kind, seed)
    name = f"{kind}-{negatives}"
    config["nce"]["negatives"] = negatives
    same = negatives == config_of(kind, seed)["nce"]["negatives"]
    take_over(
        kind, name, seed, ("autoencoder", "score", "predictor", *(("energy",) if same else ()))
    )
    workdir = workdir_of(name, seed)
    pipeline.run(config, workdir, "energy")
    run = Run(config, workdir)
    model = load_model(run)
    curve = {}
    for strength in STRENGTHS:
        complete = partial(models.complete, model.with_sampling(guidance=strength))
        curve[str(strength)] = read_back(run, complete, "valid", NUM_ROWS)
    allowed = [
        s for s in STRENGTHS if all(curve[str(s)][d] >= 0.9 * curve["0.0"][d] for d in DIVERSITIES)
    ]
    best = max(allowed, key=lambda s: curve[str(s)]["attribute_f1"])
    test = {
        str(s): read_back(
            run, partial(models.complete, model.with_sampling(guidance=s)), "test", NUM_ROWS
        )
        for s in (0.0, best)
    }
    return {"negatives": negatives, "valid": curve, "chosen": best, "test": test}


def take_over(kind: str, name: str, seed: int, parts: tuple[str, ...]) -> None:
    """Copy finished networks of a run into a new one."""
    reuse(workdir_of(kind, seed), workdir_of(name, seed), parts, ("moments.npz", "data.json"))


def compare_samplers(seed: int, unet_steps: int) -> dict[str, Any]:
    """Compare the reference's sampler with our default, on the same autoencoders.

    Its sampler gets the joint score from our network and, if `unet_steps` is not 0, from the reference's
    UNet, as much smaller than the full one as the latents are.
    """
    run = Run(config_of("vae", seed), workdir_of("vae", seed))
    ours = load_model(run)
    found = {
        "default": sampled(run, ours, models.complete, ours.sampling.num_evaluations),
        "default, strength 0": sampled(
            run, ours.with_sampling(guidance=0.0), models.complete, ours.sampling.num_evaluations
        ),
    }
    networks = {"hub": (config_of("vae", seed)["network"], {})}
    if unet_steps:
        training = {"num_steps": unet_steps, "batch_size": 64, "steps_per_call": 1}
        networks["unet"] = ({"name": "unet", "dim": 32, "mults": (1, 2, 2, 2)}, training)
    complete = partial(reference.complete, num_levels=REFERENCE_LEVELS)
    for name, (network, training) in networks.items():
        config = reference.joint(config_of("vae", seed), network)
        config["score_training"] |= training
        take_over("vae", f"joint-{name}", seed, ("autoencoder", "predictor", "energy"))
        workdir = workdir_of(f"joint-{name}", seed)
        pipeline.run(config, workdir, "score")
        run = Run(config, workdir)
        found[f"the reference's, {name}"] = sampled(
            run, load_model(run), complete, 2 * REFERENCE_LEVELS
        )
    return found


def sampled(run: Run, model: models.Model, complete: Any, num_evaluations: int) -> dict[str, Any]:
    """Measure one way of sampling: what it costs, and what is read from its pictures."""
    return {
        "parameters": sum(p.size for p in jax.tree.leaves(model.params["score"])),
        "num_evaluations": num_evaluations,
        "gflop_per_sample": reference.flops(model) * num_evaluations / 1e9,
        **read_back(run, partial(complete, model), "test", REFERENCE_ROWS),
    }


def full_size_gflop() -> dict[str, float]:
    """Return the cost of one sample with `configs/celebahq.py`, and with the reference's sampler."""
    config = celebahq.get_config().to_dict()
    shapes = {"image": (128, 128, 3), "mask": (128, 128, 1), "attributes": (18,)}
    names = tuple(map(str, range(18)))
    data = Description(shapes, dict.fromkeys(shapes, np.dtype(np.uint8)), {"attributes": names})
    unet = {"name": "unet", "dim": 256, "mults": (1, 2, 2, 2, 2)}
    return reference.gflop(config, data, unet, REFERENCE_LEVELS)


def main() -> None:
    """Run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--unet-steps", type=int, default=0, help="0.5 s each on two cores")
    parser.add_argument("--conversion", type=Path, help="what benchmarks/convert.py wrote")
    parser.add_argument("--claims", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if arguments.claims:
        finish(json.loads(RESULTS.read_text()))
        return
    seeds = arguments.seeds
    runs: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for seed in seeds:
        for kind in KINDS:
            runs[kind][str(seed)] = train(kind, seed)
    values = {kind: [figures(r) for r in by_seed.values()] for kind, by_seed in runs.items()}
    page = {
        "claims": [],
        "command": "python benchmarks/celeba.py --seeds " + " ".join(map(str, seeds)),
        "seeds": seeds,
        # Of the runs, and of the sweeps and comparisons made of them.
        "commit": sorted(
            {
                provenance.commit(),
                *(r["commit"] for by_seed in runs.values() for r in by_seed.values()),
            }
        ),
        "versions": provenance.versions(),
        "device": provenance.device(),
        "mean": {kind: collect(np.mean, v) for kind, v in values.items()},
        # One seed says nothing of the deviation.
        "std": {
            k: collect(partial(np.std, ddof=1), v) if len(v) > 1 else {} for k, v in values.items()
        },
        "guidance": [sweep("vae", seeds[0], negatives) for negatives in ("batch", "two")],
        "reference_sampler": compare_samplers(seeds[0], arguments.unet_steps),
        "full_size_gflop_per_sample": full_size_gflop(),
        "conversion": json.loads(arguments.conversion.read_text())
        if arguments.conversion
        else None,
        "runs": runs,
    }
    finish(page)


def finish(page: dict[str, Any]) -> None:
    """Compare a page with its targets, write it, and say what is missed."""
    page = {**page, "claims": claims(page)}
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    print(markdown(page))
    for claim in page["claims"]:
        if not claim["holds"]:
            print(f"does not hold: {claim['name']}: {claim['value']}, wanted {claim['bound']}")


def collect(reduce: Any, values: list[dict[str, float]]) -> dict[str, float]:
    """Reduce each figure over the seeds."""
    return {name: float(reduce([v[name] for v in values])) for name in values[0]}


if __name__ == "__main__":
    main()
