"""The evaluation of paired data, on generators whose conditionals are known exactly."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from stand_ins import NOISE, Gaussian, Mixture, rng_of

from sbmae_jax.evaluation.generator import Generator, blank_rows
from sbmae_jax.evaluation.paired import predicting, questions
from sbmae_jax.evaluation.paired.baselines import (
    RIDGE_PENALTIES,
    Target,
    fit_baselines,
    fit_linear,
    fit_neighbours,
    fit_ridge,
    join_inputs,
)
from sbmae_jax.evaluation.paired.columns import fit_columns
from sbmae_jax.evaluation.paired.consistency import measure_consistency
from sbmae_jax.evaluation.paired.eval_data import make_eval_data
from sbmae_jax.evaluation.paired.protocol import PairedProtocol
from sbmae_jax.evaluation.subsets import nested_of_present, nested_subsets
from sbmae_jax.metrics.prediction import losses

GAUSSIAN = Gaussian({"a": 2, "b": 3, "c": 4})
TEST, TRAIN = GAUSSIAN.rows(500, seed=1), GAUSSIAN.rows(2000, seed=2)
MIXTURE = Mixture()
LABELLED, LABELLED_TRAIN = MIXTURE.rows(400, seed=3), MIXTURE.rows(1500, seed=4)
FEWER = {name: x[:300] for name, x in LABELLED_TRAIN.items()}


def generator(model, **changes):
    functions = {"complete": model.complete, "draw": model.draw, "reconstruct": dict} | changes
    return Generator(names=model.names, batch_size=1000, **functions)


def measured(model, rows, train, likelihoods, **changes):
    protocol = PairedProtocol(likelihoods=likelihoods, num_unconditional=600, batch_size=1000)
    results, _ = protocol.measure(
        jax.random.key(0), rows, generator(model, **changes), {}, lambda: train
    )
    return json.loads(json.dumps(results, allow_nan=False))


def gaussian(rows=TEST, train=TRAIN, **changes):
    return measured(GAUSSIAN, rows, train, dict.fromkeys(GAUSSIAN.names, "normal"), **changes)


def near(entry, value, bias=0.0):
    return abs(entry["mean"] - value) < 4 * entry["se"] + bias


@pytest.fixture(scope="module")
def exact():
    return gaussian()


@pytest.fixture(scope="module")
def predicted():
    """Give the function that measures prediction and calibration of a generator by fitted baselines."""
    eval_data = make_eval_data(dict.fromkeys(GAUSSIAN.names, "normal"), TEST, TRAIN)
    baselines = [fit_baselines(eval_data, m) for m in range(3)]

    def measure(**changes):
        model = generator(GAUSSIAN, **changes)
        made = model.draw_rows(jax.random.key(1), *blank_rows(TEST, GAUSSIAN.names, 600))
        prediction, calibration = predicting.measure_given_the_rest(
            jax.random.key(0), eval_data, model, 19, baselines
        )
        return prediction, calibration, measure_consistency(eval_data, made, baselines)

    return measure


@pytest.fixture(scope="module")
def labelled():
    return measured(MIXTURE, LABELLED, LABELLED_TRAIN, MIXTURE.likelihoods)


def test_the_error_given_the_rest_is_that_of_the_exact_conditional_mean(exact):
    for m, name in enumerate(GAUSSIAN.names):
        expected = GAUSSIAN.error(m, np.arange(3) != m)
        entry = exact["prediction"][name]
        assert expected < 0.8
        assert near(entry["model"]["error"], expected)
        assert near(entry["linear"]["error"], expected, bias=0.02)  # it has learned from 2000 rows
        assert entry["neighbours"]["error"]["mean"] > entry["model"]["error"]["mean"]
        assert entry["marginal"]["error"] == {"mean": 1, "se": 0, "low": 1, "high": 1}
        over = entry["error_over_linear"]
        assert 0.95 - 4 * over["se"] < over["mean"] < 1 + 4 * over["se"]
        assert over["se"] < entry["model"]["error"]["se"] / entry["linear"]["error"]["mean"]


def test_the_error_given_one_modality_is_that_of_the_exact_conditional_mean(exact):
    for s, source in enumerate(GAUSSIAN.names):
        assert source not in exact["prediction_given_one"][source]
        for target, entry in exact["prediction_given_one"][source].items():
            m = GAUSSIAN.names.index(target)
            assert near(entry["error"], GAUSSIAN.error(m, np.arange(3) == s))


def test_exact_draws_are_calibrated(exact):
    for entry in exact["calibration"].values():
        assert entry["nominal"] == 0.9
        assert near(entry["coverage"], 0.9)
        assert near(entry["bias"], 0)
        assert sum(entry["ranks"]) == pytest.approx(1)
        assert entry["crps"]["mean"] < 0.95


def test_joint_draws_that_belong_together_are_as_consistent_as_the_data(exact):
    assert exact["consistency"]["mean"] == pytest.approx(1, abs=0.1)
    for entry in exact["frechet_features"].values():
        assert entry["generated"] < 2 * entry["real"] + 0.02


def test_what_is_decoded_as_it_was_explains_everything(exact):
    for entry in exact["reconstruction"].values():
        assert entry["model"]["error"] == {"mean": 0, "se": 0, "low": 0, "high": 0}


def test_samples_without_noise_cover_too_little(exact, predicted):
    _, found, _ = predicted(draw=GAUSSIAN.complete)
    for m, name in enumerate(GAUSSIAN.names):
        entry = found[name]
        expected = GAUSSIAN.coverage_without_noise(m, np.arange(3) != m, num_draws=19)
        assert near(entry["coverage"], expected)
        # Far below the nominal 0.9: nearer to this theory than to it, and no chance of it.
        assert entry["coverage"]["mean"] < (expected + 0.9) / 2
        assert not near(entry["coverage"], 0.9)
        assert entry["crps"]["mean"] > exact["calibration"][name]["crps"]["mean"]


def test_a_planted_bias_is_seen(predicted):
    def too_low(key, batch, observed):
        return {name: x - 1 for name, x in GAUSSIAN.draw(key, batch, observed).items()}

    for entry in predicted(draw=too_low)[1].values():
        assert entry["bias"]["mean"] > 8 * entry["bias"]["se"]


def test_a_generator_that_sees_nothing_is_no_better_than_the_marginal(predicted):
    def blind(key, batch, observed):
        keys = jax.random.split(key, 3)
        nothing = np.zeros_like(observed)
        return {
            name: GAUSSIAN.draw(k, batch, nothing)[name]
            for name, k in zip(GAUSSIAN.names, keys, strict=True)
        }

    prediction, calibration, consistency = predicted(draw=blind, complete=blind)
    for name in GAUSSIAN.names:
        assert near(prediction[name]["model"]["error"], 1)
        assert near(calibration[name]["coverage"], 0.9)  # wide, but not wrong
        assert near(calibration[name]["crps"], 1)
    assert abs(consistency["mean"]) < 0.15


def test_where_modalities_are_missing_only_what_is_there_is_observed_and_scored():
    def hide(rows, seed):
        present = np.random.default_rng(seed).random((len(rows["a"]), 3)) < 0.6
        present[~present.any(axis=1), 0] = True
        columns = zip(GAUSSIAN.names, present.T, strict=True)
        # What was not measured must have no influence: if it has, this value shows it.
        hidden = {name: np.where(seen[:, None], rows[name], 1e4) for name, seen in columns}
        return {**hidden, "present": present}

    rows = hide(TEST, 5)
    found = gaussian(rows, hide(TRAIN, 6))
    present, names = rows["present"], GAUSSIAN.names
    for m, name in enumerate(names):
        others = present & (np.arange(3) != m)
        asked = np.flatnonzero(present[:, m] & others.any(axis=1))
        entry = found["prediction"][name]
        assert entry["num_rows"] == len(asked)
        assert found["reconstruction"][name]["num_rows"] == present[:, m].sum()
        expected = np.mean([GAUSSIAN.error(m, others[row]) for row in asked])
        assert near(entry["model"]["error"], expected)
        assert near(entry["linear"]["error"], expected, bias=0.05)
        assert near(found["calibration"][name]["coverage"], 0.9)
        one = found["prediction_given_one"]["a" if m else "b"][name]
        assert near(one["error"], GAUSSIAN.error(m, np.arange(3) == (0 if m else 1)))


def test_words_flags_and_counts_are_predicted_as_well_as_can_be(labelled):
    rest = {name: np.arange(4) != m for m, name in enumerate(MIXTURE.names)}
    for name in ("counts", "flags", "word"):
        observed = np.broadcast_to(rest[name], (len(LABELLED["label"]), 4))
        best = MIXTURE.posterior(LABELLED, observed) @ MIXTURE.means(np.arange(3))[name]
        expected = losses(labelled["value_types"][name], LABELLED[name], best)
        model = labelled["prediction"][name]["model"]
        if name == "counts":
            assert model["error"]["mean"] < 0.9
        else:
            assert near(model["log_loss"], expected["log_loss"].mean(), bias=0.005)
            assert near(model["accuracy"], expected["accuracy"].mean(), bias=0.01)
            assert (
                model["log_loss"]["mean"]
                < labelled["prediction"][name]["marginal"]["log_loss"]["mean"]
            )
        baselines = [
            labelled["prediction"][name][rival]["error"] for rival in ("linear", "neighbours")
        ]
        for rival in baselines:
            assert model["error"]["mean"] < rival["mean"] + 2 * rival["se"]
            assert rival["mean"] < 1


def test_probabilities_and_counts_are_calibrated_and_pictures_left_out(labelled):
    found = labelled["calibration"]
    assert found.keys() == {"counts", "flags", "word"}
    assert near(found["counts"]["coverage"], 0.9)
    for name in ("flags", "word"):
        entry = found[name]["reliability"]
        assert entry["error"] < 3 * entry["by_chance"] + 0.01


def test_labels_switch_on_coherence(labelled, exact):
    assert labelled["classifier_accuracy"]["by_modality"]["picture"] == 1
    assert labelled["reconstruction_accuracy"] == labelled["classifier_accuracy"]
    coherence = labelled["conditional_coherence"]
    assert coherence.keys() == {"1", "2", "3"}
    assert coherence["3"]["mean"] > coherence["1"]["mean"] > 0.5
    assert 0 < labelled["unconditional_coherence"]["all_agree"]["mean"] < 1
    assert labelled["label_total_variation"]["real"] < 0.1
    assert "conditional_coherence" not in exact


def test_a_careless_generator_is_at_chance():
    def careless(key, batch, observed):
        rng = rng_of(key)
        made = {}
        for name in MIXTURE.names:
            made[name] = MIXTURE.means(rng.integers(3, size=len(observed)))[name]
        return made

    found = measured(
        MIXTURE, LABELLED, FEWER, MIXTURE.likelihoods, complete=careless, draw=careless
    )
    assert near(found["conditional_coherence"]["3"], 1 / 3, bias=0.03)
    assert abs(found["consistency"]["by_modality"]["picture"]["ratio"]) < 0.2
    assert found["prediction"]["word"]["model"]["error"]["mean"] > 0.95


def test_nested_subsets_observe_what_is_there_and_grow():
    everything = nested_of_present(np.ones((50, 4), bool))
    for (rows, observed), expected in zip(everything, nested_subsets(50, 4), strict=True):
        assert len(rows) == 50
        np.testing.assert_array_equal(observed, expected)
    present = np.random.default_rng(0).random((50, 4)) < 0.5
    before = np.zeros((50, 4), bool)
    for n, (rows, observed) in enumerate(nested_of_present(present), 1):
        assert (observed.sum(axis=1) == n).all()
        assert (observed <= present[rows]).all()
        assert (before[rows] <= observed).all()
        assert len(rows) == (present.sum(axis=1) >= n).sum()
        before[rows] = observed


def test_one_modality_alone_has_no_conditional_part():
    alone = Gaussian({"a": 2})
    found = measured(alone, alone.rows(60, 0), alone.rows(200, 1), {"a": "normal"})
    assert found.keys() == {
        "value_types", "num_rows", "num_unconditional", "num_samples", "reconstruction", "frechet_features",
    }  # fmt: skip


def test_questions_are_the_same_however_many_are_in_memory(exact, predicted, monkeypatch):
    monkeypatch.setattr(questions, "CHUNK_BYTES", 4 * 9 * 19 * 100)
    found, _, _ = predicted()
    for name in GAUSSIAN.names:
        entry = found[name]["model"]["error"]
        assert near(entry, exact["prediction"][name]["model"]["error"]["mean"])
        assert found[name]["linear"] == exact["prediction"][name]["linear"]


def test_a_modality_that_no_training_row_has_is_refused():
    present = np.ones((2000, 3), bool)
    present[:, 1] = False
    with pytest.raises(ValueError, match="b: no training row has it"):
        gaussian(train=TRAIN | {"present": present})


def test_a_handful_of_rows_and_a_constant_modality_are_measured():
    rows = {name: x[:3] for name, x in TEST.items()}
    constant = {"c": np.zeros((3, 4), np.float32)}
    protocol = PairedProtocol(
        likelihoods=dict.fromkeys(GAUSSIAN.names, "normal"), num_unconditional=10, batch_size=10
    )
    results, _ = protocol.measure(
        jax.random.key(0), rows | constant, generator(GAUSSIAN), {}, lambda: rows | constant
    )
    assert np.isfinite(results["prediction"]["a"]["linear"]["error"]["mean"])
    assert np.isnan(results["prediction"]["c"]["model"]["error"]["mean"])  # there is no variance
    assert results["consistency"]["by_modality"]["c"]["ratio"] is None


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"num_samples": 2}, "num_samples must be at least 3, got 2"),
        ({"num_unconditional": 1}, "num_unconditional must be at least 2, got 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PairedProtocol(likelihoods={"a": "normal"}), **option)


@pytest.mark.parametrize("shape", [(300, 5), (60, 100)])
def test_ridge_is_that_of_scikit_learn(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    y = x @ rng.normal(size=(shape[1], 2)) + rng.normal(size=(shape[0], 2)) + 3
    theirs = RidgeCV(RIDGE_PENALTIES).fit(x, y)
    np.testing.assert_allclose(fit_ridge(x, y)(x), theirs.predict(x), rtol=1e-6, atol=1e-8)


def test_predictors_learn_what_a_missing_input_means():
    rng = np.random.default_rng(0)
    present = rng.random((2000, 1)) < 0.5
    x = rng.normal(size=(2000, 1))
    y = np.where(present, x, 3)  # a missing input says more than its mean
    found = fit_linear(
        join_inputs([x], present, np.array([True])), Target(fit_columns("real", y), y)
    )
    error = np.mean((found(join_inputs([x], present, np.array([True]))) - y) ** 2)
    assert error < 1e-3


def test_wide_data_are_reduced_before_they_are_predicted():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, 4))
    wide = hidden @ rng.normal(size=(4, 3000)) + rng.normal(size=(300, 3000))
    columns = fit_columns("real", wide)
    x = columns.encode(wide)
    assert x.shape == (300, 256)
    target = Target(fit_columns("real", hidden), hidden)
    for fit in (fit_linear(x, target), fit_neighbours(x, np.ones(256), target)):
        assert target.error(fit(x)) < 0.5 * target.error(np.zeros_like(hidden))
    rebuilt = columns.decode(x)
    assert np.mean((rebuilt - wide) ** 2) < 0.5 * np.var(wide)


def test_many_counts_and_flags_share_a_ridge_that_gives_possible_means():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    for value_type, y in (
        ("binary", x[:, [0] * 20] > 0),
        ("counts", rng.poisson(np.exp(x[:, [0] * 20]))),
    ):
        found = fit_linear(x, Target(fit_columns(value_type, y), y.astype(np.float32)))(5 * x)
        assert found.min() > 0
        assert value_type == "counts" or found.max() < 1


def test_of_wide_binary_values_some_probabilities_are_kept():
    eval_data = SimpleNamespace(value_types={"mask": "binary"})
    rng = np.random.default_rng(0)
    truth, draws = rng.random((4, 2000)) < 0.5, rng.random((4, 5, 2000))
    found = predicting._score_means(eval_data, "mask", truth, draws)
    assert found["error"].shape == (4,)
    assert found["probability"].shape == found["hit"].shape == (4, 286)
    np.testing.assert_allclose(found["probability"][:, 1], draws[:, :, 7].mean(axis=1))
    np.testing.assert_array_equal(found["hit"][:, 1], truth[:, 7])


def test_noise_of_the_stand_in_is_what_the_tests_assume():
    spread = np.std(
        TEST["a"] - GAUSSIAN.complete(jax.random.key(1), TEST, np.ones((500, 3), bool))["a"]
    )
    assert 0.2 * NOISE < spread < 2 * NOISE
