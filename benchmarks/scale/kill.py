"""Kill a run at a random moment, resume it until it is done, and compare with one that was not killed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.runner import Options, once
from benchmarks.scale import processes
from benchmarks.scale.report import NUM_KILLED
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_evaluators, load_model
from sbmae_jax.training.checkpoint import find_damage
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.workdir import RESULTS, SAMPLES

CONFIG = "--config=benchmarks/scale/killed_config.py"
# What is killed: a training, which has a folder, or what comes after the last of them.
STAGES = ("autoencoder/hubble", "autoencoder/retina", "score", "classifier", "evaluate")
BEGUN = {"evaluate": "classifier/20/sha256.json"}  # what tells that it has
SECOND_KILL = 0.5  # share of the runs that are killed a second time, at any moment
TIMED = ("seconds", "seconds_per_1000_samples", "peak_memory_bytes")


def start(workdir: Path) -> subprocess.Popen:
    """Start a run, or resume it; all share what is compiled."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(workdir.with_name("compiled"))}
    return processes.start(workdir, 1, [CONFIG], environment=cache)


def fingerprint(workdir: Path) -> str:
    """Return the SHA-256 of all that a finished run has learned, logged, measured and drawn, times aside."""
    run, digest = pipeline.open_run(workdir), hashlib.sha256()
    with np.load(workdir / SAMPLES) as samples:
        drawn = [samples[name] for name in sorted(samples.files)]
    for leaf in jax.tree.leaves((load_model(run), load_evaluators(run), drawn)):
        digest.update(np.asarray(leaf).tobytes())
    results, rows = json.loads((workdir / RESULTS).read_text()), read_metrics(workdir)
    for row in (row for stage in rows.values() for row in stage):
        del row["seconds"]
    figures = {key: value for key, value in results.items() if key not in TIMED}
    digest.update(json.dumps([figures, rows], sort_keys=True).encode())
    return digest.hexdigest()


def kill(process: subprocess.Popen) -> None:
    """Kill a process with no chance to say anything."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def writing(workdir: Path) -> bool:
    """Return whether a checkpoint is half written, or written and not sealed."""
    half = any(workdir.rglob("*.orbax-checkpoint-tmp*"))
    steps = [path for path in workdir.rglob("*") if path.is_dir() and path.name.isdigit()]
    return half or any(find_damage(path) is not None for path in steps)


def try_once(workdir: Path, seed: int, seconds: float, expected: str) -> dict[str, Any]:
    """Kill a run in a random stage, resume it to the end, and return whether it ended as it should.

    It is killed at a random moment, or as soon as a checkpoint is being written.
    """
    rng = np.random.default_rng(seed)
    stage = STAGES[rng.integers(len(STAGES))]
    at_writing = bool(rng.integers(2)) and stage not in BEGUN
    delay = float(rng.uniform(0, 0.05) if at_writing else rng.uniform(0, 3))
    second = float(rng.uniform(0, seconds)) if rng.random() < SECOND_KILL else None
    process, begun = start(workdir), workdir / BEGUN.get(stage, stage)
    while process.poll() is None and not begun.exists():
        time.sleep(0.005)
    while at_writing and process.poll() is None and not any(begun.glob("*.orbax-checkpoint-tmp*")):
        time.sleep(0.001)
    time.sleep(delay)
    alive = process.poll() is None
    kill(process) if alive else None
    caught = writing(workdir)
    if second is not None:
        process = start(workdir)
        try:
            process.wait(timeout=second)
        except subprocess.TimeoutExpired:
            kill(process)
    processes.finish([start(workdir)], workdir)
    made = {
        "seed": seed, "stage": stage, "delay": delay, "killed": alive, "while_writing": caught,
        "second_kill_after": second, "identical": fingerprint(workdir) == expected,
        "intact": not writing(workdir),
    }  # fmt: skip
    shutil.rmtree(workdir)
    return made


def measure_kill(options: Options) -> dict[str, Any]:
    """Kill and finish many runs; those that are done are not repeated."""
    folder = options.runs / "scale-kill"
    folder.mkdir(parents=True, exist_ok=True)
    reference, began = folder / "reference", time.perf_counter()
    processes.finish([start(reference)], reference)
    seconds, expected = min(time.perf_counter() - began, 60.0), fingerprint(reference)
    runs = []
    for seed in range(2 if options.smoke else NUM_KILLED):
        workdir = folder / f"run-{seed}"
        make = partial(try_once, workdir, seed, seconds, expected)
        runs.append(once(workdir.with_suffix(".json"), make))
        print(runs[-1], flush=True)
    return {
        "seeds": [run["seed"] for run in runs],
        "fingerprint": expected,
        "num_runs": len(runs),
        "num_killed": sum(run["killed"] for run in runs),
        "num_killed_while_writing": sum(run["while_writing"] for run in runs),
        "num_identical": sum(run["identical"] for run in runs),
        "num_damaged": sum(not run["intact"] for run in runs),
        "runs": runs,
    }
