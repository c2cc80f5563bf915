"""Names that users give to folders, files and arrays, drawn from all of Unicode: none is a pattern."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sbmae_jax import load
from sbmae_jax._io import as_path, write_atomically, write_npz
from sbmae_jax.app import pipeline
from sbmae_jax.configs import custom
from sbmae_jax.evaluation.paired.plots import plot_prediction
from sbmae_jax.evaluation.report import _plot_losses as plot_losses
from sbmae_jax.training import checkpoint, sharding
from sbmae_jax.training.log import Log, read_metrics
from sbmae_jax.training.workdir import RESULTS, read_config, write_config

# A name of a folder: at most 255 bytes, of which a part of a file takes some.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=50
).filter(lambda name: name not in (".", ".."))
PATTERNS = [
    "w=[64]",
    "[!a]",
    "a*b",
    "q?",
    "a\\b",
    "gs:",
    "50%",
    "a#b",
    "a b",
    "-x",
    "--y",
    "~",
    "\n",
    "日本",
]
STATE = {"step": jnp.asarray(3), "w": jnp.arange(10.0)}
few = settings(
    max_examples=15, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def save(folder, state=STATE, step=3):
    with checkpoint.opened(folder) as checkpoints:
        checkpoints.save(step, state)


def restore(folder):
    with checkpoint.opened(folder) as checkpoints:
        return checkpoints.restore(sharding.abstract_state(sharding.make_mesh(1), STATE))


def assert_restored(folder):
    found = restore(folder)
    assert found is not None
    np.testing.assert_array_equal(found["w"], STATE["w"])


@pytest.mark.parametrize("name", PATTERNS)
def test_a_checkpoint_lies_in_a_folder_of_any_name(tmp_path, name):
    save(tmp_path / name / "score")
    assert checkpoint.find_damage(tmp_path / name / "score" / "3") is None
    assert_restored(tmp_path / name / "score")
    (tmp_path / name).rename(tmp_path / "plain")
    assert_restored(tmp_path / "plain" / "score")


@given(name=NAMES)
@few
def test_checkpoints_in_folders_of_drawn_names(name):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / name)
        assert_restored(Path(folder) / name)


def test_a_folder_with_a_pattern_does_not_read_its_neighbour(tmp_path):
    other = {"step": jnp.asarray(3), "w": -jnp.arange(10.0)}
    save(tmp_path / "ab", other)
    save(tmp_path / "a*")
    save(tmp_path / "a?", other)
    assert_restored(tmp_path / "a*")


@given(name=NAMES)
@few
def test_files_logs_and_claims_in_folders_of_drawn_names(name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_config(path, {"seed": 0, "data": {"path": str(path)}})
        assert read_config(path) == {"seed": 0, "data": {"path": str(path)}}
        log = Log(path)
        log.scalars("score", 1, {name: 0.5})
        log.close()
        assert read_metrics(path)["score"] == [{name: 0.5, "stage": "score", "step": 1}]
        write_atomically(path / name, lambda file: file.write(b"content"))
        assert (path / name).read_bytes() == b"content"


@given(names=st.sets(NAMES, min_size=1, max_size=5))
@few
def test_arrays_of_drawn_names_are_written_and_read(names):
    arrays = {name: np.arange(i + 1) for i, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        write_npz(Path(folder) / "x.npz", arrays)
        with np.load(Path(folder) / "x.npz") as found:
            assert {key: found[key].tolist() for key in found.files} == {
                name: array.tolist() for name, array in arrays.items()
            }


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_may_have_the_names_of_arguments(tmp_path, compressed):
    names = ("file", "args", "kwds", "allow_pickle", "self", "arr_0", "a/b", "compressed")
    write_npz(tmp_path / "x.npz", {name: np.array([name]) for name in names}, compressed=compressed)
    with np.load(tmp_path / "x.npz") as found:
        assert {name: str(found[name][0]) for name in found.files} == {name: name for name in names}


def test_an_array_that_would_need_a_pickle_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_npz(tmp_path / "x.npz", {"x": np.array([None, {}], object)})


def test_home_is_expanded_and_what_is_called_like_it_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert as_path("~/run") == as_path(Path("~/run")) == tmp_path / "home" / "run"
    assert as_path("~") == tmp_path / "home"
    literal = as_path("./~")
    assert as_path(literal) == literal == tmp_path / "~"
    assert as_path("~nobody-of-this-name/run").is_absolute()
    assert as_path("runs/~") == Path("runs/~")


def test_orbax_is_given_plain_names(tmp_path):
    for name in PATTERNS:
        (tmp_path / name).mkdir()
        with checkpoint._plain_name(tmp_path / name) as path:
            assert re.fullmatch(r"[\w./-]+", str(path))
            assert os.path.samefile(path, tmp_path / name)
        assert not path.is_symlink() or path == tmp_path / name


def test_a_finished_run_may_be_moved_to_a_folder_of_any_name(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = shutil.copytree(finished_run, tmp_path / "w=[64] *?\\ #1 ü:" / "run")
    (folder / "report" / "index.html").unlink()
    model = load(folder)
    model_of_home = load(f"~/{folder.relative_to(tmp_path)}")
    jax.tree.map(np.testing.assert_array_equal, model.params, model_of_home.params)
    pipeline.run(pipeline.open_run(folder).config, folder)
    assert (folder / "report" / "index.html").exists()
    sheet = pipeline.generate(folder, [], 1, f"~/{folder.relative_to(tmp_path)}/out [1]")
    assert sheet == folder / "out [1]" / "sheet.png"
    assert not Path("~").exists()


MODALITIES = ("file", "self", "x", "__class__", "mean")


@pytest.mark.slow
def test_modalities_of_all_names_are_learned_generated_and_imputed(tmp_path):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(120, 2))
    arrays = {name: hidden @ rng.normal(size=(2, 2)) for name in MODALITIES}
    arrays |= {name: (hidden[:, 0] > 0).astype(int) for name in ("mean", "self")}
    data = tmp_path / "data [1] $x%_#"
    for folder, rows in ((data, 120), (tmp_path / "new", 6)):
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array[:rows])
    np.save(data / "label.npy", (hidden[:, 1] > 0).astype(int))
    for name in ("file", "self"):
        (tmp_path / "new" / f"{name}.npy").unlink()
    config = custom.get_config("smoke").to_dict()
    config["data"]["path"] = str(data)
    workdir = pipeline.run(config, tmp_path / "width=[64] $x$")
    results = json.loads((workdir / RESULTS).read_text(), parse_constant=pytest.fail)
    assert results["prediction"].keys() == set(MODALITIES)
    assert results["consistency"]["by_modality"].keys() <= set(MODALITIES)
    sheet = pipeline.generate(workdir, ["self=1", "x=0.5,1"], 2, tmp_path / "out")
    names = {path.name for path in sheet.parent.iterdir()}
    tables = {f"{n}.csv" for n in MODALITIES if n not in ("self", "x")}
    assert names == tables | {"sheet.png", "files.json"}
    done = pipeline.impute(workdir, tmp_path / "new", tmp_path / "filled [1].npz", num_samples=2)
    assert {n for n, num in done.num_filled.items() if num} == {"file", "self"}
    with np.load(tmp_path / "filled [1].npz") as found:
        assert found["file"].shape == (6, 2)
        np.testing.assert_array_equal(found["x"], arrays["x"][:6])


def test_dollars_in_the_names_of_a_plot_are_no_mathematics(tmp_path):
    entry = {"error": {"mean": 0.5, "se": 0.1}}
    names = ["$x_$", "a$b$", "100 %", "\\frac", "_x", "<b>"]
    figure = plot_prediction(
        {n: dict.fromkeys(("model", "linear", "neighbours"), entry) for n in names}
    )
    figure.savefig(tmp_path / "plot.png")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names
    assert not matplotlib.rcParams["text.parse_math"]


def test_logarithmic_axes_have_plain_numbers():
    losses = {"score": (1.2, 0.7), "autoencoder/$a$": (300.0, 5.0)}
    rows = {
        stage: [{"step": n, "loss": x} for n, x in enumerate(xs)] for stage, xs in losses.items()
    }
    figure = plot_losses(rows)
    figure.canvas.draw()
    first, second = (
        {label.get_text() for label in axes.get_yticklabels(which="both")} for axes in figure.axes
    )
    assert {"0.7", "1"} <= first
    assert {"10", "100"} <= second
    # A negative loss, as that of a density, has no logarithm.
    rows = {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": -1.0}]}
    (axes,) = plot_losses(rows).axes
    assert axes.get_yscale() == "linear"
