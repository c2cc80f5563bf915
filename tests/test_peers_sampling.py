"""Rivals' and our samplers in the comparison: published steps, what was chosen, times in turns."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from sbmae_jax.app import pipeline


class Still:
    """A process without noise, so that jumping back changes nothing."""

    def alpha(self, t):
        return jnp.ones_like(t)

    def sigma(self, t):
        return jnp.zeros_like(t)


def test_repaint_takes_the_published_steps(script):
    sampling = script("peers_sampling")
    times = jnp.linspace(1.0, 0.0, 26)

    def count(key, x, t, t_next):
        return x + 1

    def leave(key, x, t, t_next):
        return x

    taken = sampling.repainted(
        jax.random.key(0), Still(), count, jnp.zeros((1, 1)), times, 10, 10, leave
    )
    assert float(taken[0, 0]) == 2410
    assert sampling.num_evaluations(250, 10, 10) == 2411


def test_ours_is_chosen_one_way_given_something_and_one_from_nothing(script):
    comparison, sampling = script("peers_comparison"), script("peers_sampling")
    assert {how["temperature"] for how in sampling.COLDER} == {0.5, 0.7, 0.8, 0.9}
    figures = dict.fromkeys(script("peers_claims").GIVEN, 0.5) | {"all agree": 0.5}
    rows = [how | figures for how in sampling.COLDER]
    assert [row["classifier_free"] for row in (rows[1], rows[4])] == [1, 3]
    rows[4] |= {"given 2": 0.9, "all agree": 0.9}  # guided, so not for what is drawn from nothing
    rows[1] |= {"all agree": 0.6}
    this = SimpleNamespace(colder=lambda seed, split, num_rows: rows)
    chosen = comparison.Comparison.choose_colder(this)
    assert chosen["value"] == {
        "given": {"temperature": rows[4]["temperature"], "classifier_free": 3},
        "nothing": {"temperature": rows[1]["temperature"], "classifier_free": 1},
    }


def test_each_row_is_sampled_as_was_chosen_for_what_it_observes(script, monkeypatch, tmp_path):
    sampling, runs = script("peers_sampling"), script("peers_runs")
    config = tiny.config()
    for stage in ("autoencoders", "score"):
        pipeline.run(config, tmp_path, stage)
    asked = []

    def complete(model, key, rows, observed):
        asked.append((model.sampling.temperature, model.sampling.classifier_free))
        return rows

    monkeypatch.setattr(sampling.models, "complete", complete)
    trained = runs.Trained(pipeline.open_run(tmp_path), None, dict, 0, 0, 0.0, 0)
    given, nothing = (
        {"temperature": scale, "classifier_free": weight}
        for scale, weight in ((0.5, 3.0), (0.7, 1.0))
    )
    found = sampling.colder(trained, given, nothing)
    for observed in (np.zeros((2, 2), bool), np.eye(2, dtype=bool)):
        found.complete(jax.random.key(0), {}, observed)
    assert asked == [(0.7, 1.0), (0.5, 3.0)]
    plain = pipeline.open_run(tmp_path).parts.sampling.num_evaluations
    assert found.evaluations == 2 * plain, "guidance doubles the evaluations"


def test_each_sampler_is_timed_once_in_each_round(script):
    sampling, calls = script("peers_sampling"), []

    def make(name):
        def complete(key, rows, observed):
            calls.append(name)
            return jnp.zeros(1)

        return complete

    found = sampling.time_samplers({"x": make("x"), "y": make("y")}, {}, np.zeros((500, 2)))
    assert calls == ["x", "y"] * (sampling.ROUNDS + 1)
    assert set(found) == {"x", "y"}
