"""The comparison with rivals: equal budgets, samples from disk, claims that say who wins."""

import itertools
import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sbmae_jax import pipeline
from sbmae_jax.protocols.classes import evaluate
from sbmae_jax.protocols.judging import Eyes

ROOT = Path(__file__).parents[1]
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
        "autoencoder_training", "score_training",
    }  # fmt: skip


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
    assert {how["noise_scale"] for how in sampling.COLDER} == {0.5, 0.7, 0.8, 0.9}
    figures = dict.fromkeys(script("peers_claims").GIVEN, 0.5) | {"all agree": 0.5}
    rows = [how | figures for how in sampling.COLDER]
    assert [row["classifier_free"] for row in (rows[1], rows[4])] == [1, 3]
    rows[4] |= {"given 2": 0.9, "all agree": 0.9}  # guided, so not for what is drawn from nothing
    rows[1] |= {"all agree": 0.6}
    this = SimpleNamespace(colder=lambda seed, split, num_rows: rows)
    chosen = comparison.Comparison.choose_colder(this)
    assert chosen["value"] == {
        "given": {"noise_scale": rows[4]["noise_scale"], "classifier_free": 3},
        "nothing": {"noise_scale": rows[1]["noise_scale"], "classifier_free": 1},
    }


def test_each_row_is_sampled_as_was_chosen_for_what_it_observes(script, monkeypatch, tmp_path):
    sampling, runs = script("peers_sampling"), script("peers_runs")
    config = tiny.config()
    for stage in ("autoencoders", "score"):
        pipeline.run(config, tmp_path, stage)
    asked = []

    def complete(model, key, rows, observed):
        asked.append((model.sampling.noise_scale, model.sampling.classifier_free))
        return rows

    monkeypatch.setattr(sampling.models, "complete", complete)
    trained = runs.Trained(pipeline.open_run(tmp_path), None, dict, 0, 0, 0.0, 0)
    given, nothing = (
        {"noise_scale": scale, "classifier_free": weight}
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

    subject = multivae.FromDisk(tmp_path / "made.npz", observed, NAMES, 20)
    found = evaluate(jax.random.key(0), rows, subject, Eyes(classify), 60)
    assert found["conditional_coherence"]["1"]["mean"] == 1
    assert found["conditional_coherence"]["2"]["mean"] == np.mean(label == np.roll(label, 1))
    assert found["unconditional_coherence"]["all_agree"]["mean"] == 1
    other = dict(observed, nothing=observed["all"])
    subject = multivae.FromDisk(tmp_path / "made.npz", other, NAMES, 20)
    with pytest.raises(ValueError, match="samples of 'nothing' are for other observed modalities"):
        evaluate(jax.random.key(0), rows, subject, Eyes(classify), 60)


def page(claims, ours, rival):
    """A page on which all rivals are alike."""
    figures = (
        *claims.QUALITY,
        "training seconds",
        "GFLOP",
        "parameters",
        "evaluations",
        "num_rows",
    )

    def rows(value):
        better = {f: 1 - value if f in claims.LOWER else value for f in figures}
        return [{f: v + shift for f, v in better.items()} for shift in (-0.01, 0.0, 0.01)]

    few = {n: rows(ours)[1] for n in ("1", "6")}
    times = dict.fromkeys(("ours", *claims.RIVALS), 1.0) | {
        "ours, 1 level": 1.9,
        "ours, 6 levels": 2.5,
    }
    plain = {"noise_scale": 0.7, "classifier_free": 1.0}
    ways = {"given": plain | {"classifier_free": 3.0}, "nothing": plain}
    return {
        "rows": {"ours": rows(ours), **{r: rows(rival) for r in claims.RIVALS},
                 **{name: rows(ours) for name in claims.OURS}},
        "chosen": {"mld": {"value": 0.2}, claims.FEW_STEPS: {"value": 1.0}, claims.COLDER: {"value": ways}},
        "sampling": {
            "few steps": few, "colder": [plain | rows(ours)[1]], "MLD, RePaint": rows(rival)[0],
            "MLD, same rows": rows(rival)[0], "seconds per 1,000, given 1": times,
            "seconds per 1,000, from nothing": times,
        },
        "multivae": {"rows": {"mvtcae": rows(rival)[:2], "jnf": rows(rival)[:1]}},
    }  # fmt: skip


def test_a_claim_holds_only_beyond_the_deviation(script):
    claims = script("peers_claims")

    def held(ours, rival):
        found = claims.claims(page(claims, ours, rival))
        return {
            tuple(c["name"].split(" is better")[0].split(": ")): c["holds"]
            for c in found
            if "by more than" in c["name"]
        }

    assert all(held(0.9, 0.8).values())
    assert not any(held(0.9, 0.89).values())
    assert not any(held(0.8, 0.9).values())
    names = ("given 2", "given 3", "given 4", "all agree", "Fréchet distance")
    assert set(held(0.9, 0.8)) == set(itertools.product(names, claims.OURS[:3]))
    one = page(claims, 0.9, 0.8)
    one["rows"] = {method: rows[:1] for method, rows in one["rows"].items()}
    assert not [c for c in claims.claims(one) if "by more than" in c["name"]]


def test_what_large_batches_miss_stays_in_the_list(script):
    claims = script("peers_claims")
    made = page(claims, 0.9, 0.8)
    del made["multivae"]
    before = claims.claims(made)
    made[claims.LARGE] = page(claims, 0.8, 0.9)
    added = claims.claims(made)[len(before) :]
    assert claims.claims(made)[: len(before)] == before
    assert all(claim["name"].startswith("large batches: ") for claim in added)
    missed = [claim["name"] for claim in added if not claim["holds"]]
    assert (
        "large batches: given 2: ours is better than the best rival, MLD, by more than the deviation"
        in missed
    )


def test_a_rival_that_is_more_coherent_and_less_diverse_does_not_dominate(script):
    claims = script("peers_claims")
    made = page(claims, 0.8, 0.7)
    for row in made["rows"]["mopoe"]:
        row |= dict.fromkeys(claims.GIVEN, 0.95)
    assert claims.dominating(made) == []
    for row in made["rows"]["mopoe"]:
        row["diversity"] = 0.85
    assert claims.dominating(made) == ["mopoe"]
    for row in made["rows"][claims.COLDER]:
        row["given 2"] = 1.6  # the mean given 1 to 4 is 1
    assert claims.dominating(made, claims.COLDER) == []


def test_sampling_is_held_against_the_fastest_single_pass(script):
    claims = script("peers_claims")
    made = page(claims, 0.9, 0.8)
    (claim,) = [c for c in claims.claims(made) if c["name"].startswith("1,000 samples")]
    assert (claim["value"], claim["holds"]) == (1.9, True)
    made["chosen"][claims.FEW_STEPS]["value"] = 6.0
    (claim,) = [c for c in claims.claims(made) if c["name"].startswith("1,000 samples")]
    assert (claim["value"], claim["holds"]) == (2.5, False)


def test_a_port_is_held_against_the_library_that_it_is_a_port_of(script):
    claims = script("peers_claims")
    made = page(claims, 0.9, 0.8)
    made[claims.LARGE] = page(claims, 0.9, 0.8)

    def ports():
        return [c["holds"] for c in claims.claims(made) if "MultiVae" in c["name"]]

    assert ports() == [True] * 5
    for row in made["multivae"]["rows"]["mvtcae"]:
        row["given 3"] += 0.1
    assert ports().count(False) == 1
    made["multivae"]["ports"] = {"mvtcae": page(claims, 0.9, 0.91)["rows"]["mvtcae"]}
    assert len(ports()) == 10, "trained alike as well as at equal operations"
    assert ports().count(False) == 1, "trained alike it keeps up"


def test_steps_are_whole_passes(script):
    multivae = script("multivae")
    run = SimpleNamespace(
        train_source=range(1000),
        parts=SimpleNamespace(groups=[SimpleNamespace(training=SimpleNamespace(batch_size=300))]),
    )
    assert multivae.passes(run, 11) == (3, 12)  # the last batch of a pass is a smaller one
    assert multivae.passes(run, 1) == (1, 4)


def test_tables_have_every_method(script):
    claims, tables = script("peers_claims"), script("peers_tables")
    made = page(claims, 0.9, 0.8)
    for table in (tables.table, tables.cost_table):
        assert len(table(made).splitlines()) == 2 + len(made["rows"])
    assert "| MLD | 0.800 ± 0.010 |" in tables.table(made)
    cost = tables.cost_table(made)
    assert "observed share 0.2" in cost
    assert cost.count("noise scale 0.7, guidance 3; from nothing noise scale 0.7") == 2
    assert len(tables.sampler_table(made).splitlines()) == 2 + 1 + 1 + 2 + 2
    assert "| ours, noise scale 0.7 | " in tables.sampler_table(made)
    made[claims.LARGE] = page(claims, 0.9, 0.85)
    assert "| MLD | 0.850 ± 0.010 |" in tables.TABLES["large"][1](made)
    assert len(tables.multivae_table(made).splitlines()) == 2 + 2 + 1
    assert "| MVTCAE, ours, of equal operations | 3 | 0.85 ± 0.01 |" in tables.multivae_table(made)
    made["multivae"]["ports"] = {"mvtcae": made["rows"]["mvtcae"]}
    assert len(tables.multivae_table(made).splitlines()) == 2 + 3 + 1
    json.dumps(claims.claims(made))


def test_more_modalities_are_held_against_fewer(script):
    claims = script("peers_claims")

    def row(num, given):
        first = dict.fromkeys(("given the other", "given all others"), given) | {"classifier": 0.9}
        return {
            "classifier": 0.9,
            **{f"given {n}": given for n in range(1, num)},
            "first two": first,
        }

    def held(ours, *rivals):
        made = page(claims, 0.9, 0.8)
        numbered = zip(("ours", "mopoe", "mvtcae", "mmvae"), (ours, *rivals), strict=False)
        made["modalities"] = {
            "rows": {m: {"2": row(2, 0.8), "10": row(10, last)} for m, last in numbered}
        }
        found = claims.claims(made)
        return [c["holds"] for c in found if c["name"].startswith(("first two", "all, given"))]

    assert held(0.79, 0.5, 0.6, 0.8) == [True] * 8  # ours and two rivals, for each of four figures
    assert held(0.7, 0.5, 0.6, 0.8) == [False, True] * 4
    assert held(0.79, 0.5, 0.79, 0.8) == [True, False] * 4
    made = page(claims, 0.9, 0.8)
    rows = {m: {"2": row(2, 0.8), "10": row(10, 0.8)} for m in ("ours", "mopoe")}
    made["modalities"] = {"rows": rows | {claims.COLDER: {"2": row(2, 0.8), "10": row(10, 0.7)}}}
    found = {c["name"]: c for c in claims.claims(made) if c["name"].startswith("all, given one")}
    assert [(c["value"], c["holds"]) for c in found.values()] == [
        (0, True),
        (0.1111, False),
        (0, False),
    ]
    assert "all, given one: rivals of 1 that fall more than 0.03" in found, "ours is no rival"


def test_the_first_two_are_asked_with_each_number(script, tmp_path):
    modalities, runs = script("peers_modalities"), script("peers_runs")
    config = tiny.config()
    config["modalities"] = dict.fromkeys(
        ("coffee", *modalities.FIRST), next(iter(config["modalities"].values()))
    )
    pipeline.run(config, tmp_path, "judges")
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


def test_plots_are_drawn(script, tmp_path):
    claims, tables = script("peers_claims"), script("peers_tables")
    tables.draw(page(claims, 0.9, 0.8), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_a_page_has_the_commits_of_all_its_rows(script, tmp_path):
    peers_page, made = script("peers_page"), page(script("peers_claims"), 0.9, 0.8)
    made["rows"]["mld"][0]["commit"] = "aaa"
    made["multivae"]["rows"]["jnf"][0]["commit"] = "bbb"
    peers_page.write(made | {"commit": ["of a row that is no more"]}, tmp_path / "page.json")
    read = json.loads((tmp_path / "page.json").read_text())
    assert read["commit"] == ["aaa", "bbb"]
    assert read["claims"] == script("peers_claims").claims(made)


def test_a_part_needs_the_comparison(script, tmp_path, monkeypatch):
    peers_page = script("peers_page")
    monkeypatch.setattr(peers_page, "RESULTS", tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"none.json is not there: run benchmarks/peers.py"):
        peers_page.put("sets", {})
