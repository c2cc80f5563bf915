"""`fit` from Python: the same bits as the command line, data of any form, and what ends a training."""

import copy
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import sbmae_jax
from sbmae_jax.app import fit as fit_module
from sbmae_jax.app import pipeline
from sbmae_jax.app.fit_callbacks import time_limit
from sbmae_jax.configs import custom
from sbmae_jax.data.user.frames import put_into
from sbmae_jax.data.user.spool import write_folder

SHORT = {
    "autoencoder_training.steps_per_call": 10, "autoencoder_training.patience": 0,
    "score_training.steps_per_call": 10, "score_training.patience": 0, "sampling.num_levels": 4,
    "network.width": 16, "network.hub_width": 16, "network.num_blocks": 1,
}  # fmt: skip
STAGES = ["autoencoder/lab", "autoencoder/town", "score"]


def own_data(num=60):
    rng = np.random.default_rng(0)
    lab = rng.normal(size=(num, 3))
    lab[::7] = np.nan
    return {
        "lab": lab,
        "town": [None if i % 9 == 0 else ["Bonn", "Oslo"][i % 2] for i in range(num)],
    }


def short_fit(data=None, **options):
    options = {"num_steps": 20, "quiet": True, "config": SHORT} | options
    return sbmae_jax.fit(own_data() if data is None else data, **options)


def leaves(model):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves((model.params, model.moments))]


def same_bits(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


LAB = ("x", "y", "z")


def own_frame():
    lab = dict(zip(LAB, own_data()["lab"].T, strict=True))
    return pd.DataFrame({"town": own_data()["town"], **lab})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit") / "run"
    return folder, short_fit(own_frame(), groups={"lab": LAB}, workdir=folder)


def test_the_model_samples_in_the_users_units(fitted):
    _, model = fitted
    made = model.generate({"lab": own_data()["lab"][1:3]}, num_samples=4)
    assert made["town"].shape == (2, 4)
    assert set(made["town"].ravel()) <= {"Bonn", "Oslo"}
    assert model.generate({}, num_samples=2)["lab"].dtype == np.float64


def test_a_fit_has_the_bits_of_the_command_line(fitted, tmp_path):
    town = np.array([t or "" for t in own_data()["town"]])
    np.savez(tmp_path / "own.npz", lab=own_data()["lab"], town=town)
    config = custom.get_config().to_dict()
    config["data"]["path"] = str(tmp_path / "own.npz")
    for key, value in SHORT.items():
        section, name = key.split(".")
        config[section][name] = value
    config["autoencoder_training"]["num_steps"] = config["score_training"]["num_steps"] = 20
    pipeline.run(config, tmp_path / "run", "train", quiet=True)
    assert same_bits(fitted[1], sbmae_jax.load(tmp_path / "run"))


def test_a_workdir_resumes_loads_and_can_be_evaluated(fitted):
    folder, model = fitted
    steps = []
    again = short_fit(
        own_frame(), groups={"lab": LAB}, workdir=folder, callbacks=lambda *call: steps.append(call)
    )
    assert not steps
    assert same_bits(model, again)
    assert same_bits(model, sbmae_jax.load(folder))
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_a_folder_that_was_moved_is_evaluated_without_training_again(fitted, tmp_path):
    folder = shutil.copytree(fitted[0], tmp_path / "moved")
    small = SHORT | {"evaluation.num_samples": 3, "evaluation.num_unconditional": 10}
    again = short_fit(own_frame(), groups={"lab": LAB}, workdir=folder, evaluate=True, config=small)
    assert same_bits(fitted[1], again)
    assert (folder / "report" / "index.html").exists()
    assert json.loads((folder / "results.json").read_text())["num_rows"]


def test_other_data_in_the_same_workdir_are_refused(fitted):
    folder, _ = fitted
    before = sorted(p.name for p in folder.iterdir())
    other = own_frame().assign(x=lambda f: f["x"] + 1)
    wanted = (
        r"run on other data than these, which differ in lab: choose another workdir, or set redo="
    )
    with pytest.raises(ValueError, match=wanted):
        short_fit(other, groups={"lab": LAB}, workdir=folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert same_bits(fitted[1], sbmae_jax.load(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"differs in seed \(0 there, 1 here\): .* set redo='autoencoders' to do"),
        ({"num_steps": 10}, r"num_steps \(20 there, 10 here\).* redo='autoencoders'"),
        ({"config": SHORT | {"score.level_mean": 0.5}}, r"differs in config.score.level_mean .*='score'"),
        ({"modalities": {"lab": {"latent_size": 1}}}, r"differs in modalities.lab.latent_size \(3 there"),
        ({"modalities": {"town": {"kind": "counts"}}}, "town cannot be of the kind counts"),
        ({"redo": "evaluate"}, "redo='evaluate' needs evaluate=True"),
        ({"redo": "scores"}, "redo must be one of"),
    ],
)  # fmt: skip
def test_what_changed_is_said_and_how_to_go_on(fitted, options, message):
    with pytest.raises(ValueError, match=message) as refused:
        short_fit(own_frame(), groups={"lab": LAB}, workdir=fitted[0], **options)
    assert "--" not in str(refused.value)
    assert "content" not in str(refused.value)
    assert same_bits(fitted[1], sbmae_jax.load(fitted[0]))


@pytest.mark.slow
def test_a_stage_is_done_again_on_request_also_with_other_data(fitted, tmp_path):
    folder = shutil.copytree(fitted[0], tmp_path / "run")
    stages = []
    again = {"groups": {"lab": LAB}, "workdir": folder, "callbacks": lambda *c: stages.append(c[0])}
    changed = SHORT | {"score.level_mean": 0.5}
    short_fit(own_frame(), **again, config=changed, redo="score")
    assert set(stages) == {"score"}
    fresh = short_fit(
        own_frame().assign(x=lambda f: f["x"] + 1), groups={"lab": LAB}, config=changed
    )
    redone = short_fit(
        own_frame().assign(x=lambda f: f["x"] + 1), **again, config=changed, redo="autoencoders"
    )
    assert set(stages) == set(STAGES)
    assert same_bits(fresh, redone)


def test_data_that_were_refused_leave_a_workdir_free_and_a_folder_of_ones_own_is_kept(tmp_path):
    with pytest.raises(ValueError, match="infinite"):
        short_fit({"a": np.full((60, 2), np.inf)}, workdir=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "mine.npy", np.zeros(3))
    with pytest.raises(ValueError, match="has a folder data of something else: choose another"):
        short_fit(workdir=tmp_path, redo="autoencoders")
    assert np.load(tmp_path / "data" / "mine.npy").shape == (3,)


DATES = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
UNREADABLE = [list(DATES), [{}, 1, "x"] * 20, [[1], [1, 2]] * 30, np.zeros((3, 60))]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dict", "pandas", "polars", "batches", "rows"])
def test_what_is_left_out_may_be_anything(form):
    lab = np.random.default_rng(0).normal(size=60)
    data = {"lab": lab, "odd": UNREADABLE[1], "day": DATES, "odd_present": ["?"] * 60}
    given = {
        "dict": {**data, "short": UNREADABLE[3]},
        "pandas": pd.DataFrame({**data, "short": UNREADABLE[2]}),
        "polars": pl.DataFrame({"lab": lab, "odd": pl.Series(UNREADABLE[1], dtype=pl.Object), "day": DATES,
                                "short": UNREADABLE[2]}),
        "batches": iter([{k: v[i : i + 30] for k, v in data.items()} | {"short": []} for i in (0, 30)]),
        "rows": [{k: v[i] for k, v in data.items()} | {"short": UNREADABLE[2][i]} for i in range(60)],
    }[form]  # fmt: skip
    with pytest.raises(ValueError, match=r"leave_out names 'days'.*did you mean 'day'.*lab"):
        write_folder(given if form != "batches" else iter([data]), Path(), leave_out=["days"])
    only = {"num_steps": 10, "leave_out": ("odd", "day", "short")}
    model = short_fit(given, **only)
    assert model.layout.names == ("lab",)
    if form in ("dict", "pandas", "polars"):  # what was left out comes back as it is
        holes = data | {"lab": np.where(lab > 0, lab, np.nan)}
        new = {"dict": dict, "pandas": pd.DataFrame}.get(form, lambda _: given.drop("short"))(holes)
        filled = model.impute(new, num_samples=2).filled
        assert filled["odd"] is new["odd"] if form == "dict" else list(filled["day"]) == list(DATES)


def test_messages_name_what_python_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    nan = own_data()["lab"].copy()
    nan[3, 0] = np.nan
    for data, options, message in (
        ({"a": [1.0] * 5}, {}, r"^data has \d rows for the split 'train'"),
        (
            {"lab": nan}, {"config": {"data.partial_rows": "refuse"}},
            r"^lab: NaN in part .*config=\{'data.partial_rows': 'missing'\}",
        ),
        (None, {"leave_out": ("lab", "town")}, "^leave_out names all that the data have"),
        (None, {"leave_out": "lab", "modalities": {"lab": {}}}, "^leave_out: lab is also in modalities"),
        (None, {"modalities": {"lab": {"kind": "image"}}}, "^lab cannot be of the kind image"),
        (None, {"modalities": {"lab": {"kind": "odd"}}}, "^modalities: lab has the unknown kind 'odd'"),
        (None, {"modalities": {"lab": {"knd": "mask"}}}, "^modalities.lab: unknown key 'knd'.*'kind'.*kind,"),
        (None, {"modalities": {"lab": {"latent_size": 0}}}, "^modalities.lab: "),
        ({"blood type": [1.0] * 60}, {}, "^'blood type' .* or name it in leave_out"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message) as refused:
            short_fit(data, **options)
        assert str(tmp_path) not in str(refused.value)


@pytest.mark.slow
def test_an_interrupt_returns_what_was_learned_and_without_a_workdir_nothing_is_left(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    calls = []

    def interrupt(stage, step, metrics):
        calls.append((stage, step))
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    model = short_fit(callbacks=[interrupt, lambda *call: None], keep_on_interrupt=True)
    assert calls == [(name, 10) for name in STAGES]
    assert model.generate({}, num_samples=1)["lab"].shape == (1, 3)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not list(tmp_path.iterdir())


def test_a_second_interrupt_stops_at_once():
    def interrupt(stage, step, metrics):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        short_fit(callbacks=interrupt, keep_on_interrupt=True)


def test_time_is_shared_by_the_trainings():
    now = [0.0]
    callback = time_limit(100.0, 2, 2, clock=lambda: now[0])

    def ends_at(stage, step_seconds):
        while True:
            now[0] += step_seconds
            if callback(stage, 1, {}):
                return now[0]

    assert ends_at("autoencoder/a", 1.0) == 20
    assert ends_at("autoencoder/b", 1.0) == 40
    assert ends_at("score", 7.0) == 103  # the first call that ends after 100


def test_time_that_is_left_goes_to_the_score():
    now = [0.0]
    callback = time_limit(100.0, 1, 1, clock=lambda: now[0])
    now[0] = 10.0
    assert not callback("autoencoder/a", 1, {})  # ended by patience after this call
    now[0] = 99.0
    assert not callback("score", 1, {})
    now[0] = 100.0
    assert callback("score", 2, {})


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (None, {"minutes": 0}, "minutes must be above 0"),
        (None, {"seed": -1}, "seed must be"),
        (None, {"evaluate": True}, "evaluate writes a report: choose a folder"),
        (None, {"modalities": {"labs": {"latent_size": 2}}}, "no modality 'labs'.*lab"),
        (None, {"modalities": {"lab": {"size": 2}}}, "modalities.lab.*'size'"),
        (None, {"config": {"smapling.snr": 0.1}}, "unknown key 'smapling'.*sampling"),
        (None, {"num_steps": 0}, "num_steps must be at least 1"),
        (None, {"leave_out": ("x",)}, "leave_out names 'x'"),
        (None, {"groups": {"lab": ["a"]}}, "groups: only the columns of (a data frame|tables)"),
        (None, {"workdir": "gs://bucket/run"}, "bucket.*give fit their path"),
        ({"x": [[1, 2], [3]]}, {}, "x is ragged: row 1 has shape"),
        ({"x": np.zeros((5, 2)), "y": np.zeros(4)}, {}, "x has 5 rows and y has 4"),
        ({}, {}, "data have no arrays"),
        (iter([]), {}, "data have no rows"),
        (iter([{"x": np.zeros(9)}, {"y": np.zeros(9)}]), {}, "batch 1 has y, those before have x"),
        (3, {}, "data must be"),
        (None, {"config": {"seed": 1}}, "seed is set by an argument of fit"),
        (
            None, {"groups": {"lab": ["a"]}, "config": {"data.groups": "each"}},
            "data.groups is set by an argument of fit",
        ),
        (None, {"config": {"data.leave_out": ("lab",)}}, "data.leave_out is set by an argument"),
        (None, {"modalities": {"lab": {"latent_size": 2}}, "config": {"modalities.lab.latent_size": 1}},
         "modalities.lab.latent_size is set by an argument"),
        (None, {"callbacks": "x"}, "callbacks must be functions"),
        (None, {"callbacks": [1]}, "callbacks must be functions"),
        (None, {"modalities": {"lab": "counts"}}, "modalities: lab must be"),
        (pd.DataFrame({"a": [1.0]}), {"groups": ["a"]}, "groups must be"),
        (pd.DataFrame({"a": [1.0]}), {"groups": {"v": "a"}}, "groups"),
        (None, {"workdir": __file__}, "is a file: choose a folder"),
        ([{"a": np.zeros(5), "b": np.ones(5)}] * 3, {}, "list of rows, or of batches: give iter"),
        ({"a": [1.0, 2], "label": ["x", None]}, {}, "label has no value in row 1"),
        (np.zeros((5, 2)), {}, "give an array as {name: array}"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(
    data, options, message, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match=message) as refused:
        short_fit(data, **options)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_frame_comes_back_without_holes(fitted):
    frame = own_frame()[["z", "town", "x", "y"]].rename(index=lambda i: f"row {i}")
    found = fitted[1].impute(frame, num_samples=5, key=3)
    filled, lab, town = found.filled, found.rows["lab"], found.rows["town"]
    assert type(filled) is pd.DataFrame
    assert list(filled.columns) == list(frame.columns)
    assert filled.index.equals(frame.index)
    assert not filled.isna().any().any()
    assert lab.tolist() == np.flatnonzero(np.isnan(frame["x"])).tolist()
    np.testing.assert_allclose(filled[list(LAB)].to_numpy()[lab], found.samples["lab"].mean(axis=1))
    kept = ~frame.isna()
    for column in frame:
        assert filled[column].dtype == frame[column].dtype
        assert (filled[column][kept[column]] == frame[column][kept[column]]).all()
    assert found.samples["town"].shape == (len(town), 5)
    assert set(filled["town"]) == {"Bonn", "Oslo"}
    again = fitted[1].impute(frame, num_samples=5, key=3)
    pd.testing.assert_frame_equal(again.filled, filled)


def test_polars_and_dicts_come_back_as_they_are(fitted):
    rows = own_frame().iloc[:8]
    reference = fitted[1].impute(rows, num_samples=3).filled
    given = pl.DataFrame({c: [None if pd.isna(v) else v for v in rows[c]] for c in rows})
    filled = fitted[1].impute(given, num_samples=3).filled
    assert type(filled) is pl.DataFrame
    assert filled.schema == given.schema
    assert filled.rows() == list(reference.itertuples(index=False, name=None))
    arrays = {"town": rows["town"].tolist(), "lab": rows[list(LAB)].to_numpy()}
    made = fitted[1].impute(arrays, num_samples=3).filled
    assert list(made) == ["town", "lab"]
    np.testing.assert_array_equal(made["lab"], reference[list(LAB)])


def test_columns_that_are_absent_are_added_and_types_kept(fitted):
    model = fitted[1]
    towns = pd.DataFrame({"town": pd.Categorical(["Oslo", None], categories=["Oslo"])})
    filled = model.impute(towns, num_samples=2).filled
    assert list(filled.columns) == ["town", *LAB]
    assert filled["town"].dtype == "category"
    assert filled["x"].dtype == np.float64
    only = model.impute({"lab": own_data()["lab"][1:4]}, num_samples=2).filled
    assert only["town"].shape == (3,)
    whole = model.impute({"lab": own_data()["lab"][1:3], "town": ["Bonn", "Oslo"]}, num_samples=2)
    assert whole.samples == {}
    assert whole.filled["town"].tolist() == ["Bonn", "Oslo"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"age": [1.0]}), "age .*is not a modality of this run.*lab, town"),
        (pd.DataFrame({"x": [1.0], "town": ["Bonn"]}), "data lack the column 'y' of lab"),
        (pl.LazyFrame({"town": ["Bonn"]}), r"give data\.collect\(\)"),
        (pd.DataFrame({"town": ["Rome"]}), "Rome"),
        ({"lab": np.zeros((2, 4))}, "lab"),
        ({"lab": [[1.0, np.nan, 2.0]]}, "lab.*NaN"),
        ([1, 2], "data must be {name: array}, or a data frame"),
        ({}, "no arrays"),
    ],
)
def test_rows_that_do_not_fit_the_model_are_refused(fitted, data, message):
    with pytest.raises(ValueError, match=message) as refused:
        fitted[1].impute(data, num_samples=2)
    assert "\n" not in str(refused.value)


def test_frames_of_any_column_names_and_empty_columns_are_filled(fitted):
    model = fitted[1]
    none = [None, None]
    no_town = pl.DataFrame({"town": none, "x": [1.0, 2], "y": [1.0, 2], "z": [1.0, 2]})
    no_lab = pl.DataFrame({"town": ["Bonn"] * 2, "x": none, "y": none, "z": none})
    for null in (no_town, no_lab):
        filled = model.impute(null, num_samples=2).filled
        assert filled.null_count().sum_horizontal().item() == 0
    whole = pl.DataFrame({"town": ["Bonn", None], "x": [1, None], "y": [1, None], "z": [1, None]})
    assert model.impute(whole, num_samples=2).filled["x"].dtype == pl.Float64
    numbered = pd.DataFrame({0: [1.0, np.nan], 1: [2.0, 3.0]})
    columns = {"0": np.array([1.0, 5.0]), "1": np.array([2.0, 3.0])}
    filled = put_into(numbered, columns, {"0": np.array([1]), "1": np.array([], int)}, {})
    pd.testing.assert_frame_equal(filled, numbered.fillna(5.0))
    assert list(model.impute({"label": [1, 2], "town": ["Bonn"] * 2}, num_samples=2).filled) == [
        "label", "town", "lab",
    ]  # fmt: skip


def test_what_looks_wrong_is_a_warning(fitted):
    far = own_frame().iloc[1:6].assign(x=1e6)
    with pytest.warns(UserWarning, match="lab"):
        found = fitted[1].impute(far.assign(town=None), num_samples=2)
    assert found.notices


def test_sections_of_a_config_are_merged():
    nested = {"sampling": {"temperature": 0.5, "num_levels": 4}, "config.network.width": 16}
    values, _ = fit_module._config(None, None, (), 7, 3, nested)
    assert values["sampling"]["temperature"] == 0.5
    assert values["sampling"]["snr"] == custom.get_config().sampling.snr
    assert values["score_training"]["num_steps"] == 7
    assert values["network"]["width"] == 16


@pytest.mark.parametrize("quiet", [False, True])
def test_values_that_another_name_replaces_are_said(capsys, quiet):
    with pytest.raises(ValueError, match="data must be"):
        sbmae_jax.fit(3, config={"sde.name": "ve"}, quiet=quiet)
    said = "config.sde.name is 've': beta_max, beta_min of 'vp' do not apply\n"
    assert capsys.readouterr().out == ("" if quiet else said)


def test_a_model_is_shown_as_a_table(fitted):
    text, page = repr(fitted[1]), fitted[1]._repr_html_()
    assert "lab" in text
    assert "vector" in text
    assert len(text.splitlines()) == 4
    assert page.count("<tr>") == 3
    assert "category" in page


HOLES = {
    "NaN": ("lab", [[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]]),
    "None": ("town", ["Bonn", None]),
    "None in a row": ("lab", [[1.0, None, 2.0]]),
    "None for a row": ("lab", [[1.0, 2.0, 3.0], None]),
    "masked": ("lab", np.ma.masked_equal([[1.0, 2.0, 3.0]], 2)),
    "masked word": ("town", np.ma.array(["Bonn", "Oslo"], mask=[False, True])),
    "pandas": ("town", pd.Series(["Bonn", pd.NA], dtype="string")),
    "categorical": ("town", pd.Series(["Bonn", None], dtype="category")),
    "polars": ("town", pl.Series(["Bonn", None])),
    "NaT": ("town", [pd.NaT, "Bonn"]),
}


@pytest.mark.parametrize("form", HOLES)
def test_what_has_holes_is_left_to_impute(fitted, form):
    name, values = HOLES[form]
    for ask in (fitted[1].generate, fitted[1].log_density, fitted[1].surprise):
        with pytest.raises(
            ValueError, match=rf"{name} has a hole in row [01]: use impute"
        ) as refused:
            ask({name: values})
        assert "\n" not in str(refused.value)
    modality = next(m for m in fitted[1].modalities if m.name == name)
    with pytest.raises(ValueError, match="use impute"):
        fitted[1].prepare(modality, values)


def test_values_of_other_libraries_without_holes_are_generated_from(fitted):
    for values in (pd.Series(["Bonn"], dtype="string"), pl.Series(["Bonn"]), np.ma.array(["Bonn"])):
        assert fitted[1].generate({"town": values})["lab"].shape == (1, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"lab": np.zeros((0, 3))}, "no rows"), ({"lab": []}, "no rows"), ({"town": []}, "no rows"),
        (own_frame().iloc[:0], "data have no rows: give at least one$"),
        (own_frame()[["town"]].iloc[:0], "data have no rows"),
        (pl.DataFrame({"town": []}), "data have no rows"),
        (pd.DataFrame(), "the data frame has no columns"), (pl.DataFrame(), "the data frame has no columns"),
        (pd.DataFrame(index=range(3)), "the data frame has no columns"),
    ],
)  # fmt: skip
def test_no_rows_are_refused_in_one_sentence(fitted, data, message):
    asked = [short_fit, fitted[1].impute]
    if isinstance(data, dict):
        asked += [fitted[1].generate, fitted[1].log_density, fitted[1].surprise]
    for ask in asked:
        with pytest.raises(ValueError, match=message) as refused:
            ask(data)
        assert "\n" not in str(refused.value)
        assert "iter" not in str(refused.value)


def test_what_impute_refuses_says_what_is_wrong_and_what_to_do(fitted):
    with pytest.raises(
        ValueError, match=r"NaN in part of 1 of 1 rows.*impute\(partial_rows='missing'\)"
    ):
        fitted[1].impute({"lab": [[1.0, np.nan, 2.0]]}, num_samples=2)
    half = fitted[1].impute({"lab": [[1.0, np.nan, 2.0]]}, num_samples=2, partial_rows="missing")
    assert half.filled["lab"][0, [0, 2]].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"^age in data is not a modality of this run") as refused:
        fitted[1].impute({"age": [1.0]})
    assert "/" not in str(refused.value)


def test_load_says_how_to_finish_what_was_interrupted(tmp_path):
    def interrupt(stage, step, metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        short_fit(workdir=tmp_path / "run", callbacks=interrupt)
    with pytest.raises(
        ValueError,
        match=r"train autoencoder/lab first, by the same call .*sbmae train --workdir=.*run$",
    ):
        sbmae_jax.load(tmp_path / "run")


def test_models_are_compared_and_hashed_by_identity(fitted):
    model, other = fitted[1], copy.deepcopy(fitted[1])
    assert model == model
    assert model != other
    assert model in {model, other}
    assert len({model, other}) == 2
    assert same_bits(model, other)
