"""The same run in two processes of four devices each, on one device, and on others half way."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_evaluators, load_model
from sbmae_jax.training.workdir import SAMPLES

ROOT = Path(__file__).resolve().parents[1]
SMOKE = "--config=configs/polydigits.py:smoke"
HEARTBEAT_SECONDS = 10


def start(
    workdir: Path, num_devices: int, config: Sequence[str] = (SMOKE,), join: Sequence[str] = ()
) -> subprocess.Popen:
    """Start one process with some simulated devices; what it says goes to WORKDIR.log."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}", "JAX_PLATFORMS": "cpu",
    }  # fmt: skip
    with open(workdir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [sys.executable, "launch.py", *config, f"--workdir={workdir}", *join],
            cwd=ROOT, env=environment, stdout=log, stderr=log,
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
    runs = [pipeline.open_run(path) for path in (a, b)]
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


def measure(folder: Path) -> dict[str, Any]:
    """Train one device, two processes x four devices, and some that change half way, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    one, pair = folder / "one", folder / "pair"
    finish([start(one, 1)], one)
    finish(start_pair(pair), pair)
    figures = {"two processes x four devices": difference(pair, one)}
    for name, go_on in {
        "eight devices, then four": lambda path: [start(path, 4)],
        "eight devices, then one": lambda path: [start(path, 1)],
        "eight devices, then two processes x four": start_pair,
    }.items():
        path = folder / name.replace(" ", "-").replace(",", "")
        # The score is stopped by SIGTERM at its first checkpoint, the others are finished.
        process = start(path, 8)
        stop_at(process, path / "score" / "10")
        finish(go_on(path), path)
        figures[name] = difference(path, one)
    return figures


def stop_at(process: subprocess.Popen, path: Path) -> None:
    """Ask a process to stop once a checkpoint is there. Raises RuntimeError if it did not save and stop."""
    while process.poll() is None and not path.exists():
        time.sleep(0.01)
    process.terminate()
    code = process.wait(300)
    if code != os.EX_TEMPFAIL:
        raise RuntimeError(f"ended with {code} and not with {os.EX_TEMPFAIL}")
