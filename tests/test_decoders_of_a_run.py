"""Diffusion decoders in a run: trained, resumed, loaded, saved, and refused where they cannot be."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
import tiny

from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.app.changes import find_changes
from sbmae_jax.models.tensors import read_tensors, write_tensors
from sbmae_jax.training.log import read_metrics

NETWORK = {"name": "mixer", "width": 8, "num_blocks": 1, "level_width": 8}
TRAINING = {
    "num_steps": 4, "batch_size": 8, "learning_rate": 1e-3, "steps_per_call": 2, "checkpoint_every": 2,
}  # fmt: skip


def config_with_decoders(**decoding):
    config = tiny.config()
    config["decoder_diffusion"] = {"patch": dict(NETWORK)}
    config["decoder_training"] = dict(TRAINING)
    config["decoding"] = {"num_steps": 2} | decoding
    return config


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    """Return the folder of a run whose decoders were trained after all else."""
    folder = tmp_path_factory.mktemp("decoders") / "run"
    shutil.copytree(finished_run, folder)
    pipeline.run(config_with_decoders(), folder, quiet=True, redo="decoders")
    return folder


@pytest.fixture(scope="module")
def model(run):
    return load(run)


def test_only_decoders_are_trained_again(run, finished_run):
    log = read_metrics(run)
    assert {"decoder/hubble", "decoder/retina"} <= log.keys()
    assert log["score"] == read_metrics(finished_run)["score"]
    assert (run / "report" / "index.html").exists()


def test_the_default_draws_and_the_mean_stays_at_hand(model, finished_run):
    drawn = model.generate({}, num_samples=3)
    again = model.generate({}, num_samples=2)
    before = load(finished_run).generate({}, num_samples=3)
    mean = model.generate({}, num_samples=3, decoder="mean")
    for name in drawn:
        np.testing.assert_allclose(again[name], drawn[name][:2], atol=1e-5)
        np.testing.assert_array_equal(mean[name], before[name])
        assert np.abs(drawn[name] - mean[name]).max() > 0.01
        assert 0 <= drawn[name].min() < drawn[name].max() <= 1
    other = model.generate({}, num_samples=3, steps=5)
    assert np.abs(other["hubble"] - drawn["hubble"]).max() > 1e-4


def test_what_is_given_stays(model):
    given = model.generate({}, num_samples=2)["retina"]
    np.testing.assert_array_equal(model.generate({"retina": given})["retina"], given)


def test_what_is_observed_is_decoded_to_its_mean_in_each_row(model):
    names = [m.name for m in model.modalities]
    rows = model.generate({}, num_samples=4)
    batch = {m.name: model.prepare(m, rows[m.name]) for m in model.modalities}
    means = model.reconstruct(batch)
    complete = jax.jit(type(model).complete)
    for which in (np.eye(4, len(names), dtype=bool), np.ones((4, len(names)), bool)):
        made = complete(model, jax.random.key(0), batch, which)
        for m, name in enumerate(names):
            same = np.isclose(made[name], means[name], atol=1e-5).all(axis=(1, 2, 3))
            np.testing.assert_array_equal(same, which[:, m])


def test_a_saved_model_has_its_decoders(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    found = load(tmp_path / "model.safetensors")
    chex.assert_trees_all_equal(found.params, model.params)
    assert found.decoders == model.decoders
    assert found.decoding == model.decoding


def test_a_saved_model_without_their_parameters_is_refused(model, tmp_path):
    model.save(tmp_path / "model")
    document = json.loads((tmp_path / "model" / "model.json").read_text())
    lost = [name for name in document["tensors"] if name.startswith("params/decoders/retina/")]
    arrays, metadata = read_tensors(tmp_path / "model" / "model.safetensors")
    assert lost
    left = {name: array for name, array in arrays.items() if name not in lost}
    write_tensors(tmp_path / "model" / "model.safetensors", left, metadata)
    with pytest.raises(ValueError, match="lacks the array params/decoders/retina/"):
        load(tmp_path / "model")


def test_an_exported_model_draws(model, tmp_path):
    model.export(tmp_path / "model.jax")
    run = jax.export.deserialize(bytearray((tmp_path / "model.jax").read_bytes())).call
    batch = {m.name: np.zeros((2, *m.shape), np.float32) for m in model.modalities}
    observed = np.zeros((2, 2), bool)
    key = jax.random.key(3)
    made = run(jax.random.key_data(key), batch, observed)
    wanted = jax.jit(type(model).complete)(model, key, batch, observed)
    for name in made:
        np.testing.assert_allclose(made[name], wanted[name], atol=1e-5)


def test_an_interrupted_decoder_is_resumed_to_the_same_bits(run, finished_run, model, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)

    class Stopped(Exception):
        pass

    def stop(name, step, metrics):
        if name == "decoder/retina":
            raise Stopped

    with pytest.raises(Stopped):
        pipeline.run(config_with_decoders(), folder, quiet=True, redo="decoders", callback=stop)
    with pytest.raises(ValueError, match="decoder/retina"):
        load(folder)
    pipeline.run(config_with_decoders(), folder, "train", quiet=True)
    chex.assert_trees_all_equal(load(folder).params["decoders"], model.params["decoders"])


def test_another_decoding_leaves_all_that_is_trained(run):
    config = config_with_decoders(weight=2.0)
    with pytest.raises(ValueError, match=r"redo='evaluate' to do evaluate, report again"):
        find_changes(run, config, "", lambda stored: True)
    changes = find_changes(run, config, "evaluate", lambda stored: True)
    assert changes.stale == ("evaluate", "report")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_diffusion": {"photo": NETWORK}}, "config.decoder_diffusion: unknown key 'photo'"),
        ({"decoder_diffusion": {"patch": NETWORK | {"name": "grid"}}}, "patch.name must be one of"),
        ({"decoder_diffusion": {"patch": NETWORK | {"patch": 5}}}, "multiples of patch = 5"),
        ({"decoder_diffusion": {"patch": NETWORK | {"drop_latent": 1.0}}}, "drop_latent must be"),
        ({"decoder_diffusion": {"patch": NETWORK | {"depth": 1}}}, "unknown key 'depth'"),
        ({"decoding": {"num_steps": 0}}, "config.decoding: num_steps must be at least 1, got 0"),
        ({"decoding": {"latent_noise": 0.9}}, "config.decoding: latent_noise must be at most 0.5"),
        (
            {"decoder_diffusion": {"patch": NETWORK | {"drop_latent": 0.0}}, "decoding": {"weight": 2.0}},
            "config.decoding: weight must be 1, got 2: the decoder of hubble",
        ),
        ({"decoder_diffusion": {}}, "config.decoding: decoder 'diffusion': the model has no diffusion"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_key(change, message, tmp_path):
    config = config_with_decoders()
    for key, value in change.items():
        config[key] = value
    with pytest.raises(ValueError, match=message):
        pipeline.run(config, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_training_of_decoders_must_be_there(tmp_path):
    config = config_with_decoders()
    del config["decoder_training"]
    with pytest.raises(ValueError, match=r"config\.decoder_diffusion needs a section"):
        pipeline.run(config, tmp_path / "run", quiet=True)


def test_categories_have_no_diffusion_decoder(finished_run):
    from sbmae_jax.app.diffusion_decoders import build_decoders
    from sbmae_jax.models.autoencoder import Modality

    label = Modality("town", (4,), "categorical", "patch", 2, 0.1)
    with pytest.raises(ValueError, match="town has categorical values of shape"):
        build_decoders(config_with_decoders(), (label,))


def test_a_section_may_have_the_name_of_a_modality():
    from sbmae_jax.app.diffusion_decoders import build_decoders
    from sbmae_jax.models.autoencoder import Modality

    config = config_with_decoders()
    config["decoder_diffusion"] = {"photo": NETWORK}
    modalities = [
        Modality(name, (28, 28, 3), "gaussian", "patch", 2, 0.1) for name in ("photo", "sketch")
    ]
    assert list(build_decoders(config, tuple(modalities))) == ["photo"]


def test_models_without_decoders_say_so(finished_run):
    plain = load(finished_run)
    with pytest.raises(ValueError, match="the model has no diffusion decoder"):
        plain.generate({}, num_samples=1, decoder="diffusion")
    with pytest.raises(ValueError, match="decoder must be one of"):
        plain.generate({}, num_samples=1, decoder="median")


def test_a_weight_needs_a_decoder_that_was_trained_for_it(model):
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        model.generate({}, num_samples=1, steps=0)
    with pytest.raises(ValueError, match="a decoding setting must be one of"):
        model.with_decoding(temperature=1.0)
