"""Cross-validation: every row is a test row once, and figures are averaged over folds."""

import json

import numpy as np
import pandas as pd
import pytest
from opening import one_sentence
from scipy.stats import t

from sbmae_jax.app import folds as module
from sbmae_jax.app.folds import cross_validate

N = 23
DATA = {"lab": np.arange(2.0 * N).reshape(N, 2), "word": np.array(["a", "b"] * N)[:N]}


@pytest.fixture
def fitted(monkeypatch):
    """Replace the trainings by results that tell of their test rows; return what was asked for."""
    calls = []

    def fit(data, *, workdir, **options):
        calls.append((data, options))
        split = np.asarray(data["split"])
        mean = float(np.flatnonzero(split == "test").mean())
        entry = {"error": {"mean": mean, "se": None, "low": None}}
        results = {
            "prediction": {"lab": {"model": entry, "num_rows": 4}},
            "consistency": {"mean": 0.5, "by_modality": {}}, "ranks": [1, 2],
        }  # fmt: skip
        if len(calls) > 1:
            results["late"] = {"mean": 1.0, "se": 0.1}
        workdir.mkdir(parents=True)
        (workdir / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr(module, "fit", fit)
    return calls


def test_every_row_is_a_test_row_once(fitted, tmp_path):
    cross_validate(DATA, workdir=tmp_path, folds=5, seed=3, minutes=0.5)
    splits = np.stack([data["split"] for data, _ in fitted])
    assert splits.shape == (5, N)
    assert ((splits == "test").sum(axis=0) == 1).all()
    assert set((splits == "test").sum(axis=1)) == {4, 5}
    assert all(data["lab"] is DATA["lab"] for data, _ in fitted)
    assert all(
        o == {"seed": 3, "quiet": False, "evaluate": True, "minutes": 0.5} for _, o in fitted
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"fold-{i}" for i in range(1, 6)]


def test_figures_are_averaged_with_the_interval_of_student(fitted, tmp_path, capsys):
    found = cross_validate(DATA, workdir=tmp_path, folds=3, minutes=2)
    assert set(found) == {"prediction.lab.model.error", "consistency.mean"}
    means = [np.flatnonzero(data["split"] == "test").mean() for data, _ in fitted]
    entry = found["prediction.lab.model.error"]
    assert entry.mean == pytest.approx(np.mean(means))
    half = t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
    assert entry.high - entry.mean == pytest.approx(half, rel=1e-3)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "cross-validation: 3 models are trained and evaluated, one after another, at"
    )
    assert "at most 6 minutes" in printed
    assert "prediction.lab.model.error" in printed
    cross_validate(DATA, workdir=tmp_path / "quiet", folds=3, quiet=True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_data_frames_are_divided_as_well(fitted, tmp_path, package):
    frame = pd.DataFrame({"x": np.arange(N), "y": DATA["word"]}, index=np.arange(N) + 100)
    if package == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    cross_validate(frame, workdir=tmp_path, folds=2, quiet=True)
    for data, _ in fitted:
        assert list(data.columns) == ["x", "y", "split"]
    assert list(frame.columns) == ["x", "y"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("table.csv", {}, "data must be {name: array} or a data frame, .*: read your files first"),
        ({}, {}, "data must be"),
        ({"x": 3}, {}, "x has no rows"),
        (DATA | {"split": ["train"] * N}, {}, "data have an array split: leave it out"),
        (DATA, {"folds": 1}, "folds must be at least 2, got 1"),
        (DATA, {"folds": 2.5}, "folds"),
        (DATA, {"folds": 24}, "folds must be at most the number of rows, 23, got 24"),
        (DATA, {"seed": -1}, "seed"),
        (DATA, {"evaluate": True}, "evaluate is not an option of cross_validate"),
        (DATA, {"redo": "score"}, "redo is not an option"),
        (DATA, {"quiet": 1}, "quiet"),
    ],
)
def test_what_cannot_be_divided_is_refused(fitted, tmp_path, data, options, message):
    with pytest.raises(ValueError, match=message) as refused:
        cross_validate(data, workdir=tmp_path, **options)
    one_sentence(refused)
    assert not fitted
