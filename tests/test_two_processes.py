"""Two real processes of four devices each are one run."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.scale.processes import (
    HEARTBEAT_SECONDS,
    SMOKE,
    difference,
    finish,
    start,
    start_pair,
    stop_at,
)
from sbmae_jax.training import checkpoint

pytestmark = pytest.mark.slow
# Sums are taken in another order: float32 rounds them otherwise, and twenty steps of Adam add that up.
PARAMS, SAMPLES = 1e-3, 1e-4


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A whole run on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    finish([start(workdir, 1)], workdir)
    return workdir


def assert_close(a, b):
    found = difference(a, b)
    assert found["params"] < PARAMS
    assert found["samples"] < SAMPLES


@pytest.mark.parametrize("killed", [0, 1])
def test_a_pair_equals_one_ends_together_and_goes_on(alone, tmp_path, killed):
    workdir = tmp_path / "run"
    processes = start_pair(workdir)
    while not (workdir / "score").exists():
        assert all(process.poll() is None for process in processes), "a process ended by itself"
        time.sleep(0.05)
    processes[killed].kill()
    processes[killed].wait()
    # JAX sees within the heartbeat that a process is gone, and ends the other in as long again.
    code = processes[1 - killed].wait(timeout=6 * HEARTBEAT_SECONDS)
    assert code in (-signal.SIGABRT, os.EX_TEMPFAIL)
    finish(start_pair(workdir), workdir)
    assert_close(workdir, alone)
    assert (workdir / "report" / "index.html").exists()


def test_a_notice_to_one_process_stops_both_after_the_same_step(alone, tmp_path):
    workdir = tmp_path / "run"
    processes = start_pair(workdir)
    while not (workdir / "autoencoder" / "coffee").exists():
        assert all(process.poll() is None for process in processes), "a process ended by itself"
        time.sleep(0.05)
    processes[1].terminate()
    codes = [process.wait(timeout=300) for process in processes]
    assert codes == [os.EX_TEMPFAIL] * 2
    finish(start_pair(workdir), workdir)
    assert_close(workdir, alone)


@pytest.mark.parametrize("go_on", [1, 4, "pair"])
def test_what_eight_devices_saved_goes_on_on_others(alone, tmp_path, go_on):
    workdir = tmp_path / "run"
    stop_at(start(workdir, 8), workdir / "score" / "10")
    finish(start_pair(workdir) if go_on == "pair" else [start(workdir, go_on)], workdir)
    assert_close(workdir, alone)


def test_what_one_process_reads_back_damaged_is_not_sealed(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    script = str(Path(__file__).with_name("damaged_save.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(tmp_path / "a"), address, str(i)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert processes[1].returncode == 3
    assert processes[0].returncode != 0
    assert "2 could not be written" in said[1]
    assert checkpoint.find_damage(tmp_path / "a" / "1") is None
    assert checkpoint.find_damage(tmp_path / "a" / "2") == checkpoint.UNFINISHED


def test_each_process_streams_the_rows_of_its_own_devices(tmp_path):
    config = (SMOKE, "--config.resident_bytes=0")
    one, pair = tmp_path / "one", tmp_path / "pair"
    finish([start(one, 1, config)], one)
    finish(start_pair(pair, config), pair)
    assert_close(pair, one)
