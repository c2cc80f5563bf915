"""Autoencoders of an earlier run, taken where nothing of their modality has changed."""

import json
import shutil

import chex
import numpy as np
import pytest

import sbmae_jax
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_autoencoders
from sbmae_jax.configs import custom
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.workdir import ROWS

LAB = np.random.default_rng(3).normal(size=(60, 3))
TOWN = np.array(["Bonn", "Oslo", "Rome"] * 20)
SHORT = {"num_steps": 10, "patience": 10, "held_out_every": 10, "steps_per_call": 10}


def train(folder, *, seed=0, modalities=(), earlier=None, training=(), options=(), **arrays):
    folder.mkdir(exist_ok=True)
    np.savez(folder / "own.npz", **arrays)
    config = custom.get_config().to_dict() | dict(options)
    config["seed"], config["data"]["path"] = seed, str(folder / "own.npz")
    config["modalities"] = dict(modalities)
    config["autoencoder_training"] |= SHORT | dict(training)
    if earlier is not None:
        config["autoencoders_from"] = str(earlier)
    pipeline.run(config, folder / "run", "autoencoders")
    return load_autoencoders(pipeline.open_run(folder / "run"))


def trained(folder):
    return {stage.removeprefix("autoencoder/") for stage in read_metrics(folder / "run")}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    return folder / "run", train(folder, lab=LAB, town=TOWN)


@pytest.mark.slow
def test_modalities_that_stay_keep_their_autoencoders(earlier, tmp_path, capsys):
    folder, before = earlier
    there = sorted(str(path) for path in folder.rglob("*"))
    arrays = {"lab": LAB, "town": TOWN[::-1], "soil": LAB[:, :2] + 1}
    options = {"earlier": folder, "training": {"num_steps": 20}}
    params = train(tmp_path, **arrays, **options)
    assert trained(tmp_path) == {"town", "soil"}
    chex.assert_trees_all_equal(params["lab"], before["lab"])
    said = capsys.readouterr().out
    assert f"autoencoder/lab: taken from {folder}" in said
    assert "autoencoder/town: trained anew, because its training rows are" in said
    assert f"autoencoder/soil: trained anew, because {folder} has no autoencoder" in said
    log = read_metrics(tmp_path / "run")
    chex.assert_trees_all_equal(train(tmp_path, **arrays, **options), params)
    assert read_metrics(tmp_path / "run") == log  # nothing was left to do
    assert there == sorted(str(path) for path in folder.rglob("*"))
    with pytest.raises(
        ValueError, match=r"differs in config.autoencoders_from \('.*run' there, '' here"
    ):
        train(tmp_path, **arrays, training=options["training"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"no autoencoder of .*: lab: its .* seed, which is 0 there, and 1 here$"),
        ({"lab": LAB * 2}, "lab: its values or their scaling are others there"),
        ({"soil": LAB}, "lab: .*; soil: .*run has no autoencoder of it alone"),
        ({"modalities": {"lab": {"latent_size": 2}}}, "lab: its latent_size is 3 there, and 2 here"),
        ({"modalities": {"lab": {"weight": 1.0}}}, "lab: its weight is 0.2 there, and 1.0 here"),
        (
            {"options": {"encoder_decoders": {"vector-128": {"encoder": {"width": 64}}}}},
            "lab: its networks, or the kind of its autoencoder, are others there",
        ),
        ({"options": {"stack_autoencoders": True}}, "set config.stack_autoencoders to False"),
        ({"options": {"autoencoders_from": 3}, "earlier": None}, "autoencoders_from must be a string"),
        ({"earlier": "nothing"}, "autoencoders_from: nothing is not .* it has no config.json"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_run_of_which_nothing_fits_is_refused(earlier, tmp_path, options, message):
    arrays = {"lab": LAB + ("soil" in options)}
    with pytest.raises(ValueError, match=message):
        train(tmp_path, **({"earlier": earlier[0]} | arrays | options))


@pytest.mark.slow
def test_only_a_trained_run_that_noted_its_rows_is_taken(earlier, tmp_path):
    with pytest.raises(ValueError, match="is the workdir of this run: name another one"):
        train(tmp_path, lab=LAB, earlier=tmp_path / "run")
    copy = shutil.copytree(earlier[0], tmp_path / "copy")
    assert json.loads((copy / ROWS).read_text()).keys() == {"lab", "town"}
    (copy / ROWS).unlink()
    with pytest.raises(ValueError, match="lab: that run has not noted its rows"):
        train(tmp_path / "c", lab=LAB, earlier=copy)
    shutil.rmtree(copy / "autoencoder" / "town")
    with pytest.raises(
        ValueError, match=r"is not the workdir of a trained run: .*no finished training"
    ):
        train(tmp_path / "d", lab=LAB, earlier=copy)


@pytest.mark.slow
def test_fit_names_its_argument(earlier, tmp_path):
    data, folder = {"soil": LAB + 1}, str(earlier[0])
    with pytest.raises(ValueError, match=r"^autoencoders_from: no autoencoder of"):
        sbmae_jax.fit(data, autoencoders_from=earlier[0], workdir=tmp_path, quiet=True)
    with pytest.raises(ValueError, match="must be the workdir of a run, which knows the rows"):
        sbmae_jax.fit(data, autoencoders_from=earlier[1])
    with pytest.raises(ValueError, match="autoencoders_from is set by an argument of fit"):
        sbmae_jax.fit(data, autoencoders_from=folder, config={"autoencoders_from": folder})
