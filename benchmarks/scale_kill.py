"""Kill a run at a random moment, go on until it is done, and compare with one that nobody killed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_evaluators, load_model
from sbmae_jax.training.checkpoint import find_damage
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.workdir import RESULTS, SAMPLES

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "--config=benchmarks/scale_config.py"
# What is killed: a training, which has a folder, or what comes after the last of them.
STAGES = ("autoencoder/hubble", "autoencoder/retina", "score", "classifier", "evaluate")
SECOND_KILL = 0.5  # share of the runs that are killed a second time, at any moment
TIMED = ("seconds", "seconds_per_1000_samples", "peak_memory_bytes")


def start(workdir: Path, cache: Path) -> subprocess.Popen:
    """Start a run, or go on with it."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    with open(workdir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [sys.executable, "launch.py", CONFIG, f"--workdir={workdir}"],
            cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def finish(workdir: Path, cache: Path) -> None:
    """Run to the end. Raises RuntimeError if it does not come."""
    code = start(workdir, cache).wait(timeout=900)
    if code:
        tail = workdir.with_suffix(".log").read_text()[-2000:]
        raise RuntimeError(f"{workdir} ended with {code}: {tail}")


def fingerprint(workdir: Path) -> str:
    """Return the SHA-256 of all that a finished run has learned, logged, measured and drawn, times aside."""
    run, digest = pipeline.open_run(workdir), hashlib.sha256()
    for leaf in jax.tree.leaves(
        (load_model(run).params, load_model(run).moments, load_evaluators(run))
    ):
        digest.update(np.asarray(leaf).tobytes())
    with np.load(workdir / SAMPLES) as samples:
        for name in sorted(samples.files):
            digest.update(samples[name].tobytes())
    results = json.loads((workdir / RESULTS).read_text())
    rows = read_metrics(workdir)
    for row in (row for stage in rows.values() for row in stage):
        del row["seconds"]
    figures = {key: value for key, value in results.items() if key not in TIMED}
    digest.update(json.dumps([figures, rows], sort_keys=True).encode())
    return digest.hexdigest()


def folder(workdir: Path, stage: str) -> Path:
    """Return what tells that a stage has begun."""
    return workdir / ("classifier/20/sha256.json" if stage == "evaluate" else stage)


def kill(process: subprocess.Popen) -> None:
    """Kill a process with no chance to say anything."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def writing(workdir: Path) -> bool:
    """Return whether a checkpoint is half written, or written and not sealed."""
    half = any(workdir.rglob("*.orbax-checkpoint-tmp*"))
    steps = [path for path in workdir.rglob("*") if path.is_dir() and path.name.isdigit()]
    return half or any(find_damage(path) is not None for path in steps)


def kill_once(workdir: Path, cache: Path, seed: int, seconds: float) -> dict[str, Any]:
    """Kill a run in a random stage: at a random moment, or as soon as a checkpoint is being written."""
    rng = np.random.default_rng(seed)
    stage, at_writing = STAGES[rng.integers(len(STAGES))], bool(rng.integers(2))
    delay = float(rng.uniform(0, 0.05) if at_writing else rng.uniform(0, 3))
    second = float(rng.uniform(0, seconds)) if rng.random() < SECOND_KILL else None
    process = start(workdir, cache)
    while process.poll() is None and not folder(workdir, stage).exists():
        time.sleep(0.005)
    if at_writing and stage != "evaluate":
        pattern = "*.orbax-checkpoint-tmp*"
        while process.poll() is None and not any(folder(workdir, stage).glob(pattern)):
            time.sleep(0.001)
    time.sleep(delay)
    alive = process.poll() is None
    kill(process) if alive else None
    caught = writing(workdir)
    if second is not None:
        process = start(workdir, cache)
        try:
            process.wait(timeout=second)
        except subprocess.TimeoutExpired:
            kill(process)
    return {
        "seed": seed, "stage": stage, "delay": delay, "killed": alive, "while_writing": caught,
        "second_kill_after": second,
    }  # fmt: skip


def measure(folder: Path, num_runs: int) -> dict[str, Any]:
    """Kill and finish `num_runs` runs in a folder; those that are done are not repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    cache, reference = folder / "compiled", folder / "reference"
    began = time.perf_counter()
    if not (reference / "report" / "index.html").exists():
        finish(reference, cache)
    seconds = min(time.perf_counter() - began, 60.0)
    expected, runs = fingerprint(reference), []
    for seed in range(num_runs):
        workdir, record = folder / f"run-{seed}", folder / f"run-{seed}.json"
        if not record.exists():
            made = kill_once(workdir, cache, seed, seconds)
            finish(workdir, cache)
            made["identical"] = fingerprint(workdir) == expected
            made["intact"] = not writing(workdir)
            record.write_text(json.dumps(made))
            shutil.rmtree(workdir)
        runs.append(json.loads(record.read_text()))
        print(runs[-1], flush=True)
    return {
        "fingerprint": expected,
        "num_runs": len(runs),
        "num_killed": sum(run["killed"] for run in runs),
        "num_killed_while_writing": sum(run["while_writing"] for run in runs),
        "num_identical": sum(run["identical"] for run in runs),
        "num_damaged": sum(not run["intact"] for run in runs),
        "runs": runs,
    }
