"""The page of the comparison: claims that say who wins, tables, plots, commits."""

import itertools
import json

import pytest


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
    plain = {"temperature": 0.7, "classifier_free": 1.0}
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


def test_a_rival_with_its_second_choice_is_held_against_ours_as_well(script):
    claims, choices = script("peers_claims"), script("peers_choices")
    assert choices.second_best({"0.1": 0.7, "0.5": 0.8, "2.5": 0.2}) == "0.1"
    made = page(claims, 0.9, 0.8)
    before = claims.claims(made)
    made["choices"] = {"values": {"mopoe": "0.1"}, "rows": {"mopoe": made["rows"]["ours"]}}
    added = [claim for claim in claims.claims(made) if claim not in before]
    assert [claim["name"].split(":")[0] for claim in added] == list(claims.COMPARED)
    assert all("MoPoE with its second choice, 0.1" in claim["name"] for claim in added)
    assert not any(claim["holds"] for claim in added)
    one = {**made, "choices": {**made["choices"], "rows": {"mopoe": made["rows"]["ours"][:1]}}}
    assert claims.claims(one) == before  # one seed alone has no deviation
    made["chosen"]["mopoe"] = {"value": 0.5}
    table = script("peers_tables").choices_table(made)
    assert "| MoPoE, beta 0.5 | 0.800" in table
    assert "| MoPoE, beta 0.1 | 0.900" in table


def test_large_batches_are_refused_before_training_if_they_stand_beside_nothing(
    script, tmp_path, monkeypatch, capsys
):
    peers = script("peers")
    monkeypatch.setattr(script("peers_page"), "RESULTS", tmp_path / "peers.json")
    for argv, message in (
        (["--large"], "peers.json is not there: run the command without --large first"),
        (["--large", "--data=polymnist"], "Extended PolyMNIST has the batches of its config"),
    ):
        monkeypatch.setattr("sys.argv", ["peers.py", *argv])
        with pytest.raises(SystemExit):
            peers.main()
        assert message in capsys.readouterr().err


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


def test_sampling_is_held_against_nothing_if_no_rival_takes_a_single_pass(script):
    claims = script("peers_claims")
    made = page(claims, 0.9, 0.8)
    for rows in (made["rows"], made["sampling"]["seconds per 1,000, given 1"]):
        for method in claims.SINGLE_PASS:
            del rows[method]
    names = [claim["name"] for claim in claims.claims(made)]
    assert not [name for name in names if name.startswith("1,000 samples")]
    assert "seconds of training ours at half the operations over MLD" in names


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
