"""The comparison with rivals: equal budgets, processes side by side, samples from disk."""

import os
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sbmae_jax.app import pipeline
from sbmae_jax.evaluation.labels.evaluators import classes_and_features
from sbmae_jax.evaluation.labels.protocol import measure_labelled

NAMES = ("a", "b", "c")


def test_latent_diffusion_has_our_operations_in_plain_autoencoders(script):
    runs = script("peers_runs")
    config = tiny.rivals(runs)
    theirs = runs.mld_config(config, 0.2)
    (coding, scoring), (their_coding, their_scoring) = runs.gflop(config), runs.gflop(theirs)
    one_step = their_scoring / theirs["score_training"]["num_steps"]
    assert abs(scoring - their_scoring) <= one_step
    assert abs(coding - their_coding) < 0.05 * coding
    assert theirs["autoencoder"] == {"kind": "rae"}
    assert all(section["weight"] == 0 for section in theirs["modalities"].values())
    half = runs.gflop(runs.scaled(config, 0.5))
    np.testing.assert_allclose(half, (coding / 2, scoring / 2))


def test_large_batches_are_the_demos_and_see_as_many_rows(script):
    runs = script("peers_runs")
    small, large = (runs.base_config("polydigits", 0, large=large) for large in (False, True))
    demo = runs.polydigits.get_config()
    for stage in ("autoencoder_training", "score_training"):
        assert large[stage]["batch_size"] == demo[stage].batch_size > small[stage]["batch_size"]
        rows = [c[stage]["batch_size"] * c[stage]["num_steps"] for c in (small, large)]
        assert rows[0] == rows[1]
    assert {key for key in small if small[key] != large[key]} == {
        "autoencoder_training", "score", "score_training",
    }  # fmt: skip
    assert large["score"] == small["score"] | {"subset_size_power": 0.0}


def test_tasks_are_done_in_other_processes_and_an_error_is_told(script, tmp_path):
    jobs = script("peers_jobs")
    paths = [tmp_path / name for name in "abc"]
    jobs.do_all([partial(os.mkdir, path) for path in paths], 2)
    assert all(path.is_dir() for path in paths)
    with pytest.raises(FileExistsError, match="/b'"):
        jobs.do_all([partial(os.mkdir, tmp_path / name) for name in "db"], 2)
    assert (tmp_path / "d").is_dir()


@pytest.mark.parametrize(("cores", "shares"), [(range(5), [[0, 2, 4], [1, 3]]), ([3], [[3], [3]])])
def test_each_process_has_cores_of_its_own(script, monkeypatch, cores, shares):
    jobs, found = script("peers_jobs"), []
    monkeypatch.setattr(jobs, "share_executables", lambda: None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cores), raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, cores: found.append(cores), raising=False
    )
    for number in range(2):
        jobs._start(SimpleNamespace(get=lambda number=number: number), 2)
    assert found == shares


@pytest.mark.parametrize("rule", ["mvtcae", "mmvae_plus"])
def test_a_joint_autoencoder_gets_the_steps_that_its_budget_pays_for(script, rule, tmp_path):
    runs = script("peers_runs")
    config = tiny.rivals(runs)
    run = runs.Run(config, tmp_path)
    posterior = runs.posterior_of(rule, config, 0.5)
    model = runs.build_joint(run, posterior)
    training, cost = runs.joint_training(run, model.task, 30.0)
    assert abs(cost - 30.0) <= 0.5 * cost / training.num_steps
    twice, _ = runs.joint_training(run, model.task, 60.0)
    assert abs(twice.num_steps - 2 * training.num_steps) <= 1
    asked, cost_asked = runs.joint_training(run, model.task, 60.0, num_steps=7)
    assert asked.num_steps == 7
    np.testing.assert_allclose(cost_asked, 7 * cost / training.num_steps)
    ours = [section["latent_size"] for section in config["modalities"].values()]
    sizes = posterior.shared_size, posterior.private_size
    assert sizes == ((ours[0], ours[0]) if rule == "mmvae_plus" else (sum(ours), 0))


def test_kernels_begin_smaller_and_nothing_else_does(script):
    runs = script("peers_runs")
    before = {"a": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "log_var": jnp.ones(1)}
    task = runs.with_kernels(runs.Task(lambda key, batch: before, lambda *_: None), 0.5)
    after = task.init(None, None)
    np.testing.assert_array_equal(after["a"]["kernel"], 0.5)
    np.testing.assert_array_equal([*after["a"]["bias"], *after["log_var"]], 1)


def test_samples_on_disk_are_judged_as_those_of_a_generator(script, tmp_path):
    script("peers_comparison")
    multivae = script("multivae")
    rng = np.random.default_rng(0)
    label = rng.permutation(np.arange(60) % 3).astype(np.int32)
    picture = (80 * label[:, None, None, None] + rng.integers(0, 40, (60, 4, 4, 3))).astype(
        np.uint8
    )
    rows = dict.fromkeys(NAMES, picture) | {"label": label}
    wrong = {name: np.roll(picture, 1, axis=0) for name in NAMES}
    observed = multivae.requests(60, 3)
    good = {f"{request}.{n}": picture for request in observed for n in NAMES}
    good |= {f"2.{name}": pictures for name, pictures in wrong.items()}
    np.savez(tmp_path / "made.npz", **good)

    def classify(x):
        mean = np.asarray(x, np.float64).mean(axis=(1, 2, 3))
        return (mean // 80).astype(int), np.stack([mean, mean**2], axis=1)

    read = classes_and_features(NAMES, classify)
    generator = multivae.FromDisk(tmp_path / "made.npz", observed, NAMES, 20).reading(read)
    found = measure_labelled(jax.random.key(0), rows, generator, 60)
    assert found["conditional_coherence"]["1"]["mean"] == 1
    assert found["conditional_coherence"]["2"]["mean"] == np.mean(label == np.roll(label, 1))
    assert found["unconditional_coherence"]["all_agree"]["mean"] == 1
    other = dict(observed, nothing=observed["all"])
    generator = multivae.FromDisk(tmp_path / "made.npz", other, NAMES, 20).reading(read)
    with pytest.raises(ValueError, match="samples of 'nothing' are for other observed modalities"):
        measure_labelled(jax.random.key(0), rows, generator, 60)


def test_steps_are_whole_passes(script):
    multivae = script("multivae")
    run = SimpleNamespace(
        data=SimpleNamespace(train=range(1000)),
        parts=SimpleNamespace(groups=[SimpleNamespace(training=SimpleNamespace(batch_size=300))]),
    )
    assert multivae.passes(run, 11) == (3, 12)  # the last batch of a pass is a smaller one
    assert multivae.passes(run, 1) == (1, 4)


def test_each_number_is_trained_once_for_all_ways_of_sampling(script, tmp_path, monkeypatch):
    modalities = script("peers_modalities")
    tasks = []

    def comparison(data, num_modalities):
        def train(method, name, seed, share, choice):
            return {"number": num_modalities, "method": method, "choice": choice}

        folder = tmp_path / str(num_modalities)
        return SimpleNamespace(folder=folder, train=train, evaluator=lambda seed: None)

    monkeypatch.setattr(modalities, "Comparison", comparison)
    monkeypatch.setattr(modalities, "do_all", lambda some, jobs: tasks.append([t() for t in some]))
    monkeypatch.setattr(modalities, "measure", lambda trained, split: trained)
    monkeypatch.setattr(modalities, "measure_first", lambda trained, split: {"classifier": 1.0})
    monkeypatch.setattr(modalities, "colder", lambda trained, **ways: trained | {"ways": ways})
    chosen = {modalities.COLDER: {"value": {"given": 1}}, "mopoe": {"value": 0.5}}
    methods = ["ours", modalities.COLDER, "mopoe"]
    rows = modalities.measure_counts(methods, (2, 3), chosen, 1)
    _, measured = tasks
    assert [list(found) for found in measured] == [methods[:2], methods[2:]] * 2
    assert [next(iter(found.values()))["number"] for found in measured] == [3, 3, 2, 2]
    assert list(rows) == methods
    assert rows[modalities.COLDER]["3"] == {
        "number": 3, "method": "ours", "choice": 0.0, "ways": {"given": 1},
        "first two": {"classifier": 1.0},
    }  # fmt: skip
    assert rows["mopoe"]["2"]["choice"] == 0.5


def test_the_first_two_are_asked_with_each_number(script, tmp_path):
    modalities, runs = script("peers_modalities"), script("peers_runs")
    config = tiny.config()
    config["modalities"] = dict.fromkeys(
        ("coffee", *modalities.FIRST), next(iter(config["modalities"].values()))
    )
    pipeline.run(config, tmp_path, "evaluators")
    run, asked = pipeline.open_run(tmp_path), []
    names = run.parts.layout.names

    def complete(key, batch, observed):
        asked.append(np.asarray(observed[0]))
        return dict(batch)

    trained = runs.Trained(run, complete, dict, 0, 0, 0.0, 0)
    found = modalities.measure_first(trained, "test")
    assert found["given the other"] == found["given all others"] == found["reconstruction"]
    assert found["reconstruction"] == found["classifier"]
    assert abs(found["Fréchet distance given the other"]) < 1e-3
    seen = {tuple(n for n, o in zip(names, mask, strict=True) if o) for mask in asked}
    first, second = modalities.FIRST
    pairs = [tuple(n for n in names if n != left_out) for left_out in (first, second)]
    assert seen == {(first,), (second,), *pairs}
