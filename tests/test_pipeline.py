import json
import pickle
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tiny
from etils import epath

from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.app.run import load_autoencoders
from sbmae_jax.app.run_data import RunData
from sbmae_jax.training import checkpoint

DOCUMENTED = {
    "classifier_accuracy", "reconstruction_accuracy", "conditional_coherence",
    "unconditional_coherence", "label_total_variation", "frechet_classifier_features",
    "conditional_diversity", "seconds", "peak_memory_bytes", "versions", "commit", "device", "seed",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(finished_run):
    return load(finished_run)


def figures(workdir):
    """Return the results without what a clock or a machine has put there."""
    results = json.loads((workdir / "results.json").read_text())
    measured = {"seconds", "seconds_per_1000_samples", "peak_memory_bytes", "commit"}
    return {name: value for name, value in results.items() if name not in measured}


def snapshot(workdir):
    return {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file()}


def test_results_have_all_that_is_documented(finished_run):
    results = json.loads((finished_run / "results.json").read_text())
    assert results.keys() >= DOCUMENTED
    assert results["conditional_coherence"].keys() == {"1"}
    assert results["conditional_coherence"]["1"].keys() == {"mean", "se", "low", "high"}
    stages = {"autoencoder/hubble", "autoencoder/retina", "score", "classifier", "evaluate"}
    assert results["seconds"].keys() == stages
    assert results["peak_memory_bytes"] > 2**20


def test_report_is_one_page_with_its_pictures(finished_run):
    page = (finished_run / "report" / "index.html").read_text()
    for name in ("losses", "conditional", "unconditional", "reconstruction", "coherence"):
        assert f'src="{name}.png"' in page
        assert (finished_run / "report" / f"{name}.png").stat().st_size > 500
    assert "http" not in page  # nothing is fetched when it is opened


def test_a_finished_run_is_left_as_it_is(finished_run):
    before = snapshot(finished_run)
    pipeline.run(tiny.config(), finished_run)
    assert snapshot(finished_run) == before


@pytest.mark.parametrize("kind", [ml_collections.ConfigDict, ml_collections.FrozenConfigDict, dict])
def test_a_config_may_be_of_any_type(kind, finished_run):
    # The folder belongs to the config as plain values: whatever is not equal to it is refused.
    before, values = snapshot(finished_run), tiny.config()
    values["seed"] = np.int64(values["seed"])
    values["num_train"] = jnp.int32(values["num_train"])
    values["sde"] = {key: np.float64(v) if key != "name" else v for key, v in values["sde"].items()}
    values["network"] = ml_collections.ConfigDict(values["network"])
    values["evaluation"] = (
        types.MappingProxyType(values["evaluation"]) if kind is dict else values["evaluation"]
    )
    given = kind(values)
    pipeline.run(given, str(finished_run))
    pipeline.run(given, epath.Path(finished_run), "report")
    assert snapshot(finished_run) == before
    other = kind(values | {"seed": np.uint8(1)})
    with pytest.raises(ValueError, match=r"config.seed \(0 there, 1 here\)"):
        pipeline.run(other, finished_run)


@pytest.mark.slow
def test_a_run_interrupted_again_and_again_ends_with_the_same_bits(
    finished_run, tmp_path, monkeypatch
):
    saves, save = [], checkpoint.Checkpoints.save

    def fragile(*args):
        saves.append(1)
        if len(saves) % 2 == 0:  # every second save is cut off
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", fragile)
    for _ in range(20):
        try:
            pipeline.run(tiny.config(), tmp_path / "run")
            break
        except KeyboardInterrupt:
            continue
    assert len(saves) > 10
    assert figures(tmp_path / "run") == figures(finished_run)
    ours, theirs = load(tmp_path / "run"), load(finished_run)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_data_that_do_not_fit_on_the_device_are_streamed(tmp_path, monkeypatch):
    streamed = []

    def stream(data, key, view, batch_size):
        streamed.append(view["x"])
        return original(data, key, view, batch_size)

    original = RunData.stream
    monkeypatch.setattr(RunData, "stream", stream)
    config = tiny.config() | {"resident_bytes": 0}
    pipeline.run(config, tmp_path, "autoencoders")
    assert streamed == list(config["modalities"])
    assert (tmp_path / "autoencoder" / "hubble" / "20").exists()


@pytest.mark.slow
def test_stacked_autoencoders_are_those_of_their_modalities(tmp_path):
    config = tiny.config() | {"stack_autoencoders": True}
    pipeline.run(config, tmp_path, "autoencoders")
    run = pipeline.open_run(tmp_path)
    (group,) = run.parts.groups
    assert group.names == ("hubble", "retina")
    both = run.trainer.load(group.stage, group.task, group.training, run.data.example(group.view))
    params = load_autoencoders(run)
    for m, name in enumerate(group.names):
        jax.tree.map(
            np.testing.assert_array_equal, params[name], jax.tree.map(lambda a, m=m: a[m], both)
        )
    z = run.parts.autoencoders[0].encode(params["retina"], run.data.train.arrays["retina"][:5])
    np.testing.assert_allclose(run.train_latents["z"][:5, 24:], z, rtol=1e-4, atol=1e-5)


def test_test_data_that_do_not_fit_are_known_before_training(tmp_path, monkeypatch):
    source = RunData.source

    def too_small(data, split, num_rows):
        if split == "test":
            raise ValueError("the split 'test' has 9 rows")
        return source(data, split, num_rows)

    monkeypatch.setattr(RunData, "source", too_small)
    with pytest.raises(ValueError, match="the split 'test' has 9 rows"):
        pipeline.run(tiny.config(), tmp_path)
    assert not (tmp_path / "autoencoder").exists()


def test_a_config_that_lacks_a_key_is_told_which(tmp_path):
    config = tiny.config()
    del config["stack_autoencoders"]
    with pytest.raises(ValueError, match="the config has no stack_autoencoders: compare it with"):
        pipeline.run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stage_alone_says_what_must_come_first(tmp_path):
    with pytest.raises(
        ValueError, match="holds no finished training, or a damaged one: train autoencoder/"
    ):
        pipeline.run(tiny.config(), tmp_path, "score")
    with pytest.raises(ValueError, match="no results yet: run the stage evaluate first"):
        pipeline.run(tiny.config(), tmp_path, "report")
    with pytest.raises(ValueError, match=r"stage must be one of all, .* got 'all!'"):
        pipeline.run(tiny.config(), tmp_path, "all!")
    for stage in ("evaluate", "report"):
        with pytest.raises(ValueError, match=f"the stage {stage} has none: leave it out"):
            pipeline.run(tiny.config(), tmp_path, stage, profile=True)


def test_a_workdir_of_another_config_is_refused(finished_run):
    with pytest.raises(ValueError, match=r"config.seed \(0 there, 1 here\)"):
        pipeline.run(tiny.config() | {"seed": 1}, finished_run)


def test_only_a_saved_model_or_the_workdir_of_a_run_can_be_loaded(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ValueError, match=r"has no model: name .* Model.save .* the workdir"):
            load(path)
    with pytest.raises(ValueError, match=r"is not the workdir of a run: it has no config.json"):
        pipeline.open_run(tmp_path)


def test_generate_completes_any_subset_and_returns_what_was_given(model):
    given = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3)).astype(np.uint8)
    made = model.generate({"hubble": given})
    assert made.keys() == {"hubble", "retina"}
    np.testing.assert_array_equal(made["hubble"], given)
    assert made["retina"].shape == (2, 28, 28, 3)
    assert 0 <= made["retina"].min() <= made["retina"].max() <= 1


def test_a_loaded_model_can_be_pickled(model):
    given = {"hubble": np.zeros((2, 28, 28, 3), np.uint8)}
    made, again = (m.generate(given) for m in (model, pickle.loads(pickle.dumps(model))))
    for name, x in made.items():
        np.testing.assert_allclose(again[name], x, atol=1e-5)


def test_generate_depends_on_the_key_alone(model):
    one, again, other = (model.generate({}, key=k, num_samples=2)["hubble"] for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(
        model.generate({}, key=jax.random.key(1), num_samples=2)["hubble"], other
    )


@pytest.mark.parametrize(
    ("given", "num_samples", "message"),
    [
        (
            {"sound": np.zeros((1, 28, 28, 3))},
            None,
            "unknown modality 'sound': this model has hubble",
        ),
        (
            {"hubble": np.zeros((1, 28, 28, 3)), "retina": np.zeros((2, 28, 28, 3))},
            None,
            "same number",
        ),
        (
            {"hubble": np.zeros((1, 28, 28, 1))},
            None,
            r"hubble: examples must have shape \(28, 28, 3\)",
        ),
        (
            {"hubble": np.full((1, 28, 28, 3), np.nan)},
            None,
            "hubble has a hole in row 0: leave these rows out",
        ),
        ({"hubble": np.full((1, 28, 28, 3), 255.0)}, None, "hubble: values must be in 0..1"),
        ({}, None, "num_samples must say how many"),
    ],
)
def test_generate_names_what_does_not_fit(model, given, num_samples, message):
    with pytest.raises(ValueError, match=message):
        model.generate(given, num_samples=num_samples)


def test_one_executable_serves_every_subset(model):
    from sbmae_jax.models.model import complete

    x = np.zeros((2, 28, 28, 3), np.float32)
    model.generate({"hubble": x})
    compiled = complete._cache_size()
    for given in ({"retina": x}, {"hubble": x, "retina": x}):
        model.generate(given)
    model.generate({}, num_samples=2)
    assert complete._cache_size() == compiled
