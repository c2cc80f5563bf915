"""A workdir in a bucket. Needs gcsfs, and on the PATH fake-gcs-server, which plays Google Cloud Storage."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from sbmae_jax.training.checkpoint import SEAL

pytestmark = pytest.mark.slow
pytest.importorskip("gcsfs")
SERVER = shutil.which("fake-gcs-server") or pytest.skip(
    "needs fake-gcs-server on the PATH", allow_module_level=True
)

ROOT = Path(__file__).parents[1]
WORKDIR = "gs://bucket/runs/a"
SHOW = """
import sys
from sbmae_jax import load
made = load(sys.argv[1]).generate({}, num_samples=2)
print(sorted(made), made["coffee"].shape, float(made["coffee"].sum()))
"""


@pytest.fixture(scope="module")
def bucket():
    """Start a server with one bucket, and give the environment in which it is found."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        host = f"localhost:{free.getsockname()[1]}"
    port = host.partition(":")[2]
    url = f"http://{host}"
    server = subprocess.Popen(
        [SERVER, "-scheme=http", f"-port={port}", "-backend=memory", f"-public-host={host}",
         f"-external-url={url}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        make_bucket(url)
        yield os.environ | {
            "STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url, "JAX_PLATFORMS": "cpu",
        }  # fmt: skip
    finally:
        server.kill()
        server.wait()


def make_bucket(url):
    """Make the bucket as soon as the server answers."""
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/storage/v1/b?project=p", b'{"name": "bucket"}', kind)
    for _ in range(100):
        try:
            urllib.request.urlopen(request).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


def launch(environment, workdir, log):
    command = [sys.executable, "launch.py", "--config=configs/polydigits.py:smoke"]
    with open(log, "a") as file:
        return subprocess.Popen(
            [*command, f"--workdir={workdir}"], cwd=ROOT, env=environment, stdout=file, stderr=file
        )


def listed(environment, prefix):
    url = f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b/bucket/o?prefix={prefix}"
    with urllib.request.urlopen(url) as answer:
        return [item["name"] for item in json.load(answer).get("items", [])]


def test_a_run_lives_in_a_bucket_is_killed_goes_on_and_is_loaded(bucket, tmp_path):
    log = tmp_path / "log"
    process = launch(bucket, WORKDIR, log)
    while process.poll() is None and not listed(bucket, "runs/a/score/10/"):
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert launch(bucket, WORKDIR, log).wait(timeout=600) == 0, log.read_text()
    assert "autoencoder/coffee: already done" in log.read_text()
    names = {name.removeprefix("runs/a/") for name in listed(bucket, "runs/a/")}
    assert {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "samples.npz",
        "report/index.html",
    } <= names

    assert launch(bucket, tmp_path / "here", log).wait(timeout=600) == 0
    shown = [
        subprocess.run([sys.executable, "-c", SHOW, workdir], env=bucket, cwd=ROOT, text=True,
                       capture_output=True, check=True).stdout
        for workdir in (WORKDIR, str(tmp_path / "here"))
    ]  # fmt: skip
    assert shown[0] == shown[1]
    assert np.isfinite(float(shown[0].split()[-1]))


def test_a_checkpoint_that_is_damaged_in_a_bucket_is_not_sealed(bucket):
    command = [
        sys.executable,
        str(Path(__file__).with_name("damaged_save.py")),
        "gs://bucket/damaged",
    ]
    done = subprocess.run(command, env=bucket, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    assert "2 could not be written" in done.stdout
    sealed = [name for name in listed(bucket, "damaged/") if name.endswith(SEAL)]
    assert sealed == [f"damaged/1/{SEAL}"]
