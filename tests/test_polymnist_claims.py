"""What was measured of Extended PolyMNIST, on two cores and elsewhere, is held against its targets."""

import json

import pytest


@pytest.fixture
def claims(script):
    """Give the script that makes them."""
    return script("polymnist_claims")


def by_number(values):
    return {str(n): {"mean": value} for n, value in enumerate(values, 1)}


def results(coherence, distances, all_agree=0.8):
    return {
        "classifier_accuracy": {"mean": 0.99},
        "reconstruction_accuracy": {"mean": 0.98},
        "all_subsets_coherence": by_number(coherence),
        "prefix_coherence": by_number(coherence),
        "unconditional_coherence": {"all_agree": {"mean": all_agree}},
        "label_total_variation": {"uniform": 0.04},
        "conditional_diversity": 0.7,
        "all_subsets_frechet_classifier_features": by_number(distances),
        "seconds_per_1000_samples": 1.0,
        "seconds": {"score": 100.0, "evaluate": 50.0},
        "peak_memory_bytes": 2**30,
    }


def save(folder, name, **page):
    folder.mkdir(exist_ok=True)
    content = {"command": f"python benchmarks/gpu/run.py {name}", **page}
    (folder / f"{name}.json").write_text(json.dumps(content))


def found(claims, folder, page=None):
    return {claim["name"]: claim for claim in claims.claims(page or {}, folder)}


def test_runs_on_an_accelerator_are_claimed_by_mean_and_deviation(claims, tmp_path):
    rising = [0.86, 0.9, 0.93, 0.94, 0.95, 0.96, 0.965, 0.97, 0.98]
    falling = [*rising[:7], 0.964, 0.98]
    for seed, coherence, seconds in ((0, rising, 500.0), (1, falling, 620.0)):
        distances = [10.0] * 8 + [10.4]
        page = {"results": results(coherence, distances), "seconds_in_all": seconds}
        save(tmp_path, f"polymnist-ten-{seed}", **page)
    named = found(claims, tmp_path)
    head = "polymnist-ten on an accelerator, seeds 0, 1: "
    assert len(named) == len(claims.TEN)
    assert all(name.startswith(head) for name in named)
    assert named[f"{head}coherence, given 9"]["value"] == 0.98
    assert named[f"{head}coherence, given 9"]["holds"]
    rise = named[f"{head}{claims.RISE}"]
    assert (rise["value"], rise["deviation"]) == (0.002, 0.0042)  # the mean of .005 and -.001
    assert named[f"{head}{claims.GROWTH}"]["value"] == 0.04
    assert named[f"{head}seconds in all"] == {
        "name": f"{head}seconds in all", "value": 560.0, "bound": "<= 600.0", "holds": True,
        "deviation": 84.8528,
    }  # fmt: skip


def test_five_modalities_have_targets_of_their_own(claims, tmp_path):
    page = {"results": results([0.9, 0.92, 0.97, 0.98], [1.0] * 4, 0.91), "seconds_in_all": 1.0}
    save(tmp_path, "polymnist-five-2", **page)
    head = "polymnist-five on an accelerator, seeds 2: "
    missed = [n for n, claim in found(claims, tmp_path).items() if not claim["holds"]]
    assert missed == [f"{head}coherence, given 2"]


def test_the_reference_is_compared_in_quality_and_in_operations(claims, tmp_path):
    ours = dict.fromkeys(claims.SHOWN, 0.9) | {"GFLOP of one sample": 0.8}
    theirs = dict.fromkeys(claims.SHOWN, 0.8) | {"GFLOP of one sample": 84.0}
    theirs["given 9"] = 0.95
    rows = {"ours": ours, "the reference's": theirs}
    save(tmp_path, "polymnist-reference-0", rows=rows)
    named = found(claims, tmp_path)
    assert len(named) == len(claims.SHOWN) + 1
    missed = [name for name, claim in named.items() if not claim["holds"]]
    assert [name.split(": ")[1] for name in missed] == ["given 9"]


def test_a_dry_run_is_no_measurement(claims, tmp_path):
    page = {"results": results([0.9] * 9, [1.0] * 9), "seconds_in_all": 1.0}
    save(tmp_path, "polymnist-ten-0", **page | {"command": "run.py polymnist-ten --toy"})
    assert not found(claims, tmp_path)


def test_two_cores_are_claimed_seed_by_seed_and_growth_may_be_linear(claims, tmp_path):
    page = {
        "runs": {"runs": {"3": results([0.7, 0.9, 0.89, 0.95], [1.0] * 4)}},
        "networks": {"rows": {
            "hub": {"given 1": 0.8, "all agree": 0.6}, "hub, half": {"given 1": 0.9, "all agree": 0.9},
            "mlp": {"given 1": 0.7, "all agree": 0.7},
        }},
        "reference": {"gflop_of_one_sample": {"ours": 2.0, "theirs": 100.0}},
        "cost": {"growth": {"step": 0.99, "memory": 1.01}},
    }  # fmt: skip
    named = found(claims, tmp_path / "none", page)
    missed = {name for name, claim in named.items() if not claim["holds"]}
    assert missed == {
        ":cpu, seed 3: coherence, given 3",
        "score network hub against mlp: all agree",
        "ten modalities, one sample: FLOPs over the reference's",
        "growth with the number of modalities, as a power: memory",
    }
    assert not any("half" in name for name in named)
