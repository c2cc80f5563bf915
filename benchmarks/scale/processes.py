"""The same run in two processes of four devices each, on one device, and on others half way."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.runner import ROOT, Options
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_evaluators, load_model
from sbmae_jax.training.workdir import SAMPLES

SMOKE = "--config=configs/polydigits.py:smoke"
HEARTBEAT_SECONDS = 10


def start(
    workdir: Path, num_devices: int, config: Sequence[str] = (SMOKE,), join: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:  # fmt: skip
    """Start one process, in a group of its own, with simulated devices; what it says goes to WORKDIR.log."""
    devices = f"--xla_force_host_platform_device_count={num_devices}"
    with open(workdir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [sys.executable, "launch.py", *config, f"--workdir={workdir}", *join],
            cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"XLA_FLAGS": devices, "JAX_PLATFORMS": "cpu"} | (environment or {}),
        )  # fmt: skip


def start_pair(workdir: Path, config: Sequence[str] = (SMOKE,)) -> list[subprocess.Popen]:
    """Start two processes of four devices each that are one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    join = [
        f"--coordinator_address=localhost:{port}", "--num_processes=2",
        f"--heartbeat_seconds={HEARTBEAT_SECONDS}",
    ]  # fmt: skip
    return [start(workdir, 4, config, [*join, f"--process_id={i}"]) for i in range(2)]


def finish(processes: Sequence[subprocess.Popen], workdir: Path, timeout: float = 900) -> None:
    """Wait for processes. Raises RuntimeError if one fails."""
    codes = [process.wait(timeout) for process in processes]
    if any(codes):
        raise RuntimeError(f"ended with {codes}: {workdir.with_suffix('.log').read_text()[-3000:]}")


def difference(a: Path, b: Path) -> dict[str, float]:
    """Return the largest difference of parameters, over the largest of each array, and of samples in 0..1."""
    runs = map(pipeline.open_run, (a, b))
    params = [jax.tree.leaves((load_model(run).params, load_evaluators(run))) for run in runs]
    with np.load(a / SAMPLES) as ours, np.load(b / SAMPLES) as theirs:
        samples = [
            np.abs(ours[name].astype(float) - theirs[name].astype(float)).max()
            / (255 if ours[name].dtype == np.uint8 else 1)
            for name in ours.files
        ]
    relative = [
        np.abs(np.asarray(x) - np.asarray(y)).max() / max(np.abs(np.asarray(y)).max(), 1e-6)
        for x, y in zip(*params, strict=True)
    ]
    return {"params": float(max(relative)), "samples": float(max(samples))}


def measure_processes(options: Options) -> dict[str, Any]:
    """Train one device, two processes x four devices, and some that change half way, and compare."""
    folder = options.runs / "scale-processes"
    folder.mkdir(parents=True, exist_ok=True)
    one, pair = folder / "one", folder / "pair"
    finish([start(one, 1)], one)
    finish(start_pair(pair), pair)
    rows = {"two processes x four devices": difference(pair, one)}
    resumed: dict[str, Callable[[Path], list[subprocess.Popen]]] = {
        "eight devices, then four": lambda path: [start(path, 4)],
        "eight devices, then one": lambda path: [start(path, 1)],
        "eight devices, then two processes x four": start_pair,
    }
    for name, resume in list(resumed.items())[: 1 if options.smoke else None]:
        path = folder / name.replace(" ", "-").replace(",", "")
        # The score is stopped by SIGTERM at its first checkpoint, the others are finished.
        stop_at(start(path, 8), path / "score" / "10")
        finish(resume(path), path)
        rows[name] = difference(path, one)
    return {"rows": rows}


def stop_at(process: subprocess.Popen, path: Path) -> None:
    """Ask a process to stop once a checkpoint is there. Raises RuntimeError if it did not save and stop."""
    while process.poll() is None and not path.exists():
        time.sleep(0.01)
    process.terminate()
    code = process.wait(300)
    if code != os.EX_TEMPFAIL:
        raise RuntimeError(f"ended with {code} and not with {os.EX_TEMPFAIL}")
