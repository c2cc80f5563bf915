"""A folder of an earlier run: what stays, what goes on, what is done again, and only if it is asked for."""

import json
import shutil

import chex
import numpy as np
import pytest
import tiny

from sbmae_jax import load
from sbmae_jax.app import pipeline
from sbmae_jax.app.changes import STAGES, Difference, find_changes, find_differences, outputs
from sbmae_jax.app.defaults import with_defaults
from sbmae_jax.app.run import Run
from sbmae_jax.configs import custom
from sbmae_jax.training.log import read_metrics
from sbmae_jax.training.preemption import Notice, Preempted
from sbmae_jax.training.workdir import REDO, write_config

TRAINED = {
    "autoencoders": ("autoencoder/hubble/20", "autoencoder/retina/20"),
    "score": ("score/20", "moments.npz"),
    "energy": ("energy/20",),
    "decoders": ("decoder/hubble/20", "decoder/retina/20"),
    "evaluators": ("classifier/20", "predictor/attributes/20"),
    "evaluate": ("results.json", "samples.npz"),
    "report": ("report/images",),
}


AUTOENCODERS = ("autoencoders", "score", "energy", "decoders", "evaluate", "report")


def changed(where, value):
    """Return the config of a tiny run with one key changed."""
    config = tiny.config()
    *sections, key = where.split(".")
    section = config
    for name in sections:
        section = section[name]
    section[key] = value
    return config


def folder(path, stages=STAGES, config=None):
    """Make a folder as a run leaves it that has done some stages."""
    write_config(path, config or tiny.config())
    (path / "tensorboard").mkdir()
    for stage in stages:
        for name in TRAINED[stage]:
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("") if target.suffix else target.mkdir(parents=True)
    return path


def find(path, config, redo="", same=False):
    return find_changes(path, config, redo, lambda stored: same)


def test_stages_are_those_of_the_pipeline():
    assert tuple(pipeline.STAGES) == STAGES


def test_what_each_stage_has_left_is_found(tmp_path):
    found = outputs(folder(tmp_path))
    for stage in STAGES:
        wanted = {name.split("/")[0] for name in TRAINED[stage]}
        assert {path.name for path in found[stage]} == wanted
    assert outputs(tmp_path / "nothing") == {stage: [] for stage in STAGES}


@pytest.mark.parametrize(
    ("where", "value", "stages"),
    [
        ("data.missing", 0.5, STAGES),
        ("modalities.hubble.latent_size", 3, STAGES),
        ("seed", 1, STAGES),
        ("num_train", 100, STAGES),
        ("autoencoder.kind", "rae", AUTOENCODERS),
        ("autoencoder_training.learning_rate", 1.0, AUTOENCODERS),
        ("autoencoder_training.num_steps", 10, AUTOENCODERS),
        ("autoencoder_training.num_steps", 30, AUTOENCODERS[1:]),
        ("decoder_diffusion", {"patch": {"name": "mixer"}}, ("decoders", "evaluate", "report")),
        ("decoder_training", {"num_steps": 5}, ("decoders", "evaluate", "report")),
        ("decoding", {"num_steps": 5}, ("evaluate", "report")),
        ("sde.beta_max", 10.0, ("score", "energy", "evaluate", "report")),
        ("network.width", 8, ("score", "evaluate", "report")),
        ("score_training.batch_size", 8, ("score", "evaluate", "report")),
        ("score_training.num_steps", 30, ("evaluate", "report")),
        ("score_training.patience", 100, ()),
        ("classifier_training.checkpoint_every", 100, ()),
        ("resident_bytes", 0, ()),
        ("energy", {"name": "tower"}, ("energy", "evaluate", "report")),
        ("classifier_training.learning_rate", 1.0, ("evaluators", "evaluate", "report")),
        ("classifier.width", 16, ("evaluators", "evaluate", "report")),
        ("evaluation.num_rows", 10, ("evaluate", "report")),
        ("evaluation.batch_size", 10, ()),
        ("stack_autoencoders", True, AUTOENCODERS),
        ("evaluation.name", "paired", ("evaluators", "evaluate", "report")),
        ("sampling.num_levels", 5, ("evaluate", "report")),
        ("num_state_shards", 2, ()),
    ],
)  # fmt: skip
def test_a_change_makes_stale_what_reads_it_and_what_follows(tmp_path, where, value, stages):
    folder(tmp_path)
    config = changed(where, value)
    if not stages:
        assert find(tmp_path, config).stale == ()
        return
    first = stages[0]
    with pytest.raises(
        ValueError, match=rf"differs in config.{where}.* .*redo='{first}' to do {', '.join(stages)}"
    ):
        find(tmp_path, config)
    assert find(tmp_path, config, first).stale == stages
    if first != "report":
        with pytest.raises(ValueError, match=rf"redo='{first}' to do"):
            find(tmp_path, config, "report")


def test_what_is_not_there_yet_may_change_freely(tmp_path):
    write_config(tmp_path / "claimed", tiny.config())
    assert find(tmp_path / "claimed", changed("seed", 7)).differences == (Difference("seed", 0, 7),)
    path = folder(tmp_path / "half", ("autoencoders",))
    found = find(path, changed("score_training.num_steps", 5))
    assert found.stale == ()
    assert len(found.differences) == 1
    (path / "score").mkdir()  # begun, and nothing saved
    assert find(path, changed("network.width", 5)).stale == ()
    with pytest.raises(ValueError, match="redo='autoencoders'"):
        find(path, changed("seed", 7))


def test_data_that_moved_are_the_same_data(tmp_path):
    config = tiny.config()
    config["data"] |= {"path": "old"}
    folder(tmp_path, config=config)
    moved = tiny.config()
    moved["data"] |= {"path": "new"}
    found = find(tmp_path, moved, same=True)
    assert (found.stale, found.data) == ((), False)
    assert found.differences == (Difference("data.path", "old", "new"),)
    with pytest.raises(
        ValueError, match=r"config.data.path \('old' there, 'new' here\).*redo='autoencoders'"
    ):
        find(tmp_path, moved)
    assert find(tmp_path, moved, "autoencoders").data


def test_a_stage_is_redone_without_a_change_and_an_interrupted_one_goes_on(tmp_path):
    folder(tmp_path)
    assert find(tmp_path, tiny.config(), "energy").stale == ("energy", "evaluate", "report")
    (tmp_path / REDO).write_text("energy")
    assert find(tmp_path, tiny.config(), "energy").stale == ()
    assert find(tmp_path, tiny.config(), "score").stale == ("score", "evaluate", "report")
    with pytest.raises(ValueError, match=r"redo must be one of autoencoders, .*, got 'scores'"):
        find(tmp_path, tiny.config(), "scores")


def test_a_stage_cannot_be_removed_without_being_run(tmp_path):
    folder(tmp_path / "run")
    for stage, redo in (("evaluate", "autoencoders"), ("report", "score"), ("score", "evaluate")):
        with pytest.raises(ValueError, match=f"run all stages, or the stage '{redo}'"):
            pipeline.run(tiny.config(), tmp_path / "run", stage, redo=redo)
    assert (tmp_path / "run" / "results.json").exists()


def test_differences_are_those_of_json():
    assert find_differences({"a": [1, [2]], "b": {"c": 1}}, {"a": (1, (2,)), "b": {"c": 1}}) == []
    found = find_differences({"b": {"c": 1}}, {"b": {"c": 2, "d": None}, "e": 3})
    assert [(d.key, d.stored, d.given) for d in found] == [("b.c", 1, 2), ("e", None, 3)]
    assert str(found[0]) == "config.b.c (1 there, 2 here)"


def bits(path, stage):
    """Return the files of the checkpoints of a stage."""
    return {
        p.relative_to(path): p.read_bytes()
        for p in sorted((path / stage).rglob("*"))
        if p.is_file()
    }


def without(config, place):
    """Return a config without a key, as an earlier version has it that does not know the key."""
    config = json.loads(json.dumps(config))
    section = config
    for key in place[:-1]:
        section = section[key]
    del section[place[-1]]
    return config


DEFAULTS = {
    "data.missing": 0.0, "modalities.hubble.code_noise": 0.01, "autoencoder_training.b2": 0.999,
    "sde.beta_min": 0.1, "score.level_std": 1.4, "score_training.num_microbatches": 1,
    "sampling.temperature": 1.0, "sampling.num_particles": 64, "evaluation.inception": "",
    "network.level_width": 128,
    "encoder_decoders.patch.decoder.width": 384, "encoder_decoders.patch.encoder.channels": 48,
    "energy.combine": True, "nce.level_std": 1.4, "classifier.dropout": 0.3,
    "predictor_training.mask.clip_norm": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_run_of_a_version_that_does_not_know_a_key_is_resumed_with_its_default(tmp_path, name):
    config = tiny.config()
    config["encoder_decoders"]["patch"] = {"name": "patch", "encoder": {}, "decoder": {}}
    config |= {"energy": {"name": "tower"}, "nce": {}, "predictor_training": {"mask": {}}}
    *sections, key = name.split(".")

    def with_key(value):
        made = json.loads(json.dumps(config))
        section = made
        for part in sections:
            section = section[part]
        section[key] = value
        return made

    older = without(with_key(0), (*sections, key))
    folder(tmp_path / "older", config=older)
    folder(tmp_path / "newer", config=with_key(DEFAULTS[name]))
    assert find(tmp_path / "older", with_key(DEFAULTS[name])).differences == ()
    assert find(tmp_path / "newer", older).differences == ()
    message = rf"differs in config\.{name} \({DEFAULTS[name]!r} there, 123 here\)"
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "older", with_key(123))


def test_a_key_without_a_default_is_no_new_key(tmp_path):
    path = folder(tmp_path, config=without(tiny.config(), ("score_training", "num_steps")))
    with pytest.raises(ValueError, match=r"config\.score_training\.num_steps \(None there"):
        find(path, tiny.config())


@pytest.mark.parametrize("damage", [3, None, [], {"name": 7}, {"name": []}, {"encoder": 3}, "x"])
def test_sections_that_are_damaged_stay_as_they_are(damage):
    config = tiny.config()
    broken = dict.fromkeys(config, damage)
    assert with_defaults(broken, broken) == broken
    for section in with_defaults(broken, config).values():
        if isinstance(damage, dict):
            assert section.items() >= damage.items()
        else:
            assert section == damage
    assert all(
        with_defaults(config, broken)[key].items() >= config[key].items()
        for key in ("sde", "score")
    )


def test_a_finished_run_of_an_earlier_schema_is_left_as_it_is(finished_run, tmp_path, capsys):
    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    given, results = tiny.config(), (path / "results.json").read_bytes()
    given["sampling"] |= {"temperature": 1.0, "classifier_free": 1.0}
    given["score_training"] |= {"num_microbatches": 1}
    older = json.loads((path / "config.json").read_text())
    for key in ("temperature", "classifier_free"):
        older["sampling"].pop(key, None)
    older["score_training"].pop("num_microbatches", None)
    (path / "config.json").write_text(json.dumps(older))
    pipeline.run(given, path)
    assert "score: already done" in capsys.readouterr().out
    assert (path / "results.json").read_bytes() == results
    assert load(path).sampling.temperature == 1


def test_options_of_sampling_may_change_in_a_finished_run(finished_run, tmp_path, capsys):
    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    before = {stage: bits(path, stage) for stage in ("autoencoder", "score", "classifier")}
    other = changed("sampling.num_levels", 3)
    results = (path / "results.json").read_bytes()
    with pytest.raises(ValueError, match="redo='evaluate' to do evaluate, report again"):
        pipeline.run(other, path)
    assert (path / "results.json").read_bytes() == results
    pipeline.run(other, path, redo="evaluate")
    printed = capsys.readouterr().out
    assert "config.sampling.num_levels is 3 now, and was" in printed
    assert "score: already done" in printed
    assert not (path / REDO).exists()
    assert (
        json.loads((path / "results.json").read_text())["num_evaluations"]
        != json.loads(results)["num_evaluations"]
    )
    assert {stage: bits(path, stage) for stage in before} == before
    assert load(path).sampling.num_levels == 3


@pytest.mark.slow
def test_a_finished_training_goes_on_for_more_steps(finished_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    longer = changed("score_training.num_steps", 40)
    pipeline.run(longer, path, redo="evaluate")
    steps = [row["step"] for row in read_metrics(path)["score"]]
    assert steps == [10, 20, 30, 40]
    assert not np.isnan(read_metrics(path)["score"][-1]["loss"])


@pytest.mark.slow
def test_a_stage_that_is_redone_and_interrupted_is_as_in_a_folder_of_its_own(
    finished_run, tmp_path
):
    path, fresh = tmp_path / "run", tmp_path / "fresh"
    shutil.copytree(finished_run, path)
    other = changed("network.width", 8)
    notice = Notice()
    notice.given = True
    with pytest.raises(Preempted):
        pipeline.run(other, path, redo="score", notice=notice)
    saved = sorted(p.name for p in (path / "score").iterdir())
    pipeline.run(other, path, redo="score")  # as a scheduler calls it again
    assert saved[0] in {"10", "20"}
    pipeline.run(other, fresh)
    ours, theirs = (load(p).params["score"] for p in (path, fresh))
    chex.assert_trees_all_equal(ours, theirs)
    assert read_metrics(path)["score"][0]["loss"] == read_metrics(fresh)["score"][0]["loss"]


def test_files_that_moved_are_accepted_and_others_are_not(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(60, 3)), "photo": rng.integers(0, 256, (60, 4, 4), np.uint8)}
    np.savez(tmp_path / "a.npz", **arrays)

    def config_of(name):
        config = custom.get_config("smoke").to_dict()
        config["data"]["path"] = str(tmp_path / name)
        return pipeline.resolve_open_values(config)[0]

    Run(config_of("a.npz"), tmp_path / "run").claim()
    (tmp_path / "run" / "autoencoder" / "x" / "20").mkdir(parents=True)
    (tmp_path / "a.npz").rename(tmp_path / "b.npz")
    moved = Run(config_of("b.npz"), tmp_path / "run")
    assert [d.key for d in moved.changes.differences] == ["data.path"]
    moved.claim()
    Run(config_of("b.npz"), tmp_path / "run", data_at_hand=True)
    arrays["photo"][3] = 0  # one row of sixty
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.raises(
        ValueError, match=r"differs in the content of .*b\.npz: .*redo='autoencoders'"
    ):
        Run(config_of("b.npz"), tmp_path / "run", data_at_hand=True)
    assert Run(
        config_of("b.npz"), tmp_path / "run", redo="autoencoders", data_at_hand=True
    ).changes.data
    arrays["photo"][:] = arrays["photo"][::-1]
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(ValueError, match=r"config\.data\.path"):
        Run(config_of("c.npz"), tmp_path / "run")
