"""The command line, as a user types it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
MNIST = Path(os.environ.get("SBMAE_DATA_DIR", ROOT.parent / "shared" / "data")) / "mnist"


def launch(*arguments):
    return subprocess.run(
        [sys.executable, "launch.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/polydigits.py", "--config.sampling.sped=3"], "sped"),
        (["--config=configs/polydigits.py", "--config.num_train=many"], "num_train"),
        (["--config=configs/polydigits.py:tiny"], "unknown variant 'tiny'"),
        (["--config=configs/polydigits.py", "--stage=scores"], "scores"),
        (["--config=configs/polydigits.py", "--config.modalities.hubble.network=unet"],
         "launch.py: config.modalities.hubble.network: config.encoder_decoders has no 'unet'"),
        (["--config=configs/missing.py"], "there is no file configs/missing.py"),
        (["--config=configs/polydigits.py", "--config.sampling.num_level=3"],
         "unknown key 'num_level' (did you mean 'num_levels'"),
        (["--config.seed=3"], "choose a config: --config=configs/"),
        (["--stage=generate", "--config.seed=3"], "generate uses the config of the finished run"),
        (["--config=configs/polydigits.py", "--config.seed=-1"], "config.seed must be an integer in 0.."),
        (["--config=configs/polydigits.py", "--config..seed=1"], "write --config.KEY=VALUE"),
        ([], "choose a config: --config=configs/"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_mistyped_is_named_and_nothing_is_written(arguments, message, tmp_path):
    done = launch(*arguments, f"--workdir={tmp_path / 'run'}")
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stderr.startswith("launch.py: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


WAITING = """
import sys, threading, time
from absl import app
from sbmae_jax.app import cli
threading.Thread(target=time.sleep, args=[900]).start()  # as threads of Orbax, after a failed save
app.run = lambda *args, **options: sys.exit({code})
cli.main()
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [pytest.param("'launch.py: full disk'", 1, marks=pytest.mark.slow), ("75", 75)],
)
def test_a_failed_command_ends_at_once(code, expected):
    command = [sys.executable, "-c", WAITING.format(code=code)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == expected
    assert done.stderr.strip() == ("launch.py: full disk" if expected == 1 else "")


@pytest.mark.slow
def test_smoke_runs_all_stages_and_then_has_nothing_to_do(tmp_path):
    arguments = ["--config=configs/polydigits.py:smoke", f"--workdir={tmp_path / 'run'}"]
    first = launch(*arguments)
    assert first.returncode == 0, first.stderr
    assert "conditional coherence, given 4" in first.stdout
    assert f"report: {tmp_path / 'run' / 'report' / 'index.html'}" in first.stdout
    results = (tmp_path / "run" / "results.json").read_text()
    assert json.loads(results)["seed"] == 0
    second = launch(*arguments)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("already done") == 8
    assert (tmp_path / "run" / "results.json").read_text() == results


@pytest.mark.slow
def test_faces_are_drawn_learned_and_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path / "data"))
    workdir = tmp_path / "run"
    arguments = ["--config=configs/celebahq.py:smoke", f"--workdir={workdir}"]
    first = launch(*arguments)
    assert first.returncode == 0, first.stderr
    assert "attribute F1, given image+mask" in first.stdout
    results = json.loads((workdir / "results.json").read_text())
    assert len(results["generated"]) == 7
    shutil.rmtree(tmp_path / "data")  # a trained model needs no data
    ask = [f"--workdir={workdir}", "--stage=generate", "--given"]
    asked = launch(*ask, "attributes=Smiling,Eyeglasses", "--num_samples=2")
    assert asked.returncode == 0, asked.stderr
    made = {path.name for path in (workdir / "generated").iterdir()}
    pictures = {"image_0.png", "image_1.png", "mask_0.png", "mask_1.png"}
    assert made == pictures | {"sheet.png", "files.json"}
    given = f"image={workdir / 'generated' / 'image_0.png'}"
    again = launch(*ask, given, f"--output={tmp_path / 'out'}")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out" / "attributes.csv").exists()
    wrong = launch(*ask, "attributes=Smilling")
    assert wrong.returncode != 0
    assert "unknown name 'Smilling'; choose from Bald" in wrong.stderr
    nowhere = launch(f"--workdir={tmp_path / 'nowhere'}", "--stage=generate")
    assert "is not the workdir of a run" in nowhere.stderr


def own(path, num=150, seed=0):
    """Write two vectors, a category and labels, with holes in one of the vectors; return the vectors."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, num)
    lab = 100 + 20 * rng.normal(size=(num, 4)) + 30 * label[:, None]
    blood = np.concatenate([lab[:, :1] / 7, rng.normal(size=(num, 2))], axis=1)
    blood[::5] = np.nan
    np.savez(
        path, lab=lab, blood=blood, town=np.array(["Bonn", "Oslo", "Rome"])[label], label=label
    )
    return lab, blood


def learn_own(path, workdir, *more):
    return launch(
        "--config=configs/custom.py:smoke",
        f"--config.data.path={path}",
        f"--workdir={workdir}",
        *more,
    )


@pytest.mark.slow
def test_data_of_ones_own_are_learned_and_holes_filled(tmp_path):
    own(tmp_path / "own.npz")
    workdir = tmp_path / "run"
    arguments = (tmp_path / "own.npz", workdir, "--config.modalities.lab.latent_size=3")
    first = learn_own(*arguments)
    assert first.returncode == 0, first.stderr
    assert "chosen from the data" in first.stdout
    assert "town: likelihood = categorical" in first.stdout
    assert f"report: {workdir / 'report' / 'index.html'}" in first.stdout
    results = (workdir / "results.json").read_text()
    kept = json.loads((workdir / "config.json").read_text())["modalities"]
    assert kept["lab"]["latent_size"] == 3
    assert kept["lab"]["likelihood"] == "normal"
    second = learn_own(*arguments)
    assert second.returncode == 0, second.stderr
    stages = ("autoencoder/blood", "autoencoder/lab", "autoencoder/town", "score", "evaluate")
    for stage in stages:
        assert f"{stage}: already done" in second.stdout
    assert (workdir / "results.json").read_text() == results
    other = learn_own(tmp_path / "own.npz", workdir, "--config.modalities.lab.latent_size=2")
    assert "config.modalities.lab.latent_size (3 there, 2 here)" in other.stderr
    (tmp_path / "own.npz").unlink()  # a trained model needs no data
    lab, blood = own(tmp_path / "new.npz", num=11, seed=1)
    out = tmp_path / "filled.npz"
    ask = [f"--workdir={workdir}", "--stage=impute", f"--input={tmp_path / 'new.npz'}"]
    filled = launch(*ask, f"--output={out}", "--num_samples=4")
    assert filled.returncode == 0, filled.stderr
    assert "blood: filled in 3 of 11 rows" in filled.stdout
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["lab"], lab)
        measured = np.isfinite(blood)
        np.testing.assert_array_equal(arrays["blood"][measured], blood[measured])
        assert np.isfinite(arrays["blood"]).all()
    nowhere = launch(f"--workdir={workdir}", "--stage=impute")
    assert "--input=new.npz --output=filled.npz" in nowhere.stderr


@pytest.mark.slow
def test_one_modality_alone_is_learned(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", lab=rng.normal(size=(150, 4)))
    done = learn_own(tmp_path / "own.npz", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "lab is the only modality" in done.stdout
    assert (tmp_path / "run" / "report" / "index.html").exists()


@pytest.mark.slow
def test_few_rows_of_many_features_are_learned(tmp_path):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 3))
    genes = hidden @ rng.normal(size=(3, 10_000)) + rng.normal(size=(200, 10_000))
    np.savez(tmp_path / "own.npz", genes=genes.astype(np.float32), lab=hidden)
    done = learn_own(tmp_path / "own.npz", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text())["num_rows"] == 20


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_dir(), reason="needs MNIST in SBMAE_DATA_DIR")
def test_polymnist_is_made_and_learned(tmp_path, monkeypatch):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to(MNIST.resolve())
    done = launch("--config=configs/polymnist.py:smoke", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "coherence, prefix, given 4" in done.stdout


@pytest.mark.slow
def test_own_data_are_learned_and_their_holes_filled(tmp_path):
    rng = np.random.default_rng(0)
    lab = rng.normal(5, 2, (200, 4))
    values = {
        "lab": lab,
        "town": np.where(lab[:, 0] > 5, "Oslo", "Bonn"),
        "count": rng.poisson(3, 200),
    }
    values["lab"][::7] = np.nan
    np.savez(tmp_path / "own.npz", **values)
    workdir = tmp_path / "run"
    first = launch(
        "--config=configs/custom.py:smoke", f"--config.data.path={tmp_path / 'own.npz'}",
        f"--workdir={workdir}", "--config.modalities.count.kind=vector",
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    for word in ("14.5%", "set (inferred: category)", "rows: 160 train, 20 valid, 20 test"):
        assert word in first.stdout
    (tmp_path / "own.npz").unlink()  # a trained model needs no data
    np.savez(tmp_path / "new.npz", lab=values["lab"][:20], town=np.array(["Oslo", ""] * 10))
    ask = [f"--workdir={workdir}", "--stage=impute", f"--input={tmp_path / 'new.npz'}"]
    filled = launch(*ask, f"--output={tmp_path / 'filled.npz'}", "--num_samples=3")
    assert filled.returncode == 0, filled.stderr
    assert "lab: filled in 3 of 20 rows" in filled.stdout
    assert "count: filled in 20 of 20 rows" in filled.stdout
    with np.load(tmp_path / "filled.npz") as arrays:
        assert np.isfinite(arrays["lab"]).all()
        assert set(arrays["town"]) <= {"Oslo", "Bonn"}
        assert arrays["count_samples"].shape == (20, 3)
    assert "--input=new.npz --output=filled.npz" in launch(*ask).stderr
    asked = launch(*ask[:1], "--stage=generate", "--given", "town=Oslo", "--num_samples=2")
    assert asked.returncode == 0, asked.stderr
    made = {path.name for path in (workdir / "generated").iterdir()}
    assert made == {"count.csv", "lab.csv", "sheet.png", "files.json"}


@pytest.mark.slow
def test_a_machine_without_the_data_is_told_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("SBMAE_DATA_DIR", str(tmp_path / "data"))
    done = launch("--config=configs/celebahq.py", f"--workdir={tmp_path / 'run'}")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for word in ("non-commercial", str(tmp_path / "data" / "CelebAMask-HQ"), "celebahq.py:toy"):
        assert word in done.stderr
    assert not (tmp_path / "run").exists()
