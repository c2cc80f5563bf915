"""One training and evaluation on an accelerator, offline; results/gpu/NAME-SEED.json.

    python -m benchmarks.gpu polymnist-five --seed 0 --output OUT
    python -m benchmarks.gpu polymnist-five --toy --output OUT    # a dry run, anywhere

A call stops after --minutes, or on SIGTERM, with exit code 75, and what it has trained is kept under
runs/gpu: the same command resumes. The last one writes OUT/NAME-SEED.json (figures, curves, seconds,
versions, commit, device) and some PNGs, and prints the main figures. See README.md beside this file.
"""

import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ml_collections

from benchmarks.runner import parser_of, provenance_now, save, seed
from configs import celebahq, polymnist, polymnist_dq
from sbmae_jax._io import as_path, require_folder
from sbmae_jax._json import from_json
from sbmae_jax.app import pipeline
from sbmae_jax.evaluation.report import format_headlines
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.preemption import Notice, Preempted

PICTURES = (
    "conditional",
    "unconditional",
    "coherence",
    "from_attributes",
    "joint",
    "losses",
    "given-3",
)
MAX_BYTES = 16 * 2**20
NUM_POINTS = 50  # of a curve


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


def holes(variant: str) -> ml_collections.ConfigDict:
    """Return a variant of PolyMNIST-D-Q whose training rows lack views."""
    config = polymnist_dq.get_config(variant)
    config.data.holes = True
    return config


# For each name what is run, and what is run in its place with --toy.
CONFIGS = {
    "polymnist-five": (lambda: polymnist.get_config("five"), lambda: polymnist.get_config("smoke")),
    "polymnist-ten": (lambda: polymnist.get_config(), lambda: polymnist.get_config("smoke")),
    "polymnist-dq": (lambda: holes("default"), lambda: holes("smoke")),
    "faces": (lambda: faces("default"), lambda: celebahq.get_config("smoke")),
    "faces-rae": (lambda: faces("rae"), lambda: celebahq.get_config("smoke")),
}


def run(config: dict[str, Any], workdir: Path, minutes: float) -> float:
    """Run all stages, or go on with them, and return the seconds of all calls together. Raises Preempted."""
    calls, start = workdir.with_suffix(".json"), time.perf_counter()
    before = json.loads(calls.read_text()) if calls.exists() else 0.0
    alarm = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()
    try:
        with Notice().watched() as notice:
            pipeline.run(config, workdir, notice=notice)
    finally:
        alarm.cancel()
        calls.parent.mkdir(parents=True, exist_ok=True)
        calls.write_text(json.dumps(before + time.perf_counter() - start))
    return json.loads(calls.read_text())


def write(workdir: Path, output: Path, name: str, origin: dict[str, Any]) -> str:
    """Write what a finished run has, with its curves thinned, and return the main figures in words."""
    results = from_json((workdir / "results.json").read_text())
    this = pipeline.open_run(workdir)
    headlines = this.parts.protocol.report.headlines(results)
    curves = {}
    for stage, rows in read_metrics(workdir).items():
        curves[stage] = [*rows[: -1 : max(1, len(rows) // NUM_POINTS)], rows[-1]]
    page = {
        **origin, "figures": [headline._asdict() for headline in headlines], "results": results,
        "curves": curves, "config": this.config,
    }  # fmt: skip
    save(output / f"{name}.json", page)
    for picture in (workdir / "report" / f"{picture}.png" for picture in PICTURES):
        if picture.exists() and picture.stat().st_size < MAX_BYTES:
            shutil.copy(picture, output / f"{name}-{picture.name}")
    return format_headlines(headlines)


def main() -> int:
    parser = parser_of("gpu", __doc__)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--toy", action="store_true", help="the smallest sizes: a dry run")
    parser.add_argument("--minutes", type=float, default=4.5, help="of one call, at most (4.5)")
    parser.add_argument("--output", type=as_path, required=True)
    options = parser.parse_args()
    require_folder(options.output)
    config = CONFIGS[options.name][int(options.toy)]()
    config.seed = options.seed
    name = f"{options.name}-{options.seed}"
    workdir = options.runs / "gpu" / (f"{name}-toy" if options.toy else name)
    try:
        seconds = run(config.to_dict(), workdir, options.minutes)
    except Preempted:
        print("Stopped. Run the same command to resume.")
        return os.EX_TEMPFAIL
    command = ["python", "-m", "benchmarks.gpu", options.name, f"--seed={options.seed}"]
    command = shlex.join([*command, *["--toy"] * options.toy])
    origin = {"command": command, "seconds_in_all": seconds, **provenance_now()}
    print(write(workdir, options.output, name, origin))
    print(f"{seconds:.0f} s in all, on {origin['device']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
