"""Extended PolyMNIST on two cores: coherence, and what it depends on; results/polymnist.json.

    python benchmarks/polymnist.py runs --seeds 0      # configs/polymnist.py:cpu, under 45 minutes a seed
    python benchmarks/polymnist.py networks            # score networks on the autoencoders of seed 0
    python benchmarks/polymnist.py encoder_decoders              # VAE of several betas, and the RAE
    python benchmarks/polymnist.py samplers            # numbers of levels and corrections, with seed 0
    python benchmarks/polymnist.py cost                # 2 to 32 modalities, and results/polymnist_cost.png
    python benchmarks/polymnist.py reference           # operations of a sample, ours and the reference's
    python benchmarks/polymnist.py claims              # compares what was measured with the targets again

Networks, encoder_decoders and samplers are compared on the validation split by the nested
protocol, on 500 examples
and 500 samples from nothing; networks after 1,000 steps, a sixth of what the variant takes;
encoder_decoders on the
modalities m00 and m04, after 400 steps of each autoencoder and of the score. The UNet is too slow for
two cores, and is compared on an accelerator (benchmarks/gpu). Each part keeps its own command and commit.
Runs are kept under runs/polymnist-NAME and not repeated. MNIST is needed for all but cost and reference, see
configs/polymnist.py. The claims include what lies in results/gpu.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "configs"))  # before this folder, which has a file of the same name

import polymnist  # noqa: E402
import polymnist_cost  # noqa: E402
from polymnist_claims import TITLES, claims, rows_table, summary, table  # noqa: E402
from quality import quality  # noqa: E402
from reuse import reuse  # noqa: E402

from sbmae_jax.app import pipeline, provenance  # noqa: E402
from sbmae_jax.app.run import Run, load_model  # noqa: E402
from sbmae_jax.training.log import read_metrics  # noqa: E402

RESULTS = ROOT / "results" / "polymnist.json"
PLOT = ROOT / "results" / "polymnist_cost.png"
FEWER = {"num_rows": 500, "num_unconditional": 500, "protocols": ("nested",)}
NETWORK_STEPS, CODER_STEPS = 1000, 400
NETWORKS = {
    "hub": {},
    "hub, half as wide": {"name": "hub", "width": 80, "hub_width": 128, "num_blocks": 3},
    "mlp": {"name": "mlp", "width": 512, "num_blocks": 4},
    "transformer": {"name": "transformer", "width": 192, "num_blocks": 4, "num_heads": 4},
}
CODER_MODALITIES = ("m00", "m04")
BETAS = (0.05, 0.1, 0.2, 0.4)
LEVELS = ((32, 1), (16, 1), (12, 1), (50, 0), (25, 0))  # and corrections at each


def workdir_of(name: str) -> Path:
    """Return the folder of a run."""
    return ROOT / "runs" / f"polymnist-{name}"


def measure_runs(seeds: list[int]) -> dict[str, Any]:
    """Run the variant for two cores with several seeds."""
    runs = {}
    for seed in seeds:
        config = polymnist.get_config("cpu")
        config.seed = seed
        workdir = pipeline.run(config.to_dict(), workdir_of(f"cpu-{seed}"))
        runs[str(seed)] = json.loads((workdir / "results.json").read_text())
    commits = sorted({run["commit"] for run in runs.values()})
    return {"seeds": seeds, "commit": commits, "runs": runs}


def base() -> dict[str, Any]:
    """Return the variant for two cores, to be measured on fewer examples."""
    config = polymnist.get_config("cpu").to_dict()
    config["evaluation"] |= FEWER
    return config


def measure_networks() -> dict[str, Any]:
    """Compare score networks on the latents of seed 0, all after the same number of steps."""
    rows = {}
    for name, network in NETWORKS.items():
        config = base()
        config["network"] = network or config["network"]
        config["score_training"]["num_steps"] = NETWORK_STEPS
        rows[name] = variant(f"network-{slug(name)}", config, ("autoencoder", "classifier"))
    return {"commit": provenance.commit(), "rows": rows}


def measure_coders() -> dict[str, Any]:
    """Compare VAE of several betas, and the RAE, on some of the modalities."""
    rows = {}
    for beta in BETAS:
        name = f"VAE, beta {beta}"
        rows[name] = variant(f"coder-{slug(name)}", coder_config("vae", beta), ("classifier",))
    rows["RAE"] = variant("coder-rae", coder_config("rae", 1e-4), ("classifier",))
    return {"commit": provenance.commit(), "rows": rows}


def coder_config(kind: str, weight: float) -> dict[str, Any]:
    """Return the config of a kind of autoencoder with a weight: beta or lambda."""
    config = base()
    (first, *_) = config["modalities"].values()
    config["modalities"] = {name: {**first, "weight": weight} for name in CODER_MODALITIES}
    config["autoencoder"] = {"kind": kind}
    config["autoencoder_training"]["num_steps"] = CODER_STEPS
    config["score_training"]["num_steps"] = CODER_STEPS
    return config


def slug(name: str) -> str:
    """Return a name for a folder."""
    return name.lower().replace(", ", "-").replace(" ", "-")


def variant(name: str, config: dict[str, Any], keep: tuple[str, ...]) -> dict[str, Any]:
    """Train and measure a config with finished networks of the run of seed 0. keep: their folders."""
    workdir = workdir_of(name)
    reuse(workdir_of("cpu-0"), workdir, keep, ())
    for stage in ("autoencoders", "score", "evaluators"):
        pipeline.run(config, workdir, stage)
    run = Run(config, workdir)
    return quality(run, load_model(run), "valid") | {
        "seconds of training the score": sum(
            row["seconds"] for row in read_metrics(workdir)["score"]
        )
    }


def measure_samplers() -> dict[str, Any]:
    """Compare numbers of levels and of corrections, with the networks of seed 0."""
    config, rows = base(), {}
    workdir = workdir_of("samplers")
    kept = ("autoencoder", "classifier", "score")
    reuse(workdir_of("cpu-0"), workdir, kept, ("data.json", "moments.npz"))
    for num_levels, num_corrections in LEVELS:
        run = Run(config, workdir)
        model = load_model(run)
        sampling = dataclasses.replace(
            model.sampling, num_levels=num_levels, num_corrections=num_corrections
        )
        rows[f"{num_levels} levels, {num_corrections} corrections"] = quality(
            run, dataclasses.replace(model, sampling=sampling), "valid"
        )
    return {"commit": provenance.commit(), "rows": rows}


def measure(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one part of the page."""
    if part == "runs":
        return measure_runs(arguments.seeds)
    if part == "cost":
        measured = polymnist_cost.measure(arguments.seconds, PLOT)
        return {"commit": provenance.commit(), **measured}
    if part == "reference":
        gflop = polymnist_cost.gflop_of_one_sample()
        return {"commit": provenance.commit(), "gflop_of_one_sample": gflop}
    return {
        "networks": measure_networks, "encoder_decoders": measure_coders, "samplers": measure_samplers,
    }[part]()  # fmt: skip


PARTS = ("runs", "networks", "encoder_decoders", "samplers", "cost", "reference")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "claims"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timing, at least")
    arguments = parser.parse_args()
    page = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.part in PARTS:
        command = f"python benchmarks/polymnist.py {arguments.part}"
        if arguments.part == "runs":
            command += " --seeds " + " ".join(map(str, arguments.seeds))
        page[arguments.part] = {"command": command, **measure(arguments.part, arguments)}
        page |= {"versions": provenance.versions(), "device": provenance.device()}
    if "runs" in page:
        page["runs"] |= summary(page["runs"]["runs"])
    parts = [page[part] for part in PARTS if part in page]
    page |= {
        "claims": claims(page, RESULTS.parent / "gpu"),
        "command": "; ".join(part["command"] for part in parts),
        "commit": sorted({c for part in parts for c in np.atleast_1d(part["commit"]).tolist()}),
    }
    RESULTS.write_text(json.dumps(page, indent=1) + "\n")
    if "runs" in page:
        print(table(page))
    for part, title in TITLES.items():
        if part in page:
            print(f"\n{rows_table(page[part]['rows'], title)}")
    for entry in page["claims"]:
        if not entry["holds"]:
            print(f"does not hold: {entry['name']}: {entry['value']}, wanted {entry['bound']}")


if __name__ == "__main__":
    main()
