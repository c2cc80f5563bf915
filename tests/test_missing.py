"""A run whose rows lack modalities: each network is fed the rows that have what it learns."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny

from sbmae_jax import load
from sbmae_jax.app import pipeline, run_data
from sbmae_jax.app.build import build_source
from sbmae_jax.app.run import Run, load_moments
from sbmae_jax.app.run_data import one_batch
from sbmae_jax.app.trainer import Trainer
from sbmae_jax.data.description import describe
from sbmae_jax.data.polydigits import polydigits
from sbmae_jax.data.source import PRESENT
from sbmae_jax.training.workdir import MOMENTS

NAMES = ("hubble", "retina")


def config(**own):
    values = tiny.config() | own
    values["data"] = values["data"] | {"missing": 0.5}
    return values


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has not begun."""
    return Run(config(), tmp_path_factory.mktemp("run"))


def has(source, name):
    return source.arrays[PRESENT][:, NAMES.index(name)]


def test_rows_lack_modalities(run):
    present = run.data.train.arrays[PRESENT]
    assert len(present) < run.config["num_train"]  # those that lack all are left out
    assert present.any(axis=1).all()
    assert 0.4 < present.mean() < 0.8
    assert has(run.data.test, "hubble").all()


@pytest.mark.parametrize("name", NAMES)
def test_an_autoencoder_is_fed_the_rows_that_have_its_modality_and_no_others(run, name):
    source = run.data.train
    fed = run.data.viewed(source, ({"x": name},))["x"]
    np.testing.assert_array_equal(fed, source.arrays[name][has(source, name)])
    chunk = run.data.batches(({"x": name},))(jax.random.key(0), 8)(0, 2)["x"]
    pictures = {picture.tobytes() for picture in source.arrays[name][has(source, name)]}
    assert all(
        np.asarray(picture).tobytes() in pictures for picture in chunk.reshape(16, 28, 28, 3)
    )


def test_what_does_not_fit_on_the_device_is_streamed_and_these_are_the_same_rows(run, monkeypatch):
    found = []

    def streamed(seed, source, batch_size, mesh):
        found.extend(source[i]["x"] for i in range(len(source)))

    monkeypatch.setattr(run_data, "streamed", streamed)
    data = replace(run.data, config=run.config | {"resident_bytes": 0})
    data.batches(({"x": "hubble"},))(jax.random.key(0), 8)
    wanted = run.data.viewed(run.data.train, ({"x": "hubble"},))["x"]
    np.testing.assert_array_equal(np.stack(found), wanted)


def test_the_score_is_fed_rows_that_couple_modalities_in_half_of_its_batches(run):
    present = np.repeat([[True, True], [True, False], [False, True]], [2, 50, 50], axis=0)
    arrays = {"z": np.arange(102.0)[:, None], PRESENT: present}
    drawn = run.data.batches_of(lambda: arrays)(jax.random.key(0), 64)(0, 20)
    assert np.mean(np.asarray(drawn[PRESENT]).all(axis=-1)) == pytest.approx(1 / 2, abs=0.06)


def test_a_network_of_two_modalities_is_fed_the_rows_that_have_both(run):
    source = run.data.train
    fed = run.data.viewed(source, ({"x": "hubble", "y": "retina"},))
    both = source.arrays[PRESENT].all(axis=1)
    assert 0 < len(fed["x"]) == both.sum() < len(source)
    np.testing.assert_array_equal(fed["y"], source.arrays["retina"][both])


def test_held_out_rows_are_the_first_that_have_it_repeated_where_they_are_few(run):
    source = polydigits("train", 60, NAMES, 1, missing=0.5)
    run.data.__dict__["valid"] = source
    held_out = run.data.held_out(({"x": "retina"},))["x"]
    first = source.arrays["retina"][has(source, "retina")][: run_data.MAX_HELD_OUT_ROWS]
    np.testing.assert_array_equal(held_out[: len(first)], first)
    assert len(held_out) >= run_data.MIN_HELD_OUT_ROWS
    again = one_batch({"x": np.arange(3)})["x"]
    np.testing.assert_array_equal(again, np.arange(run_data.MIN_HELD_OUT_ROWS) % 3)


def test_moments_are_those_of_the_rows_that_have_the_modality(tmp_path, monkeypatch):
    # Latents of what is absent are far off, and must be in neither mean nor deviation.
    this = Run(config(), tmp_path)
    rng, size = np.random.default_rng(0), this.parts.layout.size
    present = rng.random((300, 2)) < 0.6
    present[:, 0] |= ~present.any(axis=1)
    wide = np.asarray(this.parts.layout.expand(present))
    z = np.where(wide, rng.normal(2.0, 3.0, (300, size)), 1e3).astype(np.float32)
    this.__dict__["train_latents"] = {"z": z, PRESENT: present}
    fed = {}

    def train(trainer, name, task, training, make_batches, held_out):
        fed.update(make_batches(jax.random.key(0), 16)(0, 1))

    monkeypatch.setattr(Trainer, "train", train)
    pipeline.train_score(this)
    this.folder.log.close()
    scale = load_moments(tmp_path / MOMENTS)
    masked = np.ma.masked_array(z.astype(np.float64), ~wide)
    np.testing.assert_allclose(scale.mean, masked.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(scale.std, masked.std(axis=0), rtol=1e-4)
    # The score is fed whole rows, each with what it has.
    assert fed["z"].shape == (1, 16, size)
    seen = np.asarray(this.parts.layout.expand(fed[PRESENT]))
    assert (np.abs(np.asarray(fed["z"]))[seen] < 10).all()
    assert (np.asarray(fed["z"])[~seen] > 100).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stack_autoencoders": True}, "config.stack_autoencoders: stacked autoencoders cannot be trained"),
        ({"energy": {"name": "tower"}, "contrast": {}}, "config.energy: an energy cannot be trained on rows"),
    ],
)  # fmt: skip
def test_what_needs_complete_rows_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        pipeline.run(config(**change), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_modality_that_no_row_has_is_named(run):
    source = run.data.train
    nothing = np.zeros_like(source.arrays[PRESENT])
    empty = type(source)({**source.arrays, PRESENT: nothing})
    with pytest.raises(ValueError, match="retina: a split has no row with it: add some to 'train'"):
        run.data.rows_of(empty, {"x": "retina"})


@pytest.mark.parametrize("seed", range(8))
def test_a_run_is_described_also_where_its_first_row_is_left_out(seed):
    # What the data are is read off one row, which may be one that lacks everything.
    data = tiny.config()["data"] | {"missing": 0.9, "complete_only": True}
    source = build_source(tiny.config() | {"data": data, "seed": seed}, "train", 1)
    assert describe(source).shapes["hubble"] == (28, 28, 3)


def test_a_training_split_of_which_no_row_is_left_is_refused(tmp_path):
    data = tiny.config()["data"] | {"missing": 0.99, "complete_only": True}
    with pytest.raises(ValueError, match=r"no train row is left: increase config\.num_train"):
        pipeline.run(tiny.config() | {"data": data, "num_train": 20}, tmp_path)
    assert not (tmp_path / "autoencoder").exists()


@pytest.mark.slow
def test_all_stages_run(tmp_path):
    pipeline.run(config(), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert 0 <= results["conditional_coherence"]["1"]["mean"] <= 1
    made = load(tmp_path).generate({}, num_samples=2)
    assert all(np.isfinite(array).all() for array in made.values())
