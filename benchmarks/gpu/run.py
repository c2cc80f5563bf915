"""One training and evaluation on an accelerator, in one call of at most ten minutes, offline.

    python benchmarks/gpu/run.py polymnist-five --seed 0 --output OUT
    python benchmarks/gpu/run.py polymnist-reference --seed 0 --output OUT [--unet-steps 6000]
    JAX_PLATFORMS=cpu python benchmarks/gpu/run.py polymnist-five --toy --output OUT    # a dry run, anywhere

Writes OUT/NAME-SEED.json (figures, curves, seconds, versions, commit, device) and some PNGs; prints the main
figures last. Copy the JSON to results/gpu, commit it, and call `make results`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "configs"), str(ROOT / "benchmarks")]

import celebahq  # noqa: E402
import ml_collections  # noqa: E402
import polymnist  # noqa: E402
import polymnist_reference  # noqa: E402
from polymnist_claims import rows_table  # noqa: E402
from polymnist_cost import UNET  # noqa: E402

from sbmae_jax.app import pipeline, provenance  # noqa: E402
from sbmae_jax.evaluation.report import format_headlines  # noqa: E402
from sbmae_jax.training.log import read_metrics  # noqa: E402

PICTURES = ("conditional", "unconditional", "coherence", "from_attributes", "joint", "losses")
MAX_BYTES = 16 * 2**20


def faces(variant: str) -> ml_collections.ConfigDict:
    """Return the full-size networks on drawn faces of 128 pixels, with as many steps as ten minutes allow."""
    config = celebahq.get_config(variant)
    config.data = {"name": "toyfaces", "num_faces": 8000, "side": 128}
    for name, num_steps in (("image", 3000), ("mask", 1500), ("attributes", 1500)):
        config.modalities[name].training.num_steps = num_steps
    config.score_training.update(num_steps=20_000, checkpoint_every=20_000)
    config.energy_training.num_steps = 3000
    for training in config.predictor_training.values():
        training.num_steps = 1500
    config.evaluation.update(num_rows=600)
    return config


def few_rows() -> ml_collections.ConfigDict:
    """Return ten modalities, measured by the nested protocol alone on fewer rows."""
    config = polymnist.get_config()
    config.evaluation.update(num_rows=2000, num_unconditional=2000, protocols=("nested",))
    return config


# For each name what is run, and what is run in its place with --toy.
RUNS = {
    "polymnist-five": (lambda: polymnist.get_config("five"), lambda: polymnist.get_config("smoke")),
    "polymnist-ten": (lambda: polymnist.get_config(), lambda: polymnist.get_config("smoke")),
    "polymnist-reference": (few_rows, lambda: polymnist.get_config("smoke")),
    "faces": (lambda: faces("default"), lambda: celebahq.get_config("smoke")),
    "faces-rae": (lambda: faces("rae"), lambda: celebahq.get_config("smoke")),
}
SEEDS = (0, 1, 2)


def run(name: str, seed: int, toy: bool, unet_steps: int, output: Path) -> Path:
    """Run one configuration, and write what came out."""
    output.mkdir(parents=True, exist_ok=True)
    config = RUNS[name][int(toy)]()
    config.seed = seed
    start, is_reference = time.perf_counter(), name == "polymnist-reference"
    with tempfile.TemporaryDirectory() as temporary:
        if is_reference:
            found, shown = compare(config.to_dict(), toy, unet_steps, Path(temporary))
        else:
            found, shown = whole(
                config.to_dict(), Path(temporary) / "run", output, f"{name}-{seed}"
            )
    command = f"python benchmarks/gpu/run.py {name} --seed {seed}"
    command += f" --unet-steps {unet_steps}" * is_reference + " --toy" * toy
    page = {
        "command": command,
        "seconds_in_all": time.perf_counter() - start,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "device": provenance.device(),
        **found,
        "config": config.to_dict(),
    }
    path = output / f"{name}-{seed}.json"
    path.write_text(json.dumps(page, indent=1) + "\n")
    print(shown)
    print(f"{page['seconds_in_all']:.0f} s in all, on {page['device']}")
    return path


def whole(
    config: dict[str, Any], workdir: Path, output: Path, prefix: str
) -> tuple[dict[str, Any], str]:
    """Run all stages, copy the pictures, and return what to keep and what to print."""
    pipeline.run(config, workdir)
    results = json.loads((workdir / "results.json").read_text())
    headlines = pipeline.open_run(workdir).parts.protocol.report.headlines(results)
    copy_pictures(workdir / "report", output, prefix)
    found = {
        "figures": [headline._asdict() for headline in headlines],
        "results": results,
        "curves": {stage: thinned(rows) for stage, rows in read_metrics(workdir).items()},
    }
    return found, format_headlines(headlines)


def compare(
    config: dict[str, Any], toy: bool, unet_steps: int, folder: Path
) -> tuple[dict[str, Any], str]:
    """Compare with the reference's score and sampler, and return what to keep and what to print."""
    network, training = UNET, {"num_steps": unet_steps, "checkpoint_every": unet_steps}
    if toy:
        for modality in config["modalities"].values():
            modality["latent_size"] = 16  # a square, as the UNet needs
        network = {"name": "unet", "dim": 8, "mults": (1, 2)}
        training = {"num_steps": 2, "batch_size": 8, "steps_per_call": 1, "checkpoint_every": 2}
    rows = polymnist_reference.compare(config, network, training, folder)
    curves = {
        f"{side}: {stage}": thinned(curve)
        for side in ("ours", "theirs") for stage, curve in read_metrics(folder / side).items()
    }  # fmt: skip
    return {"rows": rows, "curves": curves}, rows_table(rows)


def thinned(rows: list[dict[str, Any]], num: int = 50) -> list[dict[str, Any]]:
    """Return at most about `num` rows of a curve, and its last one."""
    every = max(1, len(rows) // num)
    return [*rows[:-1:every], *rows[-1:]]


def copy_pictures(report: Path, output: Path, prefix: str) -> None:
    """Copy the pictures that are worth keeping, unless one is too large to be brought back."""
    for picture in (report / f"{name}.png" for name in PICTURES):
        if picture.exists() and picture.stat().st_size < MAX_BYTES:
            shutil.copy(picture, output / f"{prefix}-{picture.name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--toy", action="store_true", help="the smallest sizes, to see that it runs"
    )
    parser.add_argument("--unet-steps", type=int, default=6000, help="of polymnist-reference alone")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    run(arguments.name, arguments.seed, arguments.toy, arguments.unet_steps, arguments.output)


if __name__ == "__main__":
    main()
