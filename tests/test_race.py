"""The race between networks of the score: successive halving, and what a run keeps of it."""

import itertools
import json
import math
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from sbmae_jax._json import to_json
from sbmae_jax.app import pipeline
from sbmae_jax.app.changes import find_done
from sbmae_jax.app.choices import choose_values
from sbmae_jax.app.pipeline import open_run
from sbmae_jax.app.race_result import race_section, read_winner
from sbmae_jax.app.racing import check_contenders
from sbmae_jax.app.run import Run, load_model
from sbmae_jax.configs import custom
from sbmae_jax.training.race import RaceConfig, plan_rungs, run_race
from sbmae_jax.training.workdir import RACE

NOISE = np.random.default_rng(0).normal(size=200)
WIDER = {"network.width": 24, "network.hub_width": 32}


@pytest.mark.parametrize("num", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_all_rungs_together_take_at_most_their_share(num, share):
    rungs = plan_rungs(num, 40_000, share, 10)
    assert [rungs[0].num, rungs[-1].num] == [num, 2]
    taken, before = 0, 0
    for rung in rungs:
        assert rung.steps % 10 == 0
        taken, before = taken + rung.num * (rung.steps - before), rung.steps
    assert 0.9 * share * 40_000 < taken <= share * 40_000
    assert all(b.steps == 2 * a.steps for a, b in itertools.pairwise(rungs))
    assert plan_rungs(num, 40, share, 10) == [] or num == 2


def race(means, num_steps=4000, noise=0.0):
    """Race contenders whose losses have these means, which fall with the steps."""
    calls = []

    def measure(number, steps):
        calls.append((number, steps))
        mean = means[number]
        return None if mean is None else mean + 10 / steps + noise * number * NOISE + NOISE

    rungs = plan_rungs(len(means), num_steps, 0.2, 10)
    return (*run_race(rungs, measure), calls, rungs)


def test_the_better_half_goes_on_and_the_first_always():
    winner, table, calls, rungs = race([3.0, 1.0, 2.0, 4.0, 5.0])
    assert winner == 1
    steps = [rung.steps for rung in rungs]
    assert [sorted(scores) for scores in table] == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1]]
    assert calls == [(n, s) for s, ns in zip(steps, ([0, 1, 2, 3, 4], [0, 1, 2], [0, 1]), strict=True)
                     for n in ns]  # fmt: skip
    assert table[-1][1].gain == pytest.approx(2.0)
    assert table[-1][1].error < 1e-12  # the noise is that of the first one: it falls out
    assert race([1.0, 3.0, 2.0])[0] == 0


@pytest.mark.parametrize(("noise", "winner"), [(0.5, 1), (5.0, 0)])
def test_a_gain_within_a_standard_error_changes_nothing(noise, winner):
    found, table, *_ = race([2.0, 1.9], noise=noise)
    gain = 0.1 - noise * NOISE.mean()
    error = noise * NOISE.std(ddof=1) / np.sqrt(len(NOISE))
    assert table[-1][1].gain == pytest.approx(gain)
    assert table[-1][1].error == pytest.approx(error)
    assert found == int(gain > error)
    assert race([2.0, 1.0], noise=0.01)[0] == 1


def test_a_race_that_is_ended_counts_the_rungs_that_are_finished():
    winner, table, *_ = race([3.0, None, 1.0])
    assert (winner, table) == (0, [])
    ended = iter([*np.ones(3, bool), False])
    rungs = plan_rungs(3, 4000, 0.2, 10)
    losses = lambda number, steps: 3.0 - number + NOISE if next(ended) else None  # noqa: E731
    winner, table = run_race(rungs, losses)
    assert (winner, len(table)) == (2, 1)


def test_a_contender_that_diverges_drops_out_and_the_first_one_may():
    assert race([2.0, np.inf, 1.0])[0] == 2
    assert race([2.0, np.inf])[0] == 0
    assert race([np.inf, 1.0])[0] == 0  # the training itself will say why


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0.6}, r"share must be in 0..0.5, got 0.6"),
        ({"share": -0.1}, r"share must be in 0..0.5, got -0.1"),
        ({"max_minutes": 0}, "max_minutes must be above 0"),
        ({"score": ({},)}, "contender 1 has no values: the run itself contends"),
        (
            {"score": ({"score.level_mean": 0.0},)},
            r"contender 1 has score.level_mean, and may have",
        ),
        (
            {"score": (WIDER, {"score_training.num_steps": 9})},
            "contender 2 has score_training.num_steps",
        ),
        ({"score": (3,)}, "score must be a tuple"),
    ],
)
def test_a_race_that_cannot_be_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RaceConfig(**values)


def config(folder, **race):
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(120, 2))
    views = {"a": factors @ rng.normal(size=(2, 4)), "b": np.sin(factors @ rng.normal(size=(2, 3)))}
    np.savez(folder / "own.npz", **views)
    found = custom.get_config("smoke")
    found.data.path = str(folder / "own.npz")
    found.race.update(race)
    return found


def test_wider_networks_contend_where_the_width_is_open(tmp_path):
    chosen, choices, _ = choose_values(config(tmp_path, share=0.2))
    assert chosen["race"]["score"] == (
        {"network.width": 64, "network.hub_width": 96}, {"network.width": 96, "network.hub_width": 128},
    )  # fmt: skip
    assert "race.score" in [choice.key for choice in choices]
    assert choose_values(config(tmp_path))[0]["race"]["score"] == ()
    fixed = config(tmp_path, share=0.2)
    fixed.network.width = 16
    assert choose_values(fixed)[0]["race"]["score"] == ()


@pytest.mark.parametrize(
    ("contender", "message"),
    [
        ({"network.widht": 3}, "race.score: contender 1: config.network: unknown key 'widht'"),
        ({"network": {"name": "hub", "width": 0}}, "race.score: contender 1: config.network: "),
        ({"seed": 3}, "config.race: score: contender 1 has seed"),
    ],
)
def test_a_contender_that_cannot_be_built_is_refused_before_anything_is_trained(
    tmp_path, contender, message
):
    with pytest.raises(ValueError, match=message):
        pipeline.run(config(tmp_path, share=0.2, score=(contender,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_has_the_network_that_has_won(tmp_path):
    folder = tmp_path / "run"
    chosen, _, _ = choose_values(config(tmp_path, share=0.2, score=(WIDER,)))
    run = Run(chosen, folder)
    check_contenders(run)
    run.claim()
    assert race_section(folder) is None
    assert read_winner(folder) == {}
    rungs = [{"steps": 100, "scores": {"0": [2.0, 0.0, 0.0], "1": [1.5, 0.5, 0.1]}}]
    result = {"winner": 1, "contenders": [{}, WIDER], "seconds": 3.0, "rungs": rungs}
    (folder / "race").mkdir()
    (folder / RACE).write_text(json.dumps(result))
    assert open_run(folder).parts.network.width == 24
    assert find_done(folder) == ["score"]  # so that another config is not taken for this one
    section = race_section(folder)
    assert section.remark == "width 24, hub_width 32 won, by 0.5000 ± 0.1000."
    assert section.table[1:] == (
        ("width 24, hub_width 32", "100", "1.5000", "0.5000", "0.1000"),
        ("as chosen", "100", "2.0000", "", ""),
    )
    again = Run(chosen, folder, redo="score")
    assert again.parts.network.width == 48
    gone = [math.inf, -math.inf, 0.0]  # of contenders that diverged
    rungs = [{"steps": 100, "scores": {"0": [2.0, 0.0, 0.0], "1": gone, "2": [1.5, 0.5, 0.1]}}]
    text = to_json({**result, "winner": 2, "contenders": [{}, WIDER, WIDER], "rungs": rungs})
    (folder / RACE).write_text(text)
    rows = race_section(folder).table[1:]
    assert [row[2:] for row in rows] == [("1.5000", "0.5000", "0.1000"), ("2.0000", "", ""),
                                         ("diverged", "", "")]  # fmt: skip
    first = [{"steps": 100, "scores": {"0": gone, "1": [1.5, -math.inf, 0.0]}}]
    (folder / RACE).write_text(to_json({**result, "winner": 0, "rungs": first}))
    section = race_section(folder)
    assert [row[2:] for row in section.table[1:]] == [("1.5000", "", ""), ("diverged", "", "")]
    assert "The network as chosen diverged" in section.remark
    for winner, remark in ((0, "No contender was better by more"), (5, None)):
        (folder / RACE).write_text(json.dumps(result | {"winner": winner}))
        if remark:
            assert remark in race_section(folder).remark
    with pytest.raises(ValueError, match=r"result.json is damaged: do the stage again"):
        open_run(folder)
    again.claim()
    assert not (folder / "race").exists()


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_race_is_run_once_and_an_interrupted_one_ends_with_the_same_bits(tmp_path, capsys):
    raced = config(tmp_path, share=0.5, score=(WIDER,))
    raced.score_training.update(num_steps=40, steps_per_call=5)
    pipeline.run(raced, tmp_path / "a", "train")
    said = capsys.readouterr().out
    assert "contender" in said
    assert "race: " in said
    assert list(Path(tmp_path / "a" / "race").iterdir()) == [tmp_path / "a" / RACE]
    calls = []

    def interrupt(name, step, metrics):
        calls.append((name, step))
        if name.startswith("race/1") and len(calls) < 20:
            raise Stop

    with pytest.raises(Stop):
        pipeline.run(raced, tmp_path / "b", "train", callback=interrupt)
    pipeline.run(raced, tmp_path / "b", "train")
    one, other = (load_model(open_run(tmp_path / name)) for name in "ab")
    assert one.score_network == other.score_network
    chex.assert_trees_all_equal(*(jax.tree.leaves(model.params) for model in (one, other)))
    scores = [json.loads((tmp_path / name / RACE).read_text())["rungs"] for name in "ab"]
    assert scores[0] == scores[1]
    pipeline.run(raced, tmp_path / "a", "train")
    assert "score: already done" in capsys.readouterr().out
    raced.race.score = ()
    with pytest.raises(ValueError, match=r"differs in config.race.score .*redo='score'"):
        pipeline.run(raced, tmp_path / "a", "train")
